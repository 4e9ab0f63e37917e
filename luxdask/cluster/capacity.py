"""How much the workers of a cluster can do at a time, known before any of them is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from luxdask.cluster.backend import usable_cores
from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from luxdask.cluster.spec import ClusterSpec

MEMORY_PART = 0.7
"""Part of a worker's memory for chunks: dask lets a worker pause at 0.8."""

ASK_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is planned for.

    Attributes
    ----------
    threads
        Chunks that a worker computes at a time.
    memory_bytes
        Memory of a worker for all of them; None where that of this machine counts.
    workers
        Workers at the most.
    note
        Where this comes from, for people; "" for this machine.
    """

    threads: int
    memory_bytes: int | None = None
    workers: int = 1
    note: str = ""


def capacity_of(
    where: str, n_workers: int | None = None, threads_per_worker: int | None = None
) -> Capacity:
    """Capacity of a cluster, as `luxdask.connect` would make it; starts nothing.

    A running scheduler is asked for its workers. Raises `ConfigError` as `connect` does.
    """
    if where in ("threads", "local", "processes"):
        return Capacity(threads_per_worker or usable_cores(), workers=n_workers or 1)
    from luxdask.cluster.spec import read_spec

    return capacity_of_spec(read_spec(where), n_workers, threads_per_worker)


def capacity_of_spec(
    spec: ClusterSpec, n_workers: int | None = None, threads_per_worker: int | None = None
) -> Capacity:
    """Capacity of a cluster by its description."""
    if spec.is_batch:
        return _of_jobs(spec, n_workers)
    if spec.system == "address":
        return _of_scheduler(spec, threads_per_worker)
    return _of_this_machine(spec, n_workers, threads_per_worker)


def _of_this_machine(
    spec: ClusterSpec, n_workers: int | None, threads_per_worker: int | None
) -> Capacity:
    """A description of processes here; those with a GPU have one thread each."""
    from dask.utils import parse_bytes

    usual = 1 if spec.system == "cuda" else usable_cores()
    threads = threads_per_worker or spec.options.get("threads_per_worker") or usual
    workers = n_workers or spec.jobs or spec.options.get("n_workers") or 1
    given = spec.options.get("memory_limit")
    memory = parse_bytes(given) if given not in (None, "auto", 0) else None
    return Capacity(threads, memory, workers)


def _of_jobs(spec: ClusterSpec, n_workers: int | None) -> Capacity:
    from luxdask.cluster.job_options import memory_per_job, processes_per_job, threads_per_worker

    processes, threads = processes_per_job(spec), threads_per_worker(spec)
    jobs = spec.jobs or spec.maximum or 1
    memory = int(memory_per_job(spec) * MEMORY_PART) // processes
    workers = n_workers or jobs * processes
    count = f"up to {workers}" if spec.is_adaptive and n_workers is None else str(workers)
    name = f"{spec.system} ({spec.path})" if spec.path else spec.system
    return Capacity(
        threads, memory, workers, f"planned for {count} {_size(threads, memory)} {name}"
    )


def _of_scheduler(spec: ClusterSpec, threads_per_worker: int | None) -> Capacity:
    """The weakest of its workers; this machine, where there are none or nobody answers."""
    from luxdask.cluster.address import workers_of

    here = Capacity(threads_per_worker or usable_cores())
    try:
        found = workers_of(spec, ASK_TIMEOUT_S)
    except ClusterError as error:
        return Capacity(here.threads, note=f"planned for this machine: {error}")
    if not found:
        return Capacity(
            here.threads, note=f"planned for this machine: {spec.address} has no workers"
        )
    return _weakest(found, spec.address or "")


def _weakest(workers: Mapping[str, Mapping[str, Any]], address: str) -> Capacity:
    threads = max(int(worker["nthreads"]) for worker in workers.values())
    # Chunks must fit wherever they land: memory per thread of the poorest, times most threads.
    limits = [(int(w["memory_limit"] or 0), int(w["nthreads"])) for w in workers.values()]
    known = [limit / count for limit, count in limits if limit]
    memory = int(min(known) * threads * MEMORY_PART) if known else None
    note = f"planned for {len(workers)} {_size(threads, memory)} {address}"
    return Capacity(threads, memory, len(workers), note)


def _size(threads: int, memory_bytes: int | None) -> str:
    memory = "" if memory_bytes is None else f" and {memory_bytes / 1e9:.3g} GB for chunks"
    return f"workers with {threads} thread{'' if threads == 1 else 's'}{memory} each, on"
