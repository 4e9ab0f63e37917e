"""Look at a volume through a transform, far more accurately than fusion interpolates.

Beyond its border the volume continues as its own mirror image, which soon fades into the
background.
Every view, at any angle, sees this one object.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

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
    view_to_volume : voxels to voxels; axes may be swapped, mirrored and shifted, or turned about y.

    Returns (Z, Y, X): an exact uint16 copy where voxels fall on voxels, else float32 interpolated
    by windowed sinc (shifts) or by splines of order 5 (turned views).
    """
    linear = np.array(view_to_volume.linear)
    whole = np.rint(linear)
    if np.allclose(linear, whole, rtol=0, atol=1e-9):
        image = _shifted(volume, whole.astype(int), view_to_volume.offset, shape)
    else:
        image = _turned(volume, linear, view_to_volume.offset, shape)
    return _faded(image, volume, view_to_volume)


def _faded(image: NDArray[Any], volume: NDArray[np.uint16], view_to_volume: Affine) -> NDArray[Any]:
    """Mixed with the background where the view looks past the volume; else as it is."""
    nz, ny, nx = image.shape
    # turns are about y, so that the weight is a product of one in z-x and one in y
    plane, line = np.zeros((nz, nx, 3)), np.zeros((ny, 3))
    plane[..., 0], plane[..., 2] = np.arange(nz)[:, None], np.arange(nx)
    line[:, 1] = np.arange(ny)
    in_plane = _presence(view_to_volume.apply(plane), volume.shape)
    in_line = _presence(view_to_volume.apply(line), volume.shape)
    weight_zx = in_plane[..., 0] * in_plane[..., 2]
    weight_y = in_line[:, 1].copy()
    if weight_zx.min() == 1 and weight_y.min() == 1:
        return image
    background = np.float32(np.percentile(volume[::2, ::4, ::4], 1))
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
    out = volume
    for axis, view_axis in enumerate(view_axes):
        sign = int(axes[axis, view_axis])
        out = _take(out, axis, sign, offset[axis], shape[view_axis])
    return np.ascontiguousarray(np.moveaxis(out, (0, 1, 2), view_axes))


def _take(volume: NDArray[Any], axis: int, sign: int, start: float, n: int) -> NDArray[Any]:
    """Voxels ``start + sign * (0 ... n-1)`` along one axis."""
    first = int(np.rint(start))
    fraction = start - first
    margin = 0 if abs(fraction) < _WHOLE else _TAPS
    low = first if sign > 0 else first - n + 1
    index = _reflected(np.arange(low - margin, low + n + margin), volume.shape[axis])
    out = np.take(volume, index, axis=axis)
    if margin:
        out = ndimage.correlate1d(out, _sinc(fraction), axis=axis, output=np.float32)
        out = np.take(out, np.arange(margin, margin + n), axis=axis)
    return out if sign > 0 else np.flip(out, axis)


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
    planes = _take(volume, 1, 1, offset[1], shape[1])
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
