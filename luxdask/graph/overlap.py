"""Which views does each output chunk need: exact for rotated views, linear in views and chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import volume_corners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from luxdask.graph.chunks import ChunkGrid
    from luxdask.model.geometry import Affine, Shape


@dataclass(frozen=True, slots=True)
class OverlapTable:
    """Views per chunk as two flat arrays: ``views[first[c]:first[c + 1]]``, ascending."""

    first: NDArray[np.int64]
    views: NDArray[np.int32]

    def views_of(self, chunk: int) -> list[int]:
        """Numbers of the views that chunk `chunk` overlaps."""
        found: list[int] = self.views[self.first[chunk] : self.first[chunk + 1]].tolist()
        return found

    @property
    def covered(self) -> NDArray[np.int64]:
        """Chunks that at least one view overlaps, ascending."""
        return np.flatnonzero(np.diff(self.first))


def overlap_table(placed: Sequence[tuple[Shape, Affine]], chunks: ChunkGrid) -> OverlapTable:
    """Table of the views, given as (shape, view voxel -> output voxel), over all chunks."""
    touched = [touched_chunks(shape, view_to_out, chunks) for shape, view_to_out in placed]
    sizes = np.array([len(t) for t in touched], dtype=np.int64)
    chunk_of = np.concatenate([np.empty(0, np.int64), *touched])
    view_of = np.repeat(np.arange(len(placed), dtype=np.int32), sizes)
    order = np.argsort(chunk_of, kind="stable")
    counts = np.bincount(chunk_of, minlength=len(chunks))
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return OverlapTable(first, view_of[order])


def touched_chunks(shape: Shape, view_to_out: Affine, chunks: ChunkGrid) -> NDArray[np.int64]:
    """Numbers of the chunks that hold a voxel centre inside the view (or nearly so)."""
    corners = view_to_out.apply(volume_corners(shape))
    ranges = _index_ranges(corners, chunks)
    if any(stop <= start for start, stop in ranges):
        return np.empty(0, dtype=np.int64)
    grid = np.meshgrid(*(np.arange(a, b) for a, b in ranges), indexing="ij", sparse=True)
    _, ny, nx = chunks.counts
    numbers = ((grid[0] * ny + grid[1]) * nx + grid[2]).ravel()
    if view_to_out.is_axis_aligned():
        return numbers
    return numbers[_boxes_touch(numbers, chunks, view_to_out, shape)]


def _index_ranges(corners: NDArray[np.float64], chunks: ChunkGrid) -> list[tuple[int, int]]:
    """Chunks per axis whose voxel centres reach into the corners' bounding box."""
    ranges = []
    for axis in range(3):
        low = np.ceil(corners[:, axis].min() - 1e-6)
        high = np.floor(corners[:, axis].max() + 1e-6)
        first = max(0, int(low // chunks.chunk[axis]))
        last = min(chunks.counts[axis] - 1, int(high // chunks.chunk[axis]))
        ranges.append((first, last + 1))
    return ranges


def _boxes_touch(
    numbers: NDArray[np.int64], chunks: ChunkGrid, view_to_out: Affine, shape: Shape
) -> NDArray[np.bool_]:
    """Separating-axis test of chunk boxes against the view's parallelepiped.

    Two convex bodies are apart exactly when some face normal or cross product of edges separates
    their projections; the chunk's own axes were tested before.
    """
    edges = np.array(view_to_out.linear).T  # rows: the view's axes in output voxels
    half_view = edges * (np.array(shape) / 2)[:, None]
    centre = view_to_out.apply((np.array(shape) - 1) / 2)
    axes = np.concatenate(
        [
            np.cross(edges, np.roll(edges, -1, axis=0)),
            *(np.cross(np.eye(3)[a], edges) for a in range(3)),
        ]
    )
    axes = axes[np.linalg.norm(axes, axis=1) > 1e-9]
    start, stop = _bounds(numbers, chunks)
    middle, half = (start + stop - 1) / 2, (stop - 1 - start) / 2
    distance = np.abs((middle - centre) @ axes.T)
    reach = half @ np.abs(axes).T + np.abs(half_view @ axes.T).sum(axis=0)
    return np.asarray((distance <= reach + 1e-6).all(axis=1))


def _bounds(
    numbers: NDArray[np.int64], chunks: ChunkGrid
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    _, ny, nx = chunks.counts
    index = np.stack([numbers // (ny * nx), numbers // nx % ny, numbers % nx], axis=1)
    start = index * np.array(chunks.chunk)
    return start, np.minimum(start + np.array(chunks.chunk), chunks.shape)
