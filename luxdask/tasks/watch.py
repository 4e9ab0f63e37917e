"""What a run looks after while it works: its lock, and whether somebody wants it to stop."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING

from luxdask.io.json_file import write_json
from luxdask.tasks.lock import BEAT_S

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.tasks.lock import FolderLock

log = logging.getLogger(__name__)

STOP_REQUEST = "stop.json"
LOOK_S = 1.0
"""How often a run looks for a stop request."""


def request_stop(folder: Path) -> None:
    """Ask the run in a task folder, on whatever host, to stop gracefully; returns at once."""
    write_json(folder / STOP_REQUEST, {"host": socket.gethostname(), "pid": os.getpid()})


class Watch:
    """A thread that keeps the lock fresh and sets `stop`; used as a context manager.

    It sets `stop` where somebody has asked for it by `request_stop`, and where another run has
    taken the folder over.
    """

    def __init__(self, folder: Path, lock: FolderLock, stop: Event) -> None:
        self._request = folder / STOP_REQUEST
        self._lock, self._stop = lock, stop
        self._end = Event()
        self._thread = Thread(target=self._work, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._forget()  # a request to the run before
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._forget()

    def _forget(self) -> None:
        with suppress(OSError):
            self._request.unlink(missing_ok=True)

    def _work(self) -> None:
        beaten = monotonic()
        while not self._end.wait(LOOK_S):
            if not self._stop.is_set() and self._request.exists():
                self._stop.set()
                log.info("asked to stop: what is under way is finished")
            if monotonic() - beaten >= BEAT_S:
                beaten = monotonic()
                if self._lock.is_ours():
                    self._lock.beat()
                else:
                    self._stop.set()
