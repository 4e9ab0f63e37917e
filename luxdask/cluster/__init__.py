"""Workers for tasks: threads, local processes, or a scheduler somewhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luxdask.cluster.backend import ThreadBackend
from luxdask.errors import ClusterError, NotAvailableError

if TYPE_CHECKING:
    from luxdask.cluster.backend import Backend

__all__ = ["connect"]


def connect(
    where: str = "local",
    *,
    n_workers: int | None = None,
    threads_per_worker: int | None = None,
    memory_limit: int | None = None,
) -> Backend:
    """Workers to run tasks on; use it in a `with` statement.

    where : "threads" (of this process), "local" (the same, or `n_workers` processes where that is
        given), "processes", or the address of a dask scheduler such as "tcp://host:8786".
    memory_limit : bytes per worker process.
    Raises `ClusterError` where there is no such cluster, `NotAvailableError` for cuda, slurm, pbs.
    """
    if where == "threads" or (where == "local" and n_workers is None):
        return ThreadBackend(threads_per_worker)
    from luxdask.cluster.dask_backend import local_cluster, scheduler

    if where in ("local", "processes"):
        return local_cluster(n_workers, threads_per_worker, memory_limit)
    if "://" in where:
        return scheduler(where)
    if where in ("cuda", "slurm", "pbs"):
        raise NotAvailableError(
            f"cluster {where!r} is not available yet. Start a dask scheduler there yourself and "
            "give its address, or use local."
        )
    raise ClusterError(
        f"{where!r}: no such cluster. Use local, threads, processes or a scheduler's address."
    )
