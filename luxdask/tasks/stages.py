"""The stages of a run: image-quality maps where needed, all chunks, then the main files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luxdask.cluster.events import Progress
from luxdask.cluster.execute import execute
from luxdask.errors import TaskStopped
from luxdask.graph.tasks import TaskStream, quality_tasks
from luxdask.tasks.folder import Receipts
from luxdask.tasks.images import write_main_files, written_images

if TYPE_CHECKING:
    from threading import Event

    from dask.task_spec import Task

    from luxdask.cluster.backend import Backend
    from luxdask.graph.write import Receipt
    from luxdask.tasks.folder import TaskFolder
    from luxdask.tasks.images import ImageFiles
    from luxdask.tasks.reporter import Reporter

QUALITY_FOLDER = "quality"


def estimate_quality_maps(
    files: ImageFiles, folder: TaskFolder, backend: Backend, stop: Event, reporter: Reporter
) -> None:
    """Make the image-quality maps that do not exist yet."""
    if not any(p.weighs_quality for p in files.plan.outputs):
        return
    place = folder.path / QUALITY_FOLDER
    place.mkdir(exist_ok=True)
    tasks = quality_tasks(files.plan.outputs, str(place))
    done = 0

    def finished(_: object) -> list[Task]:
        nonlocal done
        done += 1
        reporter.tell(Progress("quality", done, len(tasks)))
        return []

    require_complete(execute(tasks, backend, finished, stop, _describe_quality), folder)


def fuse_all(
    files: ImageFiles, folder: TaskFolder, backend: Backend, stop: Event, reporter: Reporter
) -> int:
    """Fuse and write all chunks that have no receipt yet; returns the voxels of this run."""
    quality = str(folder.path / QUALITY_FOLDER)
    stream = TaskStream(files.plan.outputs, files.writers, folder.receipts(), quality)
    receipts = Receipts(folder)
    tally = _Tally(stream)

    def finished(receipt: Receipt) -> list[Task]:
        receipts.add((receipt.output, receipt.stage, receipt.chunk))
        following = stream.finished(receipt)
        tally.add(receipt)
        reporter.tell(tally.progress())
        return following

    try:
        reporter.tell(tally.progress(), now=True)
        require_complete(execute(stream, backend, finished, stop, stream.describe), folder)
    finally:
        receipts.close()
    return tally.voxels


class _Tally:
    """What the chunks of this run amount to."""

    def __init__(self, stream: TaskStream) -> None:
        self.stream = stream
        self.began = time.monotonic()
        self.voxels = self.bytes_read = self.bytes_written = 0
        self.chunks = 0

    def add(self, receipt: Receipt) -> None:
        """Count one chunk."""
        self.chunks += 1
        self.voxels += receipt.voxels
        self.bytes_read += receipt.bytes_read
        self.bytes_written += receipt.bytes_written

    def progress(self) -> Progress:
        """Where the stage stands; chunks of an earlier run count as done, but not for the rate."""
        return Progress(
            "fusion",
            self.stream.done,
            self.stream.total,
            self.voxels,
            self.bytes_read,
            self.bytes_written,
            time.monotonic() - self.began,
            done_before=self.stream.done - self.chunks,
        )


def finish_images(files: ImageFiles, reporter: Reporter) -> tuple[tuple[Path, ...], list[str]]:
    """Write the main files and complete the OME-Zarr images; returns paths, and paths or URLs."""
    reporter.tell(Progress("main files", 0, 1), now=True)
    made: list[Path] = []
    if "lux" in files.config.formats:
        made = write_main_files(files.folder, written_images(files), files.config)
    zarrs = files.finish_ome_zarr()
    reporter.tell(Progress("main files", 1, 1))
    return tuple(made), zarrs


def _describe_quality(task: Task) -> str:
    source: Any = task.args[0]
    return f"image quality of {Path(source.path).name}"


def require_complete(complete: bool, folder: TaskFolder) -> None:
    """Raise `TaskStopped`, with how to go on, where a stage was stopped before its end."""
    if not complete:
        stopped = folder.path.with_name(f"{folder.path.name}_S")
        raise TaskStopped(f"stopped; go on with: luxdask run {stopped}")
