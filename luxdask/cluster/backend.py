"""Where tasks run: the threads of this process, or the workers of a dask cluster."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from dask.task_spec import Task
    from dask.typing import Key

    Done = Callable[["Ended"], None]


class GivenBack(Exception):
    """A task was not done, through no fault of its own: cancelled, or its scheduler went away."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one try of a task ended: with a result or an error, after how long, on which worker."""

    key: Key
    result: Any = None
    error: BaseException | None = None
    worker: str = ""
    seconds: float | None = None


class Backend(Protocol):
    """Runs tasks and reports the end of each one through a callback, from any thread.

    Used as a context manager; leaving it stops what it started.
    """

    @property
    def slots(self) -> int:
        """Tasks that can run at the same time now."""

    @property
    def wanted_slots(self) -> int:
        """Slots to send tasks for, also those that may come; 0 while nothing can be sent."""

    @property
    def workers_lost(self) -> int:
        """Workers that have left so far."""

    @property
    def link(self) -> str | None:
        """Address of the dashboard, where there is one."""

    def submit(self, tasks: Sequence[Task], done: Done) -> None:
        """Start tasks; `done` is called once for each."""

    def give_back(self) -> None:
        """Cancel the tasks that have not begun; they end with `GivenBack`."""

    def check(self) -> str:
        """What the tasks wait for, "" while they run; called now and then.

        Raises `ClusterError` where waiting is of no use any more.
        """

    def report(self, path: str) -> AbstractContextManager[None]:
        """Write dask's own performance report (HTML) of what runs inside the `with` block."""

    def __enter__(self) -> Backend: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class ThreadBackend:
    """The threads of this process: no start-up, no copies, nothing to clean up."""

    workers_lost = 0
    link: str | None = None

    def __init__(self, threads: int | None = None) -> None:
        self._slots = threads or usable_cores()
        self._pool: ThreadPoolExecutor | None = None
        self._queued: dict[Key, tuple[Future[None], Done]] = {}

    @property
    def slots(self) -> int:
        """Number of threads."""
        return self._slots

    wanted_slots = slots

    def submit(self, tasks: Sequence[Task], done: Done) -> None:
        """Queue tasks on the thread pool, which starts with the first of them."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._slots, thread_name_prefix="luxdask")
        for task in tasks:
            self._queued[task.key] = (self._pool.submit(_run, task, done), done)

    def give_back(self) -> None:
        """Cancel what is still queued."""
        for key, (future, done) in self._queued.items():
            if future.cancel():
                done(Ended(key, error=GivenBack()))
        self._queued.clear()

    def check(self) -> str:
        """Threads never wait for anything."""
        self._queued = {k: one for k, one in self._queued.items() if not one[0].done()}
        return ""

    def report(self, path: str) -> AbstractContextManager[None]:
        """Refused: dask has no part in threads of this process."""
        raise ClusterError(
            f"{path}: a dask performance report needs workers of dask, and this task runs on "
            "threads of one process; add --workers or --cluster"
        )

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
    began = perf_counter()
    try:
        result = task()
    except BaseException as error:
        done(Ended(task.key, error=error))
    else:
        done(Ended(task.key, result, seconds=perf_counter() - began))
