"""Quintic spline interpolation of a volume at an affine grid, in compiled code."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from luxdask.array.jit import inlined, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Affine, Shape

_SLAB = 8


def interpolate(volume: NDArray[Any], out_to_volume: Affine, shape: Shape) -> NDArray[np.float32]:
    """Values of `volume` at the places of an output grid of `shape`, float32.

    Splines of order 5 through the voxels; beyond its outer voxel borders the volume is mirrored.
    The same as `scipy.ndimage.affine_transform(order=5, mode="reflect")`, many times faster.
    """
    weights = ndimage.spline_filter(volume, 5, output=np.float32, mode="reflect")
    linear = np.array(out_to_volume.linear)
    out = np.empty(shape, dtype=np.float32)
    starts = range(0, shape[0], _SLAB)

    def fill(z: int) -> None:
        _interpolate(weights, linear, out_to_volume.apply((z, 0, 0)), out[z : z + _SLAB])

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, starts))
    return out


@inlined
def _mirrored(index, n):  # type: ignore[no-untyped-def]
    folded = index % (2 * n)
    return folded if folded < n else 2 * n - 1 - folded


@inlined
def _six_weights(t, w):  # type: ignore[no-untyped-def]
    """Quintic B-spline at the six nearest voxels of a place `t` in 0 ... 1 beyond the third one."""
    for k in range(6):
        d = abs(t - (k - 2))
        if d < 1:
            w[k] = (66 - 60 * d**2 + 30 * d**4 - 10 * d**5) / 120
        elif d < 2:
            w[k] = (51 + 75 * d - 210 * d**2 + 150 * d**3 - 45 * d**4 + 5 * d**5) / 120
        else:
            w[k] = (3 - d) ** 5 / 120


@kernel
def _interpolate(source, linear, offset, out):  # type: ignore[no-untyped-def]
    nz, ny, nx = source.shape
    wz, wy, wx = np.empty(6), np.empty(6), np.empty(6, np.float32)
    at_x = np.empty(6, np.int64)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                z = linear[0, 0] * i + linear[0, 1] * j + linear[0, 2] * k + offset[0]
                y = linear[1, 0] * i + linear[1, 1] * j + linear[1, 2] * k + offset[1]
                x = linear[2, 0] * i + linear[2, 1] * j + linear[2, 2] * k + offset[2]
                z0, y0, x0 = int(np.floor(z)), int(np.floor(y)), int(np.floor(x))
                _six_weights(z - z0, wz)
                _six_weights(y - y0, wy)
                _six_weights(x - x0, wx)
                for c in range(6):
                    at_x[c] = _mirrored(x0 + c - 2, nx)
                total = 0.0
                for a in range(6):
                    plane = source[_mirrored(z0 + a - 2, nz)]
                    for b in range(6):
                        row = plane[_mirrored(y0 + b - 2, ny)]
                        part = np.float32(0)
                        for c in range(6):
                            part += wx[c] * row[at_x[c]]
                        total += wz[a] * wy[b] * part
                out[i, j, k] = total
