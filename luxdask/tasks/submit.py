"""Give tasks to a batch system, and tell what became of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luxdask.cluster.batch import (
    Waiting,
    cancel_job,
    element_id,
    job_states,
    outer_environment,
    same_job,
    submit_script,
)
from luxdask.cluster.controller import Controller, condor_description, controller_of, job_script
from luxdask.cluster.spec import read_spec
from luxdask.errors import ClusterError, ConfigError, LuxdaskError
from luxdask.tasks.compile import output_parent
from luxdask.tasks.status import read_status
from luxdask.tasks.submission import (
    Submission,
    free_folder,
    is_submission,
    make_folders,
    new_record,
    open_submission,
)
from luxdask.tasks.task import Task
from luxdask.tasks.watch import request_stop

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from luxdask.tasks.status import TaskStatus

ACTIVE = ("Queuing", "Running")
ENDED = ("Stopped", "Failed", "Completed")


@dataclass(frozen=True, slots=True)
class SubmittedStatus:
    """Where a submitted task stands.

    Attributes
    ----------
    number, task
        Its number in the submission, and the file or folder that was given.
    state
        Queuing, Running, Stopped, Failed, Completed; Killed where its job ended without a word;
        Unknown where the batch system does not answer.
    job, job_word
        Its latest job, and the batch system's word for the job's state.
    folder
        The task folder, by the name that it has now; None before the first job has begun.
    chunks_done, chunks_total, stage, seconds_left
        From the `status.json` of the task folder.
    """

    number: int
    task: str
    state: str
    job: str | None = None
    job_word: str = ""
    folder: str | None = None
    resubmitted: int = 0
    error: str | None = None
    stage: str | None = None
    chunks_done: int | None = None
    chunks_total: int | None = None
    seconds_left: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def check_tasks(paths: Sequence[str | os.PathLike[str]]) -> Path:
    """Open and plan every task, without reading a voxel; the folder in which tasks are made.

    Raises `ConfigError` that names the task which cannot run.
    """
    if not paths:
        raise ConfigError("expected at least one task file, or the folder of a stopped task")
    parents = []
    for path in paths:
        try:
            parents.append(_check_task(Path(path)))
        except LuxdaskError as error:
            raise ConfigError(f"{path}: {error}\nNothing was submitted.") from error
    resolved = [Path(path).resolve() for path in paths]
    twice = next((p for p in resolved if p.is_dir() and resolved.count(p) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice}: given twice, but two jobs cannot work in one task folder")
    return parents[0]


def _check_task(path: Path) -> Path:
    task = Task.open(path, resume=True)
    experiment = task.open_experiment()
    if not task.config.input.only_create_main_files:
        task.compile(experiment)
    if task.folder is not None:
        return task.folder.path.parent
    return output_parent(task.config, experiment)


def cluster_of(paths: Sequence[str | os.PathLike[str]]) -> str:
    """The cluster that all tasks name in compute.cluster."""
    found = {Task.open(path, resume=True).config.compute.cluster for path in paths}
    if len(found) > 1:
        raise ConfigError(
            f"the tasks name different clusters ({', '.join(sorted(found))}): say which one with "
            "--cluster, or submit them one by one"
        )
    return found.pop()


def prepare(
    paths: Sequence[str | os.PathLike[str]],
    cluster: str,
    parent: Path,
    *,
    at_a_time: int | None = None,
    after: str | None = None,
) -> Submission:
    """A submission that is only thought of: where it would be made, and what it would hold.

    after : folder of a submission that must be complete first.
    Raises `ConfigError` where the cluster cannot be submitted to.
    """
    spec = read_spec(cluster)
    controller_of(spec)
    path = spec.path
    name = cluster if path is None else f"cluster{Path(path).suffix.lower()}"
    record = new_record([Path(p) for p in paths], cluster=name, at_a_time=at_a_time, after=after)
    return Submission(free_folder(parent, record.name), record)


def write(submission: Submission, cluster: str) -> None:
    """Make the folder of a submission, with its job scripts; nothing is submitted yet."""
    spec = read_spec(cluster)
    make_folders(submission, None if spec.path is None else Path(spec.path))
    for number, text in scripts_for(submission, cluster).items():
        submission.script(number).write_text(text, encoding="utf-8")
        submission.script(number).chmod(0o755)


def scripts_for(submission: Submission, cluster: str) -> dict[int | None, str]:
    """Job scripts of a submission by the task's number; None: that of the array."""
    controller = controller_of(read_spec(cluster))
    record, numbers = submission.record, submission.numbers
    wanted: list[int | None] = [*numbers]
    if _is_array(submission, controller):
        wanted.insert(0, None)
    return {
        number: job_script(
            controller,
            submission.folder,
            Path(record.cwd),
            f"luxdask-{record.name}",
            number,
            tasks=len(numbers),
            at_a_time=record.at_a_time,
        )
        for number in wanted
    }


def _is_array(submission: Submission, controller: Controller) -> bool:
    return len(submission.numbers) > 1 and bool(controller.system.array)


def submit(
    submission: Submission, numbers: Sequence[int] | None = None, waiting: Waiting | None = None
) -> dict[int, str]:
    """Submit tasks (None: all, for the first time); returns the id of each one's job.

    Raises `ClusterError` with the batch system's words where it refuses; tasks that were accepted
    before are named.
    """
    controller = controller_of(read_spec(submission.cluster))
    waits = waiting or Waiting()
    if numbers is None and _is_array(submission, controller):
        job = _submit_one(submission, controller, None, waits)
        jobs = {n: element_id(controller.system, job, n) for n in submission.numbers}
        for number, element in jobs.items():
            submission.add_job(number, element)
        return jobs
    return _submit_each(submission, controller, list(numbers or submission.numbers), waits)


def submit_again(
    submission: Submission, numbers: Sequence[int], waiting: Waiting
) -> dict[int, str]:
    """Submit tasks whose jobs have ended; they may go on by themselves as often as at first."""
    for number in numbers:
        told = submission.state(number)
        if told is not None:
            submission.say(number, told.model_copy(update={"resubmitted": 0}))
    return submit(submission, numbers, waiting)


def _submit_each(
    submission: Submission, controller: Controller, numbers: list[int], waits: Waiting
) -> dict[int, str]:
    """Single jobs; each waits for the one that has its place among those that run at a time."""
    jobs: dict[int, str] = {}
    most = submission.record.at_a_time or len(numbers)
    for n, number in enumerate(numbers):
        lane = Waiting((jobs[numbers[n - most]],), well=False) if n >= most else waits
        try:
            jobs[number] = _submit_one(submission, controller, number, lane)
        except ClusterError as error:
            done = ", ".join(f"task {k} as job {job}" for k, job in jobs.items())
            raise ClusterError(f"{error}\nSubmitted before: {done}" if done else str(error)) from (
                error
            )
        submission.add_job(number, jobs[number])
    return jobs


def _submit_one(
    submission: Submission, controller: Controller, number: int | None, waiting: Waiting
) -> str:
    script = submission.script(number)
    if controller.system.name == "htcondor":
        text = condor_description(controller, script, f"luxdask-{submission.record.name}")
        script = script.with_suffix(".sub")
        script.write_text(text, encoding="utf-8")
    system = controller.system
    return submit_script(system, script, submission.folder, waiting, outer_environment())


def statuses(submission: Submission) -> list[SubmittedStatus]:
    """Where every task of a submission stands."""
    system = controller_of(read_spec(submission.cluster)).system
    found = [_status_by_files(submission, number) for number in submission.numbers]
    asked = [s.job for s in found if s.state != "Completed" and s.job is not None]
    try:
        words = job_states(system, asked)
    except ClusterError as error:
        return [replace(s, state=_unknown(s), error=_first(s, error)) for s in found]
    return [_with_job(submission, s, words.get(s.job or "")) for s in found]


def _unknown(status: SubmittedStatus) -> str:
    return "Unknown" if status.state in ACTIVE else status.state


def _first(status: SubmittedStatus, error: ClusterError) -> str | None:
    return str(error) if status.state in ACTIVE else status.error


def _status_by_files(submission: Submission, number: int) -> SubmittedStatus:
    """What the files tell; a job that was submitted after what they tell is waiting."""
    told = submission.state(number)
    jobs = submission.jobs(number)
    given = submission.task(number).given
    if told is None:
        return SubmittedStatus(number, given, "Queuing", jobs[-1] if jobs else None)
    found = None if told.folder is None else _found(told.folder)
    is_later = bool(jobs) and told.job is not None and not same_job(told.job, jobs[-1])
    state = "Queuing" if is_later and told.state != "Completed" else told.state
    if found is not None and found.state == "Completed":
        state = "Completed"  # whoever has run it
    status = SubmittedStatus(
        number, given, state, jobs[-1] if jobs else told.job, resubmitted=told.resubmitted
    )
    error = told.error if state in ("Stopped", "Failed") else None
    if found is None:
        return replace(status, error=error)
    return replace(
        status,
        folder=found.folder,
        error=error,
        stage=found.stage,
        chunks_done=found.chunks_done,
        chunks_total=found.chunks_total,
        seconds_left=found.seconds_left,
    )


def _found(folder: str) -> TaskStatus | None:
    """What the task folder itself tells; None where it is gone."""
    try:
        return read_status(folder)
    except ConfigError:
        return None


def _with_job(
    submission: Submission, status: SubmittedStatus, asked: tuple[str, str] | None
) -> SubmittedStatus:
    state, word = asked or ("gone", "")
    if status.state not in ACTIVE and state != "queued":  # a requeued job has ended before
        return status
    if state != "gone":
        return replace(status, state="Running" if state == "running" else "Queuing", job_word=word)
    again = _status_by_files(submission, status.number)  # it may have ended while we asked
    if again.state in ENDED:
        return again
    return replace(again, state="Killed", error="its job is gone without a word; see its log")


def unfinished(submission: Submission) -> list[int]:
    """Tasks that are neither complete nor in the hands of the batch system."""
    found = statuses(submission)
    asleep = [s for s in found if s.state == "Unknown"]
    if asleep:
        raise ClusterError(f"{asleep[0].error}\nNothing was submitted.")
    return [s.number for s in found if s.state not in (*ACTIVE, "Completed")]


def stop(submission: Submission) -> list[SubmittedStatus]:
    """Stop all tasks: what computes is asked to stop gracefully, all other jobs are ended.

    Returns the tasks that waited or ran; those that were asked still have the state Running.
    """
    system = controller_of(read_spec(submission.cluster)).system
    active = [s for s in statuses(submission) if s.state in (*ACTIVE, "Unknown")]
    for status in active:
        found = None if status.folder is None else _found(status.folder)
        if found is not None and found.state == "Running":
            request_stop(Path(found.folder))
        elif status.job is not None:
            cancel_job(system, status.job)
    return active


def waiting_for(after: str | None) -> Waiting:
    """What `--after` means: the id of a job, or the folder of a submission."""
    if after is None:
        return Waiting()
    if not is_submission(after):
        if "/" in after or "\\" in after:
            raise ConfigError(f"{after}: neither a job id nor the folder of a submission")
        return Waiting((after,))
    return waiting_for_all(statuses(open_submission(after)))


def waiting_for_all(found: Iterable[SubmittedStatus]) -> Waiting:
    """Until the latest job of each task has ended in any way; the job itself looks how."""
    return Waiting(tuple(s.job for s in found if s.state in ACTIVE and s.job), well=False)
