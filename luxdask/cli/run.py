"""`luxdask run`: run a task, or go on with a stopped one."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luxdask.cli.progress import progress_view
from luxdask.cli.terminal import console, human_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event
    from types import FrameType

    from rich.console import Console

    from luxdask.tasks import Task, TaskResult
    from luxdask.tasks.registration_result import Registration


def run(
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
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes, instead of compute.n_workers.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads per worker, instead of compute.threads_per_worker."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in a failed task's folder as well.")
    ] = False,
    no_picture: Annotated[
        bool, typer.Option("--no-picture", help="Draw no overview.png of the result.")
    ] = False,
    no_disk_check: Annotated[
        bool, typer.Option("--no-disk-check", help="Start even where the disk looks too small.")
    ] = False,
) -> None:
    """Run a task. Ctrl-C stops it gracefully; run its folder (ending in _S) to go on."""
    from luxdask.tasks import Task

    opened = _with_compute(Task.open(task, resume=resume), workers, threads)
    out = console()
    result = run_and_tell(opened, out, cluster, check_disk=not no_disk_check)
    if result.images and not no_picture:
        draw_overview(out, result)


def run_and_tell(
    task: Task, out: Console, cluster: str | None, *, check_disk: bool = True
) -> TaskResult:
    """Run a task with a progress bar and a graceful Ctrl-C, and say what came of it.

    cluster : instead of the task's own.
    """
    from luxdask.cluster import connect

    compute = task.config.compute
    stop = threading.Event()
    backend = connect(
        cluster or compute.cluster,
        n_workers=compute.n_workers,
        threads_per_worker=compute.threads_per_worker,
        memory_limit=compute.memory_limit_bytes,
    )
    with backend, stop_on_signals(stop, out), progress_view(out) as listener:
        result = task.run(cluster=backend, listeners=(listener,), stop=stop, check_disk=check_disk)
    print_result(out, result)
    if result.registration is not None:
        print_registration(out, result.registration)
    return result


def _with_compute(task: Task, workers: int | None, threads: int | None) -> Task:
    """The task with the workers of the command line, for which its memory is planned as well."""
    given = {"compute.n_workers": workers, "compute.threads_per_worker": threads}
    return task.replace({key: n for key, n in given.items() if n is not None})


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("run")(run)


def print_result(out: Any, result: TaskResult) -> None:
    """Say where everything is."""
    size = sum(p.stat().st_size for p in result.images)
    rate = f", {result.voxels / result.seconds / 1e6:.0f} Mvoxel/s" if result.voxels else ""
    out.print(f"Completed in {result.seconds:.1f} s{rate}: {result.folder}", markup=False)
    if result.images:
        count = f"{len(result.images)} image{'s' if len(result.images) > 1 else ''}"
        out.print(f"  {count}, {human_bytes(size)}", markup=False)
    for path in result.main_files:
        out.print(f"  {path.name}", markup=False)
    for url in result.ome_zarr:
        out.print(f"  {url}", markup=False)


WARNINGS_SHOWN = 25


def print_registration(out: Any, found: Registration) -> None:
    """What was found, and the warnings, the first of them by name."""
    out.print(f"  registration: {found}", markup=False)
    for warning in found.warnings[:WARNINGS_SHOWN]:
        out.print(f"  Warning: {warning}", style="yellow", markup=False)
    more = len(found.warnings) - WARNINGS_SHOWN
    if more > 0:
        out.print(f"  and {more} more: see registration.csv and log.txt", style="yellow")
    for picture in sorted(found.folder.glob("registration*.png")) if found.folder else ():
        out.print(f"  {picture.name}", markup=False)


def draw_overview(out: Any, result: TaskResult) -> None:
    """Leave a picture of the images in the task folder; a finished task never fails for it."""
    from luxdask.errors import LuxdaskError
    from luxdask.report.overview import write_overview

    path = result.folder / "overview.png"
    try:
        write_overview(result.images, path)
    except (LuxdaskError, OSError) as error:
        out.print(f"No picture could be drawn: {error}", style="yellow", markup=False)
    else:
        out.print(f"  {path.name}", markup=False)


@contextmanager
def stop_on_signals(stop: Event, out: Any) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into a graceful stop; a second one ends at once."""

    def ask(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        out.print("Stopping: what is under way is finished. Ctrl-C again stops at once.")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(s, ask) for s in signals]
    try:
        yield
    finally:
        for s, handler in zip(signals, before, strict=True):
            signal.signal(s, handler)
