"""The lock of a task folder: two runs never work in one folder, on whatever hosts they are."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from luxdask.errors import OutputError
from luxdask.tasks.process_mark import still_runs, this_process

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from luxdask.tasks.folder import TaskFolder

log = logging.getLogger(__name__)

LOCK = ".lock"
EMPTY_FOR_S = 5.0
"""A lock without a holder's name is left over from a crash when it is older than this."""
BEAT_S = 15.0
"""How often a run shows that it lives, by the date of its lock."""
SILENT_FOR_S = 180.0
"""A run on another host that has shown no life for so long is taken for dead."""


class FolderLock:
    """Keeps a second run out of a task folder; used as a context manager.

    The lock of a dead process of this host is taken over at once, that of another host when its
    date has not moved for `SILENT_FOR_S`. Raises `OutputError` naming the holder otherwise.
    """

    def __init__(self, folder: TaskFolder) -> None:
        self.path = folder.path / LOCK
        self._token = uuid4().hex

    def __enter__(self) -> FolderLock:
        try:
            self._take()
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(
                f"{self.path.parent}: cannot lock this task folder: {error.strerror or error}"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_ours():
            with suppress(OSError):  # a disk that has become read-only says so elsewhere
                self.path.unlink(missing_ok=True)

    def moved(self, folder: TaskFolder) -> None:
        """Follow the folder to its new name."""
        self.path = folder.path / LOCK

    def is_ours(self) -> bool:
        """Whether no other run has taken the folder over; an unreadable lock is not taken."""
        try:
            return bool(_read(self.path).get("token") == self._token)
        except FileNotFoundError:
            return False
        except OSError:  # a file server that is away for a moment
            return True

    def require(self) -> None:
        """Raise `OutputError` where another run has taken the folder over."""
        if not self.is_ours():
            raise OutputError(
                f"{self.path.parent}: another run has taken this task folder over, since this one "
                f"showed no life for more than {SILENT_FOR_S:.0f} s; this one ends here"
            )

    def beat(self) -> None:
        """Show life: the file system's own clock dates the lock anew."""
        with suppress(OSError):
            os.utime(self.path)

    def _take(self) -> None:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            _set_aside(self.path)
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            os.write(descriptor, json.dumps({**this_process(), "token": self._token}).encode())
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


def holder_of(folder: Path) -> tuple[Mapping[str, Any], bool] | None:
    """Who has locked a task folder, and whether that run still lives; None without a lock."""
    lock = folder / LOCK
    try:
        holder = _read(lock)
        if holder.get("host") == socket.gethostname():
            return holder, still_runs(holder)
        return holder, _age_s(lock) < (SILENT_FOR_S if holder else EMPTY_FOR_S)
    except OSError:
        return None


def _set_aside(lock: Path) -> None:
    """Remove the lock of a dead run; raise where its holder may still run."""
    found = holder_of(lock.parent)
    if found is None:
        return
    holder, alive = found
    name = f"process {holder.get('pid', '?')} on {holder.get('host', 'an unknown host')}"
    if alive:
        raise OutputError(
            f"{lock.parent}: another run uses this task folder ({name}). Wait for it or stop it: "
            f"luxdask stop {lock.parent}; if it is dead for certain, delete {lock}."
        )
    aside = lock.with_name(f"{LOCK}.{uuid4().hex}")
    with suppress(FileNotFoundError):
        lock.rename(aside)
        # another run may have been quicker: then what was moved is its lock, which it gets back
        if _read(aside) != holder:
            with suppress(FileExistsError):
                os.link(aside, lock)
        aside.unlink(missing_ok=True)
    log.warning("%s: the lock of a dead run (%s) is taken over", lock.parent, name)


def _read(lock: Path) -> Mapping[str, Any]:
    """Content of a lock; empty where it is damaged. Raises `OSError` where there is none."""
    try:
        content = json.loads(lock.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _age_s(lock: Path) -> float:
    """Time since a lock was dated, by the clock of its file system: hosts' clocks may differ."""
    dated = lock.stat().st_mtime
    probe = lock.with_name(f"{LOCK}.{uuid4().hex}")
    try:
        probe.touch()
        now = probe.stat().st_mtime
    except OSError:  # a folder that may only be read
        now = time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return now - dated
