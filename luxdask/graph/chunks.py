"""Division of an output into super-chunks, the regions that one task computes and writes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from luxdask.model.geometry import Box, shape3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luxdask.model.geometry import Shape

STORED = 64
"""Chunk size on disk; super-chunks are multiples of it."""

FLAT: Shape = (64, 256, 512)
"""Super-chunk of unrotated views: long rows, and what a task touches stays in the cache."""

LARGE: tuple[tuple[int, Shape], ...] = ((1 << 36, (128, 512, 512)), (1 << 32, (64, 512, 512)))
"""Super-chunks of large outputs (from so many voxels on): fewer tasks for the scheduler."""

CUBE: Shape = (256, 256, 256)
"""Super-chunk where views are oblique: a slab would span a far larger part of them."""

MOST_SOURCE_VOXELS = 1 << 28
"""What one task reads at the most of one view, so that downsampling tasks stay short."""


@dataclass(frozen=True, slots=True)
class ChunkGrid:
    """An array of `shape` cut into chunks; the last ones per axis are clipped."""

    shape: Shape
    chunk: Shape

    @property
    def counts(self) -> Shape:
        """Number of chunks per axis."""
        return shape3([-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True)])

    def __len__(self) -> int:
        return prod(self.counts)

    def index(self, number: int) -> Shape:
        """Position (z, y, x) of a chunk in the grid."""
        _, ny, nx = self.counts
        return number // (ny * nx), number // nx % ny, number % nx

    def number(self, z: int, y: int, x: int) -> int:
        """The chunk at a position in the grid."""
        _, ny, nx = self.counts
        return (z * ny + y) * nx + x

    def box(self, number: int) -> Box:
        """Voxels of a chunk."""
        start = shape3([i * c for i, c in zip(self.index(number), self.chunk, strict=True)])
        stop = [min(s + c, n) for s, c, n in zip(start, self.chunk, self.shape, strict=True)]
        return Box(start, shape3(stop))

    def boxes(self) -> Iterator[Box]:
        """All chunks in order."""
        return (self.box(n) for n in range(len(self)))

    @property
    def dask_chunks(self) -> tuple[tuple[int, ...], ...]:
        """Chunk sizes per axis, as dask writes them."""
        return tuple(
            tuple(min(c, n - i) for i in range(0, n, c))
            for n, c in zip(self.shape, self.chunk, strict=True)
        )


def super_chunk(shape: Shape, *, oblique: bool, source_factor: int = 1) -> Shape:
    """A good super-chunk for an output of `shape`.

    oblique : whether some view is rotated against the output axes.
    source_factor : input voxels that are averaged into one output voxel.
    """
    flat = next((chunk for size, chunk in LARGE if prod(shape) >= size), FLAT)
    chunk = list(CUBE if oblique else flat)
    while not oblique and chunk[0] > STORED and chunk[0] // 2 >= shape[0]:
        chunk[0] //= 2
        chunk[1 if chunk[1] == chunk[2] else 2] *= 2
    while prod(chunk) * source_factor > MOST_SOURCE_VOXELS and max(chunk) > STORED:
        chunk[chunk.index(max(chunk))] //= 2
    return shape3(chunk)
