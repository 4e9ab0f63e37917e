"""Which voxels of which pyramid levels a write task stores, and zeros for those nobody stores."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from dask.task_spec import Task

from luxdask.graph.write import Receipt
from luxdask.model.geometry import Box, shape3
from luxdask.model.levels import level_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luxdask.graph.planned import PlannedOutput
    from luxdask.io.writer import Writer


def written_regions(planned: PlannedOutput, stage: int, chunk: int) -> Iterator[tuple[int, Box]]:
    """Level number and region of all that one write task stores."""
    box, levels = planned.region(stage, chunk), planned.stages[stage]
    for factor in levels if stage == 0 else levels[1:]:
        whole = Box.of_shape(level_shape(planned.output.grid.shape, factor))
        start = [a // f for a, f in zip(box.start, factor, strict=True)]
        stop = [-(-b // f) for b, f in zip(box.stop, factor, strict=True)]
        region = Box(shape3(start), shape3(stop)) & whole
        if region:
            yield planned.levels.index(factor), region


def files_of(
    planned: PlannedOutput, writers: tuple[Writer, ...], stage: int, chunk: int
) -> set[str]:
    """Local files and folders that hold what one write task has stored."""
    regions = list(written_regions(planned, stage, chunk))
    return {file for w in writers for level, box in regions for file in w.files(level, box.start)}


@dataclass(frozen=True, slots=True)
class ClearJob:
    """A chunk that no view covers any more."""

    output: int
    chunk: int
    regions: tuple[tuple[int, Box], ...]
    writers: tuple[Writer, ...]


def clear_task(
    planned: PlannedOutput, writers: tuple[Writer, ...], output: int, chunk: int
) -> Task:
    """A task that fills a chunk with zeros on the levels that its write task would store."""
    job = ClearJob(output, chunk, tuple(written_regions(planned, 0, chunk)), writers)
    return Task(("clear", output, 0, chunk), clear_chunk, job, _data_producer=True)


def clear_chunk(job: ClearJob) -> Receipt:
    """Store zeros."""
    begin = perf_counter()
    written = 0
    for level, box in job.regions:
        zeros = np.zeros(box.shape, dtype=np.uint16)
        written += sum(writer.write(level, box.start, zeros) for writer in job.writers)
    return Receipt(job.output, 0, job.chunk, 0, 0, written, perf_counter() - begin)
