"""The lock of a task folder: two runs never work in one folder."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import psutil

from luxdask.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from luxdask.tasks.folder import TaskFolder

LOCK = ".lock"
EMPTY_FOR_S = 5.0
"""A lock without a holder's name is left over from a crash when it is older than this."""

_SAME_START_S = 60.0
"""How far two readings of a start time may differ, since clocks are corrected."""


class FolderLock:
    """Keeps a second run out of a task folder; used as a context manager.

    The lock of a process that is dead is taken over; that of another host is not, since nobody
    can tell from here whether it still runs. Raises `OutputError` naming the holder.
    """

    def __init__(self, folder: TaskFolder) -> None:
        self.path = folder.path / LOCK

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
        self.path.unlink(missing_ok=True)

    def moved(self, folder: TaskFolder) -> None:
        """Follow the folder to its new name."""
        self.path = folder.path / LOCK

    def _take(self) -> None:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            _refuse_if_alive(self.path)
            self.path.unlink(missing_ok=True)
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        try:
            os.write(descriptor, json.dumps(_this_process()).encode())
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


def _this_process() -> dict[str, Any]:
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}


def _refuse_if_alive(lock: Path) -> None:
    """Raise where the lock's holder may still run."""
    holder = _holder(lock)
    if holder and holder.get("host") == socket.gethostname():
        alive = _runs(holder)
    else:
        alive = bool(holder) or _age_s(lock) < EMPTY_FOR_S
    if alive:
        raise OutputError(
            f"{lock.parent}: another run uses this task folder (process {holder.get('pid', '?')} "
            f"on {holder.get('host', 'an unknown host')}). Wait for it or stop it; if it is dead "
            f"for certain, delete {lock}."
        )


def _holder(lock: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _runs(holder: Mapping[str, Any]) -> bool:
    """Whether a process of this host still runs: the system gives numbers of dead ones anew."""
    try:
        started = psutil.Process(int(holder["pid"])).create_time()
        return abs(started - float(holder.get("started", started))) < _SAME_START_S
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False
    except psutil.AccessDenied:
        return True


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
