"""Rows of resampled voxels: copy, shift, trilinear and cubic, for uint16 volumes in one buffer.

A volume's voxel (0, 0, 0) lies at ``pool[start]``, with row pitch `py` and plane pitch `pz`; the
buffer may hold just a window of it. A row function fills ``row[:count]`` (float32) with the values
at ``origin + (first + i) * step`` (voxel coordinates, z, y, x). Callers make sure that every
tap lies inside the buffer, so no loop checks bounds.

Coordinates are reduced to a base before they become float32, so precision does not depend on where
in a large volume a row lies. The base belongs to a fixed segment of the whole row, not to the piece
that is asked for: a voxel gets the same value, to the last bit, from whatever chunk it is computed.
"""

from __future__ import annotations

from math import floor

import numpy as np

from luxdask.array.gather import tricubic_row, trilinear_row
from luxdask.array.jit import inlined, kernel

SEGMENT = 64
"""Voxels that share a base. Steps are below two voxels (coarser outputs are averaged first), so
that float32 counts within 1e-5 voxel."""


@kernel
def copy_row(pool, start, row, count):  # type: ignore[no-untyped-def]
    """Whole-voxel shift: the voxels from `start` on."""
    for i in range(count):
        row[i] = np.float32(pool[start + i])


@kernel
def shift_row(pool, start, pz, py, tz, ty, tx, row, count):  # type: ignore[no-untyped-def]
    """Trilinear interpolation at constant fractions: the rows of a pure translation."""
    z, y, x = np.float32(tz), np.float32(ty), np.float32(tx)
    p00, p01 = pool[start:], pool[start + py :]
    p10, p11 = pool[start + pz :], pool[start + pz + py :]
    for i in range(count):
        a = np.float32(p00[i])
        b = np.float32(p01[i])
        c = np.float32(p10[i])
        d = np.float32(p11[i])
        a += x * (np.float32(p00[i + 1]) - a)
        b += x * (np.float32(p01[i + 1]) - b)
        c += x * (np.float32(p10[i + 1]) - c)
        d += x * (np.float32(p11[i + 1]) - d)
        a += y * (b - a)
        c += y * (d - c)
        row[i] = a + z * (c - a)


@inlined
def lowest(position, step):  # type: ignore[no-untyped-def]
    """Largest integer not above any coordinate of a segment."""
    return floor(min(position, position + step * (SEGMENT - 1)))


@inlined
def oblique_row(  # type: ignore[no-untyped-def]
    pool, start, pz, py, origin, step, first, row, count, cubic
):
    """Rows in any direction, segment by segment."""
    dz, dy, dx = np.float32(step[0]), np.float32(step[1]), np.float32(step[2])
    done = 0
    while done < count:
        segment = (first + done) // SEGMENT * SEGMENT
        lane = np.int32(first + done - segment)
        n = np.int32(min(SEGMENT - lane, count - done))
        z = origin[0] + step[0] * segment
        y = origin[1] + step[1] * segment
        x = origin[2] + step[2] * segment
        bz, by, bx = lowest(z, step[0]), lowest(y, step[1]), lowest(x, step[2])
        fz, fy, fx = np.float32(z - bz), np.float32(y - by), np.float32(x - bx)
        source = pool.ctypes.data + 2 * (start + bz * pz + by * py + bx)
        target = row.ctypes.data + 4 * done
        plane, line = np.int32(pz), np.int32(py)
        if cubic:
            tricubic_row(source, target, lane, n, fz, dz, fy, dy, fx, dx, plane, line)  # type: ignore[call-arg]
        else:
            trilinear_row(source, target, lane, n, fz, dz, fy, dy, fx, dx, plane, line)  # type: ignore[call-arg]
        done += n


@kernel
def linear_row(pool, start, pz, py, origin, step, first, row, count):  # type: ignore[no-untyped-def]
    """Trilinear interpolation along any straight line through the volume."""
    oblique_row(pool, start, pz, py, origin, step, first, row, count, False)


@kernel
def cubic_row(pool, start, pz, py, origin, step, first, row, count):  # type: ignore[no-untyped-def]
    """Cubic convolution (Keys 1981, a = -0.5) along any straight line through the volume."""
    oblique_row(pool, start, pz, py, origin, step, first, row, count, True)


@inlined
def keys(t):  # type: ignore[no-untyped-def]
    """The four weights of cubic convolution (Keys 1981, a = -0.5) at fraction `t`."""
    w0 = ((np.float32(-0.5) * t + np.float32(1.0)) * t - np.float32(0.5)) * t
    w1 = (np.float32(1.5) * t - np.float32(2.5)) * t * t + np.float32(1.0)
    w2 = ((np.float32(-1.5) * t + np.float32(2.0)) * t + np.float32(0.5)) * t
    w3 = (np.float32(0.5) * t - np.float32(0.5)) * t * t
    return w0, w1, w2, w3


@kernel
def cubic_shift_row(  # type: ignore[no-untyped-def]
    pool, start, pz, py, tz, ty, tx, row, line, count
):
    """Cubic convolution at constant fractions; `line` is scratch of count + 3 float32.

    `start` is the voxel at the integer part of the first coordinate. Source: Keys 1981,
    doi:10.1109/TASSP.1981.1163711.
    """
    wz, wy, wx = keys(np.float32(tz)), keys(np.float32(ty)), keys(np.float32(tx))
    line[: count + 3] = 0
    for j in range(4):
        for k in range(4):
            weight = wz[j] * wy[k]
            if weight != 0:
                source = pool[start + (j - 1) * pz + (k - 1) * py - 1 :]
                for i in range(count + 3):
                    line[i] += weight * np.float32(source[i])
    for i in range(count):
        row[i] = wx[0] * line[i] + wx[1] * line[i + 1] + wx[2] * line[i + 2] + wx[3] * line[i + 3]
