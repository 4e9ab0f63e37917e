"""Windows hold every voxel that interpolation touches, and no more than is needed is read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.fusion.fuse import PAD
from luxdask.graph.params import FusionParams
from luxdask.graph.placement import part_of, place_view, quality_cells
from luxdask.model.geometry import Affine, Box, Grid
from luxdask.model.view import Source, View, ViewId
from luxdask.testing.strategies import boxes, near_rigid, shapes

moderate = settings(max_examples=100, deadline=None)
OUT = (12, 16, 20)
LINEAR, CUBIC = PAD["linear"], PAD["cubic"]


def view(shape, view_to_world):
    identity = ViewId(0, "0", "0", "left", "long")
    return View(identity, Source("a"), shape, view_to_world.column_norms, view_to_world)


def place(shape, view_to_world, spacing=1.0, **params):
    grid = Grid(OUT, (spacing,) * 3, (0, 0, 0))
    return place_view(view(shape, view_to_world), grid, FusionParams(**params))


def touched(placement, box, pad):
    """First and last voxel that an interpolation over the box touches; None where it has none."""
    index = [np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)]
    grid = np.stack(np.meshgrid(*index, indexing="ij"), axis=-1).reshape(-1, 3)
    at = placement.out_to_bin.apply(grid)
    inside = ((at >= placement.lower) & (at <= placement.upper)).all(axis=1)
    if not inside.any():
        return None
    base = np.floor(at[inside]).astype(int)
    return base.min(axis=0) - (pad - 1), base.max(axis=0) + pad


@moderate
@given(
    shapes(1, 20),
    near_rigid(angle_deg=180, shift=15, stretch=0.1),
    boxes(OUT),
    st.sampled_from([LINEAR, CUBIC]),
    st.sampled_from([1.0, 0.5, 1.5, 2.0, 3.0]),
)
def test_windows_hold_every_voxel_touched(shape, view_to_world, box, pad, spacing):
    placement = place(shape, view_to_world, spacing)
    part = part_of(placement, box, pad)
    reach = touched(placement, box, pad)
    if reach is None:
        return
    assert part is not None
    assert (reach[0] >= part.window.start).all()
    assert (reach[1] < np.array(part.window.stop)).all()


@pytest.mark.parametrize("short_of", [0, 1e-6, 1e-5, 2e-5, 3e-5])
def test_windows_hold_what_float32_rounds_to(short_of):
    """Coordinates along a row may come out 2e-5 too large or too small where the step is near 2."""
    box = Box((0, 0, 5), (1, 1, 20))
    part = part_of(place((40, 40, 90), Affine.translation((0, 0, short_of))), box, LINEAR)
    assert part.window.stop[2] >= 19 + LINEAR + 1
    part = part_of(place((40, 40, 90), Affine.translation((0, 0, -short_of))), box, LINEAR)
    assert part.window.start[2] <= 4


@moderate
@given(
    shapes(1, 20),
    near_rigid(angle_deg=180, shift=15),
    boxes(OUT),
    st.sampled_from([1.0, 2.0, 3.0]),
)
def test_needed_stays_in_the_view_and_in_the_window(shape, view_to_world, box, spacing):
    placement = place(shape, view_to_world, spacing)
    part = part_of(placement, box, CUBIC)
    if part is None:
        return
    assert part.needed
    assert part.needed & part.window == part.needed
    first = np.array(part.needed.start) * placement.factor + placement.phase
    last = np.array(part.needed.stop) * placement.factor + placement.phase
    assert (first > -np.array(placement.factor)).all()
    assert (last - placement.factor < np.array(shape)).all()


@pytest.mark.parametrize("distance", [6.0, 6.5, 6.51, 7.0, 100.0])
@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("side", [-1, 1])
def test_no_window_where_they_do_not_meet(distance, axis, side):
    """The view ends 0.5 beyond its outer voxels; box and view are six voxels wide."""
    offset = np.zeros(3)
    box = Box((6, 6, 6), (12, 12, 12))
    offset[:] = 6
    offset[axis] += side * distance
    part = part_of(place((6, 6, 6), Affine.translation(offset)), box, LINEAR)
    meets = distance - 0.5 <= 5
    assert (part is not None) == meets


@moderate
@given(st.tuples(*[st.integers(-5, 5)] * 3), boxes(OUT), st.sampled_from([LINEAR, CUBIC]))
def test_whole_voxel_shifts_read_no_margin(offset, box, pad):
    placement = place((10, 10, 10), Affine.translation(offset))
    part = part_of(placement, box, pad)
    expected = box.shift([-o for o in offset]) & Box.of_shape((10, 10, 10))
    assert (part is not None) == bool(expected)
    if part is not None:
        assert part.needed == expected


def test_only_fractional_axes_read_a_margin():
    part = part_of(place((10, 10, 10), Affine.translation((0, 0.5, 0))), Box((2,) * 3, (4,) * 3), 1)
    assert part.needed == Box((2, 1, 2), (4, 4, 4))
    mirrored = Affine.from_array(np.diag([1, -1, 1]), (0, 9, 0))
    part = part_of(place((10, 10, 10), mirrored), Box((2, 0, 2), (4, 3, 4)), 2)
    assert part.needed == Box((2, 7, 2), (4, 10, 4))


@pytest.mark.parametrize(
    ("spacing", "factor"),
    [((1, 1, 1), 1), ((2, 2, 2), 2), ((3, 3, 3), 3), ((1.5,) * 3, 1), ((2.9,) * 3, 2),
     ((1.9999999,) * 3, 2), ((0.5,) * 3, 1)],
)  # fmt: skip
def test_bins_are_whole_voxels(spacing, factor):
    grid = Grid(OUT, spacing, (0, 0, 0))
    placement = place_view(view((30, 30, 30), Affine()), grid, FusionParams())
    assert placement.factor == (factor,) * 3


def test_bins_follow_the_axes_of_the_view():
    """Sampling is of sample space: a view with swapped axes averages along its own."""
    swapped = Affine.from_array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    grid = Grid(OUT, (4, 2, 1), (0, 0, 0))
    assert place_view(view((30, 30, 30), swapped), grid, FusionParams()).factor == (1, 2, 4)


@moderate
@given(st.tuples(*[st.integers(-9, 9)] * 3), st.integers(2, 4), st.booleans())
def test_bins_lie_on_output_voxels(offset, factor, mirror):
    """A view cut at whole voxels: every output voxel is exactly one bin."""
    sign = -1 if mirror else 1
    view_to_world = Affine.from_array(np.diag([1, 1, sign]), offset)
    grid = Grid(OUT, (factor,) * 3, ((factor - 1) / 2,) * 3)
    placement = place_view(view((40, 40, 40), view_to_world), grid, FusionParams())
    assert placement.whole == (True, True, True)
    assert all(0 <= p < factor for p in placement.phase)


@pytest.mark.parametrize(
    ("params", "expected"),
    [({}, (0, 0, 0)), ({"blend": True}, (1, 2, 4)),
     ({"blend": True, "blend_width_um": 6.0}, (3, 6, 12))],
)  # fmt: skip
def test_blending_width_in_voxels(params, expected):
    one = view((10, 20, 40), Affine.scale((2, 1, 0.5)))
    placement = place_view(one, Grid(OUT, (2, 1, 0.5), (0, 0, 0)), FusionParams(**params))
    assert placement.blend_width == pytest.approx(expected)
    half = place_view(one, Grid(OUT, (4, 2, 1), (0, 0, 0)), FusionParams(**params))
    assert half.blend_width == pytest.approx(np.array(expected) / 2)


def test_quality_cells_have_their_centre_in_the_middle_of_64_voxels():
    cells = quality_cells(place((200, 200, 200), Affine.translation((1, 2, 3))))
    assert np.allclose(cells.apply((1 + 31.5, 2 + 31.5, 3 + 31.5)), (0, 0, 0))
    assert np.allclose(cells.apply((1 + 95.5, 2 + 31.5, 3 + 159.5)), (1, 0, 2))
    binned = quality_cells(place((200, 200, 200), Affine.translation((0.5, 0.5, 0.5)), 2.0))
    assert np.allclose(binned.apply(((0.5 + 31.5) / 2,) * 3), (0, 0, 0))
