"""A submission: the folder of what was given to a batch system, and what became of each task.

    submission.json         what was submitted
    cluster.toml, tasks/    copies of the cluster's description and of the task files
    scripts/, logs/         job scripts; what the jobs print
    jobs/1.txt              ids of the jobs of task 1, the latest last
    states/1.json           what the latest job of task 1 says of itself

Nothing in here is run but by the batch system; all JSON is validated when it is read.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from luxdask.errors import ConfigError, OutputError
from luxdask.io.json_file import write_json
from luxdask.tasks.folder import folder_words
from luxdask.tasks.reporter import now_text
from luxdask.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORD = "submission.json"
FOLDERS = ("tasks", "scripts", "logs", "jobs", "states")

Said = Literal["Running", "Queuing", "Stopped", "Failed", "Completed"]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SubmittedTask(_Document):
    """One task: the file or folder that was given, and its copy (None: a folder goes on)."""

    given: str
    copied_to: str | None


class SubmissionRecord(_Document):
    """What was submitted.

    Attributes
    ----------
    cluster
        File in this folder, or the kind of cluster.
    cwd
        Folder in which it was submitted; relative paths of tasks start there.
    after
        Folder of the submission that must be complete before.
    at_a_time
        So many tasks run at a time; None: as many as the batch system lets.
    """

    version: Literal[1] = 1
    luxdask: str
    made: str
    name: str
    cluster: str
    cwd: str
    at_a_time: int | None
    after: str | None
    tasks: tuple[SubmittedTask, ...]


class TaskState(_Document):
    """What the job of a task says of itself.

    Attributes
    ----------
    job
        Id of the job that says so; None where the batch system gives it no way to know.
    folder
        The task folder that it works in, by the name that it had at the beginning.
    resubmitted
        How often the task went on in another job by itself.
    """

    state: Said
    job: str | None = None
    host: str | None = None
    updated: str = ""
    folder: str | None = None
    resubmitted: int = 0
    error: str | None = None


_Model = TypeVar("_Model", bound=_Document)


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission's folder, and what was submitted."""

    folder: Path
    record: SubmissionRecord

    @property
    def cluster(self) -> str:
        """The cluster's description, or kind."""
        copy = self.folder / self.record.cluster
        return str(copy) if copy.is_file() else self.record.cluster

    @property
    def numbers(self) -> range:
        """Numbers of the tasks, from 1 on."""
        return range(1, len(self.record.tasks) + 1)

    def task(self, number: int) -> SubmittedTask:
        """A task by its number."""
        if number not in self.numbers:
            raise ConfigError(
                f"{self.folder}: there is no task {number}; it has {self.numbers[-1]}"
            )
        return self.record.tasks[number - 1]

    def source(self, number: int) -> Path:
        """The task file or task folder that a first job starts from."""
        task = self.task(number)
        return Path(task.given) if task.copied_to is None else self.folder / task.copied_to

    def script(self, number: int | None) -> Path:
        """Job script of one task, or of the array of all."""
        return self.folder / "scripts" / (f"task-{number}.sh" if number else "array.sh")

    def log(self, number: int) -> Path:
        """What the jobs of a task print."""
        return self.folder / "logs" / f"task-{number}.log"

    def state(self, number: int) -> TaskState | None:
        """What the latest job of a task said; None where none has begun."""
        path = self.folder / "states" / f"{number}.json"
        return _read(TaskState, path) if path.is_file() else None

    def say(self, number: int, state: TaskState) -> None:
        """Write down what a job says of its task."""
        told = state.model_copy(update={"updated": now_text()})
        write_json(self.folder / "states" / f"{number}.json", told.model_dump())

    def jobs(self, number: int) -> list[str]:
        """Ids of the jobs of a task, the latest last."""
        try:
            return (self.folder / "jobs" / f"{number}.txt").read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return []

    def add_job(self, number: int, job: str) -> None:
        """Note a job that was submitted."""
        path = self.folder / "jobs" / f"{number}.txt"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{job}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{path}: cannot note job {job}: {error}") from error


def is_submission(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is that of a submission."""
    return (Path(path) / RECORD).is_file()


def open_submission(path: str | os.PathLike[str]) -> Submission:
    """A submission by its folder; raises `ConfigError` where it is none, or damaged."""
    folder = Path(path).resolve()
    if not is_submission(folder):
        raise ConfigError(f"{path}: no {RECORD} in here; expected the folder of luxdask submit")
    return Submission(folder, _read(SubmissionRecord, folder / RECORD))


def make_folders(submission: Submission, description: Path | None) -> None:
    """Make the folder of a submission, with copies of the task files.

    description : of the cluster; copied as well.
    Raises `OutputError` where the folder cannot be written.
    """
    folder, record = submission.folder, submission.record
    try:
        folder.mkdir(parents=True)
        for name in FOLDERS:
            (folder / name).mkdir()
        for task in record.tasks:
            if task.copied_to is not None:
                shutil.copyfile(task.given, folder / task.copied_to)
        if description is not None:
            shutil.copyfile(description, folder / record.cluster)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot make the folder of the submission: {error.strerror or error}. "
            "Name a place where you may write with --folder."
        ) from error
    write_json(folder / RECORD, record.model_dump())


def free_folder(parent: Path, name: str) -> Path:
    """A folder for a submission that does not exist yet."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    first = parent.resolve() / "submissions" / f"{stamp}_{name}"
    others = (first.with_name(f"{first.name}-{n}") for n in range(1, 1000))
    return next(path for path in (first, *others) if not path.exists())


def new_record(
    paths: Sequence[Path], *, cluster: str, at_a_time: int | None, after: str | None
) -> SubmissionRecord:
    """What is submitted from here, now."""
    more = f"_and_{len(paths) - 1}_more" if len(paths) > 1 else ""
    return SubmissionRecord(
        luxdask=__version__,
        made=now_text(),
        name=folder_words(paths[0].stem) + more,
        cluster=cluster,
        cwd=str(Path.cwd()),
        at_a_time=at_a_time,
        after=after,
        tasks=tuple(_submitted(path, n) for n, path in enumerate(paths, start=1)),
    )


def _submitted(path: Path, number: int) -> SubmittedTask:
    given = path.resolve()
    copied = None if given.is_dir() else f"tasks/{number}_{folder_words(given.stem)}.json"
    return SubmittedTask(given=str(given), copied_to=copied)


def _read(model: type[_Model], path: Path) -> _Model:
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise ConfigError(f"{path}: damaged, or not of luxdask: {where}: {first['msg']}") from error
