"""How one view lies on one output: averaging, interpolation window, blending — all as plain data.

Where an output voxel is larger than a view's voxels, the view is first averaged over whole voxels
(bins) and then interpolated. For unrotated views the bins are laid on the output voxels, so that
equal samplings average exactly; a bin is called a voxel of the *binned* view below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import Affine, Box, shape3, vector

if TYPE_CHECKING:
    from luxdask.graph.params import FusionParams
    from luxdask.model.geometry import Grid, Shape, Vector
    from luxdask.model.view import Source, View

QUALITY_CELL = 64
BLEND_PART = 0.1
"""Automatic blending width as a part of the view's size per axis."""

_EDGE = 1e-5


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
    )


def part_of(placement: Placement, box: Box, pad: int) -> Part | None:
    """The window of a view that an output box needs; None where they do not meet.

    pad : voxels that the interpolation touches beyond a coordinate (1 linear, 2 cubic).
    """
    corners = np.array([[b[i >> a & 1] for a, b in enumerate(_ends(box))] for i in range(8)])
    reach = placement.out_to_bin.apply(corners)
    low = np.maximum(reach.min(axis=0), placement.lower)
    high = np.minimum(reach.max(axis=0), placement.upper)
    if (low > high + _EDGE).any():
        return None
    touched_from = np.floor(low - _EDGE).astype(int) - (pad - 1)
    touched_to = np.floor(high + _EDGE).astype(int) + pad + 1
    needed_from = np.where(placement.whole, np.rint(low), touched_from).astype(int)
    needed_to = np.where(placement.whole, np.rint(high) + 1, touched_to).astype(int)
    first, last = _bin_range(placement)
    needed_from = np.clip(needed_from, first, last - 1)
    needed_to = np.clip(needed_to, needed_from + 1, last)
    return Part(
        placement,
        Box(shape3(touched_from.tolist()), shape3(touched_to.tolist())),
        Box(shape3(needed_from.tolist()), shape3(needed_to.tolist())),
    )


def quality_cells(placement: Placement) -> Affine:
    """Output voxel -> cell of the view's quality map (centres are integers)."""
    bin_to_view = _view_to_bin(placement.factor, placement.phase).inverse()
    offset = -(QUALITY_CELL - 1) / 2 / QUALITY_CELL
    view_to_cell = Affine.scale([1 / QUALITY_CELL] * 3, [offset] * 3)
    return view_to_cell @ bin_to_view @ placement.out_to_bin


def _ends(box: Box) -> list[tuple[int, int]]:
    """First and last voxel centre per axis."""
    return [(a, b - 1) for a, b in zip(box.start, box.stop, strict=True)]


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


def _bin_range(placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Bins that hold at least one voxel of the view: first, and one past the last."""
    f, p, n = (np.array(v) for v in (placement.factor, placement.phase, placement.shape))
    return -(p > 0).astype(int), -(-(n - p) // f)
