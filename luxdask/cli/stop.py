"""`luxdask stop`: stop a running task gracefully, from any machine that sees its folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luxdask.cli.status import CODES, in_words
from luxdask.cli.submission import stop_submission
from luxdask.cli.terminal import console

if TYPE_CHECKING:
    from luxdask.tasks.status import TaskStatus

POLL_S = 0.5
NOT_STOPPED = 1


def stop(
    folder: Annotated[
        Path, typer.Argument(help="The folder of a running task, or of a submission.")
    ],
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when the task has stopped, not at once.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0, help="How long --wait waits, in seconds.")
    ] = 3600.0,
) -> None:
    """Stop a running task gracefully: chunks under way are finished, then it can be resumed.

    The run sees the request within some seconds, wherever it works. Exit codes: 0 asked, or stopped
    with --wait; 1 it was not running, has ended otherwise, or --wait took too long; 2 no task
    folder.
    """
    from luxdask.tasks.status import read_status
    from luxdask.tasks.submission import is_submission
    from luxdask.tasks.watch import request_stop

    if is_submission(folder):
        stop_submission(folder)
        return
    out = console()
    found = read_status(folder)
    if found.state != "Running":
        out.print(f"Not running: {in_words(found)}: {found.folder}", markup=False, soft_wrap=True)
        raise typer.Exit(NOT_STOPPED)
    request_stop(Path(found.folder))
    where = f"process {found.pid} on {found.host}"
    out.print(f"Asked {where} to stop; it finishes the chunks under way.", markup=False)
    if not wait:
        out.print(f"See luxdask status {found.folder}", markup=False, soft_wrap=True)
        return
    ended = _wait(folder, timeout)
    if not ended.is_over:
        out.print(f"Still running after {timeout:g} s.", markup=False)
        raise typer.Exit(NOT_STOPPED)
    out.print(f"{in_words(ended)}: {ended.folder}", markup=False, soft_wrap=True)
    raise typer.Exit(0 if CODES[ended.state] == CODES["Stopped"] else NOT_STOPPED)


def _wait(folder: Path, timeout: float) -> TaskStatus:
    """The status when the task is over, or when the time is."""
    from luxdask.tasks.status import read_status

    limit = time.monotonic() + timeout
    while True:
        found = read_status(folder)
        if found.is_over or time.monotonic() > limit:
            return found
        time.sleep(POLL_S)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("stop")(stop)
