"""Loops behind `luxdask.registration.texture`: averages, Gaussians, local contrast; all float32."""

from __future__ import annotations

import numpy as np

from luxdask.array.jit import inlined, kernel

_BLOCK = 2048  # voxels that stay in the cache while all taps are added


@kernel
def bin_means(volume, factor, low, squared, out):  # type: ignore[no-untyped-def]
    """Means over bins of (squared) grey values, of which at least `low` is kept and subtracted.

    The bins at the end of an axis may be incomplete; those that `out` has no room for are dropped.
    """
    fz, fy, fx = factor
    sz, sy, sx = volume.shape
    nz, ny, nx = out.shape
    width = min(sx, nx * fx)
    line = np.empty(width, dtype=np.float32)
    for z in range(nz):
        z1 = min(sz, (z + 1) * fz)
        for y in range(ny):
            y1 = min(sy, (y + 1) * fy)
            line[:] = 0
            for k in range(z * fz, z1):
                for j in range(y * fy, y1):
                    row = volume[k, j]
                    if squared:
                        for i in range(width):
                            line[i] += row[i] * row[i]
                    else:
                        for i in range(width):
                            line[i] += max(row[i], low)
            rows = (z1 - z * fz) * (y1 - y * fy)
            for x in range(nx):
                x1 = min(sx, (x + 1) * fx)
                total = np.float32(0)
                for i in range(x * fx, x1):
                    total += line[i]
                out[z, y, x] = total / np.float32(rows * (x1 - x * fx))


@kernel
def smooth(volume, weights, out):  # type: ignore[no-untyped-def]
    """Weighted means along the middle axis of (outer, n, inner); shorter at both ends.

    `weights` holds one side of a symmetric kernel, the middle first. At the ends it is cut off and
    normalised anew: what lies beyond is unknown.
    """
    outer, n, inner = volume.shape
    radius = len(weights) - 1
    for o in range(outer):
        for first in range(0, inner, _BLOCK):
            last = min(inner, first + _BLOCK)
            for i in range(n):
                row = out[o, i, first:last]
                total = np.float32(0)
                row[:] = 0
                for k in range(max(0, i - radius), min(n, i + radius + 1)):
                    weight = weights[abs(k - i)]
                    total += weight
                    source = volume[o, k, first:last]
                    for j in range(last - first):
                        row[j] += weight * source[j]
                total = np.float32(1) / total
                for j in range(last - first):
                    row[j] *= total


@kernel
def smooth_rows(volume, weights, out):  # type: ignore[no-untyped-def]
    """As `smooth`, along the last axis of (rows, n)."""
    rows, n = volume.shape
    radius = len(weights) - 1
    total = np.empty(n, dtype=np.float32)
    for i in range(n):
        total[i] = weights[0]
        for k in range(1, radius + 1):
            total[i] += weights[k] * ((i >= k) + (i + k < n))
        total[i] = np.float32(1) / total[i]
    for r in range(rows):
        source, row = volume[r], out[r]
        for i in range(n):
            row[i] = weights[0] * source[i]
        for k in range(1, min(radius + 1, n)):
            weight = weights[k]
            for i in range(n - k):
                row[i] += weight * source[i + k]
            for i in range(k, n):
                row[i] += weight * source[i - k]
        for i in range(n):
            row[i] *= total[i]


@inlined
def _cell(i, factor, n):  # type: ignore[no-untyped-def]
    """Lower bin and fraction at voxel `i`, held at the outer bins' centres."""
    position = min(max((i + 0.5) / factor - 0.5, 0.0), n - 1.0)
    lower = min(int(position), max(n - 2, 0))
    return lower, min(lower + 1, n - 1), np.float32(position - lower)


@inlined
def _coarse_row(coarse, factor, z, y, line):  # type: ignore[no-untyped-def]
    """The row of bins at voxel row (z, y), interpolated over planes and rows."""
    nz, ny, nx = coarse.shape
    z0, z1, tz = _cell(z, factor[0], nz)
    y0, y1, ty = _cell(y, factor[1], ny)
    one = np.float32(1)
    for x in range(nx):
        a = coarse[z0, y0, x] * (one - ty) + coarse[z0, y1, x] * ty
        b = coarse[z1, y0, x] * (one - ty) + coarse[z1, y1, x] * ty
        line[x] = a * (one - tz) + b * tz


@kernel
def subtract_coarse(volume, coarse, factor):  # type: ignore[no-untyped-def]
    """Subtract, in place, values that are known for bins of `factor` voxels."""
    sz, sy, sx = volume.shape
    nx = coarse.shape[2]
    line = np.empty(nx, dtype=np.float32)
    for z in range(sz):
        for y in range(sy):
            _coarse_row(coarse, factor, z, y, line)
            row = volume[z, y]
            for x in range(sx):
                x0, x1, t = _cell(x, factor[2], nx)
                row[x] -= line[x0] + t * (line[x1] - line[x0])


@kernel
def divide_by_root(volume, coarse, factor):  # type: ignore[no-untyped-def]
    """Divide, in place, by the root of values that are known for bins of `factor` voxels."""
    sz, sy, sx = volume.shape
    nx = coarse.shape[2]
    line = np.empty(nx, dtype=np.float32)
    for z in range(sz):
        for y in range(sy):
            _coarse_row(coarse, factor, z, y, line)
            row = volume[z, y]
            for x in range(sx):
                x0, x1, t = _cell(x, factor[2], nx)
                row[x] /= np.sqrt(line[x0] + t * (line[x1] - line[x0]))
