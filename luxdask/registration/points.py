"""Places of a patch whose structure says most about where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import Affine
from luxdask.registration import refine_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import BoundingBox
    from luxdask.registration.texture import Texture

    Array = NDArray[np.float64]
    Index = NDArray[np.int64]

_BORDER = 3.0  # so many standard deviations of the smoothing lie between a point and the border
_LARGEST_PART = 0.5
_SAMPLE = 100_000


@dataclass(frozen=True, slots=True)
class Points:
    """Voxels of the fixed patch, in sample space.

    Attributes
    ----------
    places
        (N, 4) float32: (world - centre) / radius in z, y, x, and the value there.
    gradients
        (N, 3) float32, per µm of sample space.
    centre, radius_um
        Middle and size of the region that they come from.
    corners
        (8, 3) corners of that region in sample space.
    volume_um3
        Volume of the region.
    """

    places: NDArray[np.float32]
    gradients: NDArray[np.float32]
    centre: Array
    radius_um: float
    corners: Array
    volume_um3: float


def border_vx(texture: Texture) -> Array:
    """Voxels at the border of a texture that were smoothed with too little knowledge."""
    widest = (np.array(texture.values.shape) - 1) / 8
    return np.minimum(_BORDER * np.array(texture.sigma_vx), widest)


def strong_points(texture: Texture, region: BoundingBox, budget: int) -> Points | None:
    """The voxels with the strongest gradients in a region of sample space, at most `budget`.

    Returns None where the region holds no voxel that is far enough from the border.
    """
    return _points(texture, region, budget, strong=True)


def even_points(texture: Texture, region: BoundingBox, budget: int) -> Points | None:
    """Voxels all over a region, at most `budget`; None as in `strong_points`."""
    return _points(texture, region, budget, strong=False)


def _points(texture: Texture, region: BoundingBox, budget: int, *, strong: bool) -> Points | None:
    low, high = _voxel_range(texture, region)
    volume = int(np.prod(np.maximum(high - low, 0)))
    if volume == 0:
        return None
    scale = (0.5 / np.array(texture.to_world.column_norms)).astype(np.float32)
    threshold, every = np.float32(-1), max(1, -(-volume // budget))
    if strong:
        part = min(_LARGEST_PART, budget / volume)
        threshold, every = _threshold(texture, scale, low, high, part), 1
    corners, voxel_um3 = _outline(texture, low, high)
    centre = corners.mean(axis=0)
    radius = float(np.linalg.norm(corners - centre, axis=1).mean()) / 2
    to_place = (Affine.scale([1 / radius] * 3, -centre / radius) @ texture.to_world).to_array()
    turn = np.array(texture.to_world.inverse().linear).T
    count = min(budget, volume)
    places, gradients = np.empty((count, 4), np.float32), np.empty((count, 3), np.float32)
    n = refine_kernel.strong_points(
        texture.values, scale, low, high, threshold, every, to_place, turn, places, gradients
    )
    if n == 0:
        return None
    return Points(places[:n], gradients[:n], centre, radius, corners, voxel_um3 * volume)


def _voxel_range(texture: Texture, region: BoundingBox) -> tuple[Index, Index]:
    """First and last + 1 voxel per axis that are in the region and have trusted neighbours."""
    shape = np.array(texture.values.shape)
    border = np.maximum(np.ceil(border_vx(texture)), 1)
    inside = region.moved(texture.to_world.inverse())
    low = np.maximum(np.floor(inside.lower), border)
    high = np.minimum(np.ceil(inside.upper) + 1, shape - border)
    return low.astype(np.int64), high.astype(np.int64)


def _threshold(
    texture: Texture, scale: NDArray[np.float32], low: Index, high: Index, part: float
) -> np.float32:
    """Square of the gradient that this part of the voxels exceeds."""
    shape = np.maximum(high - low, 0)
    step = max(1, int(np.prod(shape)) // _SAMPLE)
    squares = np.empty(int(shape[0] * shape[1] * (shape[2] // step + 1)), dtype=np.float32)
    n = refine_kernel.gradient_squares(texture.values, scale, low, high, step, squares)
    return np.float32(np.quantile(squares[:n], 1 - part)) if n else np.float32(0)


def _outline(texture: Texture, low: Index, high: Index) -> tuple[Array, float]:
    """Corners of a range of voxels in sample space, and the volume of a voxel in µm³."""
    ends = np.array(list(np.ndindex(2, 2, 2))) * (high - low) + low - 0.5
    return texture.to_world.apply(ends), abs(float(np.linalg.det(texture.to_world.linear)))
