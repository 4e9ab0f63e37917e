"""The folder of a task: its name and state, its lock, status, log and receipts."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psutil

from luxdask.errors import ConfigError, OutputError
from luxdask.tasks.json_file import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CONFIG = "config_task.json"
STATUS = "status.json"
LOG = "log.txt"
RECEIPTS = "receipts.txt"
LOCK = ".lock"
SUFFIXES = {"Stopped": "_S", "Failed": "_F", "Completed": "_C"}
"""States that end a run, and what they append to the folder's name."""

_NAME = re.compile(r"^\d{8}-\d{6}_Task_(?P<number>\d+)?")
_UNSAFE = re.compile(r"[^\w.+=-]+")

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

    def read_status(self) -> dict[str, Any]:
        """Content of `status.json`; empty where there is none or it is damaged."""
        try:
            content: dict[str, Any] = json.loads((self.path / STATUS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content

    def receipts(self) -> set[ReceiptKey]:
        """Write tasks that are done; a half-written last line is ignored."""
        try:
            text = (self.path / RECEIPTS).read_text(encoding="ascii", errors="replace")
        except OSError:
            return set()
        lines = text.rpartition("\n")[0].splitlines()
        parts = (line.split() for line in lines)
        return {(int(p[0]), int(p[1]), int(p[2])) for p in parts if len(p) == 3}

    def renamed(self, state: str | None) -> TaskFolder:
        """Move the folder to the name of another state (None: running)."""
        name = self.path.name
        for suffix in SUFFIXES.values():
            name = name.removesuffix(suffix)
        target = self.path.with_name(name + (SUFFIXES[state] if state else ""))
        if target == self.path:
            return self
        return TaskFolder(self.path.rename(target))


class Receipts:
    """Appends finished write tasks to the folder's list, at most once a second."""

    def __init__(self, folder: TaskFolder) -> None:
        self._file = (folder.path / RECEIPTS).open("a", encoding="ascii")
        self._written = time.monotonic()

    def add(self, key: ReceiptKey) -> None:
        """Note a finished task."""
        self._file.write("{} {} {}\n".format(*key))
        if time.monotonic() - self._written > 1:
            self._file.flush()
            self._written = time.monotonic()

    def close(self) -> None:
        """Write everything out."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


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
    words = [safe_name(part) for part in (name, description) if part]
    return "_".join([now, "Task", *words])


def safe_name(text: str) -> str:
    """A text as a part of a file name: blanks and what paths cannot hold become "_"."""
    return _UNSAFE.sub("_", text).strip("._") or "unnamed"


def _next_number(parent: Path) -> int:
    found = (_NAME.match(p.name) for p in parent.iterdir())
    return 1 + max((int(m["number"]) for m in found if m and m["number"]), default=0)


class FolderLock:
    """Keeps a second run out of a task folder; used as a context manager."""

    def __init__(self, folder: TaskFolder) -> None:
        self.path = folder.path / LOCK

    def __enter__(self) -> FolderLock:
        holder = {"host": socket.gethostname(), "pid": os.getpid()}
        for _ in range(2):
            try:
                descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                _refuse_if_alive(self.path)
                self.path.unlink(missing_ok=True)
                continue
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(holder, file)
            return self
        raise OutputError(f"{self.path}: cannot lock the task folder")

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def moved(self, folder: TaskFolder) -> None:
        """Follow the folder to its new name."""
        self.path = folder.path / LOCK


def _refuse_if_alive(lock: Path) -> None:
    """Raise where the lock's holder may still run; a dead process on this host may be replaced."""
    try:
        holder: Mapping[str, Any] = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        holder = {}
    host, pid = holder.get("host", "an unknown host"), holder.get("pid", 0)
    if host == socket.gethostname() and not psutil.pid_exists(int(pid)):
        return
    raise OutputError(
        f"{lock.parent}: another run uses this task folder (process {pid} on {host}). "
        f"Wait for it or stop it; if it is dead for certain, delete {lock}."
    )


def check_resumable(folder: TaskFolder) -> None:
    """Raise `ConfigError` where a folder's state does not allow to run it (the guide's rules)."""
    if folder.state == "Completed":
        raise ConfigError(
            f"{folder.path}: this task is completed and cannot be run again; "
            f"make a new one from its settings: luxdask run {folder.path / CONFIG}"
        )
    if not (folder.path / CONFIG).is_file():
        raise ConfigError(f"{folder.path}: no {CONFIG} in here; expected the folder of a task")


def clear(folder: TaskFolder, names: Iterable[str]) -> None:
    """Remove files of an earlier state."""
    for name in names:
        (folder.path / name).unlink(missing_ok=True)
