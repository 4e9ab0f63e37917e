"""Tasks on the workers of a dask cluster: a local one, or any scheduler that runs already."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import dask
import distributed

from luxdask.cluster.backend import usable_cores
from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask.task_spec import Task
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

    @property
    def slots(self) -> int:
        """Threads of all workers there are now."""
        return sum(self._client.nthreads().values()) or 1

    @property
    def processes(self) -> int:
        """Number of workers."""
        return len(self._client.nthreads()) or 1

    def submit(self, tasks: Sequence[Task], done: Done) -> None:
        """Send tasks as one graph."""
        if not tasks:
            return
        keys = [task.key for task in tasks]
        graph = {task.key: task for task in tasks}
        futures = self._client.get(graph, keys, sync=False, retries=0)
        for key, future in zip(keys, futures, strict=True):
            self._futures[key] = future
            future.add_done_callback(lambda f, key=key: self._finish(key, f, done))

    def _finish(self, key: Key, future: distributed.Future[Any], done: Done) -> None:
        result: Any = None
        error: BaseException | None = None
        if future.status == "finished":
            try:
                result = future.result(timeout=CONNECT_TIMEOUT_S)
            except Exception as problem:
                error = problem
        else:
            error = _error_of(future)
        self._futures.pop(key, None)
        done(key, result, error)

    def __enter__(self) -> DaskBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self._futures.clear()
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


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


def _error_of(future: distributed.Future[Any]) -> BaseException:
    try:
        error = future.exception(timeout=CONNECT_TIMEOUT_S)
    except Exception as problem:
        return problem
    return error or ClusterError(f"the task was {future.status}")
