import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.errors import ConfigError
from luxdask.model.bounding_box import (
    Sampling,
    anchor_of,
    group_views,
    output_grid,
    view_box,
    world_spacing,
)
from luxdask.model.geometry import Affine, BoundingBox
from luxdask.model.view import Source, View, ViewId


def view(stack, offset_um=(0, 0, 0), shape=(10, 10, 10), spacing=(1, 1, 1), to_world=None, **names):
    """Lower corner of the volume's border lies at `offset_um`."""
    if to_world is None:
        centre = np.add(offset_um, np.multiply(spacing, 0.5))
        to_world = Affine.scale(spacing, centre)
    identity = {"time_point": 0, "channel": "0", "objective": "left", "camera": "long"} | names
    image = ViewId(stack=stack, **identity)
    return View(image, Source(f"{image}.lux.h5"), shape, spacing, to_world)


def turned(degrees, spacing=(1, 1, 1), centre=(0, 0, 0)):
    s, c = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    turn = Affine.from_array([[c, 0, s], [0, 1, 0], [-s, 0, c]], centre)
    return turn @ Affine.scale(spacing)


def stacks(groups):
    return [[v.id.stack for v in g.views] for g in groups]


@pytest.fixture
def row():
    """Stacks 0 and 1 overlap, 2 only touches 1, 3 and 4 overlap far away."""
    return [
        view("0", (0, 0, 0)),
        view("1", (0, 0, 8)),
        view("2", (0, 0, 18)),
        view("3", (0, 50, 0)),
        view("4", (5, 55, 5)),
    ]


def test_union_of_all(row):
    (group,) = group_views(row, "UnionAll")
    assert stacks([group]) == [["0", "1", "2", "3", "4"]]
    assert group.box == BoundingBox((0, 0, 0), (15, 65, 28))


def test_unions_of_overlapping_stacks(row):
    groups = group_views(row, "UnionsOverlapping")
    assert stacks(groups) == [["0", "1"], ["2"], ["3", "4"]]
    assert [g.box.upper for g in groups] == [(10, 10, 18), (10, 10, 28), (15, 65, 15)]


def test_overlap_goes_along_a_chain_in_any_order():
    chain = [view(str(i), (0, 0, 8 * i)) for i in (3, 0, 2, 4, 1)]
    assert stacks(group_views(chain, "UnionsOverlapping")) == [["3", "0", "2", "4", "1"]]


def test_intersections(row):
    groups = group_views(row, "Intersections")
    assert stacks(groups) == [["0", "1"], ["2"], ["3", "4"]]
    assert groups[0].box == BoundingBox((0, 0, 8), (10, 10, 10))
    assert groups[2].box == BoundingBox((5, 55, 5), (10, 60, 10))


def test_empty_intersection_names_the_stacks():
    chain = [view(str(i), (0, 0, 8 * i)) for i in range(3)]
    with pytest.raises(ConfigError, match=r"Intersections: the stacks 0, 1, 2 .*UnionsOverlapping"):
        group_views(chain, "Intersections")


def test_each_stack_alone(row):
    groups = group_views(row, "Separate")
    assert stacks(groups) == [["0"], ["1"], ["2"], ["3"], ["4"]]
    assert [g.box for g in groups] == [view_box(v) for v in row]


@pytest.mark.parametrize("mode", ["Separate", "UnionsOverlapping", "UnionAll"])
def test_images_of_one_stack_share_a_box(mode):
    images = [
        view("0", (0, 0, 0), channel="0", time_point=0),
        view("0", (0, 0, 3), channel="1", time_point=0, shape=(5, 5, 20)),
        view("0", (0, 2, 0), channel="0", time_point=7),
    ]
    (group,) = group_views(images, mode)
    assert group.views == tuple(images)
    assert group.box == BoundingBox((0, 0, 0), (10, 12, 23))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 60)] * 3), min_size=1, max_size=25))
def test_overlapping_sets_against_brute_force(offsets):
    views = [view(str(n), o) for n, o in enumerate(offsets)]
    connected = np.array([[max(np.abs(np.subtract(a, b))) < 10 for a in offsets] for b in offsets])
    for _ in range(len(offsets).bit_length()):
        connected = connected @ connected
    expected = {frozenset(np.flatnonzero(r)) for r in connected}
    found = group_views(views, "UnionsOverlapping")
    assert {frozenset(int(v.id.stack) for v in g.views) for g in found} == expected


def test_ten_thousand_stacks_in_reasonable_time():
    views = [view(f"{i}-{j}", (0, 9 * i, 9 * j)) for i in range(100) for j in range(100)]
    begin = time.process_time()
    (group,) = group_views(views, "UnionsOverlapping")
    assert len(group.views) == 10_000
    assert len(group_views(views, "Separate")) == 10_000
    assert time.process_time() - begin < 5


def test_voxel_size_along_the_axes_of_the_sample():
    swapped = Affine.from_array([[0, 0, 0.5], [0, -0.25, 0], [2, 0, 0]])
    assert world_spacing(view("0", spacing=(2, 0.25, 0.5), to_world=swapped)) == (0.5, 0.25, 2)
    assert world_spacing(view("0", spacing=(2, 3, 4), to_world=turned(30, (2, 3, 4)))) == (2, 3, 4)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), (2, 0.5, 0.5)),
        (Sampling(2, 3, 4), (4, 1.5, 2)),
        (Sampling(0.5, 0.5, 0.5), (1, 0.25, 0.25)),
        (Sampling(isotropic=True), (0.5, 0.5, 0.5)),
        (Sampling(2, 2, 2, isotropic=True), (1, 1, 1)),
        (Sampling(0.5, 1, 1, isotropic=True), (0.25, 0.5, 0.5)),
    ],
)
def test_sampling(sampling, expected):
    assert sampling.spacing_um(view("0", spacing=(2, 0.5, 0.5))) == expected


def test_grid_holds_exactly_the_voxels_of_a_view():
    one = view("0", (3, -7, 11.25), shape=(4, 5, 6), spacing=(2, 1, 0.5))
    grid = output_grid(view_box(one), (2, 1, 0.5), one)
    assert grid.shape == (4, 5, 6)
    assert np.allclose(grid.to_world.to_array(), one.view_to_world.to_array(), atol=1e-12)


@pytest.mark.parametrize("mirror", [(1, 1, -1), (-1, 1, 1), (-1, -1, -1)])
def test_grid_of_a_mirrored_view_lies_on_its_voxels(mirror):
    to_world = Affine.scale(np.multiply(mirror, (2, 1, 0.5)), (100.3, 5.7, -3.1))
    one = view("0", shape=(4, 5, 6), spacing=(2, 1, 0.5), to_world=to_world)
    grid = output_grid(view_box(one), (2, 1, 0.5), one)
    assert grid.shape == (4, 5, 6)
    voxel = (one.view_to_world.inverse() @ grid.to_world).apply((0, 0, 0))
    last = np.where(np.array(mirror) < 0, np.array([3, 4, 5]), 0)
    assert np.allclose(voxel, last, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_integer_cut_tiles_get_a_grid_on_their_voxels(data):
    spacing = (2.0, 0.65, 0.65)
    corner = data.draw(st.tuples(*[st.floats(-1e4, 1e4)] * 3))
    cuts = data.draw(st.lists(st.tuples(*[st.integers(-40, 40)] * 3), min_size=1, max_size=5))
    shape = (8, 12, 10)
    views = [
        view(str(n), np.add(corner, np.multiply(c, spacing)), shape, spacing)
        for n, c in enumerate(cuts)
    ]
    anchor = views[data.draw(st.integers(0, len(views) - 1))]
    (group,) = group_views(views, "UnionAll")
    grid = output_grid(group.box, spacing, anchor)
    assert grid.shape == tuple(np.ptp(cuts, axis=0) + shape)
    for one in views:
        origin = (grid.to_world.inverse() @ one.view_to_world).apply((0, 0, 0))
        assert np.allclose(origin, np.rint(origin), atol=1e-6)
        assert (np.rint(origin) >= 0).all()
        assert (np.rint(origin) + shape <= grid.shape).all()


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(*[st.floats(-100, 100)] * 3),
    st.tuples(*[st.floats(0.5, 60)] * 3),
    st.tuples(*[st.floats(0.3, 5)] * 3),
)
def test_voxel_centres_of_any_box_lie_inside_and_no_more_fit(lower, extent, spacing):
    box = BoundingBox(tuple(lower), tuple(np.add(lower, extent)))
    grid = output_grid(box, spacing, view("0", (0.1, 0.2, 0.3)))
    for axis in range(3):
        at = grid.coordinates_um(axis)
        slack = 2e-4 * spacing[axis]
        if len(at) > 1 or extent[axis] > spacing[axis] * 1.01:
            assert at[0] >= box.lower[axis] - slack
            assert at[-1] <= box.upper[axis] + slack
        assert at[0] - spacing[axis] < box.lower[axis] + slack
        assert at[-1] + spacing[axis] > box.upper[axis] - slack


def test_a_box_thinner_than_half_a_voxel_gets_a_voxel_in_its_middle():
    one = view("0", (5, 0, 0), shape=(1, 10, 10))
    grid = output_grid(view_box(one), (3, 1, 1), one)
    assert grid.shape == (1, 10, 10)
    np.testing.assert_allclose(grid.origin_um, (5.5, 0.5, 0.5))


def test_oblique_anchor_leaves_the_grid_on_the_box():
    one = view("0", shape=(20, 20, 20), to_world=turned(30))
    grid = output_grid(view_box(one), (1, 1, 1), one)
    assert np.allclose(grid.bounding_box.lower, view_box(one).lower)


def test_downsampled_bins_start_at_the_anchor():
    one = view("0", (5, 5, 5), shape=(8, 9, 10))
    grid = output_grid(view_box(one), (2, 2, 2), one)
    # a remainder of half an output voxel has its centre on the border, and counts
    assert grid.shape == (4, 5, 5)
    assert grid.origin_um == (6, 6, 6)


def test_a_box_smaller_than_a_voxel_gives_one():
    one = view("0", shape=(1, 1, 1))
    assert output_grid(view_box(one), (4, 4, 4), one).shape == (1, 1, 1)


def test_anchor_is_the_reference_where_it_takes_part(row):
    assert anchor_of(row, row[3]) is row[3]
    assert anchor_of(row, None) is row[0]
    assert anchor_of(row[:2], row[3]) is row[0]
