import time
from itertools import product

import numpy as np
import pytest

from luxdask.model.bounding_box import Sampling
from luxdask.model.geometry import Affine
from luxdask.model.outputs import Layout, missing_views, outputs_of
from luxdask.model.view import Source, View, ViewId


def view(time_point=0, channel="0", stack="0", objective="left", camera="long", pm=None, **more):
    image = ViewId(time_point, channel, stack, objective, camera, pm)
    offset = more.get("offset", (0, 0, 0))
    return View(
        image,
        Source(f"{image}.lux.h5"),
        more.get("shape", (8, 16, 16)),
        (1, 1, 1),
        Affine.translation(offset),
    )


def made(views, **layout):
    return [
        (o.time_point, o.channel, o.pm, o.stack, o.objective, o.camera, len(o.views))
        for o in outputs_of(views, Layout(**layout))
    ]


@pytest.fixture
def everything():
    """2 time points × 2 channels × 2 PM ids × 2 overlapping stacks × 2 objectives × 2 cameras."""
    axes = ((0, 10), ("2", "10"), ("0", "1"), ("0", "1"), ("left", "right"), ("long", "short"))
    return [
        view(t, c, s, o, k, p, offset=(0, 0, 8 * int(s))) for t, c, p, s, o, k in product(*axes)
    ]


def test_one_image_per_time_point_channel_and_pm(everything):
    names = ("0-1", "left-right", "long-short", 8)
    assert made(everything) == [
        (t, c, p, *names) for t, c, p in product((0, 10), ("2", "10"), "01")
    ]


def test_and_per_objective_and_camera_where_these_are_not_fused(everything):
    found = made(everything, fuse_cameras=False)
    axes = ((0, 10), ("2", "10"), "01", ("0-1",), ("left", "right"), ("long", "short"), (2,))
    assert found == list(product(*axes))


def test_merged_channels(everything):
    found = made(everything, merge_channels=True)
    names = ("0-1", "left-right", "long-short", 16)
    assert found == [(t, "2-10", p, *names) for t, p in product((0, 10), "01")]


def test_and_per_box(everything):
    outputs = outputs_of(everything, Layout(mode="Separate"))
    assert len(outputs) == 16
    assert {o.mode for o in outputs} == {"sep"}
    assert {(o.group, o.stack) for o in outputs} == {(0, "0"), (1, "1")}
    assert all(len(o.views) == 4 for o in outputs)


@pytest.mark.parametrize(
    ("mode", "prefix", "width"), [("UnionsOverlapping", "uni", 24), ("Intersections", "int", 8)]
)
def test_mode_gives_prefix_and_size(everything, mode, prefix, width):
    outputs = outputs_of(everything, Layout(mode=mode))
    assert {o.mode for o in outputs} == {prefix}
    assert {o.grid.shape for o in outputs} == {(8, 16, width)}


def test_every_view_goes_into_exactly_one_image(everything):
    for layout in (Layout(), Layout(fuse_cameras=False), Layout(mode="Separate")):
        used = [v for o in outputs_of(everything, layout) for v in o.views]
        assert sorted(map(str, used)) == sorted(map(str, everything))


def test_views_in_an_image_are_in_order_whatever_the_input_order(everything):
    forward = outputs_of(everything, Layout())
    backward = outputs_of(everything[::-1], Layout())
    assert [o.views for o in forward] == [o.views for o in backward]


def test_names_that_count_alike_stay_apart():
    assert [m[1] for m in made([view(channel="01"), view(channel="1")])] == ["01", "1"]


def test_views_separately_have_the_grid_of_the_fused_image():
    views = [view(), view(stack="1", offset=(0, 0, 8)), view(channel="1")]
    outputs = outputs_of(views, Layout(views_separately=True))
    assert [(o.separate_view, len(o.views)) for o in outputs] == [
        (False, 2), (True, 1), (True, 1), (False, 1), (True, 1),
    ]  # fmt: skip
    assert len({o.grid for o in outputs}) == 1


def test_all_time_points_of_a_box_have_one_grid():
    views = [view(0), view(1, offset=(0, 3, 0)), view(2, shape=(20, 5, 5))]
    outputs = outputs_of(views, Layout())
    assert {o.grid.shape for o in outputs} == {(20, 19, 16)}


@pytest.mark.parametrize(("n", "left"), [(200, 192), (192, 192), (64, 64), (63, 63), (127, 64)])
def test_full_chunks_only(n, left):
    views = [view(shape=(10, n, 128)), view(stack="1", shape=(64, n, 130))]
    outputs = outputs_of(views, Layout(full_chunks_only=True), views[0])
    assert outputs[0].grid.shape == (64, left, 128)
    assert [v.shape for v in outputs[0].views] == [(10, left, 128), (64, left, 128)]


def test_the_reference_is_the_anchor():
    views = [view(), view(stack="1", offset=(0.25, 0.5, 8.75))]
    for number, one in enumerate(views):
        (output,) = outputs_of(views, Layout(), views[number])
        origin = (output.grid.to_world.inverse() @ one.view_to_world).apply((0, 0, 0))
        assert np.allclose(origin, np.rint(origin), atol=1e-9)


def test_sampling_of_the_anchor_view_is_used():
    fine = View(ViewId(0, "0", "1", "left", "long"), Source("f"), (8, 8, 8), (0.5, 0.25, 0.25),
                Affine.scale((0.5, 0.25, 0.25)))  # fmt: skip
    (coarse_grid,) = (o.grid for o in outputs_of([view(), fine], Layout(), view()))
    (fine_grid,) = (o.grid for o in outputs_of([view(), fine], Layout(), fine))
    assert coarse_grid.spacing_um == (1, 1, 1)
    assert fine_grid.spacing_um == (0.5, 0.25, 0.25)
    layout = Layout(sampling=Sampling(2, 2, 2, isotropic=True))
    (output,) = outputs_of([fine], layout)
    assert output.grid.spacing_um == (0.5, 0.5, 0.5)


def test_missing_time_points_are_named():
    views = [view(t, stack=s) for t, s in product((0, 1, 3, 10), "01")]
    assert missing_views(views) == ()
    kept = [v for v in views if (v.id.time_point, v.id.stack) not in {(1, "0"), (10, "0")}]
    assert missing_views(kept) == ("ch:0 st:0 obj:left cam:long is missing at time points 1, 10",)
    assert [len(o.views) for o in outputs_of(kept, Layout())] == [2, 1, 2, 1]


def test_ten_thousand_tiles_in_reasonable_time():
    views = [
        view(stack=f"0-x{i:02}-y{j:02}", offset=(0, 14 * i, 14 * j))
        for i in range(100)
        for j in range(100)
    ]
    begin = time.process_time()
    for mode, count in (("UnionAll", 1), ("UnionsOverlapping", 1), ("Separate", 10_000)):
        assert len(outputs_of(views, Layout(mode=mode), views[5000])) == count
    assert time.process_time() - begin < 10
