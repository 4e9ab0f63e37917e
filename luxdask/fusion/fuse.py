"""Fuse the windows of several views into one block of output."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.array.backend import address, is_device
from luxdask.array.scratch import scratch
from luxdask.fusion.cuda import VIEW, fuse_views
from luxdask.fusion.rows import fuse_rows
from luxdask.model.geometry import Affine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape, Vector

NO_RAMP = 1e9
PAD = {"linear": 1, "cubic": 2}
"""Voxels that a window must reach beyond the last coordinate, per interpolation."""


@dataclass(frozen=True, slots=True)
class Quality:
    """A view's image-quality map: (Z, Y, X) float32 weights, and where its cells lie."""

    weights: NDArray[np.float32]
    out_to_cell: Affine


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a view that one block of output needs.

    Attributes
    ----------
    voxels
        (Z, Y, X) uint16, C-contiguous, reaching `PAD` voxels beyond what is interpolated.
    out_to_view
        Output voxel -> voxel of the whole view.
    lower, upper
        Extent of the whole view in its voxels (its borders, not voxel centres).
    blend_width
        Blending width in view voxels per axis, 0 for none.
    start
        Voxel of the view at which the window begins.
    """

    voxels: NDArray[np.uint16]
    out_to_view: Affine
    lower: Vector
    upper: Vector
    blend_width: Vector = (0.0, 0.0, 0.0)
    quality: Quality | None = None
    start: Shape = (0, 0, 0)


def empty_windows(shapes: Sequence[Shape]) -> tuple[NDArray[np.uint16], list[NDArray[np.uint16]]]:
    """One buffer for several windows, and a (Z, Y, X) view on each of them.

    The buffer is one voxel longer than the windows, as the gathering interpolation needs. It is
    valid until this thread asks for the next one.
    """
    pool = scratch("windows", sum(prod(shape) for shape in shapes) + 1)
    pool[-1] = 0
    return pool, windows_in(pool, shapes)


def windows_in(pool: Any, shapes: Sequence[Shape]) -> list[Any]:
    """(Z, Y, X) views on the windows that lie one after the other in a buffer on any device."""
    sizes = [prod(shape) for shape in shapes]
    ends = accumulate(sizes)
    return [pool[e - n : e].reshape(s) for e, n, s in zip(ends, sizes, shapes, strict=True)]


def fuse_windows(
    windows: Sequence[Window],
    pool: NDArray[np.uint16],
    shape: Shape,
    *,
    corner: Shape = (0, 0, 0),
    interpolation: str = "linear",
    blend: bool = False,
    scale: float = 1.0,
) -> NDArray[np.uint16]:
    """Weighted mean of all views on a block of output voxels.

    windows : views; their `voxels` are parts of `pool` (see `empty_windows`).
    shape : (Z, Y, X) of the block.
    corner : first output voxel of the block.
    interpolation : "linear" (trilinear) or "cubic" (Keys 1981, a = -0.5).
    blend : weigh by the distance to the border of each view.
    scale : factor on the result.
    Returns a new uint16 array, 0 where no view covers; rounded to nearest, saturating. On the CPU a
    voxel's value does not depend on the block it is part of. A pool on a GPU is fused there, and
    the result lies there.
    """
    quality, cells, cell_maps = quality_arrays(windows)
    if is_device(pool):
        views = _view_table(windows, pool, corner)
        fused: NDArray[np.uint16] = fuse_views(
            pool, views, quality, shape, interpolation=interpolation, blend=blend, scale=scale
        )
        return fused
    out = np.empty(shape, dtype=np.uint16)
    fuse_rows(
        pool,
        np.array([first_voxel(w, pool) for w in windows], dtype=np.int64),
        np.array([pitch_of(w) for w in windows], dtype=np.int64).reshape(-1, 2),
        np.array([w.out_to_view.to_array() for w in windows]).reshape(-1, 3, 4),
        np.array([list(zip(w.lower, w.upper, strict=True)) for w in windows]).reshape(-1, 3, 2),
        np.array([slopes_of(w.blend_width) for w in windows]).reshape(-1, 3),
        blend,
        quality,
        cells,
        cell_maps,
        interpolation == "cubic",
        float(scale),
        np.array(corner, dtype=np.int64),
        out,
    )
    return out


def _view_table(windows: Sequence[Window], pool: NDArray[np.uint16], corner: Shape) -> NDArray[Any]:
    """The windows as the CUDA kernels take them: relative to the block and the window."""
    table = np.zeros(len(windows), VIEW)
    _, table["cells"], cell_maps = quality_arrays(windows)
    here = Affine.translation(corner)
    for row, window, cell_map in zip(table, windows, cell_maps, strict=True):
        to_window = Affine.translation(np.negative(window.start)) @ window.out_to_view @ here
        row["start"] = _offset(window.voxels, pool)
        row["pitch"] = pitch_of(window)
        row["to_window"] = to_window.to_array()
        row["border"] = np.subtract([window.lower, window.upper], window.start).T
        row["slope"] = slopes_of(window.blend_width)
        row["to_cell"] = (Affine.from_array(cell_map) @ here).to_array()
    return table


def _offset(part: NDArray[np.uint16], pool: NDArray[np.uint16]) -> int:
    return (address(part) - address(pool)) // 2


def pitch_of(window: Window) -> tuple[int, int]:
    """Voxels per plane and per row of a window."""
    plane, row, _ = window.voxels.strides
    return plane // 2, row // 2


def first_voxel(window: Window, pool: NDArray[np.uint16]) -> int:
    """Where voxel (0, 0, 0) of the view would lie, were the window larger."""
    plane, row = pitch_of(window)
    z, y, x = window.start
    return _offset(window.voxels, pool) - z * plane - y * row - x


def slopes_of(width: Vector) -> list[float]:
    """Steepness of the blending ramp per axis."""
    return [1.0 / w if w > 0 else NO_RAMP for w in width]


def quality_arrays(
    windows: Sequence[Window],
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    """Quality maps as `fuse_rows` takes them: one buffer, starts and shapes, maps to cells."""
    cells = np.full((len(windows), 4), -1, dtype=np.int64)
    maps = np.zeros((len(windows), 3, 4))
    parts: list[NDArray[np.float32]] = []
    start = 0
    for n, window in enumerate(windows):
        if window.quality is not None:
            weights = window.quality.weights
            cells[n] = start, *weights.shape
            maps[n] = window.quality.out_to_cell.to_array()
            parts.append(np.ascontiguousarray(weights, dtype=np.float32).ravel())
            start += weights.size
    quality = np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)
    return quality, cells, maps
