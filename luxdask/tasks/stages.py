"""The stages of a run: what each view needs beforehand, all chunks, then the main files."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luxdask.cluster.events import Progress
from luxdask.cluster.execute import execute
from luxdask.errors import TaskStopped
from luxdask.graph.regions import clear_task, files_of
from luxdask.graph.tasks import TaskStream, view_tasks
from luxdask.tasks.images import write_main_files, written_images
from luxdask.tasks.receipts import UNDONE, ReceiptLog, done_receipts, read_receipts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Event

    from dask.task_spec import Task

    from luxdask.cluster.backend import Backend
    from luxdask.graph.write import Receipt
    from luxdask.tasks.chunk_inputs import ChunkInputs
    from luxdask.tasks.folder import TaskFolder
    from luxdask.tasks.images import ImageFiles
    from luxdask.tasks.receipts import ReceiptKey
    from luxdask.tasks.reporter import Reporter

log = logging.getLogger(__name__)

QUALITY_FOLDER = "quality"


def estimate_views(
    files: ImageFiles, folder: TaskFolder, backend: Backend, stop: Event, reporter: Reporter
) -> None:
    """Make the quality maps and estimate the backgrounds that do not exist yet, view by view."""
    outputs = files.plan.outputs
    if not any(p.weighs_quality or p.estimates_background for p in outputs):
        return
    place = folder.path / QUALITY_FOLDER
    place.mkdir(exist_ok=True)
    tasks = view_tasks(outputs, str(place))
    stage = "quality" if any(p.weighs_quality for p in outputs) else "background"
    done = 0

    def finished(_: object) -> list[Task]:
        nonlocal done
        done += 1
        reporter.tell(Progress(stage, done, len(tasks)))
        return []

    complete = execute(
        tasks,
        backend,
        finished,
        stop,
        _describe_view,
        waiting=lambda text: reporter.tell(Progress(stage, done, len(tasks), waiting=text)),
        counts=reporter.performance.counts(stage),
    )
    require_complete(complete, folder)


def fuse_all(
    images: Images, folder: TaskFolder, backend: Backend, stop: Event, reporter: Reporter
) -> int:
    """Fuse and write all chunks that have no receipt yet; returns the voxels of this run."""
    files, quality = images.files, str(folder.path / QUALITY_FOLDER)
    with ReceiptLog(folder.path, images.may_write) as receipts:
        done = done_chunks(images, receipts)
        stream = TaskStream(files.plan.outputs, files.writers, done, quality)
        tally = _Tally(stream)
        reporter.tell(tally.progress(), now=True)
        _clear(images, receipts, backend, stop)

        def finished(receipt: Receipt) -> list[Task]:
            following = stream.finished(receipt)
            images.note(receipt, receipts)
            tally.add(receipt)
            reporter.performance.add(receipt)
            reporter.tell(tally.progress())
            return following

        complete = execute(
            stream,
            backend,
            finished,
            stop,
            stream.describe,
            smaller=stream.smaller,
            waiting=lambda text: reporter.tell(replace(tally.progress(), waiting=text), now=True),
            counts=reporter.performance.counts("fusion"),
        )
        require_complete(complete, folder)
    return tally.voxels


@dataclass(frozen=True)
class Images:
    """The images of a run, the numbers under which receipts name them, and what they are made of.

    may_write : raises where this run has lost its folder to another one.
    """

    files: ImageFiles
    numbers: Sequence[int]
    inputs: ChunkInputs
    may_write: Callable[[], None]

    def note(self, receipt: Receipt, receipts: ReceiptLog) -> None:
        """Write down that a chunk is done, as soon as its voxels are on the disk."""
        output, stage, chunk = receipt.output, receipt.stage, receipt.chunk
        planned, writers = self.files.plan.outputs[output], self.files.writers(output)
        receipts.add(
            (self.numbers[output], stage, chunk),
            self.inputs.digest(output, stage, chunk),
            files_of(planned, writers, stage, chunk),
        )


def done_chunks(images: Images, receipts: ReceiptLog) -> set[ReceiptKey]:
    """Chunks that need not be done again, by output; none of an image whose file is gone."""
    by_number = {number: output for output, number in enumerate(images.numbers)}
    found = [(by_number.get(n), (n, s, c)) for n, s, c in done_receipts(images.files.folder)]
    whole = {o: images.files.exist(o) for o in {o for o, _ in found if o is not None}}
    lost = [key for o, key in found if o is not None and not whole[o]]
    if lost:
        log.warning("%d chunks are done again: the files that held them are gone", len(lost))
        receipts.undo(lost)
    return {(o, key[1], key[2]) for o, key in found if o is not None and whole[o]}


def _clear(images: Images, receipts: ReceiptLog, backend: Backend, stop: Event) -> None:
    """Fill chunks with zeros that were written, and that no view covers any more."""
    files, listed = images.files, read_receipts(images.files.folder)
    undone = {key for key, digest in listed.items() if digest == UNDONE and key[1] == 0}
    tasks: list[Task] = []
    for output, number in enumerate(images.numbers if undone else ()):
        planned = files.plan.outputs[output]
        chunks = {chunk for n, _, chunk in undone if n == number and chunk < len(planned.chunks)}
        empty = sorted(chunks - set(planned.table.covered.tolist()))
        tasks += [clear_task(planned, files.writers(output), output, chunk) for chunk in empty]

    def finished(receipt: Receipt) -> list[Task]:
        images.note(receipt, receipts)
        return []

    execute(tasks, backend, finished, stop, lambda task: f"clearing chunk {task.key}")


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


def _describe_view(task: Task) -> str:
    source: Any = task.args[0]
    key: Any = task.key
    what = "image quality" if key[0] == "quality" else "background"
    return f"{what} of {Path(source.path).name}"


def require_complete(complete: bool, folder: TaskFolder) -> None:
    """Raise `TaskStopped`, with how to go on, where a stage was stopped before its end."""
    if not complete:
        stopped = folder.path.with_name(f"{folder.path.name}_S")
        raise TaskStopped(f"stopped; go on with: luxdask run {stopped}")
