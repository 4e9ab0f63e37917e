"""The submission loop: tasks in a window, retries, a graceful stop; the same for every backend."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from luxdask.errors import LuxdaskError, OutputError, TaskFailedError

if TYPE_CHECKING:
    from threading import Event

    from dask.task_spec import Task
    from dask.typing import Key

    from luxdask.cluster.backend import Backend

log = logging.getLogger(__name__)

RETRIES = 2
WINDOW_PER_SLOT = 4
POLL_S = 0.2

Finished = Callable[[Any], Iterable["Task"]]
"""Takes one task's result; returns the tasks that can run now because of it."""


class _Window:
    """Tasks under way and waiting; never more than a few per slot, however many there are."""

    def __init__(self, tasks: Iterable[Task], backend: Backend) -> None:
        self.source: Iterator[Task] = iter(tasks)
        self.backend = backend
        self.waiting: deque[Task] = deque()
        self.flying: dict[Key, Task] = {}
        self.failures: dict[Key, int] = {}
        self.ended: SimpleQueue[tuple[Key, Any, BaseException | None]] = SimpleQueue()

    def fill(self) -> None:
        """Submit until the window is full; what became possible last goes first."""
        room = self.backend.slots * WINDOW_PER_SLOT - len(self.flying)
        batch = [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]
        batch.extend(islice(self.source, max(0, room - len(batch))))
        self.flying.update((task.key, task) for task in batch)
        self.backend.submit(batch, lambda *ended: self.ended.put(ended))

    def next_ended(self) -> tuple[Task, Any, BaseException | None] | None:
        """One task that has ended, or None when none did for a moment."""
        try:
            key, result, error = self.ended.get(timeout=POLL_S)
        except Empty:
            return None
        return self.flying.pop(key), result, error

    def retry(self, task: Task, error: BaseException) -> bool:
        """Whether a failed task was queued again."""
        count = self.failures[task.key] = self.failures.get(task.key, 0) + 1
        if count > RETRIES or not is_passing(error):
            return False
        log.warning("%s failed (%s), trying again", task.key, error)
        self.waiting.append(task)
        return True


def is_passing(error: BaseException) -> bool:
    """Whether a failure may go away by itself: not for a full disk or a damaged file."""
    return not isinstance(error, LuxdaskError) and isinstance(error, Exception)


def execute(
    tasks: Iterable[Task],
    backend: Backend,
    finished: Finished,
    stop: Event,
    describe: Callable[[Task], str] = lambda task: str(task.key),
) -> bool:
    """Run tasks to the end; True when all are done, False when stopped before.

    tasks : taken one by one as the window moves on, so they may be generated.
    finished : called in this thread with each result; returns follow-up tasks.
    stop : when set, no more tasks are submitted; those under way end and are reported.
    describe : names a task for errors.
    Raises `TaskFailedError` after the other tasks under way have ended; a full disk or a
    damaged input raises its own error.
    """
    window = _Window(tasks, backend)
    failed: tuple[Task, BaseException] | None = None
    while True:
        if not stop.is_set() and failed is None:
            window.fill()
        if not window.flying:
            break
        ended = window.next_ended()
        if ended is None:
            continue
        task, result, error = ended
        if error is None:
            window.waiting.extend(finished(result))
        elif failed is None and not window.retry(task, error):
            failed = (task, error)
    if failed is not None:
        _raise(describe(failed[0]), failed[1])
    return not stop.is_set() or (not window.waiting and next(window.source, None) is None)


def _raise(name: str, error: BaseException) -> None:
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error
    kind = type(error) if isinstance(error, LuxdaskError) else TaskFailedError
    if isinstance(error, MemoryError):
        reason = f" ({error})" if str(error) else ""
        error = MemoryError(
            f"out of memory{reason}; set compute.chunk_vx or compute.memory_limit lower"
        )
    if kind is OutputError:
        raise error
    raise kind(f"{name}: {error or type(error).__name__}") from error
