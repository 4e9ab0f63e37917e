"""Which of the images that share landmarks are aligned with each other by them, and which not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from luxdask.model.stages import optics_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from luxdask.model.landmarks import ImagePair
    from luxdask.model.view import ViewId

_MOST_LISTED = 5


@dataclass(frozen=True, slots=True)
class Unused:
    """A pair of images, or images, whose landmarks take no part in the alignment, and why."""

    images: tuple[ViewId, ...]
    reason: str

    def __str__(self) -> str:
        listed = "; ".join(map(str, self.images[:_MOST_LISTED]))
        more = len(self.images) - _MOST_LISTED
        return (
            f"landmarks not used: {listed}{f' and {more} more' if more > 0 else ''}: {self.reason}"
        )


def differences(a: ViewId, b: ViewId) -> tuple[str, ...]:
    """In what two images of one PM id differ, in words."""
    parts = {
        "objective, channel or camera": optics_of(a) != optics_of(b),
        "stack": a.stack != b.stack,
        "time point": a.time_point != b.time_point,
    }
    return tuple(name for name, differs in parts.items() if differs)


def _distance(view: ViewId, reference: ViewId) -> tuple[object, ...]:
    """The image nearer to the reference is the fixed one."""
    return (len(differences(view, reference)), view.sort_key)


def pairs_of_interest(images: Sequence[ViewId], reference: ViewId) -> Iterator[ImagePair]:
    """Pairs, among the images that have a label, that differ in one thing or hold the reference.

    Never all with all: a structure may be marked in thousands of time points.
    """
    for a, b in _neighbours(images):
        one, two = sorted((a, b), key=lambda v: _distance(v, reference))
        yield one, two
    if reference in images:
        yield from ((reference, view) for view in images if view != reference)


def _neighbours(images: Sequence[ViewId]) -> Iterator[ImagePair]:
    same_place, same_time, series = (defaultdict[object, list["ViewId"]](list) for _ in range(3))
    for view in images:
        same_place[view.stack, view.time_point].append(view)
        same_time[optics_of(view), view.time_point].append(view)
        series[optics_of(view), view.stack].append(view)
    for groups in (same_place, same_time):
        for group in groups.values():
            yield from combinations(group, 2)
    for group in series.values():
        yield from pairwise(group)  # they come sorted by time


@dataclass(frozen=True, slots=True)
class SortedOut:
    """Which pairs of images are used, and which of them say where a view lies for themselves."""

    used: tuple[ImagePair, ...]
    direct: frozenset[ImagePair]
    unused: tuple[Unused, ...]


def sort_out(pairs: Iterable[ImagePair], reference: ViewId) -> SortedOut:
    """Decide about pairs of `pairs_of_interest`, each (fixed, moving)."""
    kinds: dict[str, list[ImagePair]] = defaultdict(list)
    for fixed, moving in pairs:
        parts = differences(fixed, moving)
        kinds[parts[0] if len(parts) == 1 else "several"].append((fixed, moving))
    optics, superseded = _nearest_to_reference(kinds["objective, channel or camera"], reference)
    others = [*kinds["stack"], *kinds["time point"]]
    placed = [p for p in others if optics_of(p[0]) == optics_of(reference)]
    foreign = [p for p in others if optics_of(p[0]) != optics_of(reference)]
    return SortedOut(
        used=(*optics, *placed, *kinds["several"]),
        direct=frozenset(kinds["several"]),
        unused=(
            *(Unused(pair, reason) for pair, reason in superseded),
            *(Unused(pair, _foreign_reason(pair[0], reference)) for pair in foreign),
        ),
    )


def _foreign_reason(view: ViewId, reference: ViewId) -> str:
    return (
        "batch alignment of stacks and time points takes landmarks of the Reference's objective, "
        f"channel and camera only ({_optics_text(reference)}); set the landmarks there, or choose "
        f"a Reference with {_optics_text(view)}"
    )


def _optics_text(view: ViewId) -> str:
    return f"objective {view.objective}, channel {view.channel}, camera {view.camera}"


def _nearest_to_reference(
    pairs: Iterable[ImagePair], reference: ViewId
) -> tuple[list[ImagePair], list[tuple[ImagePair, str]]]:
    """Pairs of optics where they are nearest to the reference's stack and time, and the rest."""
    groups: dict[object, list[ImagePair]] = defaultdict(list)
    for pair in pairs:
        groups[frozenset(map(optics_of, pair))].append(pair)
    used: list[ImagePair] = []
    rest: list[tuple[ImagePair, str]] = []
    for group in groups.values():
        nearest = min(group, key=lambda p: (_apart(p[0], reference), p[0].sort_key))
        best = _apart(nearest[0], reference)
        used += [p for p in group if _apart(p[0], reference) == best]
        reason = (
            f"the same objectives, channels and cameras have landmarks in stack {nearest[0].stack} "
            f"at time point {nearest[0].time_point}, nearer to the Reference, which stand for all"
        )
        rest += [(p, reason) for p in group if _apart(p[0], reference) != best]
    return used, rest


def _apart(view: ViewId, reference: ViewId) -> tuple[bool, bool]:
    return view.time_point != reference.time_point, view.stack != reference.stack
