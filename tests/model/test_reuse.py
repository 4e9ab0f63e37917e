"""Which stored links answer which pairs of another task."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from luxdask.model.geometry import Affine, BoundingBox
from luxdask.model.links import Link, Pair
from luxdask.model.registrations import StoredRegistration
from luxdask.model.reuse import channel_names, reusable_links
from luxdask.model.view import ViewId
from luxdask.testing.strategies import near_rigid

BOX = BoundingBox((0, 0, 0), (1, 1, 1))
SHIFT = Affine.translation((1, 2, 3))


def view(stack: str = "1-x00-y00", channel: str = "0", **more: Any) -> ViewId:
    base = ViewId(0, channel, stack, "left", "left")
    return replace(base, **more)


def pair(fixed: ViewId, moving: ViewId, kind: Any = "tiles") -> Pair:
    return Pair(kind, fixed, moving, BOX)


def link(fixed: ViewId, moving: ViewId, transform: Affine = SHIFT, **more: Any) -> Link:
    return Link(more.pop("kind", "tiles"), fixed, moving, transform, **more)


def stored(*links: Link) -> StoredRegistration:
    return StoredRegistration("/processed/Task_1_C", links)


A, B = view("1-x00-y00"), view("1-x01-y00")


def test_the_same_pair_is_used_again() -> None:
    old = link(A, B, model="rigid", quality=0.7, precision_um=0.2, overlap=BOX, residual_um=1.0)
    found, notes = reusable_links(stored(old), [pair(A, B)], match_channel=True)
    assert found == {pair(A, B): replace(old, source="reused", residual_um=None)}
    assert notes == ()


@pytest.mark.parametrize(
    "other",
    [
        {"time_point": 1},
        {"channel": "1"},
        {"stack": "2-x00-y00"},
        {"objective": "right"},
        {"camera": "long"},
        {"pm": "1"},
    ],
)
def test_other_images_are_not(other: dict[str, Any]) -> None:
    wanted = [pair(replace(A, **other), B), pair(A, replace(B, **other))]
    found, notes = reusable_links(stored(link(A, B)), wanted, match_channel=True)
    assert found == {}
    assert "none of its links fits" in notes[-1]
    assert str(link(A, B)) in notes[-1]
    assert str(wanted[0]) in notes[-1]


def test_another_kind_is_not() -> None:
    found, _ = reusable_links(stored(link(A, B)), [pair(A, B, "rotation")], match_channel=True)
    assert found == {}


@given(near_rigid())
def test_swapped_images_are_inverted(transform: Affine) -> None:
    found, _ = reusable_links(stored(link(B, A, transform)), [pair(A, B)], match_channel=True)
    (turned,) = found.values()
    assert (turned.fixed, turned.moving) == (A, B)
    there_and_back = (turned.transform @ transform).to_array()
    np.testing.assert_allclose(there_and_back, Affine().to_array(), atol=1e-12)


@pytest.mark.parametrize(
    ("status", "again"),
    [
        ("ok", "ok"),
        ("removed", "ok"),
        ("no texture", "no texture"),
        ("ambiguous", "ambiguous"),
        ("unreadable", None),
    ],
)
def test_what_becomes_of_each_status(status: Any, again: str | None) -> None:
    old = link(A, B, status=status, reason="why", cost=20.0)
    found, notes = reusable_links(stored(old), [pair(A, B)], match_channel=True)
    assert [new.status for new in found.values()] == ([again] if again else [])
    for new in found.values():
        assert new.cost is None
        assert new.reason == ("" if status == "removed" else "why")
    assert any("1 ambiguous" in n for n in notes) == (status == "ambiguous")


def test_landmarks_beat_contents_and_trusted_links_others() -> None:
    by_landmarks = link(A, B, Affine.translation((9, 9, 9)), source="landmarks", model="affine")
    bad = link(A, B, Affine.translation((5, 5, 5)), source="landmarks", status="no match")
    for several in ([link(A, B), by_landmarks, bad], [bad, by_landmarks, link(A, B)]):
        (new,) = reusable_links(stored(*several), [pair(A, B)], match_channel=True)[0].values()
        assert (new.transform, new.model) == (by_landmarks.transform, "affine")
        assert new.source == "reused"
    (new,) = reusable_links(stored(bad, link(A, B)), [pair(A, B)], match_channel=True)[0].values()
    assert new.transform == SHIFT


def test_a_transform_without_inverse_is_measured_again() -> None:
    flat = link(A, B, Affine.scale((1, 0, 1)))
    assert reusable_links(stored(flat), [pair(B, A)], match_channel=True)[0] == {}


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        (["0", "1"], ["2", "3"], ["0", "1"]),
        (["0", "2"], ["0", "2"], ["0", "2"]),
        (["2", "10"], ["3", "11"], ["2", "10"]),
        (["0"], ["1", "2"], ["0", "0"]),
        (["0", "1"], ["1"], ["1"]),
        (["0", "1"], ["7"], ["0"]),
        (["0", "1"], ["1", "2", "3"], ["1", "0", "0"]),
        ([], ["1"], []),
    ],
)
def test_which_channel_stands_for_which(
    have: list[str], want: list[str], expected: list[str]
) -> None:
    assert list(channel_names(have, want).values()) == expected


def test_the_guides_two_halves() -> None:
    """Color A is channels 0 and 1, color B 2 and 3; tiles and halves are linked within a color."""
    ids = {c: (view("1-x00-y00", c), view("1-x01-y00", c)) for c in "0123"}

    def linked(first: str, second: str) -> list[tuple[ViewId, ViewId]]:
        (a, b), (c, d) = ids[first], ids[second]
        return [(a, b), (c, d), (a, d), (b, c)]

    old = [
        link(f, m, Affine.translation((n, 0, 0))) for n, (f, m) in enumerate(linked("0", "1"), 1)
    ]
    wanted = [pair(f, m) for f, m in linked("2", "3")]
    assert reusable_links(stored(*old), wanted, match_channel=True)[0] == {}
    found, notes = reusable_links(stored(*old), wanted, match_channel=False)
    assert [found[p].transform.offset[0] for p in wanted] == [1, 2, 3, 4]
    assert [(found[p].fixed, found[p].moving) for p in wanted] == linked("2", "3")
    assert any("0 for 2, 1 for 3" in note for note in notes)


def test_only_missing_pairs_are_left() -> None:
    wanted = [pair(A, B), pair(A, view("1-x00-y01"))]
    found, _ = reusable_links(stored(link(A, B)), wanted, match_channel=False)
    assert list(found) == wanted[:1]


def test_no_links_and_no_pairs() -> None:
    assert reusable_links(stored(), [], match_channel=False) == ({}, ())
    _, notes = reusable_links(stored(), [pair(A, B)], match_channel=False)
    assert "no links at all" in notes[0]


def test_time_grows_with_the_number_of_links_only() -> None:
    def seconds(count: int) -> float:
        ids = [view(f"1-x{n // 300:03d}-y{n % 300:03d}") for n in range(count + 1)]
        links = stored(*[link(b, a) for a, b in pairwise(ids)])
        moved = [replace(i, channel="1") for i in ids]
        wanted = [pair(a, b) for a, b in pairwise(moved)]
        start = time.process_time()
        found, _ = reusable_links(links, wanted, match_channel=False)
        assert len(found) == count
        return time.process_time() - start

    assert seconds(16_000) < 12 * seconds(4_000)  # 16 times were it quadratic
