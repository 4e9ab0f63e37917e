"""`luxdask register`: the registration of a task by itself, without images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from luxdask.cli.run import run_and_tell
from luxdask.cli.terminal import console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from luxdask.tasks import Task

_STAGES = ("objective_camera", "tiles", "rotation", "time_points")
_PREPARED = "registration.objective_camera.enabled"
"""A stage that automatic defaults switch on for later, in every task file of two objectives."""


def register_command(
    task: Annotated[
        str,
        typer.Argument(help="The task file; or the folder of a stopped task, which then goes on."),
    ],
    cluster: Annotated[
        str | None,
        typer.Option(
            help="threads, processes, local, cuda, slurm, pbs, a scheduler's address, or a "
            "description of a cluster (luxdask cluster init); instead of compute.cluster."
        ),
    ] = None,
) -> None:
    """Find where the views lie to each other; writes transforms and pictures, but no images.

    Does the stages that are on in the task file: tiles, rotation, objective_camera, time_points,
    landmarks. Where registration.enabled is off and none of them was switched on, those that the
    images call for. The result is a task folder that other tasks name in
    registration.reuse.task_folder. Ctrl-C stops it gracefully.
    """
    from luxdask.tasks import Task

    out = console()
    opened = Task.open(task)
    if opened.folder is None:
        opened = _for_registration(opened, out)
    result = run_and_tell(opened, out, cluster)
    out.print(
        f"Use it in other tasks: registration.reuse.task_folder = {result.folder}",
        markup=False,
        soft_wrap=True,  # a path must stay in one piece to be copied
    )


def _for_registration(task: Task, out: Console) -> Task:
    """The task without images, with the stages that its images call for where none was chosen."""
    from luxdask.tasks.register import stages_for

    values: dict[str, Any] = {"registration.enabled": True, "fusion.enabled": False}
    if not task.config.registration.enabled:
        chosen = stages_for(task, task.open_experiment(), prepared=[_PREPARED])
        values |= chosen
        if chosen:
            named = [stage for stage in _STAGES if _is_on(chosen, stage)]
            text = ", ".join(named) or "none; there is nothing to compare"
            out.print(f"Stages that the images call for: {text}", markup=False)
    return task.replace(values)


def _is_on(values: Mapping[str, Any], stage: str) -> bool:
    group = values.get(f"registration.{stage}", {})
    return bool(values.get(f"registration.{stage}.enabled", group.get("enabled", False)))


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("register")(register_command)
