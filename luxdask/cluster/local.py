"""Worker processes on this machine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import distributed

from luxdask.cluster.backend import usable_cores
from luxdask.cluster.dask_backend import DaskBackend
from luxdask.cluster.dask_settings import applied

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOPBACK = {
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",
    "worker_dashboard_address": "127.0.0.1:0",
    "silence_logs": logging.ERROR,
}
"""Nothing of a local cluster listens beyond this machine."""

IGNORE_INTERRUPT = "luxdask.cluster.ignore_interrupt"


def local_cluster(options: Mapping[str, Any], dask_settings: Mapping[str, Any]) -> DaskBackend:
    """Worker processes on this machine; nothing listens beyond the loopback interface.

    options : of `distributed.LocalCluster`.
    """
    with applied(dask_settings):
        cluster = distributed.LocalCluster(
            **{
                **options,
                **LOOPBACK,
                **worker_sizes(options),
                "preload": [*options.get("preload", ()), IGNORE_INTERRUPT],
            }
        )
        return DaskBackend(distributed.Client(cluster), cluster)


def worker_sizes(options: Mapping[str, Any]) -> dict[str, Any]:
    """How the cores are divided: processes of up to four threads, unless something is given."""
    cores, threads = usable_cores(), options.get("threads_per_worker")
    workers = options.get("n_workers") or max(1, cores // (threads or min(cores, 4)))
    return {
        "n_workers": workers,
        "threads_per_worker": threads or max(1, cores // workers),
        "memory_limit": options.get("memory_limit") or "auto",
    }
