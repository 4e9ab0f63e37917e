"""What users do to the list of tasks, within one transaction."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luxdask.errors import ConfigError
from luxdask.tasks.config import TaskConfig, parse_config
from luxdask.tasks.queue_outcome import folder_now
from luxdask.tasks.queue_process import QueueFiles, is_here
from luxdask.tasks.queue_rows import (
    insert_task,
    next_position,
    read_task,
    read_tasks,
    update_task,
)
from luxdask.tasks.queue_steps import give_up
from luxdask.tasks.queue_task import (
    COMPLETED,
    FAILED,
    NEW,
    QUEUING,
    STOPPED,
    QueuedTask,
    require,
)
from luxdask.tasks.reporter import now_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from luxdask.tasks.task import Task


def config_of(
    given: Task | TaskConfig | Mapping[str, Any] | str | os.PathLike[str],
) -> tuple[TaskConfig, str]:
    """Settings and where they come from; raises `ConfigError` where they cannot be used."""
    if isinstance(given, (TaskConfig, Mapping)):
        return parse_config(given), "given"
    if isinstance(given, (str, os.PathLike)):
        return _config_of_file(Path(given))
    if given.folder is not None:
        raise ConfigError(
            f"{given.folder.path} is a stopped task: take it into the queue with "
            "import_task(folder), so that it goes on there"
        )
    return given.config, "given"


def _config_of_file(path: Path) -> tuple[TaskConfig, str]:
    if path.is_dir():
        raise ConfigError(
            f"{path} is a folder; give the JSON file of a task. A task folder is taken into the "
            f"queue with: luxdask queue import {path}"
        )
    return parse_config(path), str(path.resolve())


def insert(
    connection: sqlite3.Connection, queue: Path, config: TaskConfig, source: str, **values: Any
) -> int:
    """Add a task, New if `values` does not say otherwise; returns its number."""
    number = insert_task(
        connection,
        **{"state": NEW, "position": 0, "cwd": str(Path.cwd()), **values},
        settings=config.model_dump_json(),
        source=source,
        added=now_text(),
    )
    QueueFiles.of(queue, number).remove()  # of a queue that was here before
    return number


def enqueue(connection: sqlite3.Connection, numbers: Iterable[int], action: str) -> None:
    """Put tasks at the end of the queue: "start" or "resume" them, as their states allow."""
    for number in dict.fromkeys(numbers):
        task = read_task(connection, number)
        require(action, task)
        update_task(
            connection,
            number,
            state=QUEUING,
            position=next_position(connection),
            folder=None if task.state == FAILED else task.folder,
            deaths=0,
            error=None,
            ended=None,
        )


def request_stop(connection: sqlite3.Connection, task: QueuedTask, *, force: bool) -> None:
    """Take a task out of the queue, or note that it is to stop."""
    require("stop", task)
    if task.state == QUEUING:
        state = NEW if task.folder is None else STOPPED
        update_task(connection, task.id, state=state, deaths=0)
    elif force and task.mark is not None and not is_here(task.mark):
        give_up(connection, task)
    else:
        update_task(connection, task.id, stopping=1)


def remove(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Take tasks off the list; refused where others that are not completed need them."""
    for number in numbers:
        require("remove", read_task(connection, number))
    for task in read_tasks(connection):
        needed = [n for n in task.needs if n in numbers]
        if needed and task.id not in numbers and task.state != COMPLETED:
            raise ConfigError(
                f"task {task.id} needs task {needed[0]}: remove it first, or both at once"
            )
    connection.executemany("DELETE FROM tasks WHERE id = ?", [(n,) for n in numbers])


def require_unknown(tasks: Sequence[QueuedTask], place: Path) -> None:
    """Raise where a task of the list goes on in this folder already: two must not."""
    for task in tasks:
        folder = folder_now(task.folder)
        if folder is not None and folder.path == place and task.state != FAILED:
            raise ConfigError(f"{place} is task {task.id} of this queue already")
