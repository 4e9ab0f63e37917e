"""Tasks on the workers of a dask cluster: a local one, or any scheduler that runs already."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask
import distributed
from dask.task_spec import Task

from luxdask.cluster.backend import usable_cores
from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dask.typing import Key

    from luxdask.cluster.backend import Done

CONNECT_TIMEOUT_S = 30

# Tasks are long and hold the GIL in short pieces only: do not give workers up early.
_SETTINGS = {
    "distributed.scheduler.worker-ttl": "15 minutes",
    "distributed.comm.timeouts.connect": "60s",
    "distributed.comm.timeouts.tcp": "60s",
    "distributed.worker.profile.enabled": False,
}


class DaskBackend:
    """Sends tasks to a scheduler in batches and forgets each result when it has come."""

    def __init__(self, client: distributed.Client, cluster: Any = None) -> None:
        self._client, self._cluster = client, cluster
        self._futures: dict[Key, distributed.Future[Any]] = {}
        # A scheduler may serve several runs whose tasks have the same keys, and it would answer
        # a retry with the error that it remembers: each submission gets a name of its own.
        self._run = uuid4().hex[:12]
        self._submitted = count()

    @property
    def slots(self) -> int:
        """Threads of all workers there are now."""
        with _scheduler_lost():
            return sum(self._client.nthreads().values()) or 1

    def submit(self, tasks: Sequence[Task], done: Done) -> None:
        """Send tasks as one graph."""
        if not tasks:
            return
        graph = {named.key: named for named in map(self._named, tasks)}
        with _scheduler_lost():
            futures = self._client.get(graph, list(graph), sync=False, retries=0)
        for task, future in zip(tasks, futures, strict=True):
            self._futures[task.key] = future
            future.add_done_callback(lambda f, key=task.key: self._finish(key, f, done))

    def _named(self, task: Task) -> Task:
        """The same task under a key that nobody else uses."""
        kind = task.key[0] if isinstance(task.key, tuple) else task.key
        key = (f"luxdask-{kind}-{self._run}", next(self._submitted))
        return Task(key, task.func, *task.args, _data_producer=task.data_producer, **task.kwargs)

    def _finish(self, key: Key, future: distributed.Future[Any], done: Done) -> None:
        result, error = _outcome(future)
        self._futures.pop(key, None)
        done(key, result, error)

    def __enter__(self) -> DaskBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self._futures.clear()
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


@contextmanager
def _scheduler_lost() -> Iterator[None]:
    """Say what a broken connection means; dask raises one of several errors then."""
    try:
        yield
    except (OSError, TimeoutError, RuntimeError, CancelledError) as error:
        raise ClusterError(
            f"the dask scheduler is lost: {error or type(error).__name__}. What is written stays "
            "valid: go on with luxdask run --resume and the task's folder, on another scheduler "
            "or with --cluster threads"
        ) from error


def local_cluster(
    n_workers: int | None, threads_per_worker: int | None, memory_limit: int | None
) -> DaskBackend:
    """Worker processes on this machine; nothing listens beyond the loopback interface."""
    cores = usable_cores()
    workers = n_workers or max(1, cores // (threads_per_worker or min(cores, 4)))
    with dask.config.set(_SETTINGS):
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=threads_per_worker or max(1, cores // workers),
            memory_limit=memory_limit or "auto",
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            silence_logs=logging.ERROR,
            preload=["luxdask.cluster.ignore_interrupt"],
        )
        return DaskBackend(distributed.Client(cluster), cluster)


def scheduler(address: str) -> DaskBackend:
    """Workers of a scheduler that runs already; it stays when the backend is left."""
    try:
        with dask.config.set(_SETTINGS):
            return DaskBackend(distributed.Client(address, timeout=CONNECT_TIMEOUT_S))
    except (OSError, TimeoutError) as error:
        raise ClusterError(
            f"no dask scheduler answers at {address}: {error}. Start one with `dask scheduler`, "
            "or use compute.cluster local."
        ) from error


def _outcome(future: distributed.Future[Any]) -> tuple[Any, BaseException | None]:
    """Result or error of a task that has ended.

    A worker may die with the result before it is fetched: dask computes the task again then, and
    this waits for it; where that takes too long, the time-out counts as an error that may pass.
    """
    try:
        return future.result(timeout=CONNECT_TIMEOUT_S), None
    except (Exception, asyncio.CancelledError) as error:
        return None, error
