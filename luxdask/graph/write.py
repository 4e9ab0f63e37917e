"""Write tasks: fuse a super-chunk, build its pyramid in memory, store both, return a receipt."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from luxdask.array.pyramid import downsample
from luxdask.graph.fusion import fuse_chunk
from luxdask.graph.read import window_bytes_read
from luxdask.model.geometry import Box, shape3
from luxdask.model.levels import level_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from luxdask.graph.fusion import FuseJob
    from luxdask.io.writer import Writer
    from luxdask.model.geometry import Shape


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a write task did: enough for resuming and for progress, and small."""

    output: int
    stage: int
    chunk: int
    voxels: int
    bytes_read: int
    bytes_written: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WriteJob:
    """One super-chunk of one output, for every file it goes into.

    `levels` are the pyramid levels to write, finest first; `shape` is that of the whole image.
    """

    output: int
    chunk: int
    shape: Shape
    fuse: FuseJob
    levels: tuple[Shape, ...]
    writers: tuple[Writer, ...]


@dataclass(frozen=True, slots=True)
class CoarsenJob:
    """Pyramid levels too coarse for one super-chunk, made from a level that is on disk.

    `box` is a region of level `source` (an index into the writers' levels).
    """

    output: int
    stage: int
    chunk: int
    shape: Shape
    box: Box
    source: int
    levels: tuple[Shape, ...]
    writers: tuple[Writer, ...]


def write_chunk(job: WriteJob) -> Receipt:
    """Compute and store one super-chunk with its part of the pyramid."""
    begin = perf_counter()
    box = job.fuse.box
    block = fuse_chunk(job.fuse)
    written = 0
    for level, region, values in _pyramid(block, box.start, job.shape, job.levels):
        for writer in job.writers:
            written += writer.write(level, region, values)
    read = sum(window_bytes_read(part) for part in job.fuse.parts)
    return Receipt(job.output, 0, job.chunk, block.size, read, written, perf_counter() - begin)


def coarsen_chunk(job: CoarsenJob) -> Receipt:
    """Read a region of a level and store the coarser ones made of it."""
    begin = perf_counter()
    written = read = 0
    scale = job.levels[0]
    start = shape3(np.multiply(job.box.start, scale).tolist())
    for writer in job.writers:
        block = writer.read(job.source, job.box)
        read += block.nbytes
        made = _pyramid(block, start, job.shape, job.levels)
        next(made)
        for level, region, values in made:
            written += writer.write(job.source + level, region, values)
    spent = perf_counter() - begin
    return Receipt(job.output, job.stage, job.chunk, 0, read, written, spent)


def _pyramid(
    block: NDArray[np.uint16], start: Shape, shape: Shape, levels: Sequence[Shape]
) -> Iterator[tuple[int, Shape, NDArray[np.uint16]]]:
    """Level number, first voxel and values of a block on each level; start in full resolution."""
    previous = levels[0]
    for number, factor in enumerate(levels):
        if factor != previous:
            step = shape3([f // g for f, g in zip(factor, previous, strict=True)])
            block = downsample(block, step)
        previous = factor
        region = shape3([s // f for s, f in zip(start, factor, strict=True)])
        inside = level_shape(shape, factor)
        room = [n - r for n, r in zip(inside, region, strict=True)]
        if min(room) <= 0:
            return
        clipped = block[: room[0], : room[1], : room[2]]
        yield number, region, clipped
