from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial.transform import Rotation

from luxdask.model.bounding_box import view_box
from luxdask.model.geometry import Affine, BoundingBox, vector, volume_corners
from luxdask.model.pairs import exact_overlap, exact_overlaps, overlapping_pairs
from luxdask.model.view import Source, View, ViewId


def make_view(shape, to_world: Affine, stack: str = "0") -> View:
    return View(
        ViewId(0, "0", stack, "right", "long"), Source(""), shape, to_world.column_norms, to_world
    )


def rotated(shape, degrees: float, offset=(0.0, 0.0, 0.0), spacing=(1.0, 1.0, 1.0)) -> View:
    rotation = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    return make_view(shape, Affine.from_array(rotation @ np.diag(spacing), offset))


def box(lower, upper) -> BoundingBox:
    return BoundingBox(vector(lower), vector(upper))


def grid_boxes(rows: int, columns: int, pitch: float = 90.0) -> list[BoundingBox]:
    corners = [(0.0, pitch * i, pitch * j) for i in range(rows) for j in range(columns)]
    return [box(c, np.add(c, 100.0)) for c in corners]


boxes_strategy = st.lists(
    st.tuples(*[st.integers(0, 12)] * 3, *[st.integers(1, 6)] * 3).map(
        lambda v: box(v[:3], np.add(v[:3], v[3:]))
    ),
    max_size=25,
)


@given(boxes_strategy, st.sampled_from([0.0, 1.0, (0.5, 2.0, 0.0)]))
def test_pairs_equal_comparing_all(boxes, minimum) -> None:
    expected = [
        (i, j)
        for (i, a), (j, b) in combinations(enumerate(boxes), 2)
        if (np.array((a & b).extent_um) > minimum).all()
    ]
    assert [tuple(p) for p in overlapping_pairs(boxes, minimum).tolist()] == expected


def test_many_candidates_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = grid_boxes(9, 9)
    expected = overlapping_pairs(boxes)
    monkeypatch.setattr("luxdask.model.pairs._CANDIDATES", 7)
    np.testing.assert_array_equal(overlapping_pairs(boxes), expected)
    assert len(expected) == 2 * 9 * 8 + 2 * 8 * 8


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_boxes_have_no_pairs(count: int) -> None:
    assert overlapping_pairs(grid_boxes(1, count)).shape == (0, 2)


def test_boxes_that_touch_are_no_pair() -> None:
    assert overlapping_pairs([box((0, 0, 0), (1, 1, 1)), box((0, 0, 1), (1, 1, 2))]).size == 0


def test_ten_thousand_tiles_take_under_a_second() -> None:
    boxes = grid_boxes(100, 100)
    start = time.process_time()
    pairs = overlapping_pairs(boxes)
    assert time.process_time() - start < 1.0
    assert len(pairs) == 2 * 100 * 99 + 2 * 99 * 99


def sampled_overlap(a: View, b: View, step: float = 0.25) -> np.ndarray:
    """Points of `a` on a dense raster, borders included, that lie in `b`."""
    axes = [np.linspace(-0.5, n - 0.5, round(n / step) + 1) for n in a.shape]
    raster = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = a.view_to_world.apply(raster)
    local = b.view_to_world.inverse().apply(points)
    inside = ((local > -0.5) & (local < np.array(b.shape) - 0.5)).all(axis=1)
    return points[inside]


affines = st.builds(
    lambda angles, scale, offset: Affine.from_array(
        Rotation.from_euler("zyx", angles, degrees=True).as_matrix() @ np.diag(scale), offset
    ),
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.floats(0.5, 2.0)] * 3),
    st.tuples(*[st.floats(-8, 8)] * 3),
)
shapes = st.tuples(*[st.integers(3, 12)] * 3)


def extreme(a: View, b: View, axis: int, sign: float) -> float | None:
    """Highest or lowest coordinate of the common volume, by linear programming."""
    rows, limits = [], []
    for view in (a, b):
        inverse = view.view_to_world.inverse().to_array()
        rows += [inverse[:, :3], -inverse[:, :3]]
        limits += [np.array(view.shape) - 0.5 - inverse[:, 3], 0.5 + inverse[:, 3]]
    goal = np.zeros(3)
    goal[axis] = sign
    found = linprog(
        goal, np.concatenate(rows), np.concatenate(limits), bounds=(None, None), method="highs"
    )
    return sign * found.fun if found.success else None


@settings(max_examples=40, deadline=None)
@given(shapes, affines, shapes, affines)
def test_oblique_overlap_equals_linear_programming(shape_a, to_a, shape_b, to_b) -> None:
    a, b = make_view(shape_a, to_a), make_view(shape_b, to_b)
    found = exact_overlap(a, b)
    lower = [extreme(a, b, k, 1.0) for k in range(3)]
    if found is None:
        # nothing, or a corner that barely pokes in
        assert lower[0] is None or len(sampled_overlap(a, b)) == 0
        return
    upper = [extreme(a, b, k, -1.0) for k in range(3)]
    np.testing.assert_allclose(found.lower, lower, atol=1e-6)
    np.testing.assert_allclose(found.upper, upper, atol=1e-6)


def test_diagonal_neighbours_whose_boxes_alone_meet_are_no_pair() -> None:
    a = rotated((20, 20, 20), 45.0)
    b = rotated((20, 20, 20), 45.0, (0.0, 8.0, 8.0))
    apart = rotated((20, 20, 20), 45.0, (0.0, 18.0, 18.0))
    assert view_box(a) & view_box(apart)
    assert exact_overlap(a, apart) is None
    assert exact_overlap(a, b) is not None
    found = exact_overlaps([a, a, b], [b, apart, apart])
    assert [box is not None for box in found] == [True, False, True]


def test_view_inside_another_is_shared_whole() -> None:
    outer = rotated((40, 40, 40), 0.0)
    inner = rotated((6, 6, 6), 30.0, (20.0, 15.0, 20.0))
    found = exact_overlap(outer, inner)
    assert found is not None
    corners = inner.view_to_world.apply(volume_corners(inner.shape))
    np.testing.assert_allclose(found.lower, corners.min(axis=0), atol=1e-9)


def test_mirrored_and_stretched_views_overlap_as_their_boxes() -> None:
    a = make_view((10, 20, 30), Affine.scale((2.0, -0.5, 0.5), (0.0, 9.0, 0.0)))
    b = make_view((10, 20, 30), Affine.scale((2.0, 0.5, 0.5), (3.0, 2.0, 4.0)))
    assert exact_overlap(a, b) == view_box(a) & view_box(b)


@pytest.mark.parametrize(("share", "expected"), [(3.9, 0), (4.1, 1)])
def test_slivers_are_left_out(share: float, expected: int) -> None:
    a = make_view((10, 10, 10), Affine())
    b = make_view((10, 10, 10), Affine.translation((0.0, 0.0, 10.0 - share)))
    assert (exact_overlap(a, b, minimum_voxels=4.0) is not None) == bool(expected)
    assert exact_overlap(a, b) is not None


def test_planes_need_not_share_more_than_they_have() -> None:
    a = make_view((1, 50, 50), Affine())
    b = make_view((1, 50, 50), Affine.translation((0.0, 0.0, 40.0)))
    moved = make_view((1, 50, 50), Affine.translation((0.5, 0.0, 40.0)))
    assert exact_overlap(a, b, minimum_voxels=4.0) is not None
    assert exact_overlap(a, moved, minimum_voxels=4.0) is None


def test_thousands_of_oblique_pairs_take_a_moment() -> None:
    views = [
        rotated((30, 30, 30), 20.0, (0.0, 25.0 * i, 25.0 * j)) for i in range(40) for j in range(40)
    ]
    start = time.process_time()
    pairs = overlapping_pairs([view_box(v) for v in views])
    sides = ([views[i] for i in pairs[:, k]] for k in (0, 1))
    count = sum(box is not None for box in exact_overlaps(*sides, minimum_voxels=4.0))
    elapsed = time.process_time() - start
    assert 3_000 < count < 12_800
    assert elapsed < 5.0
