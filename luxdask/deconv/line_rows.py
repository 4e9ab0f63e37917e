"""The compiled part of `line_blur`: filters along lines of rows, one row after the other.

A slab is what lies on one line of rows: rows at equal distances in z and y, each all of x. Filters
whose directions lie in a slab are applied to it in one go. What each filter still needs of the rows
before it is kept in a ring of rows that fits the CPU's cache, so that memory is read once and
written once.
"""

from __future__ import annotations

from luxdask.array.jit import kernel
from luxdask.deconv.row_sum import STORE, sum_rows


@kernel
def filter_slabs(  # type: ignore[no-untyped-def]
    first, last, slabs, step, filters, taps, lane, arrays, source_box, out_box,
    action, momentum, dark, rings, offsets, rows, constants,
):  # fmt: skip
    """Filter the slabs `first` to `last`; beyond the source and beyond a slab it is dark.

    slabs : (S, 4) z and y of the first row in the volume, the number of rows, and of slabs from
        there on, side by side in y, that are filtered together.
    step : z and y from row to row.
    filters : (F, 5) rows and voxels from tap to tap, the first tap, the number of pairs of taps,
        and how many rows it is behind the first rows.
    taps : all filters' taps, from the middle outwards.
    lane : (3,) voxels of a row in the volume, dark ones before them, and voxels from row to row
        of a ring, dark ones included.
    arrays : addresses of float32 volumes: source, out, and what the action needs (see
        `row_sum.STORE`), a, b and c, which lie in memory as `out` does; where it is 0, a is 0
        everywhere and b is 1.
    source_box, out_box : (8,) corner in the volume, shape, and voxels from plane to plane and from
        row to row.
    rings : (F, N) zeros per filter, for a power of two of rows with their dark voxels, those of all
        slabs that are filtered together.
    offsets : (F, rows of a ring, R) int64; room for where each filter finds its rows, by row.
    rows : (R,) int64; the same for a row that has dark ones beside it.
    constants : (2, N) zeros and ones, as many as rows side by side are long.
    """
    source, out, a, b, c = arrays
    nx, margin, pitch = lane
    n_filters, ring = rings.shape
    around, most = offsets.shape[1] - 1, len(rows)
    slot_pitch = ring // (around + 1)
    dark_row = constants.ctypes.data
    bright_row = dark_row + 4 * constants.shape[1]
    source_nx, source_x = source_box[5], source_box[2]
    out_nx, out_x = out_box[5], out_box[2]
    source_pitch = step[0] * source_box[6] + step[1] * source_box[7]
    out_pitch = step[0] * out_box[6] + step[1] * out_box[7]
    is_part = source_x != 0 or source_nx != nx
    _fill(offsets, filters, source_pitch, slot_pitch)
    for s in range(first, last):
        z0, y0, n, together = slabs[s]
        low, high = _rows_inside(z0, y0, n, step, source_box)
        out_low, out_high = _rows_inside(z0, y0, n, step, out_box)
        source_at = (z0 - source_box[0]) * source_box[6] + (y0 - source_box[1]) * source_box[7]
        out_at = (z0 - out_box[0]) * out_box[6] + (y0 - out_box[1]) * out_box[7]
        for t in range(n + filters[n_filters - 1, 4]):
            for f in range(n_filters):
                j, is_last = t - filters[f, 4], f + 1 == n_filters
                if j < 0 or j >= n or (is_last and (j < out_low or j >= out_high)):
                    continue
                # one filter of a part of the rows leaves what lies beside the part dark
                is_direct = is_last and not (f == 0 and is_part)
                pairs, weights = filters[f, 3], taps.ctypes.data + 4 * filters[f, 2]
                if f == 0:
                    slot, begin, end, at, length = 0, low, high, source_x, source_nx
                    where, beside = source + 4 * (source_at + j * source_pitch), source_box[7]
                else:
                    slot, begin, end, at, length = j & around, 0, n, 0, nx
                    where, beside = rings.ctypes.data + 4 * (f * ring + margin), pitch
                if is_direct:
                    where += 4 * out_x
                found = offsets.ctypes.data + 8 * (f * (around + 1) + slot) * most
                reach = pairs * filters[f, 0]
                if j - reach < begin or j + reach >= end:
                    _darken(rows, offsets[f, slot], filters[f], j, begin, end, dark_row - where)
                    found = rows.ctypes.data
                if not is_direct:
                    row = 0 if is_last else (f + 1) * ring + (j & around) * slot_pitch
                    target = rings.ctypes.data + 4 * (row + margin)
                    for r in range(together):
                        sum_rows(  # type: ignore[call-arg]
                            found, where + 4 * r * beside, weights, pairs, length, STORE,
                            target + 4 * (at + r * pitch), dark_row, dark_row, dark_row,
                            momentum, dark,
                        )  # fmt: skip
                    if not is_last:
                        continue
                    rows[0], found, where, beside = 0, rows.ctypes.data, target + 4 * out_x, pitch
                    weights, pairs = bright_row, 0
                for r in range(together):
                    at = 4 * (out_at + j * out_pitch + r * out_box[7])
                    sum_rows(  # type: ignore[call-arg]
                        found, where + 4 * r * beside, weights, pairs, out_nx, action, out + at,
                        a + at if a != 0 else dark_row, b + at if b != 0 else bright_row, c + at,
                        momentum, dark,
                    )  # fmt: skip


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
def _fill(offsets, filters, source_pitch, pitch):  # type: ignore[no-untyped-def]
    """Bytes to the rows that each filter adds up.

    The first filter's from the row itself in the source, the others' from a ring's first row.
    """
    n_filters, slots, _ = offsets.shape
    for f in range(n_filters):
        for j in range(slots):
            for k in range(filters[f, 3] + 1):
                rows, voxels = k * filters[f, 0], k * filters[f, 1]
                if f == 0:
                    before, behind = rows * source_pitch, -rows * source_pitch
                else:
                    before = ((j + rows) & (slots - 1)) * pitch
                    behind = ((j - rows) & (slots - 1)) * pitch
                offsets[f, j, 2 * k] = 4 * (behind - voxels)
                if k > 0:
                    offsets[f, j, 2 * k - 1] = 4 * (before + voxels)


@kernel
def _darken(rows, offsets, filter_, j, begin, end, dark):  # type: ignore[no-untyped-def]
    """Rows as in `offsets`, and a dark one for those that are not in begin ... end."""
    rows[0] = offsets[0] if begin <= j < end else dark
    for k in range(1, filter_[3] + 1):
        before, behind = j + k * filter_[0], j - k * filter_[0]
        rows[2 * k - 1] = offsets[2 * k - 1] if begin <= before < end else dark
        rows[2 * k] = offsets[2 * k] if begin <= behind < end else dark
