"""Numba's compiler with the settings that every CPU kernel of luxdask uses, and a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable


# What may be reordered inside a kernel: nothing that makes a value depend on its place in a row, so
# that results do not depend on how an image is cut into chunks.
_FAST = {"contract", "nnan", "ninf", "nsz"}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use; the result is kept on disk and releases the GIL while it runs."""
    compiled = numba.njit(nogil=True, cache=True, fastmath=_FAST, boundscheck=False)(function)
    return cast("Callable[..., Any]", compiled)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as a part of the kernels that call it."""
    compiled = numba.njit(inline="always", fastmath=_FAST, boundscheck=False)(function)
    return cast("Callable[..., Any]", compiled)
