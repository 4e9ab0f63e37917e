"""Outputs on the voxels of images that exist already, so that both fit into one file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.bounding_box import TOLERANCE
from luxdask.model.geometry import Grid, vector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.model.output import Output
    from luxdask.model.view import View

SLACK_VX = 16.0
"""How far the border of an image may lie from that of the other one, in voxels."""

_SAME = 1e-6


def grid_of(view: View) -> Grid | None:
    """The grid of an image that lies along the axes of sample space, unmirrored; else None."""
    linear = np.array(view.view_to_world.linear)
    spacing = np.diag(linear)
    if (spacing <= 0).any() or not np.allclose(linear, np.diag(spacing), rtol=0, atol=_SAME):
        return None
    return Grid(view.shape, vector(spacing), view.view_to_world.offset)


def on_same_grid(
    outputs: Sequence[Output], images: Iterable[View]
) -> tuple[tuple[Output, ...], bool]:
    """The outputs, those near an image of the same voxel size on the grid of that image.

    Returns the outputs, and whether any grid has changed.
    """
    grids = [grid for grid in map(grid_of, images) if grid is not None]
    chosen = {grid: _nearest(grid, grids) for grid in {o.grid for o in outputs}}
    moved = tuple(replace(o, grid=chosen[o.grid]) for o in outputs)
    return moved, any(new != old for old, new in chosen.items())


def holds(grid: Grid, other: Grid) -> bool:
    """Whether all voxels of the other grid are voxels of this one."""
    if not np.allclose(grid.spacing_um, other.spacing_um, rtol=_SAME, atol=0):
        return False
    first = np.subtract(other.origin_um, grid.origin_um) / grid.spacing_um
    is_whole = np.allclose(first, np.rint(first), rtol=0, atol=TOLERANCE)
    inside = (np.rint(first) >= 0) & (np.rint(first) + other.shape <= grid.shape)
    return bool(is_whole and inside.all())


def _nearest(grid: Grid, others: Iterable[Grid]) -> Grid:
    near = [(_distance_vx(grid, other), n, other) for n, other in enumerate(others)]
    best = min(near, default=(np.inf, 0, grid))
    return best[2] if best[0] <= SLACK_VX else grid


def _distance_vx(a: Grid, b: Grid) -> float:
    """Largest distance of their borders in voxels; infinite for other voxel sizes."""
    if not np.allclose(a.spacing_um, b.spacing_um, rtol=_SAME, atol=0):
        return float("inf")
    one, two = a.bounding_box, b.bounding_box
    borders = np.subtract((one.lower, one.upper), (two.lower, two.upper))
    return float(np.abs(borders / a.spacing_um).max())
