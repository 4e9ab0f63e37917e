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

LANES = 16

_I1, _I32, _I64, _F32 = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType()
_VF, _VI, _VL = (ir.VectorType(t, LANES) for t in (_F32, _I32, _I64))
_VM = ir.VectorType(_I1, LANES)
_FAST = ("contract", "nnan", "ninf", "nsz")


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
    lanes = ir.Constant(_VI, [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)


def _declare(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    module = builder.module
    found = module.globals.get(name)
    return found or ir.Function(module, ir.FunctionType(result, arguments), name)


def _gather(builder: Any, address: Any, index: Any, mask: Any) -> Any:
    """32-bit words at ``address + 2 * index`` where `mask` is set, else 0."""
    pointers = ir.VectorType(_I32.as_pointer(), LANES)
    one = ir.Constant(_VL, [1] * LANES)
    bytes_ = builder.shl(builder.sext(index, _VL), one)
    where = builder.inttoptr(builder.add(_splat(builder, address, _VL), bytes_), pointers)
    function = _declare(
        builder, f"llvm.masked.gather.v{LANES}i32.v{LANES}p0", _VI, [pointers, _I32, _VM, _VI]
    )
    zero = ir.Constant(_VI, [0] * LANES)
    return builder.call(function, [where, ir.Constant(_I32, 1), mask, zero])


def _store(builder: Any, values: Any, address: Any, index: Any, mask: Any) -> None:
    pointer = _VF.as_pointer()
    offset = builder.shl(builder.sext(index, _I64), ir.Constant(_I64, 2))
    where = builder.inttoptr(builder.add(address, offset), pointer)
    function = _declare(
        builder, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), [_VF, pointer, _I32, _VM]
    )
    builder.call(function, [values, where, ir.Constant(_I32, 4), mask])


def _lerp(builder: Any, a: Any, b: Any, t: Any) -> Any:
    step = builder.fmul(t, builder.fsub(b, a, flags=_FAST), flags=_FAST)
    return builder.fadd(a, step, flags=_FAST)


def _axis(builder: Any, lane: Any, start: Any, step: Any) -> tuple[Any, Any]:
    """Integer voxel and fraction of ``start + step * lane``; coordinates are never negative."""
    position = builder.fadd(
        builder.fmul(lane, _splat(builder, step, _VF), flags=_FAST),
        _splat(builder, start, _VF),
        flags=_FAST,
    )
    voxel = builder.fptosi(position, _VI)
    return voxel, builder.fsub(position, builder.sitofp(voxel, _VF), flags=_FAST)


def _taps(builder: Any, source: Any, index: Any, pitch: tuple[Any, Any], mask: Any) -> Any:
    """The four (z, y) rows of a cell, each as a pair of x neighbours in one word."""
    pz, py = (_splat(builder, p, _VI) for p in pitch)
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
    low, high = ir.Constant(_VI, [0xFFFF] * LANES), ir.Constant(_VI, [16] * LANES)
    first = builder.sitofp(builder.and_(word, low), _VF)
    return first, builder.sitofp(builder.lshr(word, high), _VF)


def _multiply_add(builder: Any, total: Any, weight: Any, value: Any) -> Any:
    product = builder.fmul(weight, value, flags=_FAST)
    return product if total is None else builder.fadd(total, product, flags=_FAST)


def _polynomial(builder: Any, t: Any, *coefficients: float) -> Any:
    """Horner's scheme, the highest power first."""
    value = ir.Constant(_VF, [coefficients[0]] * LANES)
    for c in coefficients[1:]:
        step = ir.Constant(_VF, [c] * LANES)
        value = builder.fadd(builder.fmul(value, t, flags=_FAST), step, flags=_FAST)
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
    pz, py = (_splat(builder, p, _VI) for p in pitch)
    wz, wy, wx = (_keys(builder, t) for t in fractions)
    two = ir.Constant(_VI, [2] * LANES)
    back = builder.add(builder.add(pz, py), ir.Constant(_VI, [1] * LANES))
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
    lane = builder.add(_splat(builder, i, _VI), ir.Constant(_VI, list(range(LANES))))
    mask = builder.icmp_signed("<", lane, _splat(builder, count, _VI))
    where = builder.sitofp(builder.add(lane, _splat(builder, first, _VI)), _VF)
    iz, tz = _axis(builder, where, z, dz)
    iy, ty = _axis(builder, where, y, dy)
    ix, tx = _axis(builder, where, x, dx)
    row = builder.add(
        builder.mul(iz, _splat(builder, pz, _VI)), builder.mul(iy, _splat(builder, py, _VI))
    )
    index = builder.add(row, ix)
    values = interpolate(builder, source, index, (pz, py), mask, (tz, ty, tx))
    _store(builder, values, target, i, mask)


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
        count, zero = args[3], ir.Constant(_I32, 0)
        before = builder.block
        loop, end = builder.append_basic_block("rows"), builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", count, zero), loop, end)
        builder.position_at_end(loop)
        i = builder.phi(_I32)
        i.add_incoming(zero, before)
        _body(builder, args, i, interpolate)
        following = builder.add(i, ir.Constant(_I32, LANES))
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
