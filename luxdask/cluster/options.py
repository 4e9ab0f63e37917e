"""Which options the workers of each kind of cluster have."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

from luxdask.cluster.jobqueue_library import dask_jobqueue

BATCH_SYSTEMS = {
    "slurm": "SLURM",
    "pbs": "PBS",
    "sge": "SGE",
    "lsf": "LSF",
    "oar": "OAR",
    "htcondor": "HTCondor",
    "moab": "Moab",
}
"""Batch systems, and how dask-jobqueue's classes are named after them."""

# What luxdask sets itself, or dask-jobqueue calls by another name today.
_OURS = {
    "self", "scheduler", "name", "loop", "security", "asynchronous", "scheduler_cls", "job_cls",
    "dashboard_address", "host", "n_workers", "protocol", "config_name", "silence_logs",
    "extra", "job_extra", "env_extra", "header_skip",
}  # fmt: skip
_RENAMED = {"slurm": {"project"}, "pbs": {"project"}}

_LOCAL = {
    "n_workers", "threads_per_worker", "memory_limit", "local_directory", "processes", "env",
    "preload", "preload_argv", "lifetime", "resources", "nanny", "scheduler_port",
}  # fmt: skip

# dask-cuda need not be installed where a description is written.
_CUDA = {
    "CUDA_VISIBLE_DEVICES", "n_workers", "threads_per_worker", "memory_limit",
    "device_memory_limit", "enable_cudf_spill", "cudf_spill_stats", "local_directory",
    "shared_filesystem", "enable_tcp_over_ucx", "enable_infiniband", "enable_nvlink",
    "enable_rdmacm", "rmm_pool_size", "rmm_maximum_pool_size", "rmm_managed_memory", "rmm_async",
    "rmm_allocator_external_lib_list", "rmm_release_threshold", "rmm_log_directory",
    "rmm_track_allocations", "log_spilling", "pre_import", "env", "preload",
}  # fmt: skip


@cache
def worker_options(system: str) -> frozenset[str]:
    """Options of `[workers]` for a kind of cluster."""
    if system == "local":
        return frozenset(_LOCAL)
    if system == "cuda":
        return frozenset(_CUDA)
    if system == "address":
        return frozenset()
    kinds = (*job_class(system).__mro__, cluster_class(system).__mro__[1])
    named = {name for kind in kinds for name in _parameters(kind)}
    return frozenset(named - _OURS - _RENAMED.get(system, set()))


def cluster_class(system: str) -> Any:
    """Class of dask-jobqueue that starts a scheduler for jobs of a batch system."""
    return getattr(dask_jobqueue(), f"{BATCH_SYSTEMS[system]}Cluster")


def job_class(system: str) -> Any:
    """Class of dask-jobqueue for one job of a batch system."""
    return cluster_class(system).job_cls


def _parameters(kind: Any) -> set[str]:
    if "__init__" not in vars(kind):
        return set()
    named = inspect.signature(kind.__init__).parameters.values()
    return {p.name for p in named if p.kind is p.POSITIONAL_OR_KEYWORD or p.kind is p.KEYWORD_ONLY}
