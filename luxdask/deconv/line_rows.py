"""The compiled part of `line_blur`: filters along lines of rows, one row after the other.

A slab is what lies on one line of rows: rows at equal distances in z and y, each all of x. Filters
whose directions lie in a slab are applied to it in one go. What each filter still needs of the rows
before it is kept in a ring of rows that fits the CPU's cache, so that memory is read once and
written once.
"""

from __future__ import annotations

import numpy as np

from luxdask.array.jit import kernel

STORE, DEVIATION, ADD, UPDATE = range(4)
"""What becomes of a filtered row ``v``:

STORE      ``out = v``
DEVIATION  ``out = weight * (image / v - 1)``
ADD        ``out += v``
UPDATE     ``new = estimate * max(0, 1 + (others + v) * scale)``, then
           ``estimate = max(0, new + momentum * (new - out))`` and ``out = new``
"""


@kernel
def filter_slabs(  # type: ignore[no-untyped-def]
    first, last, slabs, step, filters, taps, lane, source, source_box, out, out_box,
    action, a, b, c, momentum, dark,
):  # fmt: skip
    """Filter the slabs `first` to `last`; beyond the source and beyond a slab it is dark.

    slabs : (S, 3) z and y of the first row in the volume, and the number of rows.
    step : z and y from row to row.
    filters : (F, 4) rows and voxels from tap to tap, the first tap, the number of taps but one.
    taps : all filters' taps, from the middle outwards.
    lane : (2,) voxels of a row in the volume, and dark ones beside them.
    source, out : flat float32 volumes.
    source_box, out_box : (6,) corner in the volume and shape.
    action, a, b, c : see `STORE`; a to c are image and weight, or others, scale and estimate, flat
        and shaped as `out`; one that is not there is empty. Without an estimate it is `out`.
    """
    nx, margin = lane
    pitch = nx + 2 * margin
    n_filters = len(filters)
    lags, depth = _lags(filters)
    rings = np.zeros((n_filters, depth * pitch), dtype=np.float32)
    row = np.zeros(nx, dtype=np.float32)
    source_nx, source_x = source_box[5], source_box[2]
    out_nx, out_x = out_box[5], out_box[2]
    source_pitch = (step[0] * source_box[4] + step[1]) * source_nx
    out_pitch = (step[0] * out_box[4] + step[1]) * out_nx
    for s in range(first, last):
        z0, y0, n = slabs[s]
        low, high = _rows_inside(z0, y0, n, step, source_box)
        out_low, out_high = _rows_inside(z0, y0, n, step, out_box)
        source_at = ((z0 - source_box[0]) * source_box[4] + y0 - source_box[1]) * source_nx
        out_at = ((z0 - out_box[0]) * out_box[4] + y0 - out_box[1]) * out_nx
        for t in range(n + lags[n_filters]):
            for f in range(n_filters):
                j = t - lags[f + 1]
                if j < 0 or j >= n:
                    continue
                target = row
                if f + 1 < n_filters:
                    slot = (j & (depth - 1)) * pitch + margin
                    target = rings[f + 1, slot : slot + nx]
                elif j < out_low or j >= out_high:
                    continue
                values, origin, mask, distance = rings[f], margin, depth - 1, pitch
                begin, end = 0, n
                if f == 0:
                    values, origin, mask, distance = source, source_at, -1, source_pitch
                    begin, end = low, high
                    target = target[source_x : source_x + source_nx]
                _filter_row(values, origin, mask, distance, begin, end, filters[f], taps, j, target)
                if f + 1 == n_filters:
                    inner = row[out_x : out_x + out_nx]
                    _finish_row(inner, out, out_at + j * out_pitch, action, a, b, c, momentum, dark)


@kernel
def _lags(filters):  # type: ignore[no-untyped-def]
    """How many rows each filter is behind the first rows, and the rows that rings must keep."""
    lags = np.zeros(len(filters) + 1, dtype=np.int64)
    depth = 1
    for f in range(len(filters)):
        reach = filters[f, 0] * filters[f, 3]
        lags[f + 1] = lags[f] + reach
        while depth < 2 * reach + 1:
            depth *= 2
    return lags, depth


@kernel
def _rows_inside(z0, y0, n, step, box):  # type: ignore[no-untyped-def]
    """The range of a slab's rows that lie in a box."""
    low, high = n, 0
    for j in range(n):
        z, y = z0 + j * step[0] - box[0], y0 + j * step[1] - box[1]
        if 0 <= z < box[3] and 0 <= y < box[4]:
            low, high = min(low, j), j + 1
    return low, high


@kernel
def _filter_row(values, origin, mask, pitch, low, high, filter_, taps, j, target):  # type: ignore[no-untyped-def]
    """Row j; row i begins at ``origin + (i & mask) * pitch``, those outside low ... high are dark.

    Four pairs of taps at a time: the target is then loaded and stored a quarter as often.
    """
    rows, voxels, first, count = filter_
    nx = len(target)
    both = -1
    if low <= j < high:
        both = min(count, min(j - low, high - 1 - j) // rows) if rows > 0 else count
        middle, w1 = _row(values, origin, mask, pitch, j, 0, nx), taps[first]
        for x in range(nx):
            target[x] = w1 * middle[x]
    else:
        target[:] = 0
    k = 1
    while k + 3 <= both:
        w1, w2, w3, w4 = taps[first + k : first + k + 4]
        i, at = k * rows, k * voxels
        u1 = _row(values, origin, mask, pitch, j + i, at, nx)
        d1 = _row(values, origin, mask, pitch, j - i, -at, nx)
        i, at = i + rows, at + voxels
        u2 = _row(values, origin, mask, pitch, j + i, at, nx)
        d2 = _row(values, origin, mask, pitch, j - i, -at, nx)
        i, at = i + rows, at + voxels
        u3 = _row(values, origin, mask, pitch, j + i, at, nx)
        d3 = _row(values, origin, mask, pitch, j - i, -at, nx)
        i, at = i + rows, at + voxels
        u4 = _row(values, origin, mask, pitch, j + i, at, nx)
        d4 = _row(values, origin, mask, pitch, j - i, -at, nx)
        for x in range(nx):
            target[x] += (w1 * (u1[x] + d1[x]) + w2 * (u2[x] + d2[x])) + (
                w3 * (u3[x] + d3[x]) + w4 * (u4[x] + d4[x])
            )
        k += 4
    while k <= both:
        w1, i, at = taps[first + k], k * rows, k * voxels
        u1 = _row(values, origin, mask, pitch, j + i, at, nx)
        d1 = _row(values, origin, mask, pitch, j - i, -at, nx)
        for x in range(nx):
            target[x] += w1 * (u1[x] + d1[x])
        k += 1
    while k <= count:
        w1, i, at = taps[first + k], k * rows, k * voxels
        if low <= j + i < high:
            u1 = _row(values, origin, mask, pitch, j + i, at, nx)
            for x in range(nx):
                target[x] += w1 * u1[x]
        if low <= j - i < high:
            d1 = _row(values, origin, mask, pitch, j - i, -at, nx)
            for x in range(nx):
                target[x] += w1 * d1[x]
        k += 1


@kernel
def _row(values, origin, mask, pitch, j, shift, nx):  # type: ignore[no-untyped-def]
    at = origin + (j & mask) * pitch + shift
    return values[at : at + nx]


@kernel
def _finish_row(row, out, at, action, a, b, c, momentum, dark):  # type: ignore[no-untyped-def]
    n = len(row)
    target = out[at : at + n]
    if action == STORE:
        for x in range(n):
            target[x] = row[x]
    elif action == DEVIATION:
        image = a[at : at + n]
        for x in range(n):
            target[x] = image[x] / max(row[x], dark) - np.float32(1)
        if len(b) > 0:
            weight = b[at : at + n]
            for x in range(n):
                target[x] *= weight[x]
    else:
        if action == ADD:
            for x in range(n):
                target[x] += row[x]
            return
        if len(a) > 0:
            others = a[at : at + n]
            for x in range(n):
                row[x] += others[x]
        scale = b[at : at + n]
        for x in range(n):
            row[x] = max(np.float32(1) + row[x] * scale[x], np.float32(0))
        if len(c) == 0:
            for x in range(n):
                target[x] *= row[x]
        else:
            estimate = c[at : at + n]
            for x in range(n):
                new = estimate[x] * row[x]
                estimate[x] = max(new + momentum * (new - target[x]), np.float32(0))
                target[x] = new
