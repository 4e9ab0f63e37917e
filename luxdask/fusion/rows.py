"""The inner loops of fusion: all views of a block, one output row at a time.

Per row every view's valid range is computed analytically, the row is cut where views begin and
end, and each piece is done in one of three ways: nothing covers it (0), one view covers it (its
value, whatever its weight), or several do (weighted mean in float32, rounded once).
"""

from __future__ import annotations

from math import ceil, floor

import numpy as np

from luxdask.array.jit import inlined, kernel
from luxdask.array.resample import (
    copy_row,
    cubic_row,
    cubic_shift_row,
    linear_row,
    shift_row,
)

EXACT = 1e-6
"""Fractions of a voxel below this are 0: whole-voxel shifts are copied, not interpolated."""

SMALLEST_RAMP = np.float32(1e-3)
"""Blending weight at the very border of a view, so that a lone border voxel still counts."""


@inlined
def clip_row(c, d, low, high, x0, x1):  # type: ignore[no-untyped-def]
    """The part of [x0, x1) where ``low <= c + d x <= high``."""
    if abs(d) * max(abs(x0), abs(x1)) < 1e-9:
        if c < low or c > high:
            return 0, 0
        return x0, x1
    a, b = (low - c) / d, (high - c) / d
    if a > b:
        a, b = b, a
    first = ceil(min(max(a, x0), x1))
    last = floor(min(max(b, x0 - 1.0), x1 - 1.0)) + 1
    return first, max(first, last)


@inlined
def ramp(position, low, high, slope):  # type: ignore[no-untyped-def]
    """Smooth step from 0 at the border of a view to 1 at the blending width inside it."""
    t = min(position - low, high - position) * slope
    t = min(max(t, SMALLEST_RAMP), np.float32(1))
    return t * t * (np.float32(3) - np.float32(2) * t)


@inlined
def split(position):  # type: ignore[no-untyped-def]
    """Integer voxel and fraction; fractions within `EXACT` of a voxel become 0."""
    base = floor(position)
    fraction = position - base
    if fraction > 1 - EXACT:
        return base + 1, 0.0
    if fraction < EXACT:
        return base, 0.0
    return base, fraction


@inlined
def reverse(row, count):  # type: ignore[no-untyped-def]
    """Turn the first `count` values of a row around."""
    for i in range(count // 2):
        row[i], row[count - 1 - i] = row[count - 1 - i], row[i]


@kernel
def sample_row(pool, start, pitch, origin, step, cubic, row, line, count):  # type: ignore[no-untyped-def]
    """Values of one view along a row: the cheapest way that is exact for its direction."""
    pz, py = pitch[0], pitch[1]
    along_x = abs(step[0]) + abs(step[1]) < 1e-12 and abs(abs(step[2]) - 1) < 1e-12
    if not along_x:
        if cubic:
            cubic_row(pool, start, pz, py, origin, step, row, count)
        else:
            linear_row(pool, start, pz, py, origin, step, row, count)
        return
    x = origin[2] if step[2] > 0 else origin[2] - (count - 1)
    iz, tz = split(origin[0])
    iy, ty = split(origin[1])
    ix, tx = split(x)
    at = start + iz * pz + iy * py + ix
    if tz == 0 and ty == 0 and tx == 0:
        copy_row(pool, at, row, count)
    elif cubic:
        cubic_shift_row(pool, at, pz, py, tz, ty, tx, row, line, count)
    else:
        shift_row(pool, at, pz, py, tz, ty, tx, row, count)
    if step[2] < 0:
        reverse(row, count)


@inlined
def copied_from(start, pitch, origin, step):  # type: ignore[no-untyped-def]
    """Where in the buffer a row lies that is a plain copy, or -1 where it is not."""
    if abs(step[0]) + abs(step[1]) > 1e-12 or abs(step[2] - 1) > 1e-12:
        return -1
    iz, tz = split(origin[0])
    iy, ty = split(origin[1])
    ix, tx = split(origin[2])
    if tz != 0 or ty != 0 or tx != 0:
        return -1
    return start + iz * pitch[0] + iy * pitch[1] + ix


@kernel
def weigh_row(origin, step, border, slope, weight, count):  # type: ignore[no-untyped-def]
    """Blending weights of one view along a row; `border` is (axis, low/high)."""
    along_x = abs(step[0]) + abs(step[1]) < 1e-12
    z, y, x = np.float32(origin[0]), np.float32(origin[1]), np.float32(origin[2])
    dz, dy, dx = np.float32(step[0]), np.float32(step[1]), np.float32(step[2])
    z0, z1 = np.float32(border[0, 0]), np.float32(border[0, 1])
    y0, y1 = np.float32(border[1, 0]), np.float32(border[1, 1])
    x0, x1 = np.float32(border[2, 0]), np.float32(border[2, 1])
    sz, sy, sx = np.float32(slope[0]), np.float32(slope[1]), np.float32(slope[2])
    if along_x:
        outer = ramp(z, z0, z1, sz) * ramp(y, y0, y1, sy)
        for i in range(count):
            weight[i] = outer * ramp(x + dx * np.float32(i), x0, x1, sx)
        return
    for i in range(count):
        k = np.float32(i)
        weight[i] = (
            ramp(z + dz * k, z0, z1, sz)
            * ramp(y + dy * k, y0, y1, sy)
            * ramp(x + dx * k, x0, x1, sx)
        )


@inlined
def cell(position, n):  # type: ignore[no-untyped-def]
    """Neighbouring cells and fraction for interpolating a quality map, clamped at its ends."""
    p = min(max(position, 0.0), n - 1.0)
    i = int(p)
    return i, min(i + 1, n - 1), np.float32(p - i)


@kernel
def apply_quality(quality, start, shape, origin, step, weight, count):  # type: ignore[no-untyped-def]
    """Multiply weights with a view's quality map, interpolated between cell centres."""
    nz, ny, nx = shape[0], shape[1], shape[2]
    for i in range(count):
        z0, z1, tz = cell(origin[0] + step[0] * i, nz)
        y0, y1, ty = cell(origin[1] + step[1] * i, ny)
        x0, x1, tx = cell(origin[2] + step[2] * i, nx)
        value = np.float32(0)
        for z, wz in ((z0, np.float32(1) - tz), (z1, tz)):
            for y, wy in ((y0, np.float32(1) - ty), (y1, ty)):
                at = start + (z * ny + y) * nx
                a, b = quality[at + x0], quality[at + x1]
                value += wz * wy * (a + tx * (b - a))
        weight[i] *= value


@kernel
def store_row(row, scale, out):  # type: ignore[no-untyped-def]
    """Round to nearest, saturating at the ends of uint16."""
    s = np.float32(scale)
    for i in range(out.size):
        value = row[i] * s + np.float32(0.5)
        out[i] = np.uint16(min(max(value, np.float32(0)), np.float32(65535)))


@inlined
def cuts_of(first, last, cuts, nx):  # type: ignore[no-untyped-def]
    """Sorted places where views begin or end on a row; returns how many."""
    n = 1
    cuts[0] = 0
    for v in range(first.size):
        if last[v] > first[v]:
            cuts[n], cuts[n + 1] = first[v], last[v]
            n += 2
    cuts[n] = nx
    n += 1
    for i in range(1, n):
        value, j = cuts[i], i
        while j > 0 and cuts[j - 1] > value:
            cuts[j] = cuts[j - 1]
            j -= 1
        cuts[j] = value
    return n


@kernel
def place(maps, z, y, x, origin, step):  # type: ignore[no-untyped-def]
    """Coordinates of output voxel (z, y, x) under an affine map, and the step along x."""
    for a in range(3):
        origin[a] = maps[a, 0] * z + maps[a, 1] * y + maps[a, 2] * x + maps[a, 3]
        step[a] = maps[a, 2]


@kernel
def ranges_of(maps, border, z, y, nx, first, last, origin, step):  # type: ignore[no-untyped-def]
    """Where on output row (z, y) each view begins and ends."""
    for v in range(first.size):
        place(maps[v], z, y, 0, origin, step)
        x0, x1 = 0, nx
        for a in range(3):
            low, high = border[v, a, 0] - EXACT, border[v, a, 1] + EXACT
            x0, x1 = clip_row(origin[a], step[a], low, high, x0, x1)
        first[v], last[v] = x0, x1


@kernel
def add_row(row, weight, total, weights, count):  # type: ignore[no-untyped-def]
    """Accumulate weighted values."""
    for i in range(count):
        total[i] += weight[i] * row[i]
        weights[i] += weight[i]


@kernel
def mean_row(total, weights, row, count):  # type: ignore[no-untyped-def]
    """Weighted mean of what was accumulated."""
    for i in range(count):
        row[i] = total[i] / max(weights[i], np.float32(1e-30))


@kernel
def fuse_rows(  # type: ignore[no-untyped-def]
    pool, starts, pitches, maps, border, slopes, blend, quality, cells, cell_maps, cubic, scale, out
):
    """Fuse one block of output.

    Parameters
    ----------
    pool : (N,) uint16, the windows of all views, one after the other
    starts : (V,) int64, where each window begins in `pool`
    pitches : (V, 2) int64, voxels per plane and per row of each window
    maps : (V, 3, 4) float64, output voxel of this block -> window voxel
    border : (V, 3, 2) float64, the extent of the view in window voxels
    slopes : (V, 3) float64, 1 / blending width in window voxels
    blend : whether `slopes` are used
    quality, cells, cell_maps : quality maps in one buffer; (V, 4) start and shape (start < 0: no
        weighting); (V, 3, 4) output voxel -> cell
    cubic : cubic instead of linear interpolation
    scale : factor on the result (0.5 for half intensity)
    out : (Z, Y, X) uint16, filled completely
    """
    nz, ny, nx = out.shape
    first, last = np.zeros(starts.size, np.int64), np.zeros(starts.size, np.int64)
    cuts = np.empty(2 * starts.size + 2, np.int64)
    row, line = np.empty(nx, np.float32), np.empty(nx + 3, np.float32)
    total, weights = np.empty(nx, np.float32), np.empty(nx, np.float32)
    weight = np.empty(nx, np.float32)
    origin, step = np.empty(3), np.empty(3)
    for z in range(nz):
        for y in range(ny):
            ranges_of(maps, border, z, y, nx, first, last, origin, step)
            for c in range(cuts_of(first, last, cuts, nx) - 1):
                a, b = cuts[c], cuts[c + 1]
                count, covered = b - a, 0
                for v in range(starts.size):
                    covered += first[v] <= a and last[v] >= b
                if count == 0 or covered == 0:
                    out[z, y, a:b] = 0
                    continue
                total[:count], weights[:count] = 0, 0
                for v in range(starts.size):
                    if first[v] > a or last[v] < b:
                        continue
                    place(maps[v], z, y, a, origin, step)
                    if covered == 1 and scale == 1:
                        at = copied_from(starts[v], pitches[v], origin, step)
                        if at >= 0:
                            out[z, y, a:b] = pool[at : at + count]
                            covered = 0
                            break
                    sample_row(pool, starts[v], pitches[v], origin, step, cubic, row, line, count)
                    if covered == 1:
                        break
                    if blend:
                        weigh_row(origin, step, border[v], slopes[v], weight, count)
                    else:
                        weight[:count] = 1
                    if cells[v, 0] >= 0:
                        place(cell_maps[v], z, y, a, origin, step)
                        apply_quality(
                            quality, cells[v, 0], cells[v, 1:], origin, step, weight, count
                        )
                    add_row(row, weight, total, weights, count)
                if covered > 1:
                    mean_row(total, weights, row, count)
                if covered > 0:
                    store_row(row, scale, out[z, y, a:b])
