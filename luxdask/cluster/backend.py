"""Where tasks run: the threads of this process, or the workers of a dask cluster."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from dask.task_spec import Task
    from dask.typing import Key

    Done = Callable[[Key, Any, BaseException | None], None]


class Backend(Protocol):
    """Runs tasks and reports each one's end through a callback, from any thread.

    Used as a context manager; leaving it stops what it started.
    """

    @property
    def slots(self) -> int:
        """Tasks that run at the same time."""

    def submit(self, tasks: Sequence[Task], done: Done) -> None:
        """Start tasks; `done(key, result, error)` is called once for each."""

    def __enter__(self) -> Backend: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class ThreadBackend:
    """The threads of this process: no start-up, no copies, nothing to clean up."""

    def __init__(self, threads: int | None = None) -> None:
        self._slots = threads or usable_cores()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def slots(self) -> int:
        """Number of threads."""
        return self._slots

    def submit(self, tasks: Sequence[Task], done: Done) -> None:
        """Queue tasks on the thread pool, which starts with the first of them."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._slots, thread_name_prefix="luxdask")
        for task in tasks:
            self._pool.submit(_run, task, done)

    def __enter__(self) -> ThreadBackend:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run(task: Task, done: Done) -> None:
    try:
        result = task()
    except BaseException as error:
        done(task.key, None, error)
    else:
        done(task.key, result, None)
