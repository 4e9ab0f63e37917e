"""How the tasks of a submission stand, and their end: for `luxdask submit`, `status` and `stop`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from luxdask.cli.progress import duration
from luxdask.cli.terminal import console

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from luxdask.tasks.submission import Submission
    from luxdask.tasks.submit import SubmittedStatus

FOLLOW_S = 10.0
STILL_ACTIVE = 3
"""Exit code while tasks wait or run."""


def show_submission(folder: str | os.PathLike[str], *, follow: bool, as_json: bool) -> None:
    """Say where every task of a submission stands, and leave with the exit code of that."""
    from luxdask.io.json_file import json_text
    from luxdask.tasks.submission import open_submission

    out, submission = console(), open_submission(folder)
    found: Sequence[SubmittedStatus] = ()
    for found in _changes(submission, follow=follow):
        if as_json:
            document = {"folder": str(submission.folder), "tasks": [s.as_dict() for s in found]}
            typer.echo(json_text(document), nl=False)
            continue
        for status in found:
            _print_status(out, submission, status)
    raise typer.Exit(exit_code(found))


def _changes(submission: Submission, *, follow: bool) -> Iterator[Sequence[SubmittedStatus]]:
    from luxdask.tasks.submit import statuses

    before: Sequence[SubmittedStatus] | None = None
    while True:
        found = statuses(submission)
        if found != before:
            yield found
        if not follow or exit_code(found) != STILL_ACTIVE:
            return
        before = found
        time.sleep(FOLLOW_S)


def exit_code(found: Sequence[SubmittedStatus]) -> int:
    """What the states of all tasks mean for a script."""
    states = {status.state for status in found}
    if states & {"Queuing", "Running", "Unknown"}:
        return STILL_ACTIVE
    codes = {"Failed": 1, "Killed": 4, "Stopped": 130}
    return next((code for state, code in codes.items() if state in states), 0)


def _print_status(out: Console, submission: Submission, status: SubmittedStatus) -> None:
    parts = [f"{status.number} {status.state}"]
    if status.job is not None:
        parts.append(f"job {status.job}" + (f" ({status.job_word})" if status.job_word else ""))
    if status.chunks_total and status.state != "Completed":
        parts.append(f"{status.stage} {status.chunks_done}/{status.chunks_total}")
    if status.state == "Running" and status.seconds_left is not None:
        parts.append(f"{duration(status.seconds_left)} left")
    if status.resubmitted:
        times = "once" if status.resubmitted == 1 else f"{status.resubmitted} times"
        parts.append(f"went on {times}")
    out.print(", ".join(parts), markup=False, soft_wrap=True)
    out.print(f"  {status.folder or status.task}", markup=False, soft_wrap=True)
    if status.error:
        out.print(f"  {status.error}", style="yellow", markup=False, soft_wrap=True)
    if status.state in ("Failed", "Killed"):
        out.print(f"  log: {submission.log(status.number)}", markup=False, soft_wrap=True)


def stop_submission(folder: str | os.PathLike[str]) -> None:
    """Stop all tasks of a submission; what is under way is finished."""
    from luxdask.tasks.submission import open_submission
    from luxdask.tasks.submit import stop

    out, submission = console(), open_submission(folder)
    stopped = stop(submission)
    for status in stopped:
        what = "asked to stop" if status.state == "Running" else "taken back"
        out.print(f"Task {status.number}, job {status.job}: {what}", markup=False)
    if not stopped:
        out.print("No task of this submission waits or runs.")
    else:
        out.print(f"Go on with: luxdask submit {submission.folder}", markup=False, soft_wrap=True)
