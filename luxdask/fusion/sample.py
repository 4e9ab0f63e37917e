"""Sample single views on a block of output: value and weight of each, for deconvolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luxdask.array.jit import kernel
from luxdask.fusion.fuse import first_voxel, pitch_of, quality_arrays, slopes_of
from luxdask.fusion.rows import apply_quality, place, profile_of, ranges_of, sample_row, weigh_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.fusion.fuse import Window
    from luxdask.model.geometry import Shape


def sample_window(
    window: Window,
    pool: NDArray[np.uint16],
    shape: Shape,
    *,
    corner: Shape = (0, 0, 0),
    interpolation: str = "linear",
    blend: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One view on a block of output voxels: its values and its weights, (Z, Y, X) float32.

    window : the view; its `voxels` are a part of `pool` (see `luxdask.fusion.fuse.empty_windows`).
    Both are 0 where the view does not cover; weights are above 0 everywhere else: blending times
    image quality, or 1. Values are those that fusion has where this view alone covers, before they
    are rounded; they do not depend on the block that a voxel is part of.
    """
    image, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    quality, cells, cell_maps = quality_arrays([window])
    sample_rows(
        pool,
        first_voxel(window, pool),
        np.array(pitch_of(window), dtype=np.int64),
        window.out_to_view.to_array()[np.newaxis],
        np.array([list(zip(window.lower, window.upper, strict=True))]),
        np.array(slopes_of(window.blend_width)),
        blend,
        quality,
        cells[0],
        cell_maps[0],
        interpolation == "cubic",
        np.array(corner, dtype=np.int64),
        image,
        weight,
    )
    return image, weight


@kernel
def sample_rows(  # type: ignore[no-untyped-def]
    pool,
    start,
    pitch,
    maps,
    border,
    slope,
    blend,
    quality,
    cell,
    cell_map,
    cubic,
    corner,
    image,
    weight,
):
    """Fill the rows of a block where one view covers them; see `fuse_rows` for the parameters.

    maps : (1, 3, 4), border : (1, 3, 2): those of this view alone.
    image, weight : (Z, Y, X) float32, zeros.
    """
    nz, ny, nx = image.shape
    z0, y0, x0 = corner[0], corner[1], corner[2]
    first, last = np.zeros(1, np.int64), np.zeros(1, np.int64)
    line, profile = np.empty(nx + 3, np.float32), np.empty(nx, np.float32)
    origin, step = np.empty(3), np.empty(3)
    has_profile = False
    if blend:
        has_profile = profile_of(maps[0], border[0], slope, x0, profile)
    for z in range(z0, z0 + nz):
        for y in range(y0, y0 + ny):
            ranges_of(maps, border, z, y, x0, x0 + nx, first, last, origin, step)
            a, b = first[0], last[0]
            count = b - a
            if count <= 0:
                continue
            place(maps[0], z, y, origin, step)
            row = image[z - z0, y - y0, a - x0 : b - x0]
            sample_row(pool, start, pitch, origin, step, a, cubic, row, line, count)
            target = weight[z - z0, y - y0, a - x0 : b - x0]
            if blend:
                own = profile[a - x0 : b - x0] if has_profile else profile[:0]
                weigh_row(origin, step, a, border[0], slope, own, target, count)
            else:
                target[:] = np.float32(1)
            if cell[0] >= 0:
                place(cell_map, z, y, origin, step)
                apply_quality(quality, cell[0], cell[1:], origin, step, a, target, count)
