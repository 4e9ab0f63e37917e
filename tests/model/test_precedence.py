"""Which contents are not compared, since landmarks stand for them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from luxdask.model.geometry import Affine, BoundingBox
from luxdask.model.links import Link, Pair
from luxdask.model.precedence import channels_are_tied, without_landmarks
from luxdask.model.reuse import in_other_channels
from luxdask.model.stages import StageRules
from luxdask.model.view import ViewId

if TYPE_CHECKING:
    from luxdask.model.links import Kind

BOX = BoundingBox((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
RULES = StageRules()


def view(t: int = 0, stack: str = "0", channel: str = "0", lens: str = "left") -> ViewId:
    return ViewId(t, channel, stack, lens, lens)


def pair(kind: Kind, fixed: ViewId, moving: ViewId) -> Pair:
    return Pair(kind, fixed, moving, BOX)


def link(kind: Kind, fixed: ViewId, moving: ViewId) -> Link:
    return Link(kind, fixed, moving, Affine(), source="landmarks")


def steps_left(count: int, marked: list[tuple[int, int]], reference: int) -> set[tuple[int, int]]:
    """Of a series where each time point is compared with the one before and the reference's."""
    times = [*pairwise(range(count)), *((reference, t) for t in range(count) if t != reference)]
    pairs = [pair("time_points", view(a), view(b)) for a, b in dict.fromkeys(times)]
    links = [link("time_points", view(a), view(b)) for a, b in marked]
    left = without_landmarks(pairs, links, RULES, view(reference))
    return {(p.fixed.time_point, p.moving.time_point) for p in left}


@pytest.mark.parametrize(
    ("marked", "reference", "left"),
    [
        ((2, 3), 0, {(0, 1), (1, 2), (3, 4), (0, 2)}),
        ((0, 3), 0, {(0, 1), (1, 2), (3, 4), (0, 2)}),
        ((1, 2), 4, {(0, 1), (2, 3), (3, 4), (4, 2), (4, 3)}),
        ((1, 3), 4, {(0, 1), (2, 3), (3, 4), (4, 2), (4, 3)}),
    ],
)
def test_contents_across_a_step_with_landmarks_are_not_compared(
    marked: tuple[int, int], reference: int, left: set[tuple[int, int]]
) -> None:
    found = steps_left(5, [marked], reference)
    assert {frozenset(p) for p in found} == {frozenset(p) for p in left}
    # nothing falls out of the series
    reached = {reference}
    for _ in range(5):
        reached |= {t for p in [*found, marked] if set(p) & reached for t in p}
    assert reached == set(range(5))


def test_tiles_without_landmarks_of_their_own_are_compared() -> None:
    a, b, c = (view(stack=f"0-x0{n}-y00") for n in range(3))
    pairs = [pair("tiles", *p) for p in ((a, b), (b, c), (a, c))]
    links = [link("tiles", b, a), link("tiles", c, b)]
    assert without_landmarks(pairs, links, RULES, a) == (pairs[2],)


def test_rotations_tied_by_way_of_another_are_not_compared() -> None:
    a, b, c, d = (view(stack=str(n)) for n in range(4))
    pairs = [pair("rotation", *p) for p in ((a, b), (b, c), (c, d))]
    links = [link("rotation", a, b), link("rotation", a, c)]
    assert without_landmarks(pairs, links, RULES, a) == (pairs[2],)
    # other time points have no landmarks
    later = [pair("rotation", view(1, "0"), view(1, "1"))]
    assert without_landmarks(later, links, RULES, a) == tuple(later)


@pytest.mark.parametrize(
    ("tied", "channels", "expected"),
    [
        ([("0", "1")], ["0", "1"], True),
        ([("0", "1"), ("2", "1")], ["0", "1", "2"], True),
        ([("0", "1")], ["0", "1", "2"], False),
        ([("0", "1"), ("2", "3")], ["0", "1", "2", "3"], False),
        ([], ["0", "1"], False),
        ([], ["0"], False),
    ],
)
def test_channels_that_landmarks_tie(
    tied: list[tuple[str, str]], channels: list[str], expected: bool
) -> None:
    links = [link("objective_camera", view(channel=a), view(channel=b)) for a, b in tied]
    assert channels_are_tied(links, channels) is expected


def test_links_in_other_channels_prefer_the_references() -> None:
    old = link("tiles", view(), view(stack="1"))

    def channels(wanted: list[str], preferred: str) -> Any:
        (new,) = in_other_channels([old], wanted, preferred)
        return new.fixed.channel, new.moving.channel

    assert channels(["2", "3"], "3") == ("3", "3")
    assert channels(["2", "3"], "2") == ("2", "2")
    assert channels(["5"], "5") == ("5", "5")
