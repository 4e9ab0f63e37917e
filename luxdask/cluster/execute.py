"""The submission loop: tasks in a window, retries, a graceful stop; the same for every backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from luxdask.cluster.events import Counts
from luxdask.cluster.failures import failure
from luxdask.cluster.window import Window

if TYPE_CHECKING:
    from threading import Event

    from dask.task_spec import Task

    from luxdask.cluster.backend import Backend, Ended

CHECK_S = 1.0

Finished = Callable[[Any], Iterable["Task"]]
"""Takes one task's result; returns the tasks that can run now because of it."""


def execute(
    tasks: Iterable[Task],
    backend: Backend,
    finished: Finished,
    stop: Event,
    describe: Callable[[Task], str] = lambda task: str(task.key),
    *,
    smaller: Callable[[Task], Task | None] = lambda _: None,
    waiting: Callable[[str], None] = lambda _: None,
    counts: Counts | None = None,
) -> bool:
    """Run tasks to the end; True when all are done, False when stopped before.

    tasks : taken one by one as the window moves on, so they may be generated.
    finished : called in this thread with each result; returns follow-up tasks.
    stop : when set, no more tasks begin; those under way end and are reported.
    describe : names a task for errors.
    smaller : the same task with less memory, for one that ran out of it; None where there is none.
    waiting : told what the tasks wait for, and "" when they run again.
    counts : where retries are counted.
    Raises `TaskFailedError` after the other tasks under way have ended; a full disk or a
    damaged input raises its own error; `ClusterError` where no worker is left, nor will come.
    """
    window = Window(tasks, backend, counts or Counts())
    watch = _Watch(backend, waiting)
    failed: tuple[Task, Ended] | None = None
    ending = False
    while True:
        if not ending and (stop.is_set() or failed is not None):
            ending = True
            backend.give_back()
        if not ending:
            window.fill()
        if not window.flying and (ending or window.is_empty()):
            break
        watch.look()
        ended = window.next_ended()
        if ended is None:
            continue
        if ended[1].error is None:
            window.waiting.extend(finished(ended[1].result))
        elif not window.takes_back(*ended, smaller) and failed is None:
            failed = ended
    if failed is not None:
        task, last = failed
        raise failure(describe(task), last, window.failures[task.key])
    return window.is_empty()


class _Watch:
    """Asks the backend now and then what it waits for, and tells when that changes."""

    def __init__(self, backend: Backend, tell: Callable[[str], None]) -> None:
        self.backend, self.tell = backend, tell
        self.text, self.looked = "", time.monotonic()

    def look(self) -> None:
        """Raises `ClusterError` where waiting is of no use."""
        if time.monotonic() - self.looked < CHECK_S:
            return
        self.looked, text = time.monotonic(), self.backend.check()
        if text != self.text:
            self.text = text
            self.tell(text)
