"""Write tasks: fuse a super-chunk, build its pyramid in memory, store both, return a receipt."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from luxdask.array.pyramid import downsample
from luxdask.graph.deconvolution import DeconvolveJob, deconvolve_chunk
from luxdask.graph.fusion import fuse_chunk
from luxdask.graph.read import window_bytes_read
from luxdask.graph.stopwatch import take_times, timed
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
    """What a write task did: enough for resuming, for progress and for figures, and small.

    `seconds` are all of it, `read_s` and `write_s` parts of them; the rest was computing.
    `peak_bytes` is the most memory that the process on `host` ever had.
    """

    output: int
    stage: int
    chunk: int
    voxels: int
    bytes_read: int
    bytes_written: int
    seconds: float
    read_s: float = 0.0
    write_s: float = 0.0
    peak_bytes: int = 0
    host: str = ""


@dataclass(frozen=True, slots=True)
class WriteJob:
    """One super-chunk of one output, for every file it goes into.

    `levels` are the pyramid levels to write, finest first; `shape` is that of the whole image.
    """

    output: int
    chunk: int
    shape: Shape
    fuse: FuseJob | DeconvolveJob
    levels: tuple[Shape, ...]
    writers: tuple[Writer, ...]

    def in_pieces(self) -> WriteJob | None:
        """The same chunk with less memory; None where that is as small as it gets."""
        less = self.fuse.in_pieces()
        return None if less is None else replace(self, fuse=less)


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
    begin = _begin()
    box = job.fuse.box
    block = compute_chunk(job.fuse)
    written = 0
    for level, region, values in _pyramid(block, box.start, job.shape, job.levels):
        written += _write(job.writers, level, region, values)
    read = sum(window_bytes_read(part) for part in job.fuse.parts)
    return _receipt((job.output, 0, job.chunk), block.size, read, written, begin)


def compute_chunk(job: FuseJob | DeconvolveJob) -> NDArray[np.uint16]:
    """Read and compute one super-chunk, in the way that its job asks for."""
    return deconvolve_chunk(job) if isinstance(job, DeconvolveJob) else fuse_chunk(job)


def coarsen_chunk(job: CoarsenJob) -> Receipt:
    """Read a region of a level and store the coarser ones made of it."""
    begin = _begin()
    written = read = 0
    scale = job.levels[0]
    start = shape3(np.multiply(job.box.start, scale).tolist())
    for writer in job.writers:
        with timed("read"):
            block = writer.read(job.source, job.box)
        read += block.nbytes
        made = _pyramid(block, start, job.shape, job.levels)
        next(made)
        for level, region, values in made:
            written += _write((writer,), job.source + level, region, values)
    return _receipt((job.output, job.stage, job.chunk), 0, read, written, begin)


def _write(writers: Sequence[Writer], level: int, region: Shape, values: NDArray[np.uint16]) -> int:
    with timed("write"):
        return sum(writer.write(level, region, values) for writer in writers)


def _begin() -> float:
    take_times()  # a task that failed may have left some
    return perf_counter()


def _receipt(
    key: tuple[int, int, int], voxels: int, read: int, written: int, begin: float
) -> Receipt:
    spent, seconds = take_times(), perf_counter() - begin
    return Receipt(
        *key,
        voxels,
        read,
        written,
        seconds,
        read_s=spent.get("read", 0.0),
        write_s=spent.get("write", 0.0),
        peak_bytes=peak_memory_bytes(),
        host=socket.gethostname(),
    )


def peak_memory_bytes() -> int:
    """The most memory that this process ever had; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


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
