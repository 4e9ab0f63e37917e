"""Division of an output into super-chunks, the regions that one task computes and writes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
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

MOST_WITH_HALO = 1 << 25
"""Voxels of a super-chunk with its halo: more would save little, and cost memory."""


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

    def touching(self, box: Box) -> list[int]:
        """Numbers of the chunks that share a voxel with a box."""
        box = box & Box.of_shape(self.shape)
        if not box:
            return []
        ranges = [
            range(a // c, -(-b // c))
            for a, b, c in zip(box.start, box.stop, self.chunk, strict=True)
        ]
        return [self.number(z, y, x) for z, y, x in product(*ranges)]

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


def halo_chunk(
    shape: Shape, halo: Shape, slots: int = 1, most_voxels: int = MOST_WITH_HALO
) -> Shape:
    """A good super-chunk where every chunk is computed with a halo around it.

    Of those that hold at most `most_voxels` with their halo: the one with which `slots` tasks at a
    time are done first, the smaller where several are; the stored chunk where none is.
    """
    sizes = [sorted({_even_part(n, k) for k in range(1, -(-n // STORED) + 1)}) for n in shape]
    best = ((1 << 62, 1 << 62), (STORED, STORED, STORED))
    for z, y, x in product(*sizes):
        chunk = (z, y, x)
        region = prod(min(c, n) + 2 * h for c, n, h in zip(chunk, shape, halo, strict=True))
        if region <= most_voxels:
            rounds = -(-len(ChunkGrid(shape, chunk)) // slots)
            best = min(best, ((rounds * region, region), chunk))
    return best[1]


def _even_part(size: int, count: int) -> int:
    """Voxels of a chunk where an axis is cut into `count` nearly equal ones."""
    return -(-size // (count * STORED)) * STORED


def halves(box: Box, count: int) -> list[Box]:
    """A box halved along its longest axis, and again, until there are so many boxes."""
    boxes = [box]
    while len(boxes) < count and max(boxes[0].shape) > 1:
        boxes = [half for whole in boxes for half in _halved(whole)]
    return boxes


def _halved(box: Box) -> list[Box]:
    axis = box.shape.index(max(box.shape))
    if box.shape[axis] < 2:
        return [box]
    middle = list(box.start)
    middle[axis] += box.shape[axis] // 2
    stop = [m if a == axis else e for a, (m, e) in enumerate(zip(middle, box.stop, strict=True))]
    return [Box(box.start, shape3(stop)), Box(shape3(middle), box.stop)]
