"""Look at a volume through a transform, far more accurately than fusion interpolates.

Beyond its border the volume continues as its own mirror image, which soon fades into the
background.
Every view, at any angle, sees this one object.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from luxdask.testing.spline import interpolate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Affine, Shape

_WHOLE = 1e-7  # closer to a whole voxel than this is a whole voxel
_TAPS = 12  # on either side; error below 1e-4 for waves longer than 3 voxels
_KAISER = 9.0
_FADE_VX = (2.0, 8.0)  # beyond the border the object is whole up to here, gone from here on


def sample_volume(
    volume: NDArray[np.uint16], view_to_volume: Affine, shape: Shape
) -> NDArray[np.uint16] | NDArray[np.float32]:
    """Values of `volume` on the grid of a view.

    volume : (Z, Y, X) uint16.
    view_to_volume : voxels to voxels, any affine.

    Returns (Z, Y, X): an exact uint16 copy where voxels fall on voxels, else float32 interpolated
    by windowed sinc (axes swapped, mirrored and shifted) or by splines of order 5 (turned views).
    """
    linear = np.array(view_to_volume.linear)
    whole = np.rint(linear)
    if np.allclose(linear, whole, rtol=0, atol=1e-9):
        image = _shifted(volume, whole.astype(int), view_to_volume.offset, shape)
    elif _is_turn_about_y(linear):
        image = _turned(volume, linear, view_to_volume.offset, shape)
    else:
        image = interpolate(volume, view_to_volume, shape)
        return _faded_anywhere(image, volume, view_to_volume)
    return _faded(image, volume, view_to_volume)


def _is_turn_about_y(linear: NDArray[np.float64]) -> bool:
    middle = (0.0, 1.0, 0.0)
    return bool(
        np.allclose(linear[1], middle, rtol=0, atol=1e-12)
        and np.allclose(linear[:, 1], middle, rtol=0, atol=1e-12)
    )


def _faded_anywhere(
    image: NDArray[np.float32], volume: NDArray[np.uint16], view_to_volume: Affine
) -> NDArray[np.float32]:
    """Like `_faded`, for views in any direction; changes `image`."""
    background = _background(volume)
    plane = np.zeros((*image.shape[1:], 3))
    plane[..., 1], plane[..., 2] = np.arange(image.shape[1])[:, None], np.arange(image.shape[2])
    for z, values in enumerate(image):
        plane[..., 0] = z
        weight = _presence(view_to_volume.apply(plane), volume.shape).prod(axis=-1)
        values -= background
        values *= weight
        values += background
    return image


def _background(volume: NDArray[np.uint16]) -> np.float32:
    return np.float32(np.percentile(volume[::2, ::4, ::4], 1))


def _faded(image: NDArray[Any], volume: NDArray[np.uint16], view_to_volume: Affine) -> NDArray[Any]:
    """Mixed with the background where the view looks past the volume; else as it is."""
    nz, ny, nx = image.shape
    # no tilt towards y here, so that the weight is a product of one in z-x and one in y
    plane, line = np.zeros((nz, nx, 3)), np.zeros((ny, 3))
    plane[..., 0], plane[..., 2] = np.arange(nz)[:, None], np.arange(nx)
    line[:, 1] = np.arange(ny)
    in_plane = _presence(view_to_volume.apply(plane), volume.shape)
    in_line = _presence(view_to_volume.apply(line), volume.shape)
    weight_zx = in_plane[..., 0] * in_plane[..., 2]
    weight_y = in_line[:, 1].copy()
    if weight_zx.min() == 1 and weight_y.min() == 1:
        return image
    background = _background(volume)
    faded = image.astype(np.float32) - background
    faded *= weight_zx[:, None, :]
    faded *= weight_y[:, None]
    return np.asarray(faded + background)


def _presence(points: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Per axis: 1 inside the volume and just beyond, falling to 0 further out."""
    beyond = np.maximum(-0.5 - points, points - (np.asarray(shape) - 0.5))
    start, end = _FADE_VX
    way = np.clip((beyond - start) / (end - start), 0, 1)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * way), dtype=np.float32)


def _shifted(
    volume: NDArray[Any], axes: NDArray[np.int_], offset: tuple[float, ...], shape: Shape
) -> NDArray[Any]:
    """Swapped and mirrored axes, a shift along each: one axis of the volume after the other."""
    view_axes = [int(np.flatnonzero(row)[0]) for row in axes]
    lines = [
        _Line(axis, int(axes[axis, view_axis]), offset[axis], shape[view_axis])
        for axis, view_axis in enumerate(view_axes)
    ]
    out = volume
    # what no voxel needs goes first: a tile is a small part of the volume
    for line in lines:
        out = line.cut(out)
    for line in lines:
        out = line.interpolated(out)
    return np.ascontiguousarray(np.moveaxis(out, (0, 1, 2), view_axes))


@dataclass(frozen=True, slots=True)
class _Line:
    """Voxels ``start + sign * (0 ... n-1)`` along one axis of a volume."""

    axis: int
    sign: int
    start: float
    n: int

    @property
    def _fraction(self) -> float:
        return self.start - int(np.rint(self.start))

    @property
    def _margin(self) -> int:
        return 0 if abs(self._fraction) < _WHOLE else _TAPS

    def cut(self, volume: NDArray[Any]) -> NDArray[Any]:
        """All whole voxels that are needed, in the order of the volume."""
        first = int(np.rint(self.start))
        low = first if self.sign > 0 else first - self.n + 1
        index = np.arange(low - self._margin, low + self.n + self._margin)
        return np.take(volume, _reflected(index, volume.shape[self.axis]), axis=self.axis)

    def interpolated(self, out: NDArray[Any]) -> NDArray[Any]:
        """Shifted by what is left of a voxel, in the order of the view."""
        margin = self._margin
        if margin:
            weights = _sinc(self._fraction)
            out = ndimage.correlate1d(out, weights, axis=self.axis, output=np.float32)
            out = np.take(out, np.arange(margin, margin + self.n), axis=self.axis)
        return out if self.sign > 0 else np.flip(out, self.axis)


def _reflected(index: NDArray[np.int_], n: int) -> NDArray[np.int_]:
    """Indices folded back at the outer voxel borders (… 1 0 | 0 1 …)."""
    folded = index % (2 * n)
    return np.minimum(folded, 2 * n - 1 - folded)


def _sinc(fraction: float) -> NDArray[np.float64]:
    """Weights that give the value `fraction` voxels further on."""
    distance = np.arange(-_TAPS, _TAPS + 1) - fraction
    inside = np.clip(1 - (distance / (_TAPS + 1)) ** 2, 0, None)
    weights = np.sinc(distance) * np.i0(_KAISER * np.sqrt(inside))
    return np.asarray(weights / weights.sum())


def _turned(
    volume: NDArray[Any], linear: NDArray[np.float64], offset: tuple[float, ...], shape: Shape
) -> NDArray[np.float32]:
    """Turned about y: shift along y first, then interpolate each z-x plane."""
    line = _Line(1, 1, offset[1], shape[1])
    planes = line.interpolated(line.cut(volume))
    out = np.empty(shape, dtype=np.float32)
    matrix, start = linear[::2, ::2], np.asarray(offset)[::2]
    size = (shape[0], shape[2])

    def turn(y: int) -> None:
        out[:, y] = ndimage.affine_transform(
            planes[:, y].astype(np.float32), matrix, start, size, order=5, mode="reflect"
        )

    with ThreadPoolExecutor() as pool:
        list(pool.map(turn, range(shape[1])))
    return out
