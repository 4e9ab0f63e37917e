"""Pieces of LLVM code that work on 16 float32 at a time, for numba's intrinsics.

CPUs with narrower registers, or without masks, run the same code, split by LLVM.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

LANES = 16

I1, I32, I64, F32 = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType()
VECTOR, VECTOR_I32, VECTOR_I64 = (ir.VectorType(t, LANES) for t in (F32, I32, I64))
MASK = ir.VectorType(I1, LANES)
FAST = ("contract", "nnan", "ninf", "nsz")


def splat(builder: Any, value: Any, vector: Any) -> Any:
    """The same value in all lanes."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(I32, 0))
    lanes = ir.Constant(VECTOR_I32, [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)


def constant(value: float) -> Any:
    """The same number in all lanes."""
    return ir.Constant(VECTOR, [value] * LANES)


def declared(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """A function of LLVM's own."""
    module = builder.module
    found = module.globals.get(name)
    return found or ir.Function(module, ir.FunctionType(result, arguments), name)


def load(builder: Any, address: Any, mask: Any = None) -> Any:
    """The float32 at an address, and those after it; 0 where the mask is not set."""
    pointer = VECTOR.as_pointer()
    where = builder.inttoptr(address, pointer)
    if mask is None:
        return builder.load(where, align=4)
    function = declared(
        builder, f"llvm.masked.load.v{LANES}f32.p0", VECTOR, [pointer, I32, MASK, VECTOR]
    )
    return builder.call(function, [where, ir.Constant(I32, 4), mask, constant(0.0)])


def store(builder: Any, values: Any, address: Any, mask: Any = None) -> None:
    """Put float32 at an address and after it, where the mask is set."""
    pointer = VECTOR.as_pointer()
    where = builder.inttoptr(address, pointer)
    if mask is None:
        builder.store(values, where, align=4)
        return
    function = declared(
        builder, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), [VECTOR, pointer, I32, MASK]
    )
    builder.call(function, [values, where, ir.Constant(I32, 4), mask])
