"""The executed face of a plan: a stream of dask tasks, one per super-chunk, made as they are sent.

Later stages (coarse pyramid levels) of an image follow by themselves when its stage before is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask.task_spec import Task

from luxdask.graph.background import save_background
from luxdask.graph.quality import save_quality
from luxdask.graph.write import CoarsenJob, WriteJob, coarsen_chunk, write_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    from dask.typing import Key

    from luxdask.graph.planned import PlannedOutput
    from luxdask.graph.write import Receipt
    from luxdask.io.writer import Writer
    from luxdask.model.geometry import Box

VIEWS_NAMED = 4
"""Views of a chunk that an error names."""


@dataclass
class _Pending:
    """One image under way: its stage, and what is missing of it."""

    writers: tuple[Writer, ...]
    stage: int = 0
    missing: int = 0
    all_sent: bool = False


class TaskStream:
    """All write tasks of a plan that have no receipt yet; iterate once.

    `writers(number)` makes the files of an output; it is called when its first task is due.
    """

    def __init__(
        self,
        outputs: Sequence[PlannedOutput],
        writers: Callable[[int], tuple[Writer, ...]],
        receipts: Container[tuple[int, int, int]] = (),
        quality_folder: str | None = None,
    ) -> None:
        self._outputs, self._writers = outputs, writers
        self._receipts = receipts
        self._quality_folder = quality_folder
        self._pending: dict[int, _Pending] = {}
        self.total = sum(p.task_count for p in outputs)
        self.done = 0

    def __iter__(self) -> Iterator[Task]:
        for number, planned in enumerate(self._outputs):
            state = self._pending[number] = _Pending(self._writers(number))
            jobs = planned.write_jobs(number, state.writers, self._quality_folder)
            for job in jobs:
                if self._is_new(job):
                    state.missing += 1
                    yield _task(job)
            state.all_sent = True
            if not state.missing:
                yield from self._next_stage(number)

    def finished(self, receipt: Receipt) -> list[Task]:
        """Note a finished task; returns those that can run now."""
        self.done += 1
        state = self._pending[receipt.output]
        state.missing -= 1
        if state.all_sent and not state.missing:
            return list(self._next_stage(receipt.output))
        return []

    def describe(self, task: Task) -> str:
        """Which image and chunk a task makes, and of which views, in words."""
        (job,) = task.args
        planned = self._outputs[job.output]
        if isinstance(job, CoarsenJob):
            return _named(planned.name, job.chunk, job.box)
        ids = [str(planned.output.views[v].id) for v in planned.views_of(job.chunk)]
        views = ", ".join(ids[:VIEWS_NAMED]) + (", …" if len(ids) > VIEWS_NAMED else "")
        return f"{_named(planned.name, job.chunk, job.fuse.box)} of {views}"

    @staticmethod
    def smaller(task: Task) -> Task | None:
        """The same task with less memory; None where there is none."""
        (job,) = task.args
        less = job.in_pieces() if isinstance(job, WriteJob) else None
        return None if less is None else _task(less)

    def _is_new(self, job: WriteJob | CoarsenJob) -> bool:
        stage = job.stage if isinstance(job, CoarsenJob) else 0
        known = (job.output, stage, job.chunk) in self._receipts
        self.done += known
        return not known

    def _next_stage(self, number: int) -> Iterator[Task]:
        """Tasks of the next stage that has any to do."""
        planned, state = self._outputs[number], self._pending[number]
        while state.stage + 1 < len(planned.stages):
            state.stage += 1
            jobs = planned.coarsen_jobs(number, state.stage, state.writers)
            new = [job for job in jobs if self._is_new(job)]
            if new:
                state.missing = len(new)
                yield from map(_task, new)
                return


def write_graph(
    planned: PlannedOutput, writers: tuple[Writer, ...], number: int = 0
) -> dict[Key, Task]:
    """The first stage of one image as a dask graph: one task per super-chunk, no edges."""
    jobs = planned.write_jobs(number, writers)
    return {task.key: task for task in map(_task, jobs)}


def view_tasks(outputs: Iterable[PlannedOutput], folder: str) -> list[Task]:
    """Tasks that make the quality maps and backgrounds which do not exist yet, one per view."""
    wanted: dict[str, Task] = {}
    for planned in outputs:
        strength = planned.params.quality_strength
        for view, file in planned.quality_jobs(folder):
            given = (view.source, view.shape, strength, file)
            wanted[file] = Task(("quality", file), save_quality, *given)
        for view, file in planned.background_jobs(folder):
            given_view = (view.source, view.shape, file)
            wanted[file] = Task(("background", file), save_background, *given_view)
    return [task for file, task in wanted.items() if not Path(file).exists()]


def _named(image: str, chunk: int, box: Box) -> str:
    return f"image {image}, chunk {chunk} (voxels {box.start} to {box.stop})"


def _task(job: WriteJob | CoarsenJob) -> Task:
    if isinstance(job, WriteJob):
        key = ("write", job.output, 0, job.chunk)
        return Task(key, write_chunk, job, _data_producer=True)
    key = ("coarsen", job.output, job.stage, job.chunk)
    return Task(key, coarsen_chunk, job, _data_producer=True)
