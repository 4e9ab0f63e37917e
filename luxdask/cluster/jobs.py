"""Keeps the jobs of a batch system at the number that is wanted, while a run lasts."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luxdask.cluster.batch_queue import job_number, listed_jobs
from luxdask.cluster.job_options import for_shell
from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from luxdask.cluster.spec import ClusterSpec

log = logging.getLogger(__name__)

LOOK_S = 1.0
ASK_EVERY_S = 15.0
ASK_AGAIN_S = 3.0
YOUNG_S = 5.0
"""A batch system may list a job only some seconds after it was submitted."""

UNHEARD_S = 300.0
"""A job whose workers have left, but which the batch system still lists, is given up after this."""

SHRINK_AFTER_S = 60.0
COMMAND_TIMEOUT_S = 120.0
TAIL_LINES = 20


@dataclass
class _Job:
    """One job, and what is known of it."""

    name: str
    job: Any
    submitted_at: float
    connected: bool = False
    left_at: float | None = None
    missing: int = 0

    @property
    def number(self) -> str:
        return job_number(str(self.job.job_id))


class JobKeeper:
    """Submits jobs, replaces those that have ended, and follows the work where that is wanted.

    dask-jobqueue itself does not replace jobs whose workers leave by their lifetime.

    cluster : of dask-jobqueue, without workers of its own.
    wanted : how many jobs there should be now.
    """

    def __init__(
        self, cluster: Any, spec: ClusterSpec, logs: Path | None, wanted: Callable[[], int]
    ) -> None:
        self._cluster, self._spec, self._logs, self._wanted = cluster, spec, logs, wanted
        self._jobs: dict[str, _Job] = {}
        self._made = self._failures = 0
        self._error: ClusterError | None = None
        self._ask_at = time.monotonic()
        self._above_since: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="luxdask-jobs", daemon=True)
        self.has_failed = False

    def start(self) -> None:
        """Submit the first jobs; raises `ClusterError` where the batch system refuses them."""
        self.fill()
        self._thread.start()

    def supervise(self) -> str:
        """What is waited for; raises `ClusterError` where no worker will come any more."""
        if self._error is not None:
            raise self._error
        waiting = sum(not job.connected or job.left_at is not None for job in list(self._all()))
        return f"{waiting} job{'' if waiting == 1 else 's'} queued" if waiting else ""

    def close(self) -> None:
        """End all jobs."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for job in list(self._all()):
            self._end(job)

    @property
    def job_ids(self) -> tuple[str, ...]:
        """The batch system's names of the jobs there are."""
        return tuple(str(job.job.job_id) for job in self._all())

    def _all(self) -> tuple[_Job, ...]:
        return tuple(self._jobs.values())

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.turn()
            except ClusterError as error:
                self._error, self.has_failed = error, True
                return
            except Exception as error:  # nobody would notice the end of this thread
                log.exception("jobs are no longer looked after")
                self._error = ClusterError(f"jobs are no longer looked after: {error!r}")
                return

    def turn(self) -> None:
        """Look what has become of the jobs, and end or submit some."""
        self._look()
        self._forget_ended()
        self._shrink()
        self.fill()

    # ---- what there is ----

    def _look(self) -> None:
        """Note whose workers have come and gone."""
        names = {str(worker.name) for worker in list(self._cluster.scheduler.workers.values())}
        now = time.monotonic()
        for job in self._all():
            here = job.name in names or any(name.startswith(f"{job.name}-") for name in names)
            if here and not job.connected:
                log.info("job %s has connected", job.job.job_id)
                job.connected, self._failures = True, 0
            if here:
                job.left_at, job.missing = None, 0
            elif job.connected and job.left_at is None:
                job.left_at = now
                self._ask_at = min(self._ask_at, now + ASK_AGAIN_S)

    def _forget_ended(self) -> None:
        now = time.monotonic()
        if now < self._ask_at:
            return
        listed = listed_jobs(self._spec.system)
        self._ask_at = now + ASK_EVERY_S
        for job in self._all():
            if self._is_gone(job, listed, now):
                self._forget(job)

    def _is_gone(self, job: _Job, listed: set[str] | None, now: float) -> bool:
        """Whether a job has ended: its workers are away, and it was not listed twice in a row."""
        is_young = now - job.submitted_at < YOUNG_S
        away = job.left_at is not None or (not job.connected and not is_young)
        if listed is not None and away and job.number not in listed:
            job.missing += 1
            self._ask_at = min(self._ask_at, now + ASK_AGAIN_S)
            return job.missing > 1
        job.missing = 0
        return job.left_at is not None and now - job.left_at > UNHEARD_S

    def _forget(self, job: _Job) -> None:
        """An ended job makes room for the next one; too many that did nothing are an error."""
        self._end(job)
        if job.connected:
            log.info("job %s has ended", job.job.job_id)
            return
        self._failures += 1
        log.warning("job %s ended before it connected", job.job.job_id)
        if self._failures >= self._spec.failures:
            raise ClusterError(
                f"{self._failures} jobs in a row ended before a worker of theirs had connected. "
                f"luxdask cluster test shows what is wrong.{self._last_words(job)}"
            )

    def _last_words(self, job: _Job) -> str:
        """The end of what a job wrote."""
        if self._logs is None or not self._logs.is_dir():
            return ""
        for path in sorted(self._logs.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True):
            lines = path.read_text(errors="replace").splitlines() if job.number in path.name else ()
            if lines:
                tail = "\n  ".join(lines[-TAIL_LINES:])
                return f" The end of {path}:\n  {tail}"
        return f" It left nothing in {self._logs}."

    # ---- what there should be ----

    def fill(self) -> None:
        """Submit the jobs that are missing."""
        for _ in range(self._wanted() - len(self._jobs)):
            name = f"luxdask-{self._made}"
            self._made += 1
            self._submit(name)

    def _submit(self, name: str) -> None:
        made = next(iter(self._cluster.new_worker_spec().values()))
        options = {**made["options"], "name": name}
        options["security"] = for_shell(options["security"])
        scheduler = self._cluster.scheduler
        job = made["cls"](scheduler.contact_address or scheduler.address, **options)
        try:
            self._cluster.sync(job.start, callback_timeout=COMMAND_TIMEOUT_S)
        except (OSError, RuntimeError, ValueError) as error:
            self._refused(error)
            return
        now = time.monotonic()
        self._jobs[name] = _Job(name, job, now)
        self._ask_at = min(self._ask_at, now + YOUNG_S)
        log.info("job %s submitted", job.job_id)

    def _refused(self, error: Exception) -> None:
        """The first refusal is told at once; later ones may pass, such as a busy controller."""
        self._failures += 1
        log.warning("a job could not be submitted: %s", error)
        if not self._thread.is_alive() or self._failures >= self._spec.failures:
            raise ClusterError(
                f"a job cannot be submitted to {self._spec.system}: {error}\n"
                f"See the job's script: luxdask cluster script {self._spec.path or ''}"
            ) from error

    def _shrink(self) -> None:
        """End jobs that have had nothing to do for a while."""
        spare = len(self._jobs) - self._wanted()
        now = time.monotonic()
        if spare <= 0:
            self._above_since = None
            return
        self._above_since = self._above_since or now
        if now - self._above_since < SHRINK_AFTER_S:
            return
        idle = [job for job in self._all() if self._is_idle(job)]
        for job in sorted(idle, key=lambda job: job.connected)[:spare]:
            self._end(job)

    def _is_idle(self, job: _Job) -> bool:
        workers = [w for w in list(self._cluster.scheduler.workers.values()) if _is_of(w, job)]
        return not any(worker.processing for worker in workers)

    def _end(self, job: _Job) -> None:
        self._jobs.pop(job.name, None)
        try:
            self._cluster.sync(job.job.close, callback_timeout=COMMAND_TIMEOUT_S)
        except (OSError, RuntimeError) as error:
            log.warning("job %s could not be ended: %s", job.job.job_id, error)


def _is_of(worker: Any, job: _Job) -> bool:
    return str(worker.name) == job.name or str(worker.name).startswith(f"{job.name}-")


def jobs_for_work(scheduler: Any, threads_per_job: int, least: int, most: int) -> int:
    """Jobs that have something to do: one per so many tasks, within bounds."""
    flying = sum(len(worker.processing) for worker in list(scheduler.workers.values()))
    tasks = flying + len(scheduler.queued) + len(scheduler.unrunnable)
    return min(most, max(least, math.ceil(tasks / threads_per_job)))
