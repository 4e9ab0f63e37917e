"""Numba's compiler with the settings that every CPU kernel of luxdask uses, and a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use; the result is kept on disk and releases the GIL while it runs."""
    compiled = numba.njit(nogil=True, cache=True, fastmath=True, boundscheck=False)(function)
    return cast("Callable[..., Any]", compiled)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as a part of the kernels that call it."""
    compiled = numba.njit(inline="always", fastmath=True, boundscheck=False)(function)
    return cast("Callable[..., Any]", compiled)
