"""`luxdask register`: the registration of a task by itself, without images."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from luxdask.cli.progress import progress_view
from luxdask.cli.run import print_registration, print_result, stop_on_signals
from luxdask.cli.terminal import console


def register_command(
    task: Annotated[
        str,
        typer.Argument(help="The task file; or the folder of a stopped task, which then goes on."),
    ],
    cluster: Annotated[
        str | None,
        typer.Option(
            help="threads, processes, local, or a scheduler's address; instead of compute.cluster."
        ),
    ] = None,
) -> None:
    """Find where the views lie to each other; writes transforms and pictures, but no images.

    The result is a task folder that other tasks name in registration.reuse.task_folder.
    """
    from luxdask.cluster import connect
    from luxdask.tasks import Task

    opened = Task.open(task)
    if opened.folder is None:
        opened = opened.replace({"registration.enabled": True, "fusion.enabled": False})
    compute = opened.config.compute
    stop = threading.Event()
    out = console()
    backend = connect(
        cluster or compute.cluster,
        n_workers=compute.n_workers,
        threads_per_worker=compute.threads_per_worker,
        memory_limit=compute.memory_limit_bytes,
    )
    with backend, stop_on_signals(stop, out), progress_view(out) as listener:
        result = opened.run(cluster=backend, listeners=(listener,), stop=stop)
    print_result(out, result)
    if result.registration is not None:
        print_registration(out, result.registration)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("register")(register_command)
