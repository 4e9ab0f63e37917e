"""Where a run stands, told to its listeners and kept in `status.json` and `log.txt`."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from luxdask.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from luxdask.cluster.events import Listener, Progress
    from luxdask.tasks.folder import TaskFolder
    from luxdask.tasks.performance import Performance

STATUS_INTERVAL_S = 1.0


def now_text() -> str:
    """The current time, as JSON files hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class Reporter:
    """Tells the listeners each step, and `status.json` at most once a second."""

    folder: TaskFolder
    listeners: Sequence[Listener]
    performance: Performance
    started: str = field(default_factory=now_text)
    began: float = field(default_factory=time.monotonic)
    _written: float = 0.0
    _latest: Progress | None = None

    @property
    def seconds(self) -> float:
        """Time since the run began."""
        return time.monotonic() - self.began

    def tell(self, progress: Progress, *, now: bool = False) -> None:
        """Pass a progress event on."""
        self._latest = progress
        self.performance.see(progress)
        for listener in self.listeners:
            listener(progress)
        moment = time.monotonic()
        if now or moment - self._written >= STATUS_INTERVAL_S:
            self._written = moment
            self.state("Running")

    def state(self, state: str, error: str | None = None) -> None:
        """Write `status.json`; it keeps the progress that was told last."""
        values = {"started": self.started, "state": state, "updated": now_text(), "error": error}
        self.folder.write_status(**values, **_progress_values(self._latest))


def _progress_values(progress: Progress | None) -> dict[str, Any]:
    if progress is None:
        return {}
    return {
        "stage": progress.stage,
        "chunks_done": progress.done,
        "chunks_total": progress.total,
        "voxels_per_s": progress.voxels_per_s,
        "seconds_left": progress.seconds_left,
        "waiting": progress.waiting or None,
    }


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Let everything that luxdask logs go to the task's log file as well."""
    logger = logging.getLogger("luxdask")
    handler = _log_file(path)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        with suppress(OSError):  # a full disk has been reported already
            handler.close()


class _LogFile(logging.FileHandler):
    """A log that falls silent when the disk is full: the run says so where people look."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the line."""


def _log_file(path: Path) -> logging.FileHandler:
    try:
        handler = _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot write the log: {error}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler
