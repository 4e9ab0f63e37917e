"""Many images in few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.model.view import ViewId

MOST_NAMES = 6


def view_words(views: Sequence[ViewId]) -> str:
    """How many images these are, and the names that occur in each part of their identities."""
    from luxdask.io.open_notes import ranges

    times = ranges(sorted({v.time_point for v in views}))
    parts = {
        "tp": times,
        "ch": _names(v.channel for v in views),
        "st": _names(v.stack for v in views),
        "obj": _names(v.objective for v in views),
        "cam": _names(v.camera for v in views),
    }
    if any(v.pm is not None for v in views):
        parts["pm"] = _names(v.pm or "none" for v in views)
    words = " ".join(f"{key}:{names}" for key, names in parts.items())
    return words if len(views) == 1 else f"{len(views)}: {words}"


def _names(names: Iterable[str]) -> str:
    """Names in natural order; of many the first, the last and their number."""
    from luxdask.model.view import natural_key

    ordered = sorted(set(names), key=natural_key)
    if len(ordered) > MOST_NAMES:
        return f"{ordered[0]}…{ordered[-1]} ({len(ordered)})"
    return ",".join(ordered)
