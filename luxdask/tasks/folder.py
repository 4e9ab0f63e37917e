"""The folder of a task: its name and state, its settings, status and log."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from luxdask.errors import ConfigError, OutputError
from luxdask.io.json_file import write_json

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "config_task.json"
STATUS = "status.json"
LOG = "log.txt"
SUFFIXES = {"Stopped": "_S", "Failed": "_F", "Completed": "_C"}
"""States that end a run, and what they append to the folder's name."""

_NAME = re.compile(r"^\d{8}-\d{6}_Task_(?P<number>\d+)?")
_LEFTOVER = re.compile(
    r"^\..*\.\d+\.tmp$|^\.lock\.[0-9a-f]{32}$|\.[0-9a-f]{32}\.partial$|\.h5\.empty$"
)
_UNSAFE = re.compile(r"[^\w.+=-]+")


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

    @property
    def running(self) -> Path:
        """Its path while a run works in it: without the ending of a state."""
        return self.path.with_name(stem_of(self.path.name))

    def used_bytes(self) -> int:
        """Disk space that the files of this folder take; holes of files take none."""
        return sum(_used(f) for f in self.path.rglob("*") if f.is_file())

    def remove_leftovers(self) -> None:
        """Remove what a killed run has left half written; only for the run that holds the lock."""
        for file in self.path.rglob("*"):
            if _LEFTOVER.search(file.name):
                with suppress(OSError):
                    file.unlink()

    def renamed(self, state: str | None) -> TaskFolder:
        """Move the folder to the name of another state (None: running).

        Raises `OutputError` where something of that name lies there already.
        """
        running = self.running
        target = running.with_name(running.name + SUFFIXES[state]) if state else running
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


def stem_of(name: str) -> str:
    """A task folder's name without the ending of its state."""
    for suffix in SUFFIXES.values():
        name = name.removesuffix(suffix)
    return name


def names_of(path: Path) -> list[Path]:
    """All paths that a task folder has in its life, the given one first."""
    stem = stem_of(path.name)
    return [path, *(path.with_name(stem + suffix) for suffix in ("", *SUFFIXES.values()))]


def find_folder(path: Path) -> Path:
    """Where a task folder lies now, given by any name it has had; the path itself where nowhere."""
    return next((p for p in names_of(path) if p.is_dir()), path)


def task_folders(parent: Path) -> list[Path]:
    """The task folders in a folder such as `processed`, by name, and so by date."""
    return sorted(p for p in parent.iterdir() if _NAME.match(p.name) and p.is_dir())


def _used(file: Path) -> int:
    found = file.stat()
    return int(getattr(found, "st_blocks", -(-found.st_size // 512))) * 512


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


def check_resumable(folder: TaskFolder, *, update: bool = False) -> None:
    """Raise `ConfigError` where a folder's state does not allow to run it (the guide's rules).

    update : a completed task may be brought up to date.
    """
    if folder.state == "Completed" and not update:
        raise ConfigError(
            f"{folder.path}: this task is completed and cannot be run again; make a new one from "
            f"its settings: luxdask run {folder.path / CONFIG}; or, where its inputs have "
            f"changed, do what has changed: luxdask run --update {folder.path}"
        )
    if not folder.path.is_dir():
        raise ConfigError(f"{folder.path}: no such folder (any more); did another run take it?")
    if not (folder.path / CONFIG).is_file():
        raise ConfigError(
            f"{folder.path}: no {CONFIG} in here; expected a task file, or the folder of a task. "
            f"For an experiment, make a task file first: luxdask new {folder.path}"
        )
