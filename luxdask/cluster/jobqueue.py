"""Workers as jobs of a batch system, through dask-jobqueue, with certificates of their own."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import distributed

from luxdask.cluster.dask_backend import DaskBackend
from luxdask.cluster.dask_settings import applied
from luxdask.cluster.job_options import (
    for_shell,
    job_options,
    processes_per_job,
    threads_per_worker,
)
from luxdask.cluster.jobs import JobKeeper, jobs_for_work
from luxdask.cluster.options import cluster_class, job_class
from luxdask.cluster.run_folder import RunFolder, default_parent
from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.cluster.spec import ClusterSpec


class BatchCluster:
    """A scheduler in this process, the jobs of its workers, and the folder they read from."""

    def __init__(self, spec: ClusterSpec, jobs: int | None) -> None:
        self.folder = RunFolder.make(spec.options.get("shared_temp_directory"))
        try:
            self.cluster = _scheduler(spec, self.folder)
        except BaseException:
            self.folder.close()
            raise
        given = spec.options.get("log_directory")
        logs = Path(given) if given else self.folder.logs
        self.most_slots = 0
        self.keeper = JobKeeper(self.cluster, spec, logs, self._wanted(spec, jobs))

    def _wanted(self, spec: ClusterSpec, jobs: int | None) -> Callable[[], int]:
        """How many jobs there should be; an adaptive cluster must see tasks enough to grow."""
        fixed = jobs or spec.jobs or 1
        if jobs is not None or spec.maximum is None:
            return lambda: fixed
        least, most = spec.minimum or 0, spec.maximum
        threads = processes_per_job(spec) * threads_per_worker(spec)
        self.most_slots = most * threads
        return lambda: jobs_for_work(self.cluster.scheduler, threads, least, most)

    def close(self) -> None:
        """End the jobs, then the scheduler; the logs of jobs that failed stay."""
        try:
            self.keeper.close()
            self.cluster.close()
        finally:
            self.folder.close(keep_logs=self.keeper.has_failed)


def batch_cluster(spec: ClusterSpec, n_workers: int | None = None) -> DaskBackend:
    """Workers as jobs; they end when the backend is left.

    n_workers : worker processes, instead of what the description says about sizes.
    """
    jobs = math.ceil(n_workers / processes_per_job(spec)) if n_workers else None
    with applied(spec.dask):
        made = BatchCluster(spec, jobs)
        try:
            made.keeper.start()
            client = distributed.Client(made.cluster)
        except BaseException:
            made.keeper.has_failed = made.keeper.has_failed or bool(made.keeper.job_ids)
            made.close()
            raise
    return DaskBackend(
        client,
        made,
        most_slots=made.most_slots,
        supervise=made.keeper.supervise,  # jobs may wait in the queue for days
    )


def _scheduler(spec: ClusterSpec, folder: RunFolder) -> Any:
    """A cluster of dask-jobqueue that has no workers yet."""
    options = job_options(spec, folder.logs)
    try:
        with warnings.catch_warnings():
            # The default network has no route on some login nodes; dask falls back by itself.
            warnings.filterwarnings("ignore", "Couldn't detect a suitable IP", RuntimeWarning)
            return cluster_class(spec.system)(
                security=folder.security(), protocol="tls://", silence_logs="error", **options
            )
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(f"{spec.path or spec.system}: {error}") from error


def worker_script(spec: ClusterSpec) -> str:
    """The script of a worker's job; nothing is started and nothing listens.

    Addresses and certificates are made when a run begins: their places are named instead.
    """
    place = Path(spec.options.get("shared_temp_directory") or default_parent()) / "run-…"
    options = job_options(spec)
    options.setdefault("log_directory", None)
    for key in ("scheduler_options", "log_directory"):
        options.pop(key)
    security = distributed.Security(
        require_encryption=True,
        tls_ca_file=f"{place}/cert.pem",
        tls_worker_cert=f"{place}/cert.pem",
        tls_worker_key=f"{place}/key.pem",
    )
    job = job_class(spec.system)(
        "tls://SCHEDULER:PORT",
        name="luxdask-0",
        protocol="tls://",
        security=for_shell(security),
        **options,
    )
    script: str = job.job_script()
    return script
