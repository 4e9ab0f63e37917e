"""Averages over whole voxels: pyramid levels and downsampled reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luxdask.array.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape


def downsample(block: NDArray[np.uint16], factor: Shape) -> NDArray[np.uint16]:
    """Mean over ``factor`` voxels per axis, rounded to nearest.

    block : (Z, Y, X) uint16; a remainder smaller than the factor is dropped, an axis shorter than
    the factor becomes one voxel. Returns a new (Z // fz, Y // fy, X // fx) uint16 array.
    """
    shape = [max(1, n // f) for n, f in zip(block.shape, factor, strict=True)]
    out = np.empty(shape, dtype=np.uint16)
    if factor == (2, 2, 2) and min(block.shape) >= 2:
        _halve(block, out)
    else:
        fz, fy, fx = factor
        bin_into(block, out, (0, 0, 0), (fz, fy, fx))
    return out


@kernel
def _halve(block, out):  # type: ignore[no-untyped-def]
    nz, ny, nx = out.shape
    line = np.empty(2 * nx, dtype=np.uint32)
    for z in range(nz):
        for y in range(ny):
            a, b = block[2 * z, 2 * y], block[2 * z, 2 * y + 1]
            c, d = block[2 * z + 1, 2 * y], block[2 * z + 1, 2 * y + 1]
            for x in range(2 * nx):
                line[x] = np.uint32(a[x]) + np.uint32(b[x]) + np.uint32(c[x]) + np.uint32(d[x])
            for x in range(nx):
                out[z, y, x] = np.uint16((line[2 * x] + line[2 * x + 1] + np.uint32(4)) >> 3)


@kernel
def bin_into(block, out, first, factor):  # type: ignore[no-untyped-def]
    """Fill `out` with means of `block`; bin (0, 0, 0) starts at voxel `first` of the block.

    `first` may be negative and bins may reach past the end: the mean is over the voxels there are.
    Every bin must hold at least one voxel.
    """
    sz, sy, sx = block.shape
    nz, ny, nx = out.shape
    fz, fy, fx = factor
    line = np.empty(sx, dtype=np.uint64)
    for z in range(nz):
        z0, z1 = max(0, first[0] + z * fz), min(sz, first[0] + (z + 1) * fz)
        for y in range(ny):
            y0, y1 = max(0, first[1] + y * fy), min(sy, first[1] + (y + 1) * fy)
            line[:] = 0
            for k in range(z0, z1):
                for j in range(y0, y1):
                    source = block[k, j]
                    for i in range(sx):
                        line[i] += np.uint64(source[i])
            rows = (z1 - z0) * (y1 - y0)
            for x in range(nx):
                x0, x1 = max(0, first[2] + x * fx), min(sx, first[2] + (x + 1) * fx)
                total = np.uint64(0)
                for i in range(x0, x1):
                    total += line[i]
                count = np.uint64(rows * (x1 - x0))
                out[z, y, x] = np.uint16((total + count // np.uint64(2)) // count)
