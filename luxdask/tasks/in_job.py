"""One task of a submission inside its job: begin or go on, end in time, go on in another job."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luxdask.cluster.batch import element_id, job_state, outer_environment
from luxdask.cluster.controller import STARTED_VARIABLE, Controller, controller_of
from luxdask.cluster.spec import read_spec
from luxdask.errors import ClusterError, LuxdaskError, TaskStopped
from luxdask.tasks.folder import TaskFolder, find_folder
from luxdask.tasks.lock import SILENT_FOR_S, holder_of
from luxdask.tasks.submission import Submission, TaskState, open_submission
from luxdask.tasks.submit import ACTIVE, statuses, submit, waiting_for_all
from luxdask.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

log = logging.getLogger(__name__)

SLACK_S = 60.0
"""The clock of the batch system and ours may differ so much about when the wall time is near."""
LOCK_POLL_S = 5.0
_WALL_TIME = getattr(signal, "SIGUSR1", None)


@dataclass
class End:
    """Why and when this job has to end: its wall time is near, or somebody wants it to.

    The clock tells the wall time, or SIGUSR1 of a batch system that knows it better. SIGTERM comes
    when the job is cancelled, when it is preempted, and when its time is over.
    """

    controller: Controller
    job: str | None
    out: Any
    started: float
    signals: list[int] = field(default_factory=list)
    begun: bool = False
    stop: Event | None = None
    over: bool = False

    @property
    def near_s(self) -> float:
        """When the run has to stop for the wall time, as a time of the clock."""
        wall_time = self.controller.walltime_s
        if wall_time is None:
            return math.inf
        return self.started + wall_time - self.controller.stop_before_s

    @contextmanager
    def heard(self) -> Iterator[End]:
        """Listen to signals and the clock; only in the main thread of a process."""
        wanted = [signal.SIGINT, signal.SIGTERM, *([_WALL_TIME] if _WALL_TIME else [])]
        before = [signal.signal(s, self._hear) for s in wanted]
        clock = self._clock()
        try:
            yield self
        finally:
            if clock is not None:
                clock.cancel()
            for s, handler in zip(wanted, before, strict=True):
                signal.signal(s, handler)

    def begin(self) -> None:
        """From here on a signal raises `TaskStopped` until the task runs; so do earlier ones."""
        self.begun = True
        if self.signals:
            raise TaskStopped("stopped before the task began")

    @contextmanager
    def stopping(self, stop: Event, _: Any) -> Iterator[None]:
        """Turn what is heard into a graceful stop while the task runs."""
        self.stop = stop
        if self.signals:
            stop.set()
        try:
            yield
        finally:
            self.stop, self.over = None, True

    def for_wall_time(self) -> bool:
        """Whether the run was stopped for something that another job can go on after."""
        if _WALL_TIME in self.signals:
            return True
        if signal.SIGTERM not in self.signals:
            return False
        return time.time() >= self.near_s - SLACK_S or self._only_warned()

    def _only_warned(self) -> bool:
        """SLURM: a job that got SIGTERM and still counts as running was not cancelled."""
        if self.controller.system.name != "slurm" or self.job is None:
            return False
        try:
            return job_state(self.controller.system, self.job)[1] == "RUNNING"
        except ClusterError as error:
            log.warning("nobody knows whether this job was cancelled: %s", error)
            return False

    def _clock(self) -> threading.Timer | None:
        if not math.isfinite(self.near_s) or _WALL_TIME is None:
            return None
        left_s = self.near_s - time.time()
        if left_s <= 0:
            self.signals.append(_WALL_TIME)
            return None
        clock = threading.Timer(left_s, os.kill, (os.getpid(), _WALL_TIME))
        clock.daemon = True
        clock.start()
        return clock

    def _hear(self, number: int, _: object) -> None:
        is_again = bool(self.signals)
        self.signals.append(number)
        if self.over or not self.begun:
            return  # what is left to do takes a moment; what came too early is asked for in `begin`
        name = signal.Signals(number).name
        self.out.print(f"{name}: stopping; what is under way is finished.", markup=False)
        if self.stop is None:
            raise TaskStopped(f"stopped by {name} before the task began")
        if is_again and number != _WALL_TIME:
            raise KeyboardInterrupt
        if not is_again:  # else it is set, or just being set, and its lock is taken
            self.stop.set()


@dataclass
class InJob:
    """Task `number` of a submission, in the job that this process is."""

    submission: Submission
    number: int
    out: Any
    controller: Controller
    end: End
    state: TaskState

    @property
    def cluster(self) -> str:
        """Where chunks are computed."""
        return self.controller.compute or self.submission.cluster

    def open_task(self) -> Task | None:
        """The task, in the folder that a job before has begun; None where it is complete."""
        begun = None if self.state.folder is None else find_folder(Path(self.state.folder))
        if begun is None or not begun.is_dir():
            return Task.open(self.submission.source(self.number), resume=True)
        self._wait_for_lock(begun)
        folder = find_folder(begun)
        if TaskFolder(folder).state == "Completed":
            return None
        return Task.open(folder, resume=True)

    def _wait_for_lock(self, folder: Path) -> None:
        """Until the run of a node that failed counts as dead; the run itself refuses the others."""
        limit = time.monotonic() + 2 * SILENT_FOR_S
        while time.monotonic() < limit:
            found = holder_of(find_folder(folder))
            if found is None or not found[1]:
                return
            host = found[0].get("host", "an unknown host")
            self.out.print(f"A run on {host} may still work in {folder.name}: waiting.")
            time.sleep(LOCK_POLL_S)

    def entered(self, folder: Path) -> None:
        """Note the task's folder, so that another job can go on in it whatever happens now."""
        self._say(state="Running", folder=str(folder), error=None)

    def wait_for_others(self) -> bool:
        """Whether the submission before is complete; where it goes on, so does this, later.

        Raises `ClusterError` where it has ended without being complete.
        """
        after = self.submission.record.after
        if after is None:
            return True
        found = statuses(open_submission(after))
        if any(status.state in ACTIVE for status in found):
            self._say(state="Queuing")
            jobs = submit(self.submission, [self.number], waiting_for_all(found))
            self.out.print(f"{after} goes on; so job {jobs[self.number]} waits for it.")
            return False
        failed = [s for s in found if s.state != "Completed"]
        if failed:
            raise ClusterError(
                f"{after} was to be complete first, but its task {failed[0].number} is "
                f"{failed[0].state}. Get it done (luxdask submit {after}), then submit this again: "
                f"luxdask submit {self.submission.folder}"
            )
        return True

    @contextmanager
    def told(self) -> Iterator[None]:
        """Write down how the task ends, and go on in another job where the time was over."""
        self._say(state="Running", error=None)
        try:
            self.end.begin()
            yield
        except (TaskStopped, KeyboardInterrupt):
            self.end.over = True
            self._stopped()
            raise
        except LuxdaskError as error:
            self._say(state="Failed", error=str(error))
            raise
        except BaseException as error:
            self._say(state="Failed", error=f"{type(error).__name__}: {error}")
            raise
        if self.state.state == "Running":
            self._say(state="Completed")

    def _stopped(self) -> None:
        """Let another job go on, if it was the time of this one that was over."""
        limit = self.controller.resubmit
        if not self.end.for_wall_time():
            self._say(state="Stopped")
        elif self.state.resubmitted >= limit:
            self._say(state="Stopped", error=f"went on {limit} times already (controller.resubmit)")
        else:
            self._go_on()

    def _go_on(self) -> None:
        count = self.state.resubmitted
        self._say(state="Queuing", resubmitted=count + 1)  # before the other job reads it
        try:
            jobs = submit(self.submission, [self.number])
        except LuxdaskError as error:
            text = f"no other job can go on: {error}"
            self.out.print(text, markup=False)
            self._say(state="Stopped", resubmitted=count, error=text)
            return
        self.out.print(f"The wall time is near: job {jobs[self.number]} goes on.", markup=False)

    def _say(self, **values: Any) -> None:
        if self.end.job is None and not self.end.over:  # then the latest is this job
            values["job"] = next(iter(self.submission.jobs(self.number)[-1:]), None)
        self.state = self.state.model_copy(update=values)
        self.submission.say(self.number, self.state)


def enter_job(folder: str, number: int, out: Any) -> InJob:
    """The task of a submission that this process is to run, as its job."""
    submission = open_submission(folder)
    submission.task(number)
    controller = controller_of(read_spec(submission.cluster))
    before = submission.state(number)
    job = _own_job(controller)
    started = float(os.environ.get(STARTED_VARIABLE) or time.time())
    state = (before or TaskState(state="Running")).model_copy(
        update={"job": job, "host": socket.gethostname()}
    )
    end = End(controller, job, out, started)
    return InJob(submission, number, out, controller, end, state)


def _own_job(controller: Controller) -> str | None:
    """Id of this job, as the command that submitted it gave it; None where nobody tells."""
    system = controller.system
    array = os.environ.get("SLURM_ARRAY_JOB_ID") if system.name == "slurm" else None
    job = array or os.environ.get(system.job_id)
    task = os.environ.get(system.index, "") if system.index else ""
    if job is None or "[" in job or not task.isdecimal() or task == "0":  # LSF: 0 without an array
        return job
    return element_id(system, job, int(task))


def leave_outer_job() -> None:
    """Forget what SLURM told this job, so that the jobs of its workers do not inherit it."""
    kept = outer_environment()
    for name in [name for name in os.environ if name not in kept]:
        del os.environ[name]
