"""One worker process for each GPU of this machine."""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import distributed

from luxdask.cluster.dask_backend import DaskBackend
from luxdask.cluster.dask_settings import applied
from luxdask.cluster.local import IGNORE_INTERRUPT, LOOPBACK
from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ASK_TIMEOUT_S = 60
POOL_PART = 0.5
"""Part of a GPU's memory that RMM takes at the start; its pool grows as it needs."""


def cuda_cluster(options: Mapping[str, Any], dask_settings: Mapping[str, Any]) -> DaskBackend:
    """Workers that each see one GPU; by dask-cuda where it is installed.

    options : of `dask_cuda.LocalCUDACluster`; without dask-cuda, of `distributed.Nanny`.
    Raises `ClusterError` with the reason where there is no GPU.
    """
    gpus = chosen_gpus(options)
    with applied(dask_settings):
        try:
            cluster = (_with_dask_cuda if find_spec("dask_cuda") else _without)(options, gpus)
        except (OSError, RuntimeError, ValueError, ImportError) as error:
            raise ClusterError(f"no workers on the GPUs {', '.join(gpus)}: {error}") from error
        return DaskBackend(distributed.Client(cluster), cluster)


def chosen_gpus(options: Mapping[str, Any]) -> list[str]:
    """The GPUs that are used, by number or UUID: those given, those visible, or all."""
    given = options.get("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES"))
    if given is not None:
        found = str(given).split(",") if isinstance(given, (str, int)) else list(map(str, given))
        found = [one.strip() for one in found if one.strip() not in ("", "-1", "NoDevFiles")]
    else:
        found = [str(n) for n in range(_count_gpus())]
    if given is not None and found:
        _count_gpus()  # the driver must be there all the same
    if not found:
        raise ClusterError(f"{NO_GPU} CUDA_VISIBLE_DEVICES is {given!r}.")
    return found[: options.get("n_workers") or len(found)]


NO_GPU = 'cluster "cuda": there is no NVIDIA GPU to use here (compute.cluster "local" needs none).'


def _count_gpus() -> int:
    """GPUs that the driver lists; raises `ClusterError` with what it said instead."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{NO_GPU} No driver is installed: nvidia-smi is missing.") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{NO_GPU} nvidia-smi does not answer: {error}") from error
    count = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    if done.returncode != 0 or not count:
        said = (done.stderr or done.stdout).strip() or "no GPU listed"
        raise ClusterError(f"{NO_GPU} nvidia-smi says: {said}")
    return count


def cuda_options(options: Mapping[str, Any], gpus: Sequence[str]) -> dict[str, Any]:
    """Keywords of `LocalCUDACluster`.

    Results are small, so nothing is moved off the GPU to make room; kernels take their memory from
    one pool per worker where RMM is installed.
    """
    pool: dict[str, Any] = {}
    if find_spec("rmm"):
        pool = {"rmm_pool_size": POOL_PART, "rmm_allocator_external_lib_list": ["cupy"]}
    fixed = {
        **LOOPBACK,
        "CUDA_VISIBLE_DEVICES": list(gpus),
        "n_workers": len(gpus),
        "preload": [*options.get("preload", ()), IGNORE_INTERRUPT],
    }
    return {"device_memory_limit": 0, **pool, **options, **fixed}


def _with_dask_cuda(options: Mapping[str, Any], gpus: Sequence[str]) -> Any:
    from dask_cuda import LocalCUDACluster

    return LocalCUDACluster(**cuda_options(options, gpus))


def nanny_specs(options: Mapping[str, Any], gpus: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Workers of a `SpecCluster` that each see one GPU."""
    own = {
        "nthreads": options.get("threads_per_worker", 1),
        "memory_limit": options.get("memory_limit", "auto"),
        "local_directory": options.get("local_directory"),
        "host": LOOPBACK["host"],
        "dashboard_address": LOOPBACK["worker_dashboard_address"],
        "silence_logs": LOOPBACK["silence_logs"],
        "preload": [*options.get("preload", ()), IGNORE_INTERRUPT],
    }
    env = options.get("env", {})
    return {
        n: {
            "cls": distributed.Nanny,
            "options": {**own, "env": {**env, "CUDA_VISIBLE_DEVICES": gpu}},
        }
        for n, gpu in enumerate(gpus)
    }


def _without(options: Mapping[str, Any], gpus: Sequence[str]) -> Any:
    """The same without dask-cuda: a worker's environment names its GPU."""
    return distributed.SpecCluster(
        workers=nanny_specs(options, gpus),
        scheduler={
            "cls": distributed.Scheduler,
            "options": {
                "host": LOOPBACK["host"],
                "port": 0,
                "dashboard_address": LOOPBACK["dashboard_address"],
            },
        },
        silence_logs=LOOPBACK["silence_logs"],
    )
