"""Steps of a queue within one transaction: a task begins, ends, or is found to have ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError, OutputError
from luxdask.io.json_file import write_json
from luxdask.tasks.config import TaskConfig, parse_config, set_values
from luxdask.tasks.lock import holder_of
from luxdask.tasks.queue_outcome import Ending, folder_now, outcome, read_status
from luxdask.tasks.queue_process import (
    QueueFiles,
    is_before_reboot,
    is_here,
    last_error,
    launch,
    let_go,
    runs_here,
)
from luxdask.tasks.queue_rows import read_task, read_tasks, update_task
from luxdask.tasks.queue_task import ENDED, FAILED, RUNNING, STOPPED, QueuedTask
from luxdask.tasks.reporter import now_text

if TYPE_CHECKING:
    import sqlite3
    import subprocess
    from collections.abc import Sequence
    from pathlib import Path

    from luxdask.tasks.folder import TaskFolder


def settings_of(task: QueuedTask) -> TaskConfig:
    """The settings of a task, checked anew."""
    try:
        document = json.loads(task.settings)
    except ValueError as error:
        raise ConfigError(f"task {task.id}: its settings are damaged: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"task {task.id}: its settings are damaged: expected an object")
    return parse_config(document)


def resolved_settings(connection: sqlite3.Connection, task: QueuedTask) -> TaskConfig:
    """The settings with the folder of the task whose registration is used again, if it is known."""
    config = settings_of(task)
    if task.reuse is None:
        return config
    folder = folder_now(read_task(connection, task.reuse).folder)
    if folder is None:
        return config
    return set_values(config, {"registration.reuse.task_folder": str(folder.path)})


def begin(
    connection: sqlite3.Connection,
    queue: Path,
    task: QueuedTask,
    program: Sequence[str],
    device: str | None = None,
) -> subprocess.Popen[bytes] | None:
    """Start the process of a queuing task and note it; the caller lets it go after the commit.

    Returns None where it cannot be started; then the task has failed.
    """
    files = QueueFiles.of(queue, task.id)
    try:
        files.folder.mkdir(parents=True, exist_ok=True)
        files.remove(files.folder_note, files.end)
        process, mark = launch(
            files, _target(connection, files, task), task.cwd, device=device, program=program
        )
    except (ConfigError, OutputError, OSError) as error:
        _set_ended(connection, task.id, FAILED, str(error))
        return None
    try:
        update_task(
            connection,
            task.id,
            state=RUNNING,
            mark=mark,
            device=device,
            stopping=0,
            error=None,
            started=now_text(),
            ended=None,
        )
    except BaseException:
        let_go(process, begin=False)
        raise
    return process


def _target(connection: sqlite3.Connection, files: QueueFiles, task: QueuedTask) -> str:
    """What the process runs: the folder where the task goes on, else its settings."""
    folder = folder_now(task.folder)
    if folder is not None:
        return str(folder.path)
    if task.folder is not None:
        raise ConfigError(
            f"{task.folder}: the folder in which this task would go on is gone; get it back and "
            f"import it, or start from zero: luxdask queue start {task.id}"
        )
    config = resolved_settings(connection, task)
    if task.reuse is not None and config.registration.reuse.task_folder is None:
        raise ConfigError(f"the task folder of task {task.reuse} is gone: nothing to use again")
    write_json(files.settings, config.model_dump(mode="json"))
    return str(files.settings)


def note_folders(connection: sqlite3.Connection, queue: Path, tasks: Sequence[QueuedTask]) -> None:
    """Keep what the processes of running tasks have told of their folders."""
    for task in tasks:
        told = QueueFiles.of(queue, task.id).noted_folder()
        if told is not None and told != task.folder:
            update_task(connection, task.id, folder=told)


def end(
    connection: sqlite3.Connection,
    queue: Path,
    number: int,
    code: int | None,
    *,
    queue_stops: bool = False,
) -> QueuedTask:
    """Note what became of a running task whose process has ended."""
    task = read_task(connection, number)
    if task.state != RUNNING:
        return task
    note_folders(connection, queue, [task])
    task = read_task(connection, number)
    folder = folder_now(task.folder)
    found = outcome(
        Ending(
            code,
            folder_state=None if folder is None else folder.state,
            asked=task.stopping,
            queue_stops=queue_stops,
            rebooted=task.mark is not None and is_before_reboot(task.mark),
            deaths=task.deaths,
        )
    )
    error = found.error
    if found.state == FAILED:
        error = failure_of(queue, task)
    _set_ended(connection, number, found.state, error, found.deaths)
    return read_task(connection, number)


def failure_of(queue: Path, task: QueuedTask) -> str:
    """Why a task failed: what its folder says, else what its process said last."""
    told = read_status(folder_now(task.folder)).get("error")
    said = last_error(QueueFiles.of(queue, task.id).log)
    return str(told or said or "its process ended without a word")


def _set_ended(
    connection: sqlite3.Connection, number: int, state: str, error: str | None, deaths: int = 0
) -> None:
    ended = now_text() if state in ENDED else None
    update_task(
        connection,
        number,
        state=state,
        error=error,
        deaths=deaths,
        ended=ended,
        mark=None,
        device=None,
        stopping=0,
    )


def give_up(connection: sqlite3.Connection, task: QueuedTask) -> None:
    """Take a running task, whose machine is gone, for stopped."""
    _set_ended(connection, task.id, STOPPED, None)


def process_is_gone(queue: Path, task: QueuedTask) -> bool:
    """Whether a running task's process has ended, as far as can be told from here."""
    if task.mark is None:
        return True
    if is_here(task.mark):
        return not runs_here(task.mark)
    if QueueFiles.of(queue, task.id).exit_code() is not None:
        return True
    folder = folder_now(task.folder)
    return folder is not None and _is_left(folder)


def _is_left(folder: TaskFolder) -> bool:
    """Whether a run of another host has ended in a task folder, or shows no life there."""
    if folder.state != RUNNING:
        return True
    found = holder_of(folder.path)
    return found is not None and not found[1]


def settle(connection: sqlite3.Connection, queue: Path) -> list[QueuedTask]:
    """End running tasks whose process is gone: the machine, or the runner, went down meanwhile."""
    gone = [
        task
        for task in read_tasks(connection)
        if task.state == RUNNING and process_is_gone(queue, task)
    ]
    codes = {task.id: QueueFiles.of(queue, task.id).exit_code() for task in gone}
    return [end(connection, queue, number, code) for number, code in codes.items()]
