"""Filters that make patches comparable: averaging over bins, smoothing, removal of the local mean.

All work on (Z, Y, X) float32, return new float32 arrays and release the GIL.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from luxdask.array.jit import inlined, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Box, Shape, Vector


def bin_mean(values: NDArray[np.float32], factor: Shape) -> NDArray[np.float32]:
    """Mean over ``factor`` voxels per axis; a remainder smaller than the factor is dropped.

    Every axis of `values` must be at least as long as its factor.
    """
    if factor == (1, 1, 1):
        return values
    shape = [n // f for n, f in zip(values.shape, factor, strict=True)]
    out = np.empty(shape, dtype=np.float32)
    _bin(values, factor, out)
    return out


@kernel
def _bin(values, factor, out):  # type: ignore[no-untyped-def]
    fz, fy, fx = factor
    nz, ny, nx = out.shape
    line = np.empty(nx * fx, dtype=np.float32)
    scale = np.float32(1 / (fz * fy * fx))
    for z in range(nz):
        for y in range(ny):
            line[:] = 0
            for k in range(fz):
                for j in range(fy):
                    source = values[z * fz + k, y * fy + j]
                    for i in range(nx * fx):
                        line[i] += source[i]
            for x in range(nx):
                total = np.float32(0)
                for i in range(fx):
                    total += line[x * fx + i]
                out[z, y, x] = total * scale


def smooth(
    values: NDArray[np.float32],
    sigma_vx: Vector,
    box: Box | None = None,
    shift: Vector = (0.0, 0.0, 0.0),
) -> NDArray[np.float32]:
    """Gaussian smoothing, sampled at ``voxel + shift``, on the voxels of `box` (default: all).

    A shifted Gaussian is the smoothing and the interpolation in one: with `sigma_vx` of about 1 the
    result does not depend on how voxels and positions fall on each other, noise included.
    Beyond the border the outermost voxels are repeated. `sigma_vx` 0 leaves an axis alone if its
    shift is 0. |shift| <= 0.5.
    """
    start = (0, 0, 0) if box is None else box.start
    shape = values.shape if box is None else box.shape
    out = np.zeros(shape, dtype=np.float32)
    weights = [gaussian(s, t) for s, t in zip(sigma_vx, shift, strict=True)]
    _smooth(values, start, *weights, out)
    return out


def gaussian(sigma: float, shift: float = 0.0) -> NDArray[np.float32]:
    """Weights at -r ... r of a Gaussian about `shift`, their sum 1 and their mean `shift`."""
    if sigma == 0 and shift == 0:
        return np.ones(1, dtype=np.float32)
    radius = ceil(3.5 * sigma + 0.5)
    at = np.arange(-radius, radius + 1)
    weights = np.exp(-((at - shift) ** 2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum(), dtype=np.float32)


@kernel
def _smooth(values, start, wz, wy, wx, out):  # type: ignore[no-untyped-def]
    """Plane by plane: along y, along x, then added to the planes that it contributes to."""
    sz, sy, sx = values.shape
    nz, ny, nx = out.shape
    rz, ry, rx = len(wz) // 2, len(wy) // 2, len(wx) // 2
    width = nx + 2 * rx
    line = np.empty(width, dtype=np.float32)
    plane = np.empty((ny, nx), dtype=np.float32)
    low, high = max(0, rx - start[2]), min(width, sx - start[2] + rx)
    for source_z in range(max(0, start[0] - rz), min(sz, start[0] + nz + rz)):
        for y in range(ny):
            line[:] = 0
            for k in range(2 * ry + 1):
                j = min(max(start[1] + y + k - ry, 0), sy - 1)
                row = values[source_z, j, start[2] - rx + low : start[2] - rx + high]
                inner = line[low:high]
                weight = wy[k]
                for i in range(high - low):
                    inner[i] += weight * row[i]
            line[:low] = line[low]
            line[high:] = line[high - 1]
            target = plane[y]
            target[:] = 0
            for k in range(2 * rx + 1):
                weight = wx[k]
                moved = line[k : k + nx]
                for i in range(nx):
                    target[i] += weight * moved[i]
        for z in range(nz):
            weight = np.float32(0)
            for k in range(2 * rz + 1):
                if min(max(start[0] + z + k - rz, 0), sz - 1) == source_z:
                    weight += wz[k]
            if weight != 0:
                for y in range(ny):
                    target, source = out[z, y], plane[y]
                    for i in range(nx):
                        target[i] += weight * source[i]


def subtract_local_mean(values: NDArray[np.float32], radius: Shape) -> NDArray[np.float32]:
    """Without the mean over a box of ``2 * radius + 1`` voxels (what of it lies inside).

    Removes what varies slowly: background, uneven light.
    """
    out = np.empty(values.shape, dtype=np.float32)
    nz, ny, nx = values.shape
    scales = (_box_scale(nz, radius[0]), _box_scale(ny, radius[1]), _box_scale(nx, radius[2]))
    _subtract_box_mean(values, radius, scales, out)
    return out


def _box_scale(n: int, radius: int) -> NDArray[np.float32]:
    """One over the number of voxels within `radius` of each of n."""
    at = np.arange(n)
    count = np.minimum(at + radius, n - 1) - np.maximum(at - radius, 0) + 1
    return (1 / count).astype(np.float32)


@kernel
def _subtract_box_mean(values, radius, scales, out):  # type: ignore[no-untyped-def]
    """Plane after plane; the last ``2 * radius + 1`` planes, averaged in y and x, are kept."""
    nz, ny, nx = values.shape
    rz = radius[0]
    kept = min(nz, 2 * rz + 2)
    ring = np.empty((kept, ny, nx), dtype=np.float32)
    total = np.zeros((ny, nx), dtype=np.float32)
    for k in range(nz + rz):
        if k < nz:
            plane = ring[k % kept]
            _box_mean_plane(values[k], radius[1], radius[2], scales[1], scales[2], plane)
            for y in range(ny):
                row, target = plane[y], total[y]
                for i in range(nx):
                    target[i] += row[i]
        if k > 2 * rz:
            plane = ring[(k - 2 * rz - 1) % kept]
            for y in range(ny):
                row, target = plane[y], total[y]
                for i in range(nx):
                    target[i] -= row[i]
        z = k - rz
        if z >= 0:
            scale = scales[0][z]
            for y in range(ny):
                source, row, target = values[z, y], total[y], out[z, y]
                for i in range(nx):
                    target[i] = source[i] - row[i] * scale


@inlined
def _box_mean_plane(plane, ry, rx, scale_y, scale_x, out):  # type: ignore[no-untyped-def]
    ny, nx = plane.shape
    total = np.zeros(nx + 2 * rx, dtype=np.float32)
    middle = total[rx : rx + nx]
    for k in range(ny + ry):
        if k < ny:
            row = plane[k]
            for i in range(nx):
                middle[i] += row[i]
        if k > 2 * ry:
            row = plane[k - 2 * ry - 1]
            for i in range(nx):
                middle[i] -= row[i]
        y = k - ry
        if y >= 0:
            target = out[y]
            target[:] = 0
            for j in range(2 * rx + 1):
                moved = total[j : j + nx]
                for i in range(nx):
                    target[i] += moved[i]
            scale = scale_y[y]
            for i in range(nx):
                target[i] *= scale * scale_x[i]


def subtract_plane(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without the mean and the linear trends along the three axes (least squares)."""
    axes = [np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2) for n in values.shape]
    out: NDArray[np.float32] = values - np.float32(values.mean(dtype=np.float64))
    for axis, at in enumerate(axes):
        others = tuple(k for k in range(3) if k != axis)
        profile = out.mean(axis=others, dtype=np.float64)
        square = float((at * at).sum())
        slope = float((profile * at).sum()) / square if square else 0.0
        shape = [1, 1, 1]
        shape[axis] = len(at)
        out -= (np.float32(slope) * at).reshape(shape)
    return out
