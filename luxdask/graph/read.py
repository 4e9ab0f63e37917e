"""Read the windows of views: averaged where the output is coarser, borders repeated."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from luxdask.array.pyramid import bin_into
from luxdask.io.reader import reader_for
from luxdask.model.geometry import Box, shape3
from luxdask.model.levels import FULL, level_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.graph.placement import Part
    from luxdask.model.geometry import Shape
    from luxdask.model.view import Source

SCRATCH: Shape = (64, 512, 512)
"""Input voxels that are read at once for averaging: bounds the memory of downsampling."""


class Binned(Protocol):
    """A view averaged over whole voxels: `factor` per bin and axis, bin 0 begins at `phase`."""

    @property
    def source(self) -> Source:
        """Where the voxels lie."""

    @property
    def shape(self) -> Shape:
        """Voxels of the view."""

    @property
    def factor(self) -> Shape:
        """Voxels per bin."""

    @property
    def phase(self) -> Shape:
        """First voxel of bin 0."""


def read_window(part: Part, out: NDArray[np.uint16]) -> None:
    """Fill `out` (shape of the part's window) with binned voxels of the view."""
    inner = out[part.needed.shift([-s for s in part.window.start]).slices]
    if part.placement.factor == FULL:
        reader_for(part.placement.source).read_into(
            part.placement.source, part.needed, inner, level=FULL
        )
    else:
        read_binned(part.placement, part.needed, inner)
    _repeat_border(out, part.window, part.needed)


def window_bytes_read(part: Part) -> int:
    """Input bytes that a part asks for, at full resolution."""
    return _input_box(part.placement, part.needed, FULL).size * 2


def _input_box(view: Binned, bins: Box, level: Shape) -> Box:
    """Voxels of a stored level that lie in a box of bins."""
    f, p = _in_level(view, level)
    start, stop = np.array(bins.start) * f + p, np.array(bins.stop) * f + p
    whole = Box.of_shape(level_shape(view.shape, level))
    return Box(shape3(start.tolist()), shape3(stop.tolist())) & whole


def _in_level(view: Binned, level: Shape) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Factor and phase of the bins, counted in voxels of a stored level."""
    g = np.array(level)
    return np.array(view.factor) // g, np.array(view.phase) // g


def _bins_in(view: Binned, bins: Box, level: Shape) -> Box:
    """The bins that hold a voxel of the level: its remainder at the end may be missing."""
    f, p = _in_level(view, level)
    stop = -(-(np.array(level_shape(view.shape, level)) - p) // f)
    return Box(bins.start, shape3(np.minimum(bins.stop, stop).tolist()))


def read_binned(view: Binned, bins: Box, out: NDArray[np.uint16]) -> None:
    """Average blocks of the input; each is read once, so memory does not grow with the factor."""
    level = _best_level(view.source, view.factor, view.phase)
    present = _bins_in(view, bins, level)
    if not present:
        level, present = FULL, bins
    f, p = _in_level(view, level)
    step = shape3(np.maximum(np.array(SCRATCH) // f, 1).tolist())
    reader = reader_for(view.source)
    for block in _tiles(present, step):
        box = _input_box(view, block, level)
        voxels = np.empty(box.shape, dtype=np.uint16)
        reader.read_into(view.source, box, voxels, level=level)
        first = np.array(block.start) * f + p - np.array(box.start)
        target = out[block.shift([-s for s in bins.start]).slices]
        bin_into(voxels, target, tuple(first.tolist()), tuple(f.tolist()))
    _repeat_border(out, bins, present)


@lru_cache(maxsize=4096)
def _best_level(source: Source, factor: Shape, phase: Shape) -> Shape:
    """The coarsest stored level whose voxels make up whole bins."""
    fitting = [
        level
        for level in reader_for(source).levels(source)
        if all(f % g == 0 and p % g == 0 for f, p, g in zip(factor, phase, level, strict=True))
    ]
    return max(fitting, key=lambda level: int(np.prod(level)), default=FULL)


def _tiles(box: Box, step: Shape) -> list[Box]:
    starts = [range(a, b, s) for a, b, s in zip(box.start, box.stop, step, strict=True)]
    return [
        Box((z, y, x), shape3([z + step[0], y + step[1], x + step[2]])) & box
        for z in starts[0]
        for y in starts[1]
        for x in starts[2]
    ]


def _repeat_border(out: NDArray[np.uint16], window: Box, filled: Box) -> None:
    """Fill a window outside the part that was read with its nearest voxels."""
    for axis in range(3):
        lead = filled.start[axis] - window.start[axis]
        tail = window.stop[axis] - filled.stop[axis]
        moved = np.moveaxis(out, axis, 0)
        if lead > 0:
            moved[:lead] = moved[lead]
        if tail > 0:
            moved[-tail:] = moved[-tail - 1]
