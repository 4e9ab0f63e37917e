"""A weighted sum of rows and what becomes of it, 64 voxels at a time: they stay in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from luxdask.array.lanes import (
    F32,
    FAST,
    I64,
    LANES,
    VECTOR,
    VECTOR_I64,
    constant,
    load,
    splat,
    store,
)

STORE, DEVIATION, ADD, UPDATE, ACCELERATE = range(5)
"""What becomes of a filtered row ``v``:

STORE       ``out = v``
DEVIATION   ``out = b * (a / v - 1)``
ADD         ``out += v``
UPDATE      ``out *= max(0, 1 + (a + v) * b)``
ACCELERATE  ``new = c * max(0, 1 + (a + v) * b)``, then ``c = max(0, new + momentum * (new - out))``
            and ``out = new``
"""

_VECTORS = 4
"""Sums that are made side by side, so that the CPU need not wait for one addition after another."""

_SIGNATURE = types.void(*([types.intp] * 10), types.float32, types.float32)


@intrinsic
def sum_rows(typing, rows, where, weights, pairs, n, action, out, a, b, c, momentum, dark):  # type: ignore[no-untyped-def]
    """``v = weights[0] rows[0] + sum(weights[k] (rows[2 k - 1] + rows[2 k]))``, k up to `pairs`.

    All but the numbers `pairs`, `n` (voxels) and `action` are addresses: `rows` of int64, the bytes
    from `where` to rows of float32; the others of float32. What an action does not use may be any
    number. A sum below `dark` counts as this much in a quotient.
    """
    return _SIGNATURE, _generate


class _Block:
    """Code for some vectors side by side, from voxel `x` on."""

    def __init__(self, builder: Any, args: Any, x: Any, vectors: int, mask: Any) -> None:
        names = ("rows", "where", "weights", "pairs", "n", "action", "out", "a", "b", "c")
        self._given = dict(zip(names, args, strict=False))
        self._momentum, self._dark = args[10:]
        self._builder, self._vectors, self._mask = builder, vectors, mask
        self._offset = builder.shl(x, ir.Constant(I64, 2))
        self._first = builder.add(self._given["where"], self._offset)

    def write(self) -> None:
        """The whole of it."""
        builder = self._builder
        sums = self._sum()
        ends = (self._store, self._deviation, self._add, self._update, self._accelerate)
        done = builder.append_basic_block("row.done")
        blocks = [builder.append_basic_block("row.end") for _ in ends]
        switch = builder.switch(self._given["action"], blocks[0])
        for action, (end, block) in enumerate(zip(ends, blocks, strict=True)):
            if action:
                switch.add_case(ir.Constant(I64, action), block)
            builder.position_at_end(block)
            for k, value in enumerate(sums):
                end(value, k)
            builder.branch(done)
        builder.position_at_end(done)

    def _sum(self) -> list[Any]:
        builder = self._builder
        weight = self._weight(ir.Constant(I64, 0))
        sums: list[Any] = [
            cgutils.alloca_once(builder, VECTOR)  # type: ignore[no-untyped-call]
            for _ in range(self._vectors)
        ]
        middle = self._row(ir.Constant(I64, 0))
        for k, total in enumerate(sums):
            builder.store(builder.fmul(weight, self._voxels(middle, k), flags=FAST), total)
        one = ir.Constant(I64, 1)
        after = builder.add(self._given["pairs"], one)
        with cgutils.for_range_slice(builder, one, after, one, intp=I64) as (pair, _):
            weight = self._weight(pair)
            twice = builder.add(pair, pair)
            before, behind = self._row(builder.sub(twice, one)), self._row(twice)
            for k, total in enumerate(sums):
                both = builder.fadd(self._voxels(before, k), self._voxels(behind, k), flags=FAST)
                product = builder.fmul(weight, both, flags=FAST)
                builder.store(builder.fadd(builder.load(total), product, flags=FAST), total)
        return [builder.load(total) for total in sums]

    def _weight(self, k: Any) -> Any:
        builder = self._builder
        where = builder.add(self._given["weights"], builder.shl(k, ir.Constant(I64, 2)))
        return splat(builder, builder.load(builder.inttoptr(where, F32.as_pointer())), VECTOR)

    def _row(self, k: Any) -> Any:
        builder = self._builder
        where = builder.add(self._given["rows"], builder.shl(k, ir.Constant(I64, 3)))
        bytes_ = builder.load(builder.inttoptr(where, I64.as_pointer()))
        return builder.add(self._first, bytes_)

    def _voxels(self, address: Any, k: int) -> Any:
        return load(self._builder, self._further(address, k), self._mask)

    def _further(self, address: Any, k: int) -> Any:
        return self._builder.add(address, ir.Constant(I64, 4 * LANES * k))

    def _get(self, name: str, k: int) -> Any:
        return self._voxels(self._builder.add(self._given[name], self._offset), k)

    def _put(self, value: Any, name: str, k: int) -> None:
        where = self._further(self._builder.add(self._given[name], self._offset), k)
        store(self._builder, value, where, self._mask)

    def _store(self, value: Any, k: int) -> None:
        self._put(value, "out", k)

    def _deviation(self, value: Any, k: int) -> None:
        builder = self._builder
        seen = self._largest(value, splat(builder, self._dark, VECTOR))
        ratio = builder.fdiv(self._get("a", k), seen, flags=FAST)
        missed = builder.fsub(ratio, constant(1.0), flags=FAST)
        self._put(builder.fmul(self._get("b", k), missed, flags=FAST), "out", k)

    def _add(self, value: Any, k: int) -> None:
        self._put(self._builder.fadd(self._get("out", k), value, flags=FAST), "out", k)

    def _update(self, value: Any, k: int) -> None:
        factor = self._factor(value, k)
        self._put(self._builder.fmul(self._get("out", k), factor, flags=FAST), "out", k)

    def _accelerate(self, value: Any, k: int) -> None:
        builder = self._builder
        new = builder.fmul(self._get("c", k), self._factor(value, k), flags=FAST)
        step = builder.fsub(new, self._get("out", k), flags=FAST)
        step = builder.fmul(splat(builder, self._momentum, VECTOR), step, flags=FAST)
        ahead = builder.fadd(new, step, flags=FAST)
        self._put(self._largest(ahead, constant(0.0)), "c", k)
        self._put(new, "out", k)

    def _factor(self, value: Any, k: int) -> Any:
        builder = self._builder
        said = builder.fadd(self._get("a", k), value, flags=FAST)
        said = builder.fmul(said, self._get("b", k), flags=FAST)
        return self._largest(builder.fadd(said, constant(1.0), flags=FAST), constant(0.0))

    def _largest(self, a: Any, b: Any) -> Any:
        builder = self._builder
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Whole blocks, then what is left of the row, behind a mask."""
    n = args[4]
    long, zero = _VECTORS * LANES, ir.Constant(I64, 0)
    whole = builder.and_(n, ir.Constant(I64, -long))
    step = ir.Constant(I64, long)
    with cgutils.for_range_slice(builder, zero, whole, step, intp=I64) as (x, _):
        _Block(builder, args, x, _VECTORS, None).write()
    step = ir.Constant(I64, LANES)
    lane = ir.Constant(VECTOR_I64, list(range(LANES)))
    with cgutils.for_range_slice(builder, whole, n, step, intp=I64) as (x, _):
        left = splat(builder, builder.sub(n, x), VECTOR_I64)
        _Block(builder, args, x, 1, builder.icmp_signed("<", lane, left)).write()
    return context.get_dummy_value()
