"""What the metadata does not know is in the truth, and the images show it."""

import h5py
import numpy as np
import pytest
from scipy import ndimage

from luxdask.errors import ConfigError
from luxdask.model.geometry import Affine
from luxdask.testing import DemoSpec, small_experiment, write_experiment
from luxdask.testing.layout import plan_poses
from luxdask.testing.misalignment import in_plane, turn_about
from luxdask.testing.sampling import sample_volume
from luxdask.testing.spline import interpolate

SHAPE = (30, 40, 50)
SPACING = (2.0, 1.0, 1.0)


def waves(shape, seed):
    """A smooth function of voxel coordinates (z, y, x), even about the volume's borders."""
    rng = np.random.default_rng(seed)
    counts = [rng.integers(0, max(2, n // 5), 6) for n in shape]
    weights = rng.uniform(-1, 1, 6) * 2500

    def value(points):
        parts = [
            np.cos(np.pi * k * (p[..., None] + 0.5) / n)
            for p, k, n in zip(np.moveaxis(points, -1, 0), counts, shape, strict=True)
        ]
        return 20000 + (parts[0] * parts[1] * parts[2]) @ weights

    return value


def angle_deg(affine):
    """Angle of a rotation, from its trace."""
    return float(np.degrees(np.arccos(np.clip((np.trace(affine.linear) - 1) / 2, -1, 1))))


@pytest.mark.parametrize(
    "options",
    [
        {"rotations_deg": (0.0, 90.0, 200.0), "rotation_error_deg": 4.0, "rotation_error_um": 3.0},
        {"objectives": 2, "cameras": 2, "camera_tilt_deg": 3.0, "camera_error_um": 1.0},
        {"channels": 2, "channel_error_um": 2.0, "tiles": (1, 2), "reverse_scan": True},
        {"time_points": 3, "drift_um": 1.0, "drift_random_um": 2.0},
    ],
    ids=str,
)
def test_views_show_the_volume_where_the_truth_says(tmp_path, options):
    function = waves(SHAPE, 3)
    grid = np.moveaxis(np.indices(SHAPE), 0, -1).astype(float)
    volume = np.rint(function(grid)).astype(np.uint16)
    truth = write_experiment(tmp_path, volume, DemoSpec(spacing_um=SPACING, **options))
    rng = np.random.default_rng(0)
    for view in truth.views:
        with h5py.File(truth.path(view)) as file:
            data = file["Data"][:]
        index = np.column_stack([rng.integers(0, n, 4000) for n in view.shape])
        at = truth.volume_to_world.inverse().apply(view.true_view_to_world.apply(index))
        inside = ((at > -0.5) & (at < np.array(SHAPE) - 0.5)).all(axis=1)
        assert inside.mean() > 0.3
        difference = data[tuple(index.T)] - function(at)
        assert np.abs(difference[inside]).max() < 3.0


def test_rotations_are_wrong_by_the_given_amounts_about_the_middle_of_the_sample(tmp_path):
    angles = (0.0, 90.0, 180.0, 270.0)
    truth = small_experiment(
        tmp_path, shape=(8, 16, 20), tiles=(2, 2), rotations_deg=angles,
        rotation_error_deg=3.0, rotation_error_um=20.0,
    )  # fmt: skip
    middle = truth.volume_to_world.apply((np.array(truth.shape) - 1) / 2)
    corrections = {a: [v.correction for v in truth.views if v.angle_deg == a] for a in angles}
    for same in corrections.values():
        assert len(same) == 4
        assert all(np.allclose(c.to_array(), same[0].to_array(), atol=1e-9) for c in same)
    found = [same[0] for same in corrections.values()]
    assert np.allclose(found[0].to_array(), Affine().to_array())
    for correction in found[1:]:
        assert 1.5 <= angle_deg(correction) <= 3.0
        linear = np.array(correction.linear)
        assert np.allclose(linear @ linear.T, np.eye(3))
        shift = np.abs(correction.apply(middle) - middle)
        assert shift.max() <= 20.0
        assert shift.max() > 1.0


def test_a_tilt_is_one_transform_of_the_camera_for_all_stacks(tmp_path):
    truth = small_experiment(
        tmp_path, shape=(8, 20, 24), tiles=(2, 2), rotations_deg=(0.0, 30.0), objectives=2,
        camera_tilt_deg=2.0, camera_error_um=3.0, spacing_um=(3.0, 1.0, 1.5),
    )  # fmt: skip
    in_voxels = {}
    for view in truth.views:
        found = view.view_to_world.inverse() @ view.correction @ view.view_to_world
        in_voxels.setdefault((view.id.objective, view.shape), []).append(found.to_array())
    for (objective, _), found in in_voxels.items():
        assert len(found) > 1
        assert np.allclose(found, found[0], atol=1e-9)
        assert np.allclose(found[0], Affine().to_array(), atol=1e-9) == (objective == "left")
    right = next(v for v in truth.views if v.id.objective == "right")
    assert 1.0 <= angle_deg(right.correction) <= 2.0


def test_a_positive_tilt_takes_x_towards_y():
    assert np.allclose(in_plane(90.0).apply([0, 0, 1]), [0, 1, 0], atol=1e-12)


def test_colours_differ_by_one_shift_in_the_cameras_frame(tmp_path):
    truth = small_experiment(
        tmp_path, shape=(6, 20, 24), channels=3, single_sided=True, rotations_deg=(0.0, 90.0),
        channel_error_um=2.0,
    )  # fmt: skip
    shifts = {}
    for view in truth.views:
        moved = view.view_to_world.inverse() @ view.true_view_to_world
        shifts.setdefault(view.colour, []).append(moved.offset)
    assert np.allclose(shifts[0], 0)
    for colour in (1, 2):
        assert np.allclose(shifts[colour], shifts[colour][0], atol=1e-9)
        assert 0.1 < np.abs(shifts[colour][0]).max() <= 2.0


def test_random_drift_is_different_each_time_and_bounded(tmp_path):
    truth = small_experiment(
        tmp_path, shape=(4, 12, 14), tiles=(1, 1), time_points=6, drift_random_um=2.0
    )
    moves = np.array([v.correction.offset for v in truth.views])
    assert not moves[0].any()
    assert np.abs(moves).max() <= 2.0
    assert len({tuple(m) for m in moves.round(3).tolist()}) == 6


def test_nothing_random_is_added_where_nothing_was_asked_for():
    spec = DemoSpec(objectives=2, cameras=2, rotations_deg=(0.0, 45.0), tiles=(2, 2))
    for pose in plan_poses((8, 20, 20), spec):
        assert pose.true_view_to_world == pose.view_to_world


def test_splines_are_those_of_scipy():
    volume = np.random.default_rng(0).integers(0, 60000, (14, 20, 11), dtype=np.uint16)
    turn = turn_about((1, 2, 3), 25.0, (7, 10, 5)) @ Affine.scale((0.9, 1.1, 1.0), (-3, 0, 2))
    expected = ndimage.affine_transform(
        volume.astype(float), np.array(turn.linear), turn.offset, (21, 17, 19), order=5,
        mode="reflect",
    )  # fmt: skip
    assert np.abs(interpolate(volume, turn, (21, 17, 19)) - expected).max() < 0.1


def test_a_view_that_is_hardly_tilted_looks_like_one_turned_about_y():
    volume = np.random.default_rng(1).integers(0, 60000, (20, 24, 22), dtype=np.uint16)
    about_y = turn_about((0, 1, 0), 20.0, (10, 12, 11))
    hardly = turn_about((1, 0, 0), 1e-9, (10, 12, 11)) @ about_y
    a, b = (sample_volume(volume, turn, (34, 40, 36)) for turn in (about_y, hardly))
    assert np.abs(a - b).max() < 1.0


@pytest.mark.parametrize(
    "name",
    ["camera_tilt_deg", "channel_error_um", "rotation_error_deg", "rotation_error_um",
     "drift_random_um"],
)  # fmt: skip
def test_negative_amounts_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name}: -1"):
        DemoSpec(**{name: -1.0})


def test_one_volume_serves_for_all_colours(tmp_path):
    volume = np.random.default_rng(0).integers(0, 999, (4, 12, 14), dtype=np.uint16)
    truth = write_experiment(tmp_path, volume, DemoSpec(channels=2))
    for view in truth.views:
        with h5py.File(truth.path(view)) as file:
            assert np.array_equal(file["Data"][:], volume)
        assert np.array_equal(truth.read_volume(view.colour), volume)
