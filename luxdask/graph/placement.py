"""How one view lies on one output: averaging, interpolation window, blending — all as plain data.

Where an output voxel is larger than a view's voxels, the view is first averaged over whole voxels
(bins) and then interpolated. For unrotated views the bins are laid on the output voxels, so that
equal samplings average exactly; a bin is called a voxel of the *binned* view below.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

import numpy as np

from luxdask.fusion.quality import CELL
from luxdask.model.geometry import Affine, Box, shape3, vector

if TYPE_CHECKING:
    from luxdask.graph.params import FusionParams
    from luxdask.model.geometry import Grid, Shape, Vector
    from luxdask.model.view import Source, View

BLEND_PART = 0.1
"""Automatic blending width as a part of the view's size per axis."""

_EDGE = 1e-5
_ROUNDING = 1e-4
"""Kernels count in float32 along a row: a coordinate may come out this much off."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A view as the tasks of one output need it.

    Attributes
    ----------
    source, shape
        Where the voxels lie, and how many there are.
    factor, phase
        Voxels per bin and axis; the first voxel of bin 0.
    out_to_bin
        Output voxel -> voxel of the binned view.
    lower, upper
        Borders of the view in binned voxels.
    blend_width
        Blending width in binned voxels, 0 for none.
    whole
        Per axis: output voxels fall on binned voxels exactly, so that no neighbour is needed.
    bins
        Per axis the binned voxels that hold anything: first, and one past the last.
    """

    source: Source
    shape: Shape
    factor: Shape
    phase: Shape
    out_to_bin: Affine
    lower: Vector
    upper: Vector
    blend_width: Vector
    whole: tuple[bool, bool, bool]
    bins: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What one chunk needs of one view.

    `window` (binned voxels) is what the interpolation touches; only `needed` is read, the rest of
    the window repeats its border.
    """

    placement: Placement
    window: Box
    needed: Box


def place_view(view: View, grid: Grid, params: FusionParams) -> Placement:
    """Lay a view on an output grid."""
    shape = view.shape
    out_to_view = view.view_to_world.inverse() @ grid.to_world
    factor = _bin_factor(out_to_view)
    phase = _bin_phase(out_to_view, factor)
    view_to_bin = _view_to_bin(factor, phase)
    out_to_bin = view_to_bin @ out_to_view
    border = view_to_bin.apply(np.array([np.full(3, -0.5), np.array(shape) - 0.5]))
    return Placement(
        view.source,
        shape,
        factor,
        phase,
        out_to_bin,
        vector(border[0]),
        vector(border[1]),
        _blend_width(view, factor, params),
        _whole_axes(out_to_bin),
        _bin_ranges(shape, factor, phase),
    )


def part_of(placement: Placement, box: Box, pad: int) -> Part | None:
    """The window of a view that an output box needs; None where they do not meet.

    pad : voxels that the interpolation touches beyond a coordinate (1 linear, 2 cubic).

    A plan of a million chunks asks this for every one of them, so it works on plain numbers: the
    least and greatest coordinate of an affine map over a box are found term by term.
    """
    window, needed = [], []
    for axis in range(3):
        low, high = _reach(placement.out_to_bin, box, axis)
        low, high = max(low, placement.lower[axis]), min(high, placement.upper[axis])
        if low > high + _EDGE:
            return None
        first, last = floor(low - _ROUNDING) - (pad - 1), floor(high + _ROUNDING) + pad + 1
        window.append((first, last))
        if placement.whole[axis]:
            first, last = round(low), round(high) + 1
        bins = placement.bins[axis]
        first = min(max(first, bins[0]), bins[1] - 1)
        needed.append((first, min(max(last, first + 1), bins[1])))
    return Part(placement, _box_of(window), _box_of(needed))


def quality_cells(placement: Placement) -> Affine:
    """Output voxel -> cell of the view's quality map (centres are integers)."""
    bin_to_view = _view_to_bin(placement.factor, placement.phase).inverse()
    offset = -(CELL - 1) / 2 / CELL
    view_to_cell = Affine.scale([1 / CELL] * 3, [offset] * 3)
    return view_to_cell @ bin_to_view @ placement.out_to_bin


def _reach(out_to_bin: Affine, box: Box, axis: int) -> tuple[float, float]:
    """Least and greatest coordinate along one axis over the voxel centres of a box."""
    low = high = out_to_bin.offset[axis]
    for slope, start, stop in zip(out_to_bin.linear[axis], box.start, box.stop, strict=True):
        a, b = slope * start, slope * (stop - 1)
        low, high = low + min(a, b), high + max(a, b)
    return low, high


def _box_of(ranges: list[tuple[int, int]]) -> Box:
    (z0, z1), (y0, y1), (x0, x1) = ranges
    return Box((z0, y0, x0), (z1, y1, x1))


def _bin_factor(out_to_view: Affine) -> Shape:
    """Whole input voxels per output voxel along each input axis, at least 1."""
    size = np.linalg.norm(np.array(out_to_view.linear), axis=1)
    return shape3(np.maximum(np.floor(size + 1e-3), 1).astype(int).tolist())


def _bin_phase(out_to_view: Affine, factor: Shape) -> Shape:
    """Where bins begin, so that output voxel 0 is as near as can be to the middle of a bin."""
    if factor == (1, 1, 1) or not out_to_view.is_axis_aligned():
        return (0, 0, 0)
    f = np.array(factor)
    start = np.rint(np.array(out_to_view.offset) - (f - 1) / 2 - 1e-6).astype(int)
    return shape3((start % f).tolist())


def _view_to_bin(factor: Shape, phase: Shape) -> Affine:
    f, p = np.array(factor), np.array(phase)
    return Affine.scale(1 / f, -(p + (f - 1) / 2) / f)


def _blend_width(view: View, factor: Shape, params: FusionParams) -> Vector:
    if not params.blend:
        return (0.0, 0.0, 0.0)
    width = np.array(view.shape) * BLEND_PART
    if params.blend_width_um is not None:
        width = params.blend_width_um / np.array(view.spacing_um)
    return vector(width / np.array(factor))


def _whole_axes(out_to_bin: Affine) -> tuple[bool, bool, bool]:
    linear, offset = np.array(out_to_bin.linear), np.array(out_to_bin.offset)
    near = np.abs(linear - np.rint(linear)).max(axis=1) < 1e-12
    near &= np.abs(offset - np.rint(offset)) < 1e-7
    z, y, x = (near & (np.abs(np.rint(linear)).sum(axis=1) == 1)).tolist()
    return z, y, x


def _bin_ranges(shape: Shape, factor: Shape, phase: Shape) -> tuple[tuple[int, int], ...]:
    """Per axis the bins that hold at least one voxel of the view: first, and one past the last."""
    return tuple((-(p > 0), -(-(n - p) // f)) for n, f, p in zip(shape, factor, phase, strict=True))
