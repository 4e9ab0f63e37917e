"""Run a plan in its folder: compute and write all chunks, then the main files."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from luxdask.errors import OutputError, TaskFailedError, TaskStopped
from luxdask.tasks.chunk_inputs import ChunkInputs
from luxdask.tasks.compile import free_disk
from luxdask.tasks.correction_stage import make_corrections, show_corrections
from luxdask.tasks.folder import LOG
from luxdask.tasks.images import ImageFiles
from luxdask.tasks.lock import FolderLock
from luxdask.tasks.performance import Performance
from luxdask.tasks.plan_record import PlanRecord, read_plan, record_of, write_plan
from luxdask.tasks.receipts import RECEIPTS
from luxdask.tasks.registration_files import register_in_folder
from luxdask.tasks.reporter import Reporter, logging_to
from luxdask.tasks.stages import (
    QUALITY_FOLDER,
    Images,
    estimate_views,
    finish_images,
    fuse_all,
    require_complete,
)
from luxdask.tasks.update import commit_update
from luxdask.tasks.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import Event

    from luxdask.cluster.backend import Backend
    from luxdask.cluster.events import Listener
    from luxdask.graph.plan import Plan
    from luxdask.tasks.config_output import OutputConfig
    from luxdask.tasks.folder import TaskFolder
    from luxdask.tasks.registration_result import Registration

log = logging.getLogger(__name__)

_DISK_FULL = tuple(f"[Errno {n}]" for n in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)))


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a finished task left behind.

    Attributes
    ----------
    folder
        The task folder.
    images
        The `.lux.h5` images.
    main_files
        Files that bring the images together for other programs.
    seconds, voxels
        Time of this run, and the voxels computed in it.
    ome_zarr
        Paths or URLs of OME-Zarr images.
    registration
        Where the views truly lie; None where the task does not register.
    """

    folder: Path
    images: tuple[Path, ...]
    main_files: tuple[Path, ...]
    seconds: float
    voxels: int
    ome_zarr: tuple[str, ...] = ()
    registration: Registration | None = None


Recompile = Callable[["Registration", "TaskFolder"], "Plan"]
"""Gives the plan that follows from a registration."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a plan is run.

    Attributes
    ----------
    config
        Which files are written.
    root
        The experiment's folder; dates and sizes of inputs are noted by their place in it.
    recompile
        Gives the plan with the views where registration has put them; only needed where the plan
        registers.
    update
        Called in the locked folder where it is brought up to date: it begins that. None where the
        run is a new one, or goes on.
    announce
        Called with what is worth telling before the end.
    """

    config: OutputConfig
    root: str
    recompile: Recompile | None = None
    update: Callable[[TaskFolder], None] | None = None
    announce: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class _Run:
    """What all stages of a run need."""

    folder: TaskFolder
    options: RunOptions
    backend: Backend
    stop: Event
    reporter: Reporter
    lock: FolderLock


def run_plan(
    plan: Plan,
    options: RunOptions,
    folder: TaskFolder,
    backend: Backend,
    stop: Event,
    listeners: Sequence[Listener] = (),
) -> TaskResult:
    """Compute a plan in a task folder; what was finished there before is not done again.

    Ends with the folder renamed to its state. Raises `TaskStopped` after a stop, whoever asked for
    it, and whatever made the task fail; `OutputError` where another run uses the folder. A run
    that has lost its folder to another one leaves it alone.
    """
    with FolderLock(folder) as lock:
        folder = folder.renamed(None)
        lock.moved(folder)
        folder.remove_leftovers()
        reporter = Reporter(folder, listeners, Performance(backend))
        try:
            with logging_to(folder.path / LOG), Watch(folder.path, lock, stop):
                made = _compute(plan, _Run(folder, options, backend, stop, reporter, lock))
                lock.require()
        except BaseException as error:
            lock.require()
            lock.moved(_leave(folder, reporter, error))
            raise
        done = folder.renamed("Completed")
        lock.moved(done)
    return _moved(made, folder, done)


def _compute(plan: Plan, run: _Run) -> TaskResult:
    """All stages; how they end is logged and written to `status.json`."""
    folder, reporter = run.folder, run.reporter
    try:
        reporter.state("Running")
        if run.options.update is not None:
            run.options.update(folder)
        _correct(plan, run)
        registration, plan = _register(plan, run)
        log.info("run of %s: %d images", folder.path, len(plan.outputs))
        if run.backend.link:
            log.info("dashboard of dask: %s", run.backend.link)
        images = _planned_images(plan, run)
        voxels, mains, zarrs = _make_images(images, run)
        run.lock.require()
        reporter.state("Completed")
        reporter.performance.save(folder.path, "Completed")
    except (TaskStopped, KeyboardInterrupt):
        log.info("stopped")
        raise
    except OutputError as error:
        log.exception("failed")
        raise _with_estimate(error, plan, folder) from error
    except TaskFailedError as error:
        log.exception("failed")
        raise TaskFailedError(f"{error}; see {folder.path}_F/{LOG}") from error
    except BaseException:
        log.exception("failed")
        raise
    shutil.rmtree(folder.path / QUALITY_FOLDER, ignore_errors=True)
    log.info("completed")
    files = images.files
    written = [files.lux_path(p) for p in files.plan.outputs if "lux" in files.config.formats]
    return TaskResult(
        folder.path,
        tuple(written),
        mains,
        reporter.seconds,
        voxels,
        tuple(zarrs),
        registration,
    )


def _planned_images(plan: Plan, run: _Run) -> Images:
    """The images of a plan, noted in the folder or compared with what is noted there."""
    folder = run.folder.path
    record = read_plan(folder)
    name = record.run if record and record.run else run.folder.running.name
    files = ImageFiles(plan, folder, run.options.config, name)
    inputs = ChunkInputs(files, run.options.root)
    if run.options.update is not None:
        run.options.announce(commit_update(files, inputs, run.lock.require))
        record = read_plan(folder)
    if record is None:
        (folder / RECEIPTS).unlink(missing_ok=True)  # those of another division mean nothing
        record = record_of(plan, inputs, PlanRecord((), name), name)
        write_plan(folder, record)
    numbers = record.numbers(p.name for p in plan.outputs)
    return Images(files, numbers, inputs, run.lock.require)


def _make_images(images: Images, run: _Run) -> tuple[int, tuple[Path, ...], list[str]]:
    """Fuse and write all images; voxels of this run, main files, OME-Zarr paths or URLs."""
    files = images.files
    if not files.plan.outputs:  # transforms are all that is wanted
        return 0, (), []
    estimate_views(files, run.folder, run.backend, run.stop, run.reporter)
    voxels = fuse_all(images, run.folder, run.backend, run.stop, run.reporter)
    return voxels, *finish_images(files, run.reporter)


def _correct(plan: Plan, run: _Run) -> None:
    """Make the layers that correct images, before anything reads these, and show them."""
    if plan.corrections is None:
        return
    complete = make_corrections(plan.corrections, run.backend, run.stop, run.reporter.tell)
    require_complete(complete, run.folder)
    show_corrections(plan.corrections, run.folder.path)


def _register(plan: Plan, run: _Run) -> tuple[Registration | None, Plan]:
    """Measure and solve where the plan says so; the plan that follows."""
    recompile = run.options.recompile
    if plan.registration is None or recompile is None:
        return None, plan
    registration = register_in_folder(
        plan.registration,
        run.folder,
        run.backend,
        run.stop,
        run.reporter.tell,
        run.options.root,
    )
    return registration, recompile(registration, run.folder)


def _leave(folder: TaskFolder, reporter: Reporter, error: BaseException) -> TaskFolder:
    """Note how a run ended; a full disk must not keep the folder from getting its name."""
    stopped = isinstance(error, (TaskStopped, KeyboardInterrupt))
    state = "Stopped" if stopped else "Failed"
    with suppress(OSError):
        reporter.state(state, error=None if stopped else str(error) or type(error).__name__)
    reporter.performance.save(folder.path, state)
    with suppress(OSError):
        return folder.renamed(state)
    return folder


def _with_estimate(error: OutputError, plan: Plan, folder: TaskFolder) -> OutputError:
    """On a full disk, say how much is needed and how much there is."""
    if not any(number in str(error) for number in _DISK_FULL):
        return error
    needed = plan.summary().disk_needed_bytes
    free = free_disk(Path(plan.folder))
    there = "" if free is None else f"; {free / 1e9:.3g} GB are free in {plan.folder}"
    return OutputError(
        f"{error}. The disk (or your quota) is full: all images of this task need "
        f"{needed / 1e9:.3g} GB, of which a part is written{there}. What is written stays "
        f"valid: make room, then go on with: luxdask run --resume {folder.path}_F"
    )


def _moved(result: TaskResult, folder: TaskFolder, done: TaskFolder) -> TaskResult:
    """The same result with the paths that the folder's new name gives."""

    def moved(path: Path) -> Path:
        inside = path.is_relative_to(folder.path)
        return done.path / path.relative_to(folder.path) if inside else path

    zarrs = (u if "://" in u else str(moved(Path(u))) for u in result.ome_zarr)
    return replace(
        result,
        folder=done.path,
        images=tuple(map(moved, result.images)),
        main_files=tuple(map(moved, result.main_files)),
        ome_zarr=tuple(zarrs),
        registration=result.registration and replace(result.registration, folder=done.path),
    )
