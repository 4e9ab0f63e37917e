"""`luxdask status`: how a task stands, or all tasks of an experiment."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luxdask.cli.progress import duration
from luxdask.cli.submission import show_submission
from luxdask.cli.terminal import console

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from luxdask.tasks.status import TaskStatus

FOLLOW_S = 1.0
CODES = {
    "Completed": 0,
    "Failed": 1,
    "Running": 3,
    "Queuing": 3,
    "Killed": 4,
    "Stopped": 130,
}
"""Exit code per state; 2 where there is no task folder."""


def status(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A task folder, by any name it had; the folder processed; or a submission."
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on telling until the task has ended.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one document per line with --follow.")
    ] = False,
) -> None:
    """Say how a task stands, from any machine that sees its folder.

    Exit codes: 0 Completed, 1 Failed, 2 no task folder, 3 Running or Queuing, 4 Killed (no longer
    running; can be resumed), 130 Stopped. For a folder of task folders, the code is 0.
    """
    from luxdask.tasks.folder import CONFIG, find_folder
    from luxdask.tasks.status import statuses_in
    from luxdask.tasks.submission import is_submission

    if is_submission(folder):
        show_submission(folder, follow=follow, as_json=as_json)
    place = find_folder(folder)
    if place.is_dir() and not (place / CONFIG).is_file():
        found = statuses_in(place)
        if found:
            _tell_all(found, as_json=as_json)
            return
    last: TaskStatus | None = None
    for last in _changes(folder, follow=follow):
        _tell(last, as_json=as_json, lines=follow)
    raise typer.Exit(CODES[last.state] if last else 0)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("status")(status)


def _changes(folder: Path, *, follow: bool) -> Iterator[TaskStatus]:
    """The status now, and with `follow` each time it has changed until the task is over."""
    from luxdask.tasks.status import read_status

    before = None
    while True:
        found = read_status(folder)
        if found != before:
            yield found
        if not follow or found.is_over:
            return
        before = found
        time.sleep(FOLLOW_S)


def _tell(found: TaskStatus, *, as_json: bool, lines: bool) -> None:
    from luxdask.io.json_file import json_text

    if as_json:
        import json

        document = found.document()
        text = json.dumps(document, ensure_ascii=False) + "\n" if lines else json_text(document)
        typer.echo(text, nl=False)
        return
    out = console()
    out.print(f"{Path(found.folder).name}: {in_words(found)}", markup=False, soft_wrap=True)
    if found.error:
        out.print(f"  {found.error}", style="red", markup=False, soft_wrap=True)
    if found.state in _NEXT:
        out.print(f"  {_NEXT[found.state].format(found.folder)}", markup=False, soft_wrap=True)


_NEXT = {
    "Killed": "go on with: luxdask run {}",
    "Stopped": "go on with: luxdask run {}",
    "Queuing": "start it with: luxdask run {}",
    "Failed": "go on with: luxdask run --resume {0}; start anew with: luxdask run {0}",
}


def in_words(found: TaskStatus) -> str:
    """State, stage, chunks, rate and time left in a line."""
    words = {"Killed": "no longer running (killed?), can be resumed"}
    parts = [words.get(found.state, "stopping" if found.is_stopping else found.state)]
    if found.stage and found.state != "Completed":
        parts.append(f"{found.stage} {found.chunks_done}/{found.chunks_total}")
    if found.state == "Running":
        if found.voxels_per_s:
            parts.append(f"{found.voxels_per_s / 1e6:.0f} Mvoxel/s")
        if found.seconds_left is not None:
            parts.append(f"{duration(found.seconds_left)} left")
        if found.host:
            parts.append(f"process {found.pid} on {found.host}")
    return ", ".join(parts)


def _tell_all(found: Sequence[TaskStatus], *, as_json: bool) -> None:
    from luxdask.io.json_file import json_text

    if as_json:
        typer.echo(json_text([one.document() for one in found]), nl=False)
        return
    console().print(_table(found))


def _table(found: Sequence[TaskStatus]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("task", overflow="fold")  # names are to be copied
    table.add_column("state")
    table.add_column("error", overflow="fold")
    for one in found:
        cells: list[Any] = [Path(one.folder).name, in_words(one), one.error or ""]
        table.add_row(*(Text(cell) for cell in cells))
    return table
