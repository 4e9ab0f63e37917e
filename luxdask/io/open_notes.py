"""What is worth telling about the images found: duplicates, gaps in time, missing sidecars."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.model.view import Source, View, ViewId

# A view added separately beside the fused image may have the fused image's identity.
_SEPARATE_VIEW = re.compile(r"^(uni|int|sep)_view_")


def without_duplicates(views: Iterable[View]) -> tuple[list[View], list[str]]:
    """The first image of each identity, fused ones before views added separately, and notes."""
    kept: dict[ViewId, View] = {}
    notes = []
    for view in views:
        other = kept.setdefault(view.id, view)
        if other is view:
            continue
        used, unused = other, view
        if _is_separate(other) and not _is_separate(view):
            used, unused = view, other
            kept[view.id] = view
        notes.append(
            f"{unused.source.path}: same identity ({view.id}) as {used.source.path}, not used"
        )
    return list(kept.values()), notes


def _is_separate(view: View) -> bool:
    return bool(_SEPARATE_VIEW.match(Path(view.source.path).name))


def missing_time_points(views: Sequence[View]) -> list[str]:
    """One note per image that lacks time points which other images have."""
    everywhere = {view.id.time_point for view in views}
    present: dict[ViewId, set[int]] = {}
    for view in views:
        present.setdefault(replace(view.id, time_point=0), set()).add(view.id.time_point)
    return [
        f"missing: {_without_time(identity)} at tp {ranges(everywhere - time_points)}"
        for identity, time_points in present.items()
        if time_points != everywhere
    ]


def _without_time(identity: ViewId) -> str:
    return str(identity).partition(" ")[2]


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers as text, runs of three and more joined.

    >>> ranges([7, 0, 1, 2, 3, 5, 6])
    '0-3, 5-7'
    >>> ranges([3, 4])
    '3, 4'
    """
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(parts)


def missing_sidecars(sources: Sequence[Source]) -> list[str]:
    """One note for all flat images without a sidecar."""
    without = [s.path for s in sources if s.sidecar is None and s.dataset == "Data"]
    if not without:
        return []
    more = f" and {len(without) - 1} more" if len(without) > 1 else ""
    return [f"no .json sidecar beside {without[0]}{more}; metadata read from the image (slower)"]
