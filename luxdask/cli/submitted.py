"""`luxdask submitted`: what a job script of `luxdask submit` runs; not for people."""

from __future__ import annotations

from typing import Annotated

import typer

from luxdask.cli.run import draw_overview, run_and_tell
from luxdask.cli.terminal import console


def submitted(
    folder: Annotated[str, typer.Argument(help="The folder of the submission.")],
    number: Annotated[int, typer.Argument(help="Number of the task in it.")],
) -> None:
    """Run one task of a submission, as its job."""
    from luxdask.tasks.in_job import enter_job, leave_outer_job

    out = console()
    job = enter_job(folder, number, out)
    leave_outer_job()
    with job.end.heard(), job.told():
        out.print(f"Job {job.state.job or '?'} on {job.state.host}: task {number}", markup=False)
        if not job.wait_for_others():
            return
        task = job.open_task()
        if task is None:
            out.print(f"Complete already: {job.state.folder}", markup=False)
            return
        result = run_and_tell(
            task, out, job.cluster, stopping=job.end.stopping, entered=job.entered
        )
        job.entered(result.folder)
        if result.images:
            draw_overview(out, result)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("submitted", hidden=True)(submitted)
