"""The folder of a task: its name and state, its lock, status, log and receipts."""

from __future__ import annotations

import logging
import os
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from luxdask.errors import ConfigError, OutputError
from luxdask.io.json_file import write_json

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

CONFIG = "config_task.json"
STATUS = "status.json"
LOG = "log.txt"
RECEIPTS = "receipts.txt"
SUFFIXES = {"Stopped": "_S", "Failed": "_F", "Completed": "_C"}
"""States that end a run, and what they append to the folder's name."""

_NAME = re.compile(r"^\d{8}-\d{6}_Task_(?P<number>\d+)?")
_UNSAFE = re.compile(r"[^\w.+=-]+")
_RECEIPT = re.compile(r"^(\d+) (\d+) (\d+)\.$", re.MULTILINE)

ReceiptKey = tuple[int, int, int]
"""Output, stage and chunk of a write task."""


@dataclass(frozen=True, slots=True)
class TaskFolder:
    """A folder below `processed` that holds one task's settings, state and images."""

    path: Path

    @property
    def state(self) -> str:
        """State by the folder's suffix: Stopped, Failed, Completed, or Running without one."""
        found = (s for s, suffix in SUFFIXES.items() if self.path.name.endswith(suffix))
        return next(found, "Running")

    def write_status(self, **values: Any) -> None:
        """Replace `status.json`."""
        write_json(self.path / STATUS, {"folder": self.path.name, **values})

    def receipts(self) -> set[ReceiptKey]:
        """Write tasks that are done; a half-written last line is ignored."""
        try:
            text = (self.path / RECEIPTS).read_text(encoding="ascii", errors="replace")
        except OSError:
            return set()
        return {(int(o), int(s), int(c)) for o, s, c in _RECEIPT.findall(text)}

    def used_bytes(self) -> int:
        """Disk space that the files of this folder take; holes of files take none."""
        return sum(_used(f) for f in self.path.rglob("*") if f.is_file())

    def renamed(self, state: str | None) -> TaskFolder:
        """Move the folder to the name of another state (None: running).

        Raises `OutputError` where something of that name lies there already.
        """
        name = self.path.name
        for suffix in SUFFIXES.values():
            name = name.removesuffix(suffix)
        target = self.path.with_name(name + (SUFFIXES[state] if state else ""))
        if target == self.path:
            return self
        try:
            if target.exists():
                raise FileExistsError("something of this name lies there already")
            return TaskFolder(self.path.rename(target))
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot rename this task folder to {target.name}: "
                f"{error.strerror or error}"
            ) from error


def _used(file: Path) -> int:
    found = file.stat()
    return int(getattr(found, "st_blocks", -(-found.st_size // 512))) * 512


class Receipts:
    """Appends finished write tasks to the folder's list, at most once a second."""

    def __init__(self, folder: TaskFolder) -> None:
        self._path = folder.path / RECEIPTS
        try:
            # ends the line that a killed run may have left half written
            self._file = self._path.open("a", encoding="ascii")
            self._file.write("\n")
        except OSError as error:
            raise _not_written(self._path, error) from error
        self._written = time.monotonic()

    def add(self, key: ReceiptKey) -> None:
        """Note a finished task; raises `OutputError` where the disk refuses."""
        try:
            self._file.write("{} {} {}.\n".format(*key))
            if time.monotonic() - self._written > 1:
                self._file.flush()
                self._written = time.monotonic()
        except OSError as error:
            raise _not_written(self._path, error) from error

    def close(self) -> None:
        """Write everything out; what cannot be written is only computed again on resuming."""
        try:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            log.warning("%s: receipts are lost: %s", self._path, error)


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot write: {error}")


def make_folder(parent: Path, name: str, description: str) -> TaskFolder:
    """Create a task folder `<date>-<time>_Task_<n>_<description>` below `parent`.

    name : number or name of the task; empty takes the next number.
    Raises `OutputError` where the folder cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        stem = _stem(name or str(_next_number(parent)), description)
        for attempt in range(1000):
            path = parent / (f"{stem}-{attempt}" if attempt else stem)
            if not any(path.with_name(path.name + s).exists() for s in SUFFIXES.values()):
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                return TaskFolder(path)
    except OSError as error:
        raise OutputError(
            f"{parent}: cannot make a task folder: {error.strerror or error}. "
            "Set output.folder to a place where you may write."
        ) from error
    raise OutputError(f"{parent}: no free name for the task folder {stem}")


def _stem(name: str, description: str) -> str:
    now = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    words = [folder_words(part) for part in (name, description) if part]
    return "_".join([now, "Task", *words])


def folder_words(text: str) -> str:
    """The user's words as a part of a folder's name: any script; blanks and the like become "_"."""
    return _UNSAFE.sub("_", text).strip("._") or "unnamed"


def _next_number(parent: Path) -> int:
    found = (_NAME.match(p.name) for p in parent.iterdir())
    return 1 + max((int(m["number"]) for m in found if m and m["number"]), default=0)


def check_resumable(folder: TaskFolder) -> None:
    """Raise `ConfigError` where a folder's state does not allow to run it (the guide's rules)."""
    if folder.state == "Completed":
        raise ConfigError(
            f"{folder.path}: this task is completed and cannot be run again; "
            f"make a new one from its settings: luxdask run {folder.path / CONFIG}"
        )
    if not folder.path.is_dir():
        raise ConfigError(f"{folder.path}: no such folder (any more); did another run take it?")
    if not (folder.path / CONFIG).is_file():
        raise ConfigError(
            f"{folder.path}: no {CONFIG} in here; expected a task file, or the folder of a task. "
            f"For an experiment, make a task file first: luxdask new {folder.path}"
        )
