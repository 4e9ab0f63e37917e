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

NOT_COPIED = -(1 << 62)

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
    t = np.float32(min(position - low, high - position)) * slope
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
def sample_row(  # type: ignore[no-untyped-def]
    pool, start, pitch, origin, step, first, cubic, row, line, count
):
    """Values of one view along a row: the cheapest way that is exact for its direction."""
    pz, py = pitch[0], pitch[1]
    along_x = abs(step[0]) + abs(step[1]) < 1e-12 and abs(abs(step[2]) - 1) < 1e-12
    if not along_x:
        if cubic:
            cubic_row(pool, start, pz, py, origin, step, first, row, count)
        else:
            linear_row(pool, start, pz, py, origin, step, first, row, count)
        return
    iz, tz = split(origin[0])
    iy, ty = split(origin[1])
    ix, tx = split(origin[2])
    ix += first if step[2] > 0 else 1 - first - count
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
def copied_from(start, pitch, origin, step, first):  # type: ignore[no-untyped-def]
    """Where in the buffer a row lies that is a plain copy, or `NOT_COPIED`."""
    if abs(step[0]) + abs(step[1]) > 1e-12 or abs(step[2] - 1) > 1e-12:
        return NOT_COPIED
    iz, tz = split(origin[0])
    iy, ty = split(origin[1])
    ix, tx = split(origin[2])
    if tz != 0 or ty != 0 or tx != 0:
        return NOT_COPIED
    return start + iz * pitch[0] + iy * pitch[1] + ix + first


@kernel
def profile_of(map_, border, slope, first, profile):  # type: ignore[no-untyped-def]
    """Ramp of a view along x for all rows of a block; False where it is not the same for all."""
    if abs(map_[0, 2]) + abs(map_[1, 2]) + abs(map_[2, 0]) + abs(map_[2, 1]) > 1e-12:
        return False
    for i in range(profile.size):
        x = map_[2, 2] * (first + i) + map_[2, 3]
        profile[i] = ramp(x, border[2, 0], border[2, 1], np.float32(slope[2]))
    return True


@kernel
def weigh_row(origin, step, first, border, slope, profile, weight, count):  # type: ignore[no-untyped-def]
    """Blending weights of one view along a row; `border` is (axis, low/high).

    profile : the view's ramp along x from `first` on, empty where it has none of its own.
    """
    sz, sy, sx = np.float32(slope[0]), np.float32(slope[1]), np.float32(slope[2])
    z, dz, z0, z1 = origin[0], step[0], border[0, 0], border[0, 1]
    y, dy, y0, y1 = origin[1], step[1], border[1, 0], border[1, 1]
    if profile.size > 0:
        outer = ramp(z, z0, z1, sz) * ramp(y, y0, y1, sy)
        for i in range(count):
            weight[i] = outer * profile[i]
        return
    x, dx, x0, x1 = origin[2], step[2], border[2, 0], border[2, 1]
    for i in range(count):
        k = first + i
        weight[i] = ramp(z + dz * k, z0, z1, sz)
        weight[i] *= ramp(y + dy * k, y0, y1, sy) * ramp(x + dx * k, x0, x1, sx)


@inlined
def cell(position, n):  # type: ignore[no-untyped-def]
    """Neighbouring cells and fraction for interpolating a quality map, clamped at its ends."""
    p = min(max(position, 0.0), n - 1.0)
    i = int(p)
    return i, min(i + 1, n - 1), np.float32(p - i)


@kernel
def apply_quality(  # type: ignore[no-untyped-def]
    quality, start, shape, origin, step, first, weight, count
):
    """Multiply weights with a view's quality map, interpolated between cell centres."""
    nz, ny, nx = shape[0], shape[1], shape[2]
    for i in range(count):
        k = first + i
        z0, z1, tz = cell(origin[0] + step[0] * k, nz)
        y0, y1, ty = cell(origin[1] + step[1] * k, ny)
        x0, x1, tx = cell(origin[2] + step[2] * k, nx)
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
def cuts_of(first, last, cuts, x0, x1):  # type: ignore[no-untyped-def]
    """Sorted places where views begin or end on a row; returns how many."""
    n = 1
    cuts[0] = x0
    for v in range(first.size):
        if last[v] > first[v]:
            cuts[n], cuts[n + 1] = first[v], last[v]
            n += 2
    cuts[n] = x1
    n += 1
    for i in range(1, n):
        value, j = cuts[i], i
        while j > 0 and cuts[j - 1] > value:
            cuts[j] = cuts[j - 1]
            j -= 1
        cuts[j] = value
    return n


@kernel
def place(maps, z, y, origin, step):  # type: ignore[no-untyped-def]
    """Coordinates of output voxel (z, y, 0) under an affine map, and the step along x."""
    for a in range(3):
        origin[a] = maps[a, 0] * z + maps[a, 1] * y + maps[a, 3]
        step[a] = maps[a, 2]


@kernel
def ranges_of(maps, border, z, y, x0, x1, first, last, origin, step):  # type: ignore[no-untyped-def]
    """Where between x0 and x1 of output row (z, y) each view begins and ends."""
    for v in range(first.size):
        place(maps[v], z, y, origin, step)
        begin, end = x0, x1
        for a in range(3):
            low, high = border[v, a, 0] - EXACT, border[v, a, 1] + EXACT
            begin, end = clip_row(origin[a], step[a], low, high, begin, end)
        first[v], last[v] = begin, end


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
    pool,
    starts,
    pitches,
    maps,
    border,
    slopes,
    blend,
    quality,
    cells,
    cell_maps,
    cubic,
    scale,
    corner,
    out,
):
    """Fuse one block of output.

    All coordinates are those of the whole output and of whole views, never of the block or the
    window: what a voxel gets does not depend on the block that it is computed in.

    Parameters
    ----------
    pool : (N,) uint16, the windows of all views, one after the other
    starts : (V,) int64, where in `pool` voxel (0, 0, 0) of each view would lie
    pitches : (V, 2) int64, voxels per plane and per row of each window
    maps : (V, 3, 4) float64, output voxel -> view voxel
    border : (V, 3, 2) float64, the extent of the view in its voxels
    slopes : (V, 3) float64, 1 / blending width in view voxels
    blend : whether `slopes` are used
    quality, cells, cell_maps : quality maps in one buffer; (V, 4) start and shape (start < 0: no
        weighting); (V, 3, 4) output voxel -> cell
    cubic : cubic instead of linear interpolation
    scale : factor on the result (0.5 for half intensity)
    corner : (3,) int64, the first output voxel of the block
    out : (Z, Y, X) uint16, filled completely
    """
    nz, ny, nx = out.shape
    z0, y0, x0 = corner[0], corner[1], corner[2]
    first, last = np.zeros(starts.size, np.int64), np.zeros(starts.size, np.int64)
    cuts = np.empty(2 * starts.size + 2, np.int64)
    row, line = np.empty(nx, np.float32), np.empty(nx + 3, np.float32)
    total, weights = np.empty(nx, np.float32), np.empty(nx, np.float32)
    weight = np.empty(nx, np.float32)
    origin, step = np.empty(3), np.empty(3)
    profiles, has_profile = np.empty((starts.size, nx), np.float32), np.zeros(starts.size, np.bool_)
    for v in range(starts.size):
        if blend:
            has_profile[v] = profile_of(maps[v], border[v], slopes[v], x0, profiles[v])
    for z in range(z0, z0 + nz):
        for y in range(y0, y0 + ny):
            ranges_of(maps, border, z, y, x0, x0 + nx, first, last, origin, step)
            for c in range(cuts_of(first, last, cuts, x0, x0 + nx) - 1):
                a, b = cuts[c], cuts[c + 1]
                count, covered = b - a, 0
                for v in range(starts.size):
                    covered += first[v] <= a and last[v] >= b
                target = out[z - z0, y - y0, a - x0 : b - x0]
                if count == 0 or covered == 0:
                    target[:] = 0
                    continue
                total[:count], weights[:count] = 0, 0
                for v in range(starts.size):
                    if first[v] > a or last[v] < b:
                        continue
                    place(maps[v], z, y, origin, step)
                    if covered == 1 and scale == 1:
                        at = copied_from(starts[v], pitches[v], origin, step, a)
                        if at != NOT_COPIED:
                            source = pool[at : at + count]
                            for i in range(count):  # takes less to compile than arrays
                                target[i] = source[i]
                            covered = 0
                            break
                    sample_row(
                        pool, starts[v], pitches[v], origin, step, a, cubic, row, line, count
                    )
                    if covered == 1:
                        break
                    if blend:
                        profile = profiles[v, a - x0 : b - x0] if has_profile[v] else weight[:0]
                        weigh_row(origin, step, a, border[v], slopes[v], profile, weight, count)
                    else:
                        weight[:count] = 1
                    if cells[v, 0] >= 0:
                        place(cell_maps[v], z, y, origin, step)
                        apply_quality(
                            quality, cells[v, 0], cells[v, 1:], origin, step, a, weight, count
                        )
                    add_row(row, weight, total, weights, count)
                if covered > 1:
                    mean_row(total, weights, row, count)
                if covered > 0:
                    store_row(row, scale, target)
