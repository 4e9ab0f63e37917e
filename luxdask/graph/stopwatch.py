"""How long a thread spends on what: reading, writing; for the figures of a run."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_spent = threading.local()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Count the time inside the block for `what`, in this thread."""
    begin = perf_counter()
    try:
        yield
    finally:
        known: dict[str, float] = _spent.__dict__
        known[what] = known.get(what, 0.0) + perf_counter() - begin


def take_times() -> dict[str, float]:
    """Seconds by name since the last call in this thread."""
    known: dict[str, float] = _spent.__dict__
    found = dict(known)
    known.clear()
    return found
