"""Workers for tasks: threads, local processes or GPUs, jobs of a batch system, or a scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luxdask.cluster.backend import ThreadBackend

if TYPE_CHECKING:
    import os

    from luxdask.cluster.backend import Backend
    from luxdask.cluster.dask_backend import DaskBackend
    from luxdask.cluster.spec import ClusterSpec

__all__ = ["connect"]


def connect(
    where: str | os.PathLike[str] = "local",
    *,
    n_workers: int | None = None,
    threads_per_worker: int | None = None,
    memory_limit: int | None = None,
) -> Backend:
    """Workers to run tasks on; use it in a `with` statement.

    where : "threads" (of this process), "local" (the same, or `n_workers` processes where that is
        given), "processes", "cuda" (one process for each GPU here), a batch system ("slurm",
        "pbs", "sge", "lsf", "oar", "htcondor", "moab"), the address of a dask scheduler such as
        "tcp://host:8786", or the description of a cluster (.toml or .json, see docs/clusters.md).
    n_workers : worker processes, instead of what the description says.
    memory_limit : bytes per worker process of a local cluster.
    Raises `ConfigError` where nobody knows such a cluster or its description is wrong,
    `ClusterError` where it cannot be started or reached.
    """
    if where == "threads" or (where == "local" and n_workers is None):
        return ThreadBackend(threads_per_worker)
    from luxdask.cluster.capacity import capacity_of_spec
    from luxdask.cluster.spec import read_spec

    spec = read_spec(where)
    started = _start(spec, n_workers, threads_per_worker, memory_limit)
    if spec.system not in ("local", "cuda"):
        started.capacity = capacity_of_spec(spec, n_workers, threads_per_worker)
    return started


def _start(
    spec: ClusterSpec,
    n_workers: int | None,
    threads_per_worker: int | None,
    memory_limit: int | None,
) -> DaskBackend:
    if spec.system == "address":
        from luxdask.cluster.address import scheduler

        return scheduler(spec)
    if spec.is_batch:
        from luxdask.cluster.jobqueue import batch_cluster

        return batch_cluster(spec, n_workers)
    given = {"threads_per_worker": threads_per_worker, "memory_limit": memory_limit}
    named = {"n_workers": n_workers or spec.jobs, **given}
    options = {**spec.options, **{key: value for key, value in named.items() if value}}
    if spec.system == "cuda":
        from luxdask.cluster.cuda import cuda_cluster

        return cuda_cluster(options, spec.dask)
    from luxdask.cluster.local import local_cluster

    return local_cluster(options, spec.dask)
