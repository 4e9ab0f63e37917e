"""`luxdask submit`: tasks run by jobs of a batch system, so that nobody has to stay logged in."""

from __future__ import annotations

import shlex
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luxdask.cli.submission import show_submission
from luxdask.cli.terminal import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from luxdask.tasks.submission import Submission


def submit(
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            help="Task files, or folders of stopped or failed tasks, which then go on; or the "
            "folder of an earlier submission, of which everything unfinished goes on.",
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="The cluster's description (.toml); instead of compute.cluster."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the job script; submit nothing.")
    ] = False,
    at_a_time: Annotated[
        int | None, typer.Option(min=1, help="So many of the tasks run at a time.")
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(help="Begin after this job has ended well, or this submission is complete."),
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option(help="Where the submission is kept, instead of beside the first output."),
    ] = None,
    status: Annotated[
        str | None, typer.Option(help="Show where the tasks of this submission stand.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="With --status: until all tasks have ended.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --status: for programs.")] = False,
) -> None:
    """Run tasks as jobs of a batch system (SLURM, PBS and others).

    The controlling process is a job as well, so nothing depends on this terminal. When the wall
    time of its job is near, it stops gracefully and goes on in another job by itself.
    luxdask status and luxdask stop take the folder of a submission as well. Exit codes of --status:
    3 while some wait or run; then 0 all complete, 1 some failed, 4 some killed, 130 some stopped.
    """
    out = console()
    if status is not None:
        show_submission(status, follow=follow, as_json=as_json)
    elif len(tasks or ()) == 1 and _is_submission(tasks or ()):
        _submit_again(out, (tasks or [""])[0], after, dry_run)
    else:
        _submit_new(out, tasks or [], cluster, folder, at_a_time, after, dry_run=dry_run)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("submit")(submit)


def _is_submission(tasks: Sequence[str]) -> bool:
    from luxdask.tasks.submission import is_submission

    return is_submission(tasks[0])


def _submit_new(
    out: Console,
    tasks: Sequence[str],
    cluster: str | None,
    folder: str | None,
    at_a_time: int | None,
    after: str | None,
    *,
    dry_run: bool,
) -> None:
    from luxdask.tasks.submission import is_submission
    from luxdask.tasks.submit import check_tasks, cluster_of, prepare, submit, waiting_for, write

    parent = check_tasks(tasks)
    where = cluster or cluster_of(tasks)
    chained = str(Path(after).resolve()) if after is not None and is_submission(after) else None
    place = parent if folder is None else Path(folder).expanduser()
    made = prepare(tasks, where, place, at_a_time=at_a_time, after=chained)
    waiting = waiting_for(after)
    if dry_run:
        _print_scripts(made, where)
        return
    write(made, where)
    try:
        jobs = submit(made, waiting=waiting)
    except BaseException:
        if not any(made.jobs(number) for number in made.numbers):
            _remove(made.folder)  # nothing was submitted
        raise
    _tell(out, made, jobs)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # others may lie beside it
        folder.parent.rmdir()


def _submit_again(out: Console, folder: str, after: str | None, dry_run: bool) -> None:
    from luxdask.tasks.submission import open_submission
    from luxdask.tasks.submit import submit_again, unfinished, waiting_for

    submission = open_submission(folder)
    numbers = unfinished(submission)
    if dry_run:
        _print_scripts(submission, submission.cluster)
    elif numbers:
        _tell(out, submission, submit_again(submission, numbers, waiting_for(after)))
    else:
        out.print("Nothing to submit: every task is complete, or waits or runs already.")


def _print_scripts(submission: Submission, cluster: str) -> None:
    """The script of the array, or of each job."""
    from luxdask.tasks.submit import scripts_for

    made = scripts_for(submission, cluster)
    for text in [made[None]] if None in made else made.values():
        typer.echo(text, nl=False)


def _tell(out: Console, submission: Submission, jobs: dict[int, str]) -> None:
    where = shlex.quote(str(submission.folder))
    for number, job in jobs.items():
        given = submission.task(number).given
        out.print(f"Submitted {given} as job {job}", markup=False, soft_wrap=True)
        out.print(f"  log:  {submission.log(number)}", markup=False, soft_wrap=True)
    for word, text in (
        ("Status", f"luxdask status {where}"),
        ("Stop", f"luxdask stop {where}"),
        ("Go on", f"luxdask submit {where}"),
    ):
        out.print(f"{word + ':':<8}{text}", markup=False, soft_wrap=True)
