import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.model.geometry import Affine, BoundingBox, Box, Grid, shape3, vector, volume_corners
from luxdask.testing.strategies import boxes, near_rigid, shapes

quick = settings(max_examples=50, deadline=None)
affines = near_rigid(angle_deg=180, shift=1000, stretch=0.1)
coordinate = st.floats(-1e4, 1e4, allow_subnormal=False)
points = st.tuples(coordinate, coordinate, coordinate)
ints = st.tuples(*[st.integers(-20, 20)] * 3)


def matrix4(affine):
    m = np.eye(4)
    m[:3] = affine.to_array()
    return m


@quick
@given(affines, affines, points)
def test_product_applies_the_right_one_first(a, b, point):
    expected = (matrix4(a) @ matrix4(b) @ [*point, 1])[:3]
    assert np.allclose((a @ b).apply(point), expected, rtol=1e-9, atol=1e-6)
    assert np.allclose(matrix4(a @ b), matrix4(a) @ matrix4(b), rtol=1e-9, atol=1e-6)


@quick
@given(affines, points)
def test_inverse_undoes(a, point):
    assert np.allclose(a.inverse().apply(a.apply(point)), point, atol=1e-6)
    assert np.allclose(matrix4(a.inverse()), np.linalg.inv(matrix4(a)), rtol=1e-9, atol=1e-6)
    assert a.is_invertible


@quick
@given(affines, affines, affines)
def test_product_is_associative(a, b, c):
    assert np.allclose(((a @ b) @ c).to_array(), (a @ (b @ c)).to_array(), rtol=1e-9, atol=1e-5)


def test_building_and_applying():
    both = Affine.scale((2, 3, 4), (10, 20, 30))
    assert both.apply((1, 1, 1)).tolist() == [12, 23, 34]
    assert both.apply(np.zeros((5, 2, 3))).shape == (5, 2, 3)
    assert both == Affine.translation((10, 20, 30)) @ Affine.scale((2, 3, 4))
    assert Affine.from_array(both.to_array()) == both
    assert both.column_norms == (2, 3, 4)
    assert both.to_array().shape == (3, 4)
    assert hash(both) == hash(Affine.from_array(np.diag([2.0, 3, 4]), [10, 20, 30]))


@pytest.mark.parametrize(
    "linear", [np.zeros((3, 3)), np.ones((3, 3)), np.diag([1, 1, 0]), np.diag([1, 1, math.nan])]
)
def test_what_has_no_inverse(linear):
    assert not Affine.from_array(linear).is_invertible


def test_inverse_of_a_singular_matrix_raises():
    with pytest.raises(np.linalg.LinAlgError):
        Affine.scale((1, 1, 0)).inverse()


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_swapped_and_mirrored_axes_are_aligned(order, signs):
    linear = np.diag(np.multiply(signs, (0.3, 2.0, 5.0)))[list(order)]
    assert Affine.from_array(linear).is_axis_aligned()


@pytest.mark.parametrize("angle_deg", [0.01, 30, 45, 90.01, 179])
@pytest.mark.parametrize("axis", range(3))
def test_rotated_axes_are_not_aligned(angle_deg, axis):
    a, b = (i for i in range(3) if i != axis)
    turn = np.eye(3)
    s, c = math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))
    turn[a, a] = turn[b, b] = c
    turn[a, b], turn[b, a] = -s, s
    assert not Affine.from_array(turn).is_axis_aligned()


def test_two_axes_on_one_are_not_aligned():
    assert not Affine.from_array([[1, 0, 0], [1, 0, 0], [0, 0, 1]]).is_axis_aligned()


def test_rotation_by_90_degrees_with_rounding_noise_is_aligned():
    c = math.cos(math.pi / 2)
    assert c != 0
    assert Affine.from_array([[c, 0, 1], [0, 1, 0], [-1, 0, c]]).is_axis_aligned()


@quick
@given(shapes(1, 12), st.data())
def test_box_is_a_set_of_voxels(shape, data):
    a, b = data.draw(boxes(shape)), data.draw(boxes(shape))

    def members(box):
        mask = np.zeros(shape, bool)
        mask[box.slices] = bool(box)
        return mask

    assert a.size == members(a).sum()
    assert members(a)[a.slices].shape == a.shape
    assert np.array_equal(members(a & b), members(a) & members(b))
    assert bool(a & b) == (members(a) & members(b)).any()
    assert (a & b).size == (members(a) & members(b)).sum()
    assert a & Box.of_shape(shape) == a


@quick
@given(ints, ints, ints)
def test_box_moves(start, size, offset):
    box = Box(start, shape3(np.add(start, np.abs(size)).tolist()))
    assert box.shift(offset).shape == box.shape
    assert box.shift(offset).shift([-o for o in offset]) == box


def test_empty_box():
    box = Box((5, 0, 0), (3, 4, 4))
    assert not box
    assert box.shape == (0, 4, 4)
    assert box.size == 0


@quick
@given(shapes(1, 30), affines, st.data())
def test_bounding_box_holds_every_corner(shape, to_world, data):
    box = BoundingBox.of_volume(shape, to_world)
    corners = np.array(list(product(*[(-0.5, n - 0.5) for n in shape])))
    world = (np.c_[corners, np.ones(8)] @ matrix4(to_world).T)[:, :3]
    assert np.allclose(box.lower, world.min(axis=0))
    assert np.allclose(box.upper, world.max(axis=0))
    assert sorted(map(tuple, volume_corners(shape))) == sorted(map(tuple, corners))


def test_bounding_boxes_combine():
    a, b = BoundingBox((0, 0, 0), (4, 4, 4)), BoundingBox((2, -2, 3), (6, 3, 5))
    assert a | b == BoundingBox((0, -2, 0), (6, 4, 5))
    assert a & b == BoundingBox((2, 0, 3), (4, 3, 4))
    assert a & b
    assert not a & BoundingBox((4, 0, 0), (5, 4, 4))
    assert (a | b).extent_um == (6, 6, 5)


def test_grid_lies_between_voxel_borders():
    grid = Grid((2, 3, 4), (2.0, 1.0, 0.5), (10, 20, 30))
    assert grid.to_world.apply((1, 2, 3)).tolist() == [12, 22, 31.5]
    assert grid.bounding_box == BoundingBox((9, 19.5, 29.75), (13, 22.5, 31.75))
    assert grid.coordinates_um(2).tolist() == [30, 30.5, 31, 31.5]
    assert [len(grid.coordinates_um(a)) for a in range(3)] == [2, 3, 4]


def test_values_come_from_any_sequence():
    assert vector(np.array([1, 2, 3], dtype=np.int16)) == (1.0, 2.0, 3.0)
    assert shape3(np.array([1, 2, 3])) == (1, 2, 3)
    with pytest.raises(ValueError, match="unpack"):
        vector([1, 2])


def test_a_box_turned_by_any_angle_is_enclosed_by_all_its_corners():
    box = BoundingBox((0.0, 0.0, 0.0), (2.0, 4.0, 6.0))
    assert box.corners.shape == (8, 3)
    half = np.sqrt(0.5)
    turned = box.moved(Affine.from_array([[1, 0, 0], [0, half, -half], [0, half, half]]))
    np.testing.assert_allclose(turned.lower, (0, -6 * half, 0), atol=1e-12)
    np.testing.assert_allclose(turned.upper, (2, 4 * half, 10 * half), atol=1e-12)


def test_the_smallest_box_that_holds_two() -> None:
    held = Box((0, 5, 2), (4, 9, 3)) | Box((2, 1, 8), (3, 6, 9))
    assert held == Box((0, 1, 2), (4, 9, 9))
