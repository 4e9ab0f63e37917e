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

from luxdask.errors import OutputError, TaskStopped
from luxdask.tasks.compile import free_disk
from luxdask.tasks.folder import LOG
from luxdask.tasks.images import ImageFiles
from luxdask.tasks.lock import FolderLock
from luxdask.tasks.registration_files import register_in_folder
from luxdask.tasks.reporter import Reporter, logging_to
from luxdask.tasks.stages import QUALITY_FOLDER, estimate_quality_maps, finish_images, fuse_all

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
"""Gives the plan that follows from a registration, and keeps it in the folder."""


@dataclass(frozen=True, slots=True)
class _Run:
    """What all stages of a run need."""

    folder: TaskFolder
    config: OutputConfig
    backend: Backend
    stop: Event
    reporter: Reporter
    recompile: Recompile | None


def run_plan(
    plan: Plan,
    config: OutputConfig,
    folder: TaskFolder,
    backend: Backend,
    stop: Event,
    listeners: Sequence[Listener] = (),
    recompile: Recompile | None = None,
) -> TaskResult:
    """Compute a plan in a task folder; what was finished there before is not done again.

    recompile : gives the plan with the views where registration has put them, and keeps it; only
        needed where the plan registers.
    Ends with the folder renamed to its state. Raises `TaskStopped` after a stop, and whatever made
    the task fail; `OutputError` where another run uses the folder.
    """
    with FolderLock(folder) as lock:
        folder = folder.renamed(None)
        lock.moved(folder)
        reporter = Reporter(folder, listeners)
        try:
            with logging_to(folder.path / LOG):
                run = _Run(folder, config, backend, stop, reporter, recompile)
                made = _compute(plan, run)
        except BaseException as error:
            lock.moved(_leave(folder, reporter, error))
            raise
        done = folder.renamed("Completed")
        lock.moved(done)
    return _moved(made, folder, done)


def _compute(plan: Plan, run: _Run) -> TaskResult:
    """All stages; how they end is logged and written to `status.json`."""
    folder, reporter = run.folder, run.reporter
    try:
        registration, plan = _register(plan, run)
        log.info("run of %s: %d images", folder.path, len(plan.outputs))
        files = ImageFiles(plan, folder.path, run.config)
        voxels, mains, zarrs = _make_images(files, run)
        reporter.state("Completed")
    except (TaskStopped, KeyboardInterrupt):
        log.info("stopped")
        raise
    except OutputError as error:
        log.exception("failed")
        raise _with_estimate(error, plan, folder) from error
    except BaseException:
        log.exception("failed")
        raise
    shutil.rmtree(folder.path / QUALITY_FOLDER, ignore_errors=True)
    log.info("completed")
    images = [files.lux_path(p) for p in files.plan.outputs if "lux" in files.config.formats]
    return TaskResult(
        folder.path,
        tuple(images),
        mains,
        reporter.seconds,
        voxels,
        tuple(zarrs),
        registration,
    )


def _make_images(files: ImageFiles, run: _Run) -> tuple[int, tuple[Path, ...], list[str]]:
    """Fuse and write all images; voxels of this run, main files, OME-Zarr paths or URLs."""
    if not files.plan.outputs:  # transforms are all that is wanted
        return 0, (), []
    estimate_quality_maps(files, run.folder, run.backend, run.stop, run.reporter)
    voxels = fuse_all(files, run.folder, run.backend, run.stop, run.reporter)
    return voxels, *finish_images(files, run.reporter)


def _register(plan: Plan, run: _Run) -> tuple[Registration | None, Plan]:
    """Measure and solve where the plan says so; the plan that follows."""
    if plan.registration is None or run.recompile is None:
        return None, plan
    registration = register_in_folder(
        plan.registration, run.folder, run.backend, run.stop, run.reporter.tell
    )
    return registration, run.recompile(registration, run.folder)


def _leave(folder: TaskFolder, reporter: Reporter, error: BaseException) -> TaskFolder:
    """Note how a run ended; a full disk must not keep the folder from getting its name."""
    stopped = isinstance(error, (TaskStopped, KeyboardInterrupt))
    state = "Stopped" if stopped else "Failed"
    with suppress(OSError):
        reporter.state(state, error=None if stopped else str(error) or type(error).__name__)
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
