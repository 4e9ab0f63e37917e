"""The written files alone must lead back to the volume; the chain is composed here anew."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from luxdask.errors import ConfigError
from luxdask.io import open_experiment
from luxdask.testing import DemoSpec, model_view, read_truth, small_experiment, write_experiment
from luxdask.testing.layout import rotation
from luxdask.testing.phantoms import band_limited

VENDOR = Path(__file__).parents[3] / "shared/data/vendor/2026-03-02_194519-right.json"
SPACING = (5.0, 2.0, 2.5)
SHAPE = (12, 50, 66)


def composed(information):
    """4x4 matrix of an affine_to_sample list on (x, y, z, 1) columns; first entry first."""
    total = np.eye(4)
    for entry in information["affine_to_sample"]:
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = entry["matrix"], entry["translation"]
        total = step @ total
    return total


def images(folder):
    for path in sorted(Path(folder, "raw").glob("*/*.lux.h5")):
        with h5py.File(path) as file:
            yield json.loads(file["metadata"][()])["processingInformation"], file["Data"][:]


def origin_xyz(truth):
    """World position (x, y, z) of voxel 0 of the truth volume."""
    return np.array(truth.volume_to_world.offset)[::-1]


def paste(folder, truth):
    """The volume, put together from the images by the metadata; nan where none lies."""
    out = np.full(truth.shape, np.nan)
    for information, data in images(folder):
        matrix = composed(information)
        size = [information["voxel_size_um"][k] for k in ("width", "height", "depth")]
        steps = matrix[:3, :3] / np.array(size)[:, None]
        first = (matrix[:3, 3] - origin_xyz(truth)) / size
        assert np.abs(first - np.rint(first)).max() < 1e-9
        assert np.abs(np.abs(steps) - np.eye(3)).max() < 1e-12
        for axis in range(3):  # x, y, z of the image = last ... first axis of the array
            n = data.shape[2 - axis]
            at = np.rint(first[axis] + steps[axis, axis] * np.arange(n)).astype(int)
            if at[0] > at[-1]:
                data = np.flip(data, 2 - axis)
            first[axis] = at.min()
        x, y, z = np.rint(first).astype(int)
        box = np.s_[z : z + data.shape[0], y : y + data.shape[1], x : x + data.shape[2]]
        known = np.isfinite(out[box])
        assert np.array_equal(out[box][known], data[known])
        out[box] = data
    return out


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tiles": (1, 1)},
        {"tiles": (2, 3), "overlap": 7},
        {"tiles": (3, 1), "overlap": 0},
        {"tiles": (2, 2), "objectives": 2},
        {"objectives": 2, "cameras": 2, "reverse_scan": True},
        {"rotations_deg": (0.0, 360.0, -180.0)},
        {"pms": 2, "time_points": 2},
    ],
    ids=str,
)
def test_pasting_by_the_written_metadata_gives_the_volume(tmp_path, options):
    truth = small_experiment(tmp_path, shape=SHAPE, spacing_um=SPACING, **options)
    assert np.array_equal(paste(tmp_path, truth), truth.read_volume())


def test_a_quarter_turn_of_equal_voxels_is_an_exact_copy(tmp_path):
    truth = small_experiment(
        tmp_path, shape=(14, 20, 24), tiles=(1, 1), rotations_deg=(0.0, 90.0), objectives=2
    )
    volume = truth.read_volume()
    turned = [v for v in truth.views if v.angle_deg == 90]
    assert {v.shape for v in turned} == {(24, 20, 14)}
    for information, data in images(tmp_path):
        matrix = composed(information)
        index = np.indices(data.shape)[::-1].reshape(3, -1)
        at = (matrix[:3, :3] @ index + matrix[:3, 3:] - origin_xyz(truth)[:, None])[::-1]
        assert np.abs(at - np.rint(at)).max() < 1e-9
        z, y, x = np.rint(at).astype(int)
        assert np.array_equal(volume[z, y, x], data.ravel())


@pytest.mark.parametrize("angle", [0.0, 16.9, 90.0, -135.0])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_chain_follows_from_the_stages(tmp_path, angle, reverse):
    small_experiment(
        tmp_path, shape=SHAPE, spacing_um=SPACING, objectives=2, sub_voxel=True,
        rotations_deg=(angle,), reverse_scan=reverse,
    )  # fmt: skip
    for information, _ in images(tmp_path):
        (acquired,) = information["acquisition"]
        linear = [s for s in acquired["stage_positions"] if s["type"] == "linear"]
        (turn,) = [s for s in acquired["stage_positions"] if s["type"] == "rotation"]
        position = -sum(np.array(s["movement"]["direction"]) * s["start_um"] for s in linear)
        planes = acquired["number_planes"]
        step = -sum(
            np.array(s["movement"]["direction"]) * (s["end_um"] - s["start_um"]) for s in linear
        ) / (planes - 1)
        detection, plane = acquired["detection"], acquired["image_plane_vectors"]
        right, down = (np.array(plane[k]) for k in ("cam_left_to_right", "cam_top_to_bottom"))
        pixel = detection["cam_pixel_size_um"]
        columns = np.column_stack(
            [
                right * pixel["width"] / detection["magnification"],
                down * pixel["height"] / detection["magnification"],
                step,
            ]
        )
        size = information["image_size_vx"]
        middle = np.array([(size["width"] - 1) / 2, (size["height"] - 1) / 2, 0])
        # rotation about the axis by minus the stage's angle (Rodrigues), through -offset
        a, o = (np.array(turn["movement"][k]) for k in ("direction", "offset_um"))
        theta = -np.radians(turn["start_deg"])
        cross = np.cross(np.eye(3), a)
        rotated = np.eye(3) + np.sin(theta) * cross + (1 - np.cos(theta)) * cross @ cross
        expected = np.eye(4)
        expected[:3, :3] = rotated @ columns
        expected[:3, 3] = rotated @ (position - columns @ middle + o) - o
        assert np.abs(composed(information) - expected).max() < 1e-9
        assert np.allclose(np.cross(right, down), detection["direction"])
        assert np.allclose(rotated @ detection["direction"], information["detection_directions"][0])
        assert planes == size["depth"] == len(acquired["time_stamps"])


@pytest.mark.skipif(not VENDOR.is_file(), reason="needs the folder of vendor files")
def test_the_rotation_is_that_of_a_real_microscope():
    information = json.loads(VENDOR.read_text())["processingInformation"]
    real = information["affine_to_sample"][2]
    turn = rotation(16.9)
    assert np.allclose(np.array(turn.linear)[::-1, ::-1], real["matrix"], atol=1e-6)
    assert np.allclose(turn.offset[::-1], real["translation"], atol=1e-3)


@pytest.mark.skipif(not VENDOR.is_file(), reason="needs the folder of vendor files")
def test_the_json_has_the_fields_and_types_of_a_real_file(tmp_path):
    real = json.loads(VENDOR.read_text())
    small_experiment(tmp_path, shape=(4, 12, 20), tiles=(1, 1))
    (sidecar,) = (tmp_path / "raw").glob("*/*.json")
    made = json.loads(sidecar.read_text())
    assert list(made) == list(real)

    def compare(real, made, where):
        if isinstance(real, dict):
            assert set(real) <= set(made), where
            for key, value in real.items():
                compare(value, made[key], f"{where}/{key}")
        elif isinstance(real, list) and real and made:
            compare(real[0], made[0], f"{where}[0]")
        else:
            assert isinstance(made, type(real)) or real is None, where

    compare(real["processingInformation"], made["processingInformation"], "")


def cosines(shape, seed):
    """A smooth function of voxel coordinates (z, y, x), even about the volume's borders."""
    rng = np.random.default_rng(seed)
    waves = [rng.integers(0, max(2, n // 5), 6) for n in shape]
    weights = rng.uniform(-1, 1, 6) * 2500

    def value(points):
        parts = [np.cos(np.pi * k * (p[..., None] + 0.5) / n) for p, k, n in
                 zip(np.moveaxis(points, -1, 0), waves, shape, strict=True)]  # fmt: skip
        return 20000 + (parts[0] * parts[1] * parts[2]) @ weights

    return value


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"rotations_deg": (0.0, 33.0, 90.0, 200.0)}, 3.0),
        ({"tiles": (2, 2), "sub_voxel": True, "objectives": 2}, 3.0),
        ({"tiles": (1, 2), "stage_error_um": 4.0, "camera_error_um": 2.0, "cameras": 2}, 3.0),
        ({"time_points": 3, "drift_um": 2.0, "rotations_deg": (20.0,)}, 3.0),
    ],
    ids=str,
)
def test_views_show_the_volume_where_the_truth_says(tmp_path, options, tolerance):
    shape = (30, 40, 50)
    function = cosines(shape, 3)
    grid = np.moveaxis(np.indices(shape), 0, -1).astype(float)
    volume = np.rint(function(grid)).astype(np.uint16)
    truth = write_experiment(tmp_path, volume, DemoSpec(spacing_um=(2.0, 1.0, 1.0), **options))
    rng = np.random.default_rng(0)
    for view in truth.views:
        with h5py.File(truth.path(view)) as file:
            data = file["Data"][:]
        index = np.column_stack([rng.integers(0, n, 4000) for n in view.shape])
        at = truth.volume_to_world.inverse().apply(view.true_view_to_world.apply(index))
        inside = ((at > -0.5) & (at < np.array(shape) - 0.5)).all(axis=1)
        assert inside.mean() > 0.3
        difference = data[tuple(index.T)] - function(at)
        assert np.abs(difference[inside]).max() < tolerance


def test_errors_are_within_their_bounds_and_the_first_view_has_none(tmp_path):
    truth = small_experiment(
        tmp_path, tiles=(2, 2), objectives=2, channels=2, stage_error_um=3.0, camera_error_um=1.0
    )
    shifts = {v.id: np.array(v.correction.offset) for v in truth.views}
    assert not shifts[truth.views[0].id].any()
    assert 1 < max(np.abs(s).max() for s in shifts.values()) <= 4
    for identity, shift in shifts.items():
        same = [s for i, s in shifts.items() if i.stack == identity.stack
                and i.objective == identity.objective]  # fmt: skip
        assert len(same) == 2
        assert np.allclose(same, shift)


def test_drift_is_the_same_step_every_time(tmp_path):
    truth = small_experiment(tmp_path, time_points=3, drift_um=1.5)
    steps = [v.correction.offset for v in truth.views if v.id.stack == "0-x00-y00"]
    assert np.allclose(np.linalg.norm(steps, axis=1), [0, 1.5, 3.0])
    assert np.allclose(np.multiply(steps[1], 2), steps[2])


def test_the_library_reads_what_was_written(tmp_path):
    truth = small_experiment(
        tmp_path, tiles=(1, 2), objectives=2, rotations_deg=(0.0, 30.0), channels=2,
        channel_descriptions=("far red", "GFP-x"), time_points=2, pms=1, single_sided=True,
    )  # fmt: skip
    for path in (tmp_path, tmp_path / "raw", tmp_path / "main_raw.lux.h5"):
        experiment = open_experiment(path)
        assert experiment.notes == ()
        assert set(experiment.by_id) == set(truth.by_id)
        for identity, view in experiment.by_id.items():
            known = truth.by_id[identity]
            assert view.shape == known.shape
            assert view.spacing_um == known.spacing_um
            assert view.illuminations == known.illuminations
            assert view.angle_deg == known.angle_deg
            assert np.allclose(view.detection_directions, [known.detection_direction])
            difference = view.view_to_world.to_array() - known.view_to_world.to_array()
            assert np.abs(difference).max() < 1e-9
    channels = sorted({(v.id.channel, v.channel_description) for v in experiment.views})
    assert channels == [("0", "far red"), ("1", "far red"), ("2", "GFP-x"), ("3", "GFP-x")]


def test_the_main_file_has_the_vendors_groups_and_relative_links(tmp_path):
    truth = small_experiment(tmp_path / "a", tiles=(1, 1), shape=(4, 8, 9))
    (tmp_path / "a").rename(tmp_path / "b")
    with h5py.File(tmp_path / "b" / "main_raw.lux.h5") as file:
        group = file["timepoint_0/channel_0_cam_left/raw_stack_0_obj_left"]
        link = group.get("Data", getlink=True)
        assert link.filename == "raw/stack_0_channel_0_obj_left/Cam_left_00000.lux.h5"
        moved = read_truth(tmp_path / "b")
        assert np.array_equal(group["Data"][:], moved.read_volume())
    assert moved.views == truth.views


def test_the_same_seed_gives_the_same_files(tmp_path):
    options = {
        "tiles": (2, 1), "stage_error_um": 2.0, "noise": True, "blur_um": 1.5, "flatfield": 0.3,
        "scatter": 0.5, "single_sided": True, "time_points": 2, "bleaching": 0.1, "drift_um": 1.0,
    }  # fmt: skip
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        small_experiment(tmp_path / name, shape=(10, 40, 30), seed=seed, kind="nuclei", **options)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("raw/*/*.*"))
    assert len(files) == 16
    a, b, c = ([(tmp_path / n / f).read_bytes() for f in files] for n in "abc")
    assert a == b
    is_image = [f.suffix == ".h5" for f in files]
    assert [x != y for x, y in zip(a, c, strict=True)] == is_image


def test_noise_is_independent_and_as_strong_as_photons_make_it(tmp_path):
    clean = np.full((8, 40, 40), 10000, np.uint16)
    truth = write_experiment(tmp_path, clean, DemoSpec(noise=True, time_points=2))
    a, b = (h5py.File(truth.path(v))["Data"][:].astype(float) - 10000 for v in truth.views)
    assert a.std() == pytest.approx(100, rel=0.03)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.05


def test_single_sided_light_falls_off_from_its_side(tmp_path):
    flat = np.full((6, 20, 64), 20000, np.uint16)
    spec = DemoSpec(single_sided=True, objectives=2, tiles=(1, 2), overlap=8)
    truth = write_experiment(tmp_path, flat, spec)
    for view in truth.views:
        data = h5py.File(truth.path(view))["Data"][:].astype(float)
        x = view.true_view_to_world.apply(np.array([[0, 0, 0], [0, 0, data.shape[2] - 1]]))[:, 2]
        rises_with_x = (data[0, 0, -1] > data[0, 0, 0]) == (x[1] > x[0])
        assert rises_with_x == (view.illuminations == ("back",))
    # both tiles and both objectives agree where they overlap
    overlap = {}
    for view in truth.views:
        data = h5py.File(truth.path(view))["Data"][:].astype(float)
        world = view.true_view_to_world.apply(
            [(0, 0, i) for i in range(data.shape[2])]
        )[:, 2].round(6)  # fmt: skip
        for at, value in zip(world, data[0, 0], strict=True):
            overlap.setdefault((view.id.channel, at), set()).add(value)
    assert all(max(v) - min(v) <= 1 for v in overlap.values())


def test_blur_is_along_the_detection_direction_and_has_no_border(tmp_path):
    point = np.zeros((41, 61, 61), np.uint16)
    point[20, 30, 30] = 60000
    spec = DemoSpec(blur_um=3.0, tiles=(1, 2), overlap=0.4)
    truth = write_experiment(tmp_path, point, spec)
    for view in truth.views:
        data = h5py.File(truth.path(view))["Data"][:].astype(float)
        at = view.true_view_to_world.inverse().apply(truth.volume_to_world.apply([20, 30, 30]))
        index = np.moveaxis(np.indices(data.shape), 0, -1) - at
        variance = (data[..., None] * index**2).sum((0, 1, 2)) / data.sum()
        assert variance[0] == pytest.approx(9, rel=0.1)
        assert variance[2] == pytest.approx(1, rel=0.2)


def test_scatter_spares_the_side_of_the_objective(tmp_path):
    volume = band_limited((40, 40, 40), seed=1)
    truth = write_experiment(tmp_path, volume, DemoSpec(scatter=1.0, objectives=2))
    left, right = (h5py.File(truth.path(v))["Data"][:].astype(float) for v in truth.views)
    of_left, of_right = (np.diff(v[[0, -1]], axis=2).std((1, 2)) for v in (left, right))
    assert of_left[0] > 2 * of_right[0]
    assert of_right[1] > 2 * of_left[1]


def test_flatfield_darkens_the_corners(tmp_path):
    flat = np.full((3, 21, 21), 10000, np.uint16)
    truth = write_experiment(tmp_path, flat, DemoSpec(flatfield=0.4))
    data = h5py.File(truth.path(truth.views[0]))["Data"][:]
    assert data[0, 10, 10] == 10000
    assert data[0, 0, 0] == 6000


def test_the_truth_is_a_tiff_with_its_voxel_size(tmp_path):
    truth = small_experiment(tmp_path, shape=(4, 12, 30), channels=2, spacing_um=SPACING)
    with tifffile.TiffFile(truth.volume_path) as tiff:
        assert tiff.series[0].axes == "ZCYX"
        assert tiff.imagej_metadata["spacing"] == 5
        width, unit = tiff.pages[0].tags["XResolution"].value
        assert unit / width == pytest.approx(2.5)
    for view in truth.views:
        data = h5py.File(truth.path(view))["Data"][:]
        assert data.max() <= truth.read_volume(view.colour).max()
    assert not np.array_equal(truth.read_volume(0), truth.read_volume(1))
    assert read_truth(tmp_path) == truth


def test_the_json_truth_is_in_both_orders(tmp_path):
    small_experiment(tmp_path, rotations_deg=(25.0,), shape=(5, 20, 21))
    content = json.loads((tmp_path / "truth/transforms.json").read_text())
    for view in content["views"]:
        (information,) = [
            i for i, _ in images(tmp_path) if i["stack"] == view["id"]["stack"]
        ]  # fmt: skip
        assert np.abs(composed(information)[:3] - view["metadata"]["xyz"]).max() < 1e-9
        zyx = np.array(view["metadata"]["zyx"])
        assert np.allclose(composed(information)[:3, 3], zyx[::-1, 3])
        assert (tmp_path / view["file"]).is_file()


def test_model_view_is_what_the_reader_gives(tmp_path):
    truth = small_experiment(tmp_path, shape=(4, 20, 30))
    read = open_experiment(tmp_path).by_id
    for view in truth.views:
        made = model_view(truth, view)
        assert made.source.path == read[view.id].source.path
        assert made.shape == read[view.id].shape


def test_a_made_experiment_is_only_replaced_on_request(tmp_path):
    small_experiment(tmp_path, tiles=(2, 2))
    (tmp_path / "processed").mkdir()
    with pytest.raises(ConfigError, match="lies here already"):
        small_experiment(tmp_path)
    volume = band_limited((6, 20, 20), seed=0)
    truth = write_experiment(tmp_path, volume, overwrite=True)
    assert len(list((tmp_path / "raw").glob("*/*.h5"))) == len(truth.views) == 1
    assert (tmp_path / "processed").is_dir()


def test_foreign_folders_are_never_touched(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "precious.h5").write_text("data")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="not made by luxdask"):
            write_experiment(tmp_path, np.ones((3, 4, 4), np.uint16), overwrite=overwrite)
    assert [p.name for p in tmp_path.rglob("*")] == ["raw", "precious.h5"]
    with pytest.raises(ConfigError, match="is a file"):
        write_experiment(tmp_path / "raw" / "precious.h5", np.ones((3, 4, 4), np.uint16))


def test_an_interrupted_run_leaves_no_half_image(tmp_path):
    def interrupt(done, total, view):
        raise KeyboardInterrupt

    spec = DemoSpec(time_points=3)
    volume = np.ones((3, 20, 20), np.uint16)
    with pytest.raises(KeyboardInterrupt):
        write_experiment(tmp_path, volume, spec, progress=interrupt)
    assert len(list(tmp_path.rglob("*.h5*"))) == 1
    assert not (tmp_path / "truth/transforms.json").exists()
    assert len(write_experiment(tmp_path, volume, spec, overwrite=True).views) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 1.0}, "0 % to 90 %"),
        ({"overlap": -3}, "0 and more"),
        ({"tiles": (1, 0)}, "columns of tiles: 0"),
        ({"objectives": 3}, "objectives: 3"),
        ({"cameras": 0}, "cameras: 0"),
        ({"rotations_deg": ()}, "at least one angle"),
        ({"rotations_deg": (float("nan"),)}, "angles in degrees"),
        ({"spacing_um": (1.0, 0.0, 1.0)}, "larger than 0"),
        ({"flatfield": 1.5}, "flatfield: 1.5"),
        ({"stage_error_um": -1.0}, "stage_error_um: -1.0"),
        ({"time_points": 0}, "time points: 0"),
        ({"tiles": (1, 60)}, "do not fit"),
        ({"tiles": (1, 2), "overlap": 100}, "do not fit"),
    ],
    ids=str,
)
def test_nonsense_is_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        small_experiment(tmp_path / "new", shape=(4, 30, 40), **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "volume", [np.ones((3, 4)), np.ones((3, 4, 5)), np.ones((3, 4, 5, 6), np.uint16)], ids=str
)
def test_volumes_of_the_wrong_form_are_refused(tmp_path, volume):
    with pytest.raises(ConfigError, match="volume"):
        write_experiment(tmp_path / "new", volume, DemoSpec(channels=2))
