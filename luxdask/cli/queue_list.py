"""`luxdask queue list`: all tasks, their states, and how far they are."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luxdask.cli.progress import duration
from luxdask.cli.terminal import console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType
    from rich.table import Table

    from luxdask.tasks.queue import Queue
    from luxdask.tasks.queue_task import QueuedTask

FOLLOW_S = 1.0

_STYLES = {"Running": "bold", "Failed": "red", "Completed": "green", "Stopped": "yellow"}


def queue_option() -> Any:
    """The option that names the file of the queue."""
    return typer.Option("--queue", metavar="FILE", help="File of the queue, instead of your own.")


def list_tasks(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as JSON, for programs.")
    ] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Keep showing it, until Ctrl-C or the end of the queue."),
    ] = False,
    queue: Annotated[str | None, queue_option()] = None,
) -> None:
    """List all tasks: those that run, then the queue in its order, then the others."""
    from luxdask.io.json_file import json_text
    from luxdask.tasks.queue import Queue

    opened = Queue(queue)
    if as_json:
        typer.echo(json_text(document(opened)), nl=False)
    elif follow:
        _follow(opened)
    else:
        console().print(view(opened))


def _follow(queue: Queue) -> None:
    """Show the list until nothing runs or waits, or nobody runs the queue."""
    from rich.live import Live

    with Live(view(queue), console=console(), auto_refresh=False) as live:
        while queue.runner() is not None:
            time.sleep(FOLLOW_S)
            live.update(view(queue), refresh=live.console.is_terminal)
        live.update(view(queue), refresh=True)


def document(queue: Queue) -> dict[str, Any]:
    """The list as JSON values."""
    tasks, held = queue.tasks(), queue.held()
    runner = queue.runner()
    return {
        "queue": str(queue.path),
        "runner": None if runner is None else dict(runner),
        "tasks": [_task_document(queue, task, held.get(task.id)) for task in tasks],
    }


def _task_document(queue: Queue, task: QueuedTask, held: str | None) -> dict[str, Any]:
    from luxdask.tasks.queue_outcome import folder_now, read_status

    values = asdict(task)
    hidden = ("settings", "position", "mark", "deaths")
    folder = folder_now(task.folder)
    return {
        **{key: value for key, value in values.items() if key not in hidden},
        "folder": task.folder if folder is None else str(folder.path),
        "title": task.title,
        "held": held,
        "process": task.mark and {key: task.mark.get(key) for key in ("host", "pid")},
        "log": str(queue.log_file(task.id)),
        "status": read_status(folder),
    }


def view(queue: Queue) -> RenderableType:
    """The list as a table, with who runs it."""
    from rich.console import Group
    from rich.text import Text

    tasks = queue.tasks()
    if not tasks:
        return Text(f"No tasks in {queue.path}.")
    runner = queue.runner()
    text = (
        "Nobody runs this queue: luxdask queue run"
        if runner is None
        else f"Run by process {runner.get('pid')} on {runner.get('host')}."
    )
    return Group(_table(tasks, queue.held()), Text(text))


def _table(tasks: list[QueuedTask], held: Mapping[int, str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in ("id", "state", "place", "task"):
        table.add_column(heading)
    table.add_column("progress", overflow="fold")
    table.add_column("folder or file", overflow="fold")  # paths are to be copied
    place = 0
    for task in tasks:
        place += task.state == "Queuing"
        cells = (
            str(task.id),
            Text(task.state, style=_STYLES.get(task.state, "")),
            str(place) if task.state == "Queuing" else "",
            Text(task.title),
            Text(_progress(task, held.get(task.id))),
            Text(_where(task)),
        )
        table.add_row(*cells)
    return table


def _where(task: QueuedTask) -> str:
    from luxdask.tasks.queue_outcome import folder_now

    folder = folder_now(task.folder)
    return task.source if folder is None else str(folder.path)


def _progress(task: QueuedTask, held: str | None) -> str:
    """How far a task is, or what keeps it."""
    from luxdask.tasks.queue_outcome import folder_now, read_status

    if held is not None or task.error:
        return held or str(task.error)
    status = read_status(folder_now(task.folder))
    parts = []
    if status.get("chunks_total") and task.state != "Completed":
        parts.append(f"{status.get('stage')} {status.get('chunks_done')}/{status['chunks_total']}")
    if task.state == "Running" and status.get("seconds_left"):
        parts.append(f"{duration(float(status['seconds_left']))} left")
    if task.stopping:
        parts.append("stopping")
    return ", ".join(parts)
