"""Fuse one chunk of output: what its task carries and what it does.

Two faces of the same plan. `fuse_chunk` reads and fuses in a single task, which is what runs on a
cluster; `read_part` and `fuse_read` are the same steps as separate tasks, whose edges a notebook
can look at (`luxdask.graph.layer`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from luxdask.array.backend import require_cuda, to_device, to_host
from luxdask.fusion.fuse import PAD, Quality, Window, empty_windows, fuse_windows, windows_in
from luxdask.graph.chunks import halves
from luxdask.graph.device import on_device
from luxdask.graph.placement import part_of, quality_cells
from luxdask.graph.quality import load_quality
from luxdask.graph.read import read_window
from luxdask.graph.stopwatch import timed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from luxdask.graph.params import FusionParams
    from luxdask.graph.placement import Part, Placement
    from luxdask.model.geometry import Box

PIECES = 8
"""Boxes of a block that did not fit into memory as one."""


@dataclass(frozen=True, slots=True)
class FuseJob:
    """One chunk of output: everything a worker needs, in a few kilobytes.

    `quality` names the file of each part's quality map, or None. With `pieces` above 1 the block is
    put together from so many boxes, fused one after the other, each with windows of its own.
    """

    box: Box
    parts: tuple[Part, ...]
    params: FusionParams
    quality: tuple[str | None, ...] = ()
    pieces: int = 1

    @property
    def peak_bytes(self) -> int:
        """Memory that the chunk needs at most: windows, result, its pyramid and row buffers."""
        if self.pieces > 1:
            piece = max(part.windows_bytes + part.box.size * 2 for part in self.piece_jobs())
            return piece + self.box.size * 2 * 8 // 7 + (16 << 20)
        return self.windows_bytes + self.box.size * 2 * 8 // 7 + (16 << 20)

    @property
    def windows_bytes(self) -> int:
        """Memory of what is read of the views."""
        return sum(part.window.size for part in self.parts) * 2

    def in_pieces(self) -> FuseJob | None:
        """The same block with less memory; None where it is made of pieces already."""
        if self.pieces > 1 or max(self.box.shape) < 2:
            return None
        return replace(self, pieces=PIECES)

    def piece_jobs(self) -> Iterator[FuseJob]:
        """The jobs of the pieces."""
        placements = [part.placement for part in self.parts]
        for box in halves(self.box, self.pieces):
            yield fuse_job(box, placements, self.params, self.quality)


def fuse_job(
    box: Box,
    placements: Sequence[Placement],
    params: FusionParams,
    quality: Sequence[str | None] = (),
) -> FuseJob:
    """Describe a chunk: the windows it needs of the views that overlap it."""
    pad = PAD[params.interpolation]
    files = quality or (None,) * len(placements)
    found = [(part_of(p, box, pad), file) for p, file in zip(placements, files, strict=True)]
    used = [(part, file) for part, file in found if part is not None]
    return FuseJob(box, tuple(p for p, _ in used), params, tuple(f for _, f in used))


def fuse_chunk(job: FuseJob) -> NDArray[np.uint16]:
    """Read the windows of a chunk and fuse them."""
    if job.pieces > 1:
        return _fuse_pieces(job)
    with timed("read"):
        pool, parts = empty_windows([part.window.shape for part in job.parts])
        for part, voxels in zip(job.parts, parts, strict=True):
            read_window(part, voxels)
        quality = [None if file is None else load_quality(file) for file in job.quality]
    return _fuse(job, pool, parts, quality)


def _fuse_pieces(job: FuseJob) -> NDArray[np.uint16]:
    """One box after the other, into one block: the windows of all of them never exist at once."""
    block = np.zeros(job.box.shape, dtype=np.uint16)
    for piece in job.piece_jobs():
        if piece.parts:
            inside = piece.box.shift([-s for s in job.box.start])
            block[inside.slices] = fuse_chunk(piece)
    return block


def fuse_read(
    job: FuseJob,
    windows: Sequence[NDArray[np.uint16]],
    quality: Sequence[NDArray[np.float32] | None],
) -> NDArray[np.uint16]:
    """Fuse windows that other tasks have read, weighted by maps that other tasks have made."""
    pool, parts = empty_windows([part.window.shape for part in job.parts])
    for voxels, window in zip(parts, windows, strict=True):
        voxels[...] = window
    return _fuse(job, pool, parts, quality)


def read_part(part: Part) -> NDArray[np.uint16]:
    """The window of one view for one chunk, as a task of its own."""
    out = np.empty(part.window.shape, dtype=np.uint16)
    read_window(part, out)
    return out


def _fuse(
    job: FuseJob,
    pool: NDArray[np.uint16],
    parts: Sequence[NDArray[np.uint16]],
    quality: Sequence[NDArray[np.float32] | None],
) -> NDArray[np.uint16]:
    """Fuse where the settings say; the result is in the memory of the CPU."""
    if job.params.device == "cpu":
        return _fuse_pool(job, pool, parts, quality)
    require_cuda()
    shapes = [part.window.shape for part in job.parts]

    def fuse() -> NDArray[np.uint16]:
        moved = to_device(pool)
        return to_host(_fuse_pool(job, moved, windows_in(moved, shapes), quality))

    return on_device(fuse)


def _fuse_pool(
    job: FuseJob,
    pool: NDArray[np.uint16],
    parts: Sequence[NDArray[np.uint16]],
    quality: Sequence[NDArray[np.float32] | None],
) -> NDArray[np.uint16]:
    """Fuse on the device that holds the windows."""
    windows = [
        window_of(part, voxels, weights)
        for part, voxels, weights in zip(job.parts, parts, quality, strict=True)
    ]
    return fuse_windows(
        windows,
        pool,
        job.box.shape,
        corner=job.box.start,
        interpolation=job.params.interpolation,
        blend=job.params.blend,
        scale=job.params.scale,
    )


def window_of(
    part: Part, voxels: NDArray[np.uint16], weights: NDArray[np.float32] | None
) -> Window:
    """What was read of a view, with its place and its quality map."""
    placement = part.placement
    return Window(
        voxels,
        placement.out_to_bin,
        placement.lower,
        placement.upper,
        placement.blend_width,
        None if weights is None else Quality(weights, quality_cells(placement)),
        part.window.start,
    )
