"""Interpolation of 16 voxels at a time with LLVM's masked gather, from numba.

One 32-bit gather fetches a uint16 voxel and its neighbour in x: eight taps cost four gathers
(trilinear), 64 taps cost 32 (cubic).
The voxel after the last of the buffer is touched too: buffers are one voxel longer than needed.
CPUs without gather instructions run the same code, split by LLVM into single loads.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from luxdask.array.lanes import (
    FAST,
    I32,
    I64,
    LANES,
    MASK,
    VECTOR,
    VECTOR_I32,
    VECTOR_I64,
    constant,
    declared,
    splat,
    store,
)


def _gather(builder: Any, address: Any, index: Any, mask: Any) -> Any:
    """32-bit words at ``address + 2 * index`` where `mask` is set, else 0."""
    pointers = ir.VectorType(I32.as_pointer(), LANES)
    one = ir.Constant(VECTOR_I64, [1] * LANES)
    bytes_ = builder.shl(builder.sext(index, VECTOR_I64), one)
    where = builder.inttoptr(builder.add(splat(builder, address, VECTOR_I64), bytes_), pointers)
    function = declared(
        builder,
        f"llvm.masked.gather.v{LANES}i32.v{LANES}p0",
        VECTOR_I32,
        [pointers, I32, MASK, VECTOR_I32],
    )
    zero = ir.Constant(VECTOR_I32, [0] * LANES)
    return builder.call(function, [where, ir.Constant(I32, 1), mask, zero])


def _lerp(builder: Any, a: Any, b: Any, t: Any) -> Any:
    step = builder.fmul(t, builder.fsub(b, a, flags=FAST), flags=FAST)
    return builder.fadd(a, step, flags=FAST)


def _axis(builder: Any, lane: Any, start: Any, step: Any) -> tuple[Any, Any]:
    """Integer voxel and fraction of ``start + step * lane``; coordinates are never negative."""
    position = builder.fadd(
        builder.fmul(lane, splat(builder, step, VECTOR), flags=FAST),
        splat(builder, start, VECTOR),
        flags=FAST,
    )
    voxel = builder.fptosi(position, VECTOR_I32)
    return voxel, builder.fsub(position, builder.sitofp(voxel, VECTOR), flags=FAST)


def _taps(builder: Any, source: Any, index: Any, pitch: tuple[Any, Any], mask: Any) -> Any:
    """The four (z, y) rows of a cell, each as a pair of x neighbours in one word."""
    pz, py = (splat(builder, p, VECTOR_I32) for p in pitch)
    for offset in (None, py, pz, builder.add(pz, py)):
        where = index if offset is None else builder.add(index, offset)
        yield _gather(builder, source, where, mask)


def _interpolate(builder: Any, words: list[Any], fractions: tuple[Any, Any, Any]) -> Any:
    tz, ty, tx = fractions
    rows = [_lerp(builder, *_halves(builder, word), tx) for word in words]
    return _lerp(
        builder, _lerp(builder, rows[0], rows[1], ty), _lerp(builder, rows[2], rows[3], ty), tz
    )


def _halves(builder: Any, word: Any) -> tuple[Any, Any]:
    """The two neighbouring voxels in one gathered word."""
    low, high = ir.Constant(VECTOR_I32, [0xFFFF] * LANES), ir.Constant(VECTOR_I32, [16] * LANES)
    first = builder.sitofp(builder.and_(word, low), VECTOR)
    return first, builder.sitofp(builder.lshr(word, high), VECTOR)


def _multiply_add(builder: Any, total: Any, weight: Any, value: Any) -> Any:
    product = builder.fmul(weight, value, flags=FAST)
    return product if total is None else builder.fadd(total, product, flags=FAST)


def _polynomial(builder: Any, t: Any, *coefficients: float) -> Any:
    """Horner's scheme, the highest power first."""
    value = constant(coefficients[0])
    for c in coefficients[1:]:
        step = constant(c)
        value = builder.fadd(builder.fmul(value, t, flags=FAST), step, flags=FAST)
    return value


def _keys(builder: Any, t: Any) -> list[Any]:
    """The four weights of cubic convolution (Keys 1981, a = -0.5) at a fraction."""
    return [
        _polynomial(builder, t, -0.5, 1.0, -0.5, 0.0),
        _polynomial(builder, t, 1.5, -2.5, 0.0, 1.0),
        _polynomial(builder, t, -1.5, 2.0, 0.5, 0.0),
        _polynomial(builder, t, 0.5, -0.5, 0.0, 0.0),
    ]


def _linear(builder: Any, source: Any, index: Any, pitch: Any, mask: Any, fractions: Any) -> Any:
    words = list(_taps(builder, source, index, pitch, mask))
    return _interpolate(builder, words, fractions)


def _cubic(builder: Any, source: Any, index: Any, pitch: Any, mask: Any, fractions: Any) -> Any:
    """Sum over 4 x 4 rows of 4 voxels; `index` is the voxel at the integer coordinates."""
    pz, py = (splat(builder, p, VECTOR_I32) for p in pitch)
    wz, wy, wx = (_keys(builder, t) for t in fractions)
    two = ir.Constant(VECTOR_I32, [2] * LANES)
    back = builder.add(builder.add(pz, py), ir.Constant(VECTOR_I32, [1] * LANES))
    plane, total = builder.sub(index, back), None
    for z in range(4):
        row, sum_y = plane, None
        for y in range(4):
            a, b = _halves(builder, _gather(builder, source, row, mask))
            c, d = _halves(builder, _gather(builder, source, builder.add(row, two), mask))
            sum_x = None
            for weight, value in zip(wx, (a, b, c, d), strict=True):
                sum_x = _multiply_add(builder, sum_x, weight, value)
            sum_y = _multiply_add(builder, sum_y, wy[y], sum_x)
            row = builder.add(row, py)
        total = _multiply_add(builder, total, wz[z], sum_y)
        plane = builder.add(plane, pz)
    return total


def _body(builder: Any, args: Any, i: Any, interpolate: Any) -> None:
    source, target, first, count, z, dz, y, dy, x, dx, pz, py = args
    lane = builder.add(splat(builder, i, VECTOR_I32), ir.Constant(VECTOR_I32, list(range(LANES))))
    mask = builder.icmp_signed("<", lane, splat(builder, count, VECTOR_I32))
    where = builder.sitofp(builder.add(lane, splat(builder, first, VECTOR_I32)), VECTOR)
    iz, tz = _axis(builder, where, z, dz)
    iy, ty = _axis(builder, where, y, dy)
    ix, tx = _axis(builder, where, x, dx)
    row = builder.add(
        builder.mul(iz, splat(builder, pz, VECTOR_I32)),
        builder.mul(iy, splat(builder, py, VECTOR_I32)),
    )
    index = builder.add(row, ix)
    values = interpolate(builder, source, index, (pz, py), mask, (tz, ty, tx))
    offset = builder.shl(builder.sext(i, I64), ir.Constant(I64, 2))
    store(builder, values, builder.add(target, offset), mask)


_SIGNATURE = types.void(
    types.intp,
    types.intp,
    types.int32,
    types.int32,
    *([types.float32] * 6),
    types.int32,
    types.int32,
)


def _loop(interpolate: Any) -> Any:
    """Code generator: `LANES` voxels per turn until `count` are done."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        count, zero = args[3], ir.Constant(I32, 0)
        before = builder.block
        loop, end = builder.append_basic_block("rows"), builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", count, zero), loop, end)
        builder.position_at_end(loop)
        i = builder.phi(I32)
        i.add_incoming(zero, before)
        _body(builder, args, i, interpolate)
        following = builder.add(i, ir.Constant(I32, LANES))
        i.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return generate


@intrinsic
def trilinear_row(  # type: ignore[no-untyped-def]
    typing, source, target, first, count, z, dz, y, dy, x, dx, pitch_z, pitch_y
):
    """``target[i] = source(z + k dz, y + k dy, x + k dx)`` with k = first + i, for i < count.

    `source` and `target` are addresses (uint16 and float32 data); coordinates are relative to
    `source`, must not be negative, and stay precise while they are small.
    """
    return _SIGNATURE, _loop(_linear)


@intrinsic
def tricubic_row(  # type: ignore[no-untyped-def]
    typing, source, target, first, count, z, dz, y, dy, x, dx, pitch_z, pitch_y
):
    """As `trilinear_row` with cubic convolution, which touches one voxel before `source` as well.

    Source: Keys 1981, doi:10.1109/TASSP.1981.1163711.
    """
    return _SIGNATURE, _loop(_cubic)
