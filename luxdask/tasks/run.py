"""Run a task in its folder: compute and write all chunks, then the main files."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luxdask.cluster.events import Listener, Progress
from luxdask.cluster.execute import execute
from luxdask.errors import OutputError, TaskStopped
from luxdask.graph.tasks import TaskStream, quality_tasks
from luxdask.tasks.folder import LOG, FolderLock, Receipts
from luxdask.tasks.images import write_main_files, written_views

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from threading import Event

    from luxdask.cluster.backend import Backend
    from luxdask.graph.write import Receipt
    from luxdask.tasks.folder import TaskFolder
    from luxdask.tasks.images import ImageFiles

log = logging.getLogger(__name__)

STATUS_INTERVAL_S = 1.0
QUALITY_FOLDER = "quality"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a finished task left behind."""

    folder: Path
    images: tuple[Path, ...]
    main_files: tuple[Path, ...]
    seconds: float
    voxels: int


@dataclass
class Reporter:
    """Tells the listeners and `status.json` where the run stands, at most once a second."""

    folder: TaskFolder
    listeners: Sequence[Listener]
    common: dict[str, Any]
    began: float = field(default_factory=time.monotonic)
    _last: float = 0.0

    def tell(self, progress: Progress, *, now: bool = False) -> None:
        """Pass a progress event on."""
        for listener in self.listeners:
            listener(progress)
        moment = time.monotonic()
        if now or moment - self._last >= STATUS_INTERVAL_S:
            self._last = moment
            self.state("Running", progress)

    def state(self, state: str, progress: Progress | None = None, error: str | None = None) -> None:
        """Write `status.json`."""
        values = dict(self.common, state=state, updated=_now(), error=error)
        if progress is not None:
            values |= {
                "stage": progress.stage,
                "chunks_done": progress.done,
                "chunks_total": progress.total,
                "voxels_per_s": progress.voxels_per_s,
                "seconds_left": progress.seconds_left,
            }
        self.folder.write_status(**values)


def run_plan(
    files: ImageFiles,
    folder: TaskFolder,
    backend: Backend,
    stop: Event,
    listeners: Sequence[Listener] = (),
) -> TaskResult:
    """Compute a plan in a task folder; what was finished there before is not done again.

    Ends with the folder renamed to its state. Raises `TaskStopped` after a stop, and whatever made
    the task fail.
    """
    reporter = Reporter(folder, listeners, {"started": _now()})
    with FolderLock(folder) as lock, _logging_to(folder.path / LOG):
        log.info("run of %s: %d images", folder.path, len(files.plan.outputs))
        try:
            voxels = _compute(files, folder, backend, stop, reporter)
            images = tuple(files.lux_path(p) for p in files.plan.outputs)
            mains = _main_files(files, reporter) if "lux" in files.config.formats else []
            zarrs = [Path(u) for u in files.finish_ome_zarr()]
        except BaseException as error:
            state = "Stopped" if isinstance(error, (TaskStopped, KeyboardInterrupt)) else "Failed"
            log.log(
                logging.INFO if state == "Stopped" else logging.ERROR,
                "%s: %s",
                state,
                error,
                exc_info=state == "Failed",
            )
            reporter.state(state, error=None if state == "Stopped" else _text(error))
            lock.moved(folder.renamed(state))
            raise
        log.info("completed")
        reporter.state("Completed")
        shutil.rmtree(folder.path / QUALITY_FOLDER, ignore_errors=True)
        done = folder.renamed("Completed")
        lock.moved(done)
    seconds = time.monotonic() - reporter.began
    made = tuple(_moved(p, folder, done) for p in (*mains, *zarrs))
    return TaskResult(
        done.path, tuple(_moved(p, folder, done) for p in images), made, seconds, voxels
    )


def _compute(
    files: ImageFiles, folder: TaskFolder, backend: Backend, stop: Event, reporter: Reporter
) -> int:
    """Quality maps where needed, then all chunks; returns the voxels computed in this run."""
    quality = folder.path / QUALITY_FOLDER
    if any(p.weighs_quality for p in files.plan.outputs):
        quality.mkdir(exist_ok=True)
        tasks = quality_tasks(files.plan.outputs, str(quality))
        total, done = len(tasks), 0

        def count(_: object) -> list[Any]:
            nonlocal done
            done += 1
            reporter.tell(Progress("quality", done, total))
            return []

        _finish(execute(tasks, backend, count, stop), folder)
    stream = TaskStream(files.plan.outputs, files.writers, folder.receipts(), str(quality))
    receipts = Receipts(folder)
    totals = {"voxels": 0, "read": 0, "written": 0}
    began = time.monotonic()

    def progress() -> Progress:
        return Progress(
            "fusion",
            stream.done,
            stream.total,
            totals["voxels"],
            totals["read"],
            totals["written"],
            time.monotonic() - began,
        )

    def finished(receipt: Receipt) -> list[Any]:
        receipts.add((receipt.output, receipt.stage, receipt.chunk))
        totals["voxels"] += receipt.voxels
        totals["read"] += receipt.bytes_read
        totals["written"] += receipt.bytes_written
        following = stream.finished(receipt)
        reporter.tell(progress())
        return following

    reporter.tell(progress(), now=True)
    try:
        _finish(execute(stream, backend, finished, stop, stream.describe), folder)
    finally:
        receipts.close()
    reporter.tell(progress(), now=True)
    return totals["voxels"]


def _finish(complete: bool, folder: TaskFolder) -> None:
    if not complete:
        raise TaskStopped(
            f"stopped; resume it with: luxdask run {folder.path.name}_S (in {folder.path.parent})"
        )


def _main_files(files: ImageFiles, reporter: Reporter) -> list[Path]:
    reporter.tell(Progress("main files", 0, 1), now=True)
    images = [(output.group, view) for output, view in written_views(files)]
    made = write_main_files(files.folder, images, files.config)
    reporter.tell(Progress("main files", 1, 1))
    return made


def _moved(path: Path, folder: TaskFolder, done: TaskFolder) -> Path:
    return done.path / path.relative_to(folder.path) if path.is_relative_to(folder.path) else path


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Let everything that luxdask logs go to the task's log file as well."""
    logger = logging.getLogger("luxdask")
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot write the log: {error}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
