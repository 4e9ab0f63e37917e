"""`luxdask run`: run a task, or go on with a stopped one."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luxdask.cli.progress import progress_view
from luxdask.cli.terminal import (
    console,
    human_bytes,
    load_printing,
    print_anyway,
    print_nowhere,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from threading import Event
    from types import FrameType

    from rich.console import Console

    from luxdask.tasks import Task, TaskResult
    from luxdask.tasks.registration_result import Registration

    Stopping = Callable[[Event, Console], AbstractContextManager[None]]


def run(
    task: Annotated[
        str | None,
        typer.Argument(help="The task file; or the folder of a stopped task, which then goes on."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="threads, processes, local, cuda, slurm, pbs, a scheduler's address, or a "
            "description of a cluster (luxdask cluster init); instead of compute.cluster."
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
    update: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Bring this task's folder up to date: only what has changed is done again. With "
            "a task file it gets the settings of that, otherwise it keeps its own.",
        ),
    ] = None,
    no_picture: Annotated[
        bool, typer.Option("--no-picture", help="Draw no overview.png of the result.")
    ] = False,
    no_disk_check: Annotated[
        bool, typer.Option("--no-disk-check", help="Start even where the disk looks too small.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Write dask's performance report (HTML) to this file."),
    ] = None,
) -> None:
    """Run a task. Ctrl-C stops it gracefully; run its folder (ending in _S) to go on."""
    opened = _with_compute(_opened(task, update, resume=resume), workers, threads)
    out = console()
    result = run_and_tell(opened, out, cluster, check_disk=not no_disk_check, report=report)
    if result.images and not no_picture:
        draw_overview(out, result)


def _opened(task: str | None, update: str | None, *, resume: bool) -> Task:
    """The task of a file or folder, or the update of a folder."""
    from luxdask.errors import ConfigError
    from luxdask.tasks import Task

    if update is not None:
        return Task.update(update, task)
    if task is None:
        raise ConfigError("give a task file, the folder of a stopped task, or --update FOLDER")
    return Task.open(task, resume=resume)


def run_and_tell(
    task: Task,
    out: Console,
    cluster: str | None,
    *,
    check_disk: bool = True,
    stopping: Stopping | None = None,
    entered: Callable[[Path], None] | None = None,
    report: Path | None = None,
) -> TaskResult:
    """Run a task with a progress bar and a graceful Ctrl-C, and say what came of it.

    cluster : instead of the task's own.
    stopping : what stops the run; by default `stop_on_signals`.
    entered : called with the task folder before anything is computed.
    report : where dask's performance report goes.
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
    if backend.link:
        out.print(f"Dashboard of dask: {backend.link}", markup=False)
    reporting = nullcontext() if report is None else backend.report(str(report))
    signals = (stopping or stop_on_signals)(stop, out)
    with backend, reporting, signals, progress_view(out) as listener:
        result = task.run(
            cluster=backend,
            listeners=(listener,),
            stop=stop,
            check_disk=check_disk,
            entered=entered,
            announce=lambda text: print_anyway(out, f"Update: {text}", soft_wrap=True),
        )
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


HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)


@contextmanager
def stop_on_signals(stop: Event, out: Any) -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a graceful stop; a second one ends at once.

    SIGHUP says that the terminal is gone; where it is ignored (nohup), that stays so.
    """
    asked = False

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if number == HANGUP:
            print_nowhere()
        if asked or stop.is_set():
            raise KeyboardInterrupt
        asked = True  # before `set`: a signal that comes within it would wait for its lock for ever
        stop.set()
        print_anyway(out, "Stopping: what is under way is finished. Ctrl-C again stops at once.")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    load_printing(out)
    signals = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
        signals.append(HANGUP)
    before = [signal.signal(s, ask) for s in signals]
    try:
        yield
    finally:
        for s, handler in zip(signals, before, strict=True):
            signal.signal(s, handler)
