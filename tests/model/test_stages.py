"""Which pairs the stages of registration compare; metadata only, no files."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from luxdask.model.geometry import Affine
from luxdask.model.stages import StageRules, content_pairs, stack_kind
from luxdask.model.view import Source, View, ViewId

SHAPE = (20, 40, 40)


def make_view(
    time_point: int = 0,
    channel: str = "0",
    stack: str = "0-x00-y00",
    objective: str = "left",
    camera: str = "left",
    pm: str | None = None,
    *,
    at: tuple[float, float, float] = (0.0, 0.0, 0.0),
    angle_deg: float = 0.0,
) -> View:
    return View(
        ViewId(time_point, channel, stack, objective, camera, pm),
        Source(f"/{time_point}{channel}{stack}{objective}{camera}"),
        SHAPE,
        (1.0, 1.0, 1.0),
        Affine.translation(at),
        angle_deg=angle_deg,
    )


def tiles(count: int, **names: object) -> list[View]:
    """A row of tiles that overlap by 10 of 40 voxels."""
    return [
        make_view(stack=f"0-x{i:02d}-y00", at=(0, 0, 30.0 * i), **names)  # type: ignore[arg-type]
        for i in range(count)
    ]


def names(pairs: object) -> list[tuple[str, str, str]]:
    return [(p.kind, str(p.fixed), str(p.moving)) for p in pairs]  # type: ignore[attr-defined]


def test_nothing_is_compared_without_rules() -> None:
    views = [*tiles(3), *tiles(3, objective="right", camera="right")]
    assert content_pairs(views, views[0].id, StageRules()) == ()


def test_tiles_of_a_row_are_compared_with_their_neighbours() -> None:
    views = tiles(4)
    pairs = content_pairs(views, views[0].id, StageRules(tiles=True))
    found = {frozenset((p.fixed.tile, p.moving.tile)) for p in pairs}
    assert found == {
        frozenset(("x00-y00", "x01-y00")),
        frozenset(("x01-y00", "x02-y00")),
        frozenset(("x02-y00", "x03-y00")),
    }
    assert all(p.kind == "tiles" for p in pairs)
    assert pairs[0].overlap.extent_um == pytest.approx((20, 40, 10))


def test_the_stack_of_the_reference_is_the_fixed_one() -> None:
    views = tiles(3)
    pairs = content_pairs(views, views[1].id, StageRules(tiles=True))
    assert [p.fixed for p in pairs if views[1].id in (p.fixed, p.moving)] == [views[1].id] * 2


def test_tiles_are_told_by_the_channel_objective_and_camera_of_the_reference() -> None:
    views = [
        view
        for channel, side in product("01", ("left", "right"))
        for view in tiles(2, channel=channel, objective=side, camera=side)
    ]
    reference = ViewId(0, "1", "0-x00-y00", "right", "right")
    (pair,) = content_pairs(views, reference, StageRules(tiles=True))
    assert pair.fixed == reference
    assert (pair.moving.channel, pair.moving.objective) == ("1", "right")


def test_different_channels_may_form_pairs() -> None:
    views = [*tiles(2, channel="0"), *tiles(2, channel="1")]
    rules = StageRules(tiles=True, different_channels=True)
    pairs = content_pairs(views, views[0].id, rules)
    # four nodes in a place: 2 within each channel, 2 same tile, 2 across
    assert len(pairs) == 6
    assert sum(p.fixed.channel != p.moving.channel for p in pairs) == 4


def test_each_time_point_has_its_own_tiles_unless_the_reference_stands_for_all() -> None:
    views = [view for t in range(3) for view in tiles(2, time_point=t)]
    own = content_pairs(views, views[0].id, StageRules(tiles=True))
    assert [p.fixed.time_point for p in own] == [0, 1, 2]
    assert all(p.fixed.time_point == p.moving.time_point for p in own)
    one = content_pairs(views, views[2].id, StageRules(tiles=True, one_time_point=True))
    assert [p.fixed.time_point for p in one] == [1]


def test_images_of_other_pm_ids_are_never_compared() -> None:
    views = [view for pm in (None, "1", "2") for view in tiles(2, pm=pm)]
    rules = StageRules(True, True, True, True, True)
    for reference in (views[0].id, views[2].id):
        (pair,) = content_pairs(views, reference, rules)
        assert {pair.fixed.pm, pair.moving.pm} == {reference.pm}


def test_rotated_stacks_are_no_tiles() -> None:
    views = [
        make_view(stack="0"),
        make_view(stack="1", angle_deg=90.0),
        make_view(stack="2", angle_deg=360.0),
    ]
    assert stack_kind(views[0], views[1]) == "rotation"
    assert stack_kind(views[0], views[2]) == "tiles"
    turned = content_pairs(views, views[0].id, StageRules(rotations=True))
    assert {p.kind for p in turned} == {"rotation"}
    assert len(turned) == 2
    assert len(content_pairs(views, views[0].id, StageRules(tiles=True))) == 1


def test_rotated_stacks_just_beside_each_other_are_compared_unless_prealigned() -> None:
    views = [make_view(stack="0"), make_view(stack="1", at=(0, 0, 60.0), angle_deg=90.0)]
    assert len(content_pairs(views, views[0].id, StageRules(rotations=True))) == 1
    exact = StageRules(rotations=True, prealigned=True)
    assert content_pairs(views, views[0].id, exact) == ()


LENSES = [("left", "long"), ("left", "short"), ("right", "long"), ("right", "short")]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param(
            StageRules(objectives=True, cameras=True),
            {("left", "short"), ("right", "long"), ("right", "short")},
            id="both",
        ),
        pytest.param(
            StageRules(objectives=True), {("right", "long"), ("right", "short")}, id="objectives"
        ),
        pytest.param(
            StageRules(cameras=True), {("left", "short"), ("right", "short")}, id="cameras"
        ),
    ],
)
def test_optics_are_compared_at_the_reference(
    rules: StageRules, expected: set[tuple[str, str]]
) -> None:
    views = [
        make_view(t, c, s, objective, camera)
        for t, c, s, (objective, camera) in product((0, 1), "01", ("0", "1"), LENSES)
    ]
    reference = ViewId(1, "1", "1", "left", "long")
    pairs = content_pairs(views, reference, rules)
    assert {(p.moving.objective, p.moving.camera) for p in pairs} == expected
    for p in pairs:
        assert p.kind == "objective_camera"
        assert {p.fixed.time_point, p.moving.time_point} == {1}
        assert {p.fixed.channel, p.moving.channel} == {"1"}
        assert {p.fixed.stack, p.moving.stack} == {"1"}


def test_optics_of_another_channel_are_compared_in_a_common_one() -> None:
    views = [
        make_view(channel="0"),
        make_view(channel="1"),
        make_view(channel="1", objective="right", camera="right"),
    ]
    rules = StageRules(objectives=True, cameras=True)
    (pair,) = content_pairs(views, views[0].id, rules)
    assert (pair.fixed.channel, pair.moving.channel) == ("1", "1")
    apart = [views[0], views[2]]
    assert content_pairs(apart, views[0].id, rules) == ()
    different = replace(rules, different_channels=True)
    assert len(content_pairs(apart, views[0].id, different)) == 1


def test_time_points_are_compared_with_the_one_before_and_with_the_reference() -> None:
    views = [make_view(t) for t in (0, 1, 3, 4)]
    pairs = content_pairs(views, views[1].id, StageRules(time_points=True))
    found = [(p.fixed.time_point, p.moving.time_point) for p in pairs]
    assert found == [(0, 1), (1, 3), (3, 4), (1, 4)]
