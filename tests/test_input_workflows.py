"""The guide's workflows around inputs, on real volumes, against what numpy cuts out of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile

from luxdask.graph import registration as graph_registration
from luxdask.io import open_experiment
from luxdask.io.affine_json import affine_to_json
from luxdask.io.landmark_file import write_landmarks
from luxdask.model.geometry import Affine, vector
from luxdask.model.landmarks import Landmark
from luxdask.tasks import Task
from luxdask.tasks.compile import select_inputs
from luxdask.testing import DemoSpec, write_experiment
from luxdask.testing.alignment import position_errors, worst_error_vx

if TYPE_CHECKING:
    from luxdask.tasks import TaskResult
    from luxdask.testing import TrueView, Truth

ON = {"registration.enabled": True, "registration.tiles.enabled": True}
SHAPE = (40, 96, 150)


@pytest.fixture(scope="module")
def embryo(real_data: Path) -> np.ndarray:
    """Nuclei of a beetle embryo: 40 × 96 × 150 voxels."""
    volume = tifffile.imread(real_data / "tribolium_lightsheet.tif")[30:70, 60:156, 50:200]
    assert volume.shape == SHAPE
    return np.ascontiguousarray(volume)


@pytest.fixture(scope="module")
def two_tiles(tmp_path_factory: pytest.TempPathFactory, embryo: np.ndarray) -> Truth:
    """The embryo in two tiles that share 30 voxels, where the metadata says."""
    folder = tmp_path_factory.mktemp("tiles") / "e"
    return write_experiment(folder, embryo, DemoSpec(tiles=(1, 2), overlap=30))


def run(truth: Truth | Path, *settings: dict[str, Any]) -> TaskResult:
    """A task with some settings, run to its end."""
    folder = truth if isinstance(truth, Path) else Path(truth.folder)
    experiment = open_experiment(folder)
    given = {key: value for some in settings for key, value in some.items()}
    return Task.new(experiment, values={"output.formats": ["lux"], **given}).run(experiment)


def place(truth: Truth, view: TrueView) -> tuple[int, int, int]:
    """Voxel of the volume that is the first one of a view."""
    start = (truth.volume_to_world.inverse() @ view.view_to_world).apply((0, 0, 0))
    np.testing.assert_allclose(start, np.rint(start), atol=1e-9)
    z, y, x = np.rint(start).astype(int).tolist()
    return z, y, x


@dataclass(frozen=True)
class Region:
    """A box of a view, and of the volume."""

    start: tuple[int, int, int]
    size: tuple[int, int, int]

    def slices(self, at: tuple[int, int, int] = (0, 0, 0)) -> tuple[slice, ...]:
        return tuple(
            slice(a + s, a + s + n) for a, s, n in zip(at, self.start, self.size, strict=True)
        )

    def entry(self, label: str, **image: Any) -> dict[str, Any]:
        return {
            "label": label,
            "image": image,
            "offset_vx": list(self.start[::-1]),
            "size_vx": list(self.size[::-1]),
        }


def write_rois(path: Path, *entries: dict[str, Any]) -> dict[str, Any]:
    path.write_text(json.dumps({"version": "1.0.0", "rois": entries}))
    return {"input.roi.file": str(path)}


def voxels(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file["Data"][:])


def bounds(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around what is set."""
    places = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return tuple(slice(int(p[0]), int(p[-1]) + 1) for p in places)


# ---- use ROI ----

LEFT = Region((5, 10, 20), (30, 60, 65))
RIGHT = Region((8, 20, 0), (30, 70, 50))


@pytest.mark.parametrize("mode", ["UnionAll", "Intersections", "Separate"])
def test_regions_of_one_label_in_two_stacks(
    two_tiles: Truth, embryo: np.ndarray, tmp_path: Path, mode: str
) -> None:
    first, second = two_tiles.views
    file = write_rois(
        tmp_path / "r.roi.json",
        LEFT.entry("A", stack=first.id.stack),
        RIGHT.entry("A", stack=second.id.stack),
        Region((0, 0, 0), (1, 1, 1)).entry("other"),
    )
    result = run(two_tiles, file, {"input.roi.label": "A", "output.bounding_boxes": mode})
    masks = []
    for view, region in ((first, LEFT), (second, RIGHT)):
        mask = np.zeros(SHAPE, dtype=bool)
        mask[region.slices(place(two_tiles, view))] = True
        masks.append(mask)
    wanted = {
        "UnionAll": [masks[0] | masks[1]],
        "Intersections": [masks[0] & masks[1]],
        "Separate": masks,
    }[mode]
    assert len(result.images) == len(wanted)
    for path, mask in zip(result.images, wanted, strict=True):
        np.testing.assert_array_equal(voxels(path), (embryo * mask)[bounds(mask)])


def test_a_region_beside_a_whole_image(
    two_tiles: Truth, embryo: np.ndarray, tmp_path: Path
) -> None:
    first, second = two_tiles.views
    file = write_rois(tmp_path / "r.roi.json", LEFT.entry("A", stack=first.id.stack))
    result = run(two_tiles, file, {"input.roi.label": "A"})
    mask = np.zeros(SHAPE, dtype=bool)
    mask[LEFT.slices(place(two_tiles, first))] = True
    mask[Region((0, 0, 0), second.shape).slices(place(two_tiles, second))] = True
    (path,) = result.images
    np.testing.assert_array_equal(voxels(path), (embryo * mask)[bounds(mask)])


def test_one_region_cuts_the_dark_margins_of_all_tiles(tmp_path: Path, embryo: np.ndarray) -> None:
    """Drawn in one tile, applied to all: the stitched image is the volume without dark seams."""
    truth = write_experiment(tmp_path / "e", embryo, DemoSpec(tiles=(2, 2), overlap=24))
    for view in truth.views:
        with h5py.File(Path(truth.folder) / view.file, "r+") as file:
            data = file["Data"][:]
            dark = np.ones(data.shape, dtype=bool)
            dark[:, 6:-6, 6:-6] = False
            file["Data"][:] = np.where(dark, data // 4, data)
    z, y, x = truth.views[0].shape
    region = Region((0, 6, 6), (z, y - 12, x - 12))
    write_rois(Path(truth.folder) / "rois.roi.json", region.entry("m", stack="0-x01-y00"))
    result = run(truth, {"input.roi.label": "m", "input.roi.apply_to_all": True})
    (path,) = result.images
    np.testing.assert_array_equal(voxels(path), embryo[:, 6:-6, 6:-6])


def test_downsampled_region_is_the_downsampled_crop(
    two_tiles: Truth, embryo: np.ndarray, tmp_path: Path
) -> None:
    region = Region((4, 9, 7), (32, 64, 64))
    first = two_tiles.views[0]
    file = write_rois(tmp_path / "r.roi.json", region.entry("A", stack=first.id.stack))
    only = {"input.select.tiles": ["x00-y00"], "input.roi.label": "A", "output.sampling": 2}
    (path,) = run(two_tiles, file, only).images
    crop = embryo[region.slices(place(two_tiles, first))].astype(float)
    mean = crop.reshape(16, 2, 32, 2, 32, 2).mean(axis=(1, 3, 5))
    assert np.abs(voxels(path) - mean).max() <= 0.5


def test_register_in_a_region_and_fuse_without(
    tmp_path: Path, embryo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = DemoSpec(
        tiles=(1, 2),
        overlap=60,
        stage_error_um=3.0,
        cameras=2,
        camera_error_um=2.0,
        camera_tilt_deg=0.6,
    )
    truth = write_experiment(tmp_path / "e", embryo, spec)
    region = Region((4, 8, 12), (32, 80, 82))
    write_rois(Path(truth.folder) / "rois.roi.json", region.entry("A"))
    stages = ON | {
        "registration.objective_camera.enabled": True,
        "registration.objective_camera.different_cameras": True,
    }
    one = run(truth, stages, {"input.roi.label": "A", "fusion.enabled": False})
    assert one.registration is not None
    assert {view.shape for view in one.registration.views} == {region.size}

    def refuse(job: Any) -> Any:
        raise AssertionError(f"{job.pair} was measured again")

    monkeypatch.setattr(graph_registration, "read_patch", refuse)
    two = run(truth, stages, {"registration.reuse.task_folder": str(one.folder)})
    found = two.registration
    assert found is not None
    assert {view.shape for view in found.views} == {view.shape for view in truth.views}
    errors = position_errors(truth, found.transforms, found.reference)
    assert worst_error_vx(errors) < 0.3
    image = max((voxels(path) for path in two.images), key=lambda v: v.size)
    assert image.shape[2] >= SHAPE[2] - 8  # whole tiles, not their regions

    static = one.folder / "reuse_static_regis.mtf.json"
    placed = {
        "input.metadata.multi_transform.enabled": True,
        "input.metadata.multi_transform.file": str(static),
    }
    task = Task.new(open_experiment(truth.folder), values=placed)
    moved = select_inputs(task.config, open_experiment(truth.folder))
    corners = np.array([[0, 0, 0], np.array(truth.views[0].shape) - 1])
    for view in moved.views:
        if view.id.stack == found.reference.stack:
            with_optics = found.transforms[view.id] @ truth.by_id[view.id].view_to_world
            difference = view.view_to_world.apply(corners) - with_optics.apply(corners)
            assert np.abs(difference).max() < 0.02


def test_landmarks_count_from_the_whole_image(tmp_path: Path, embryo: np.ndarray) -> None:
    spec = DemoSpec(tiles=(1, 2), overlap=30, stage_error_um=4.0)
    truth = write_experiment(tmp_path / "e", embryo, spec)
    points = [(10, 20, 60), (30, 70, 75), (20, 50, 80)]
    marks = []
    for view in truth.views:
        to_view = view.true_view_to_world.inverse() @ truth.volume_to_world
        marks += [Landmark(str(n), view.id, vector(to_view.apply(p))) for n, p in enumerate(points)]
    write_landmarks(Path(truth.folder) / "landmarks.lmk.json", marks)
    write_rois(Path(truth.folder) / "rois.roi.json", Region((2, 3, 5), (36, 90, 80)).entry("A"))
    settings = ON | {"registration.landmarks.enabled": True, "fusion.enabled": False}
    whole = run(truth, settings).registration
    inside = run(truth, settings, {"input.roi.label": "A"}).registration
    assert whole is not None
    assert inside is not None
    assert {link.source for link in inside.links} == {"landmarks"}
    for view in truth.views:
        np.testing.assert_allclose(
            inside.transforms[view.id].to_array(), whole.transforms[view.id].to_array(), atol=1e-9
        )
    assert worst_error_vx(position_errors(truth, inside.transforms, inside.reference)) < 1e-6


# ---- photomanipulation ----


def test_photomanipulated_images_follow_and_stay_apart(tmp_path: Path, embryo: np.ndarray) -> None:
    """Two ids; images of the second show nothing that could be registered."""
    spec = DemoSpec(tiles=(1, 2), overlap=50, stage_error_um=3.0, pms=2)
    truth = write_experiment(tmp_path / "e", embryo, spec)
    blank = [view for view in truth.views if view.id.pm == "1"]
    for view in blank:
        with h5py.File(Path(truth.folder) / view.file, "r+") as file:
            file["Data"][:] = 7
    formats = {"output.formats": ["lux", "bdv", "imaris"]}
    result = run(truth, ON, formats, {"input.reference.pm": "0"})
    found = result.registration
    assert found is not None
    assert {(link.fixed.pm, link.moving.pm) for link in found.links} == {("0", "0")}
    assert worst_error_vx(position_errors(truth, found.transforms, found.reference)) < 0.3
    by_pm: dict[str | None, list[Affine]] = {"0": [], "1": []}
    for view in truth.views:
        by_pm[view.id.pm].append(found.transforms[view.id])
    assert by_pm["0"] == by_pm["1"]
    assert [("_pm-0_" in p.name, "_pm-1_" in p.name) for p in result.images] == [
        (True, False),
        (False, True),
    ]
    assert set(np.unique(voxels(result.images[1]))) <= {0, 7}
    assert voxels(result.images[0]).shape == voxels(result.images[1]).shape
    (ims,) = result.folder.glob("main_*.ims")
    with h5py.File(ims) as file:
        assert len(file["DataSet/ResolutionLevel 0/TimePoint 0"]) == 2
    (xml,) = result.folder.glob("main_*_bdv.xml")
    assert xml.read_text().count("<ViewSetup>") == 2

    (only,) = run(truth, {"input.select.pms": ["1"]}).images
    assert "_pm-1_" in only.name
    assert set(np.unique(voxels(only))) == {7}


# ---- only conversion; only main files ----


def test_conversion_of_each_stack_to_imaris_and_bigdataviewer(
    two_tiles: Truth, embryo: np.ndarray
) -> None:
    settings = {
        "registration.enabled": False,
        "fusion.enabled": True,
        "output.bounding_boxes": "Separate",
        "output.formats": ["lux", "imaris", "bdv"],
    }
    result = run(two_tiles, settings)
    images = sorted(result.folder.glob("main_*.ims"))
    documents = sorted(result.folder.glob("main_*_bdv.h5"))
    assert len(images) == len(documents) == len(result.images) == 2
    assert all(path.name.startswith("sep_") for path in result.images)
    for view, ims, bdv in zip(two_tiles.views, images, documents, strict=True):
        assert view.id.stack in ims.name
        assert view.id.stack in bdv.name
        cut = embryo[Region((0, 0, 0), view.shape).slices(place(two_tiles, view))]
        with h5py.File(ims) as file:
            data = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"]
            np.testing.assert_array_equal(data[tuple(map(slice, view.shape))], cut)
        with h5py.File(bdv) as file:
            np.testing.assert_array_equal(file["t00000/s00/0/cells"][:], cut)


@pytest.mark.parametrize("how", [shutil.copy2, shutil.move])
def test_only_main_files_after_bringing_an_image_from_another_task(
    tmp_path: Path, embryo: np.ndarray, how: Any
) -> None:
    colours = np.stack([embryo, embryo[:, ::-1, ::-1]])
    truth = write_experiment(tmp_path / "e", colours, DemoSpec(channels=2))
    formats = {"output.formats": ["lux", "imaris", "bdv"]}
    first = run(truth, formats, {"input.select.channels": ["0"]})
    second = run(truth, formats, {"input.select.channels": ["1"]})
    before = voxels(first.images[0])
    for path in second.folder.glob("uni_*"):
        how(path, first.folder / path.name)
    third = run(first.folder, formats, {"input.only_create_main_files": True})
    assert third.folder == first.folder
    assert list(first.folder.glob("main_ADDED*_bdv.xml"))
    (ims,) = first.folder.glob("main_ADDED*.ims")
    with h5py.File(ims) as file:
        channels = file["DataSet/ResolutionLevel 0/TimePoint 0"]
        assert len(channels) == 2
        for number, colour in enumerate(colours):
            data = channels[f"Channel {number}/Data"][tuple(map(slice, SHAPE))]
            np.testing.assert_array_equal(data, colour)
    (bdv,) = first.folder.glob("main_ADDED*_bdv.h5")
    with h5py.File(bdv) as file:
        for number, colour in enumerate(colours):
            np.testing.assert_array_equal(file[f"t00000/s{number:02}/0/cells"][:], colour)
    np.testing.assert_array_equal(voxels(first.images[0]), before)


# ---- multi-transform files ----


def test_multi_transform_moves_half_of_the_views_and_their_landmarks(
    tmp_path: Path, embryo: np.ndarray
) -> None:
    """prepend + replace_by + append, composed here with plain matrices."""
    truth = write_experiment(tmp_path / "e", embryo, DemoSpec(tiles=(2, 2), overlap=20))
    own = {view.id: view.view_to_world for view in truth.views}
    prepend = Affine.translation((0, 3, -2))
    replaced = Affine.scale((1.0, 1.0, 1.0), (100, 200, 300))
    append = Affine.translation((5, -6, 7))
    half = ["0-x00-y00", "0-x01-y01"]
    entry = {
        "stacks": half,
        "prepend": [affine_to_json(prepend)],
        "replace by": [affine_to_json(replaced)],
        "append": [affine_to_json(append)],
    }
    text = "// by hand\n" + json.dumps({"affines": [entry]})
    (Path(truth.folder) / "transforms.mtf.json").write_text(text)
    settings = {"input.metadata.multi_transform.enabled": True, "output.bounding_boxes": "Separate"}
    result = run(truth, settings)
    images = {v.id.stack: v for v in open_experiment(result.folder).views}
    for view in truth.views:
        image = images[view.id.stack]
        wanted = np.array(own[view.id].offset)
        if view.id.stack in half:
            wanted = np.array([100 + 5, 200 + 3 - 6, 300 - 2 + 7])
        np.testing.assert_allclose(image.view_to_world.offset, wanted, atol=1e-9)
        cut = embryo[Region((0, 0, 0), view.shape).slices(place(truth, view))]
        np.testing.assert_array_equal(voxels(Path(image.source.path)), cut)

    # the same structure, marked in a moved and in an unmoved tile, tells by how much it was moved
    moved, still = (next(v for v in truth.views if v.id.stack == s) for s in (half[0], "0-x01-y00"))
    point = (truth.volume_to_world.inverse() @ still.view_to_world).apply((10, 20, 5))
    marks = [
        Landmark(
            "A", v.id, vector((v.view_to_world.inverse() @ truth.volume_to_world).apply(point))
        )
        for v in (moved, still)
    ]
    write_landmarks(Path(truth.folder) / "landmarks.lmk.json", marks)
    part = {"input.select.stacks": [moved.id.stack, still.id.stack], "fusion.enabled": False}
    landmarks = ON | {"registration.landmarks.enabled": True, "input.reference.stack": half[0]}
    found = run(truth, settings, part, landmarks).registration
    assert found is not None
    by = np.array([105, 197, 305]) - np.array(moved.view_to_world.offset)
    np.testing.assert_allclose(found.transforms[still.id].offset, by, atol=0.01)
    np.testing.assert_allclose(found.transforms[still.id].linear, np.eye(3), atol=1e-9)


# ---- a region that changes later ----


def test_an_update_follows_a_changed_region(tmp_path: Path, embryo: np.ndarray) -> None:
    truth = write_experiment(tmp_path / "e", embryo, DemoSpec(tiles=(1, 2), overlap=40))
    first, second = truth.views
    with h5py.File(Path(truth.folder) / second.file, "r+") as file:
        file["Data"][:] = file["Data"][:] // 2  # so that one sees which tile a voxel is of
    z, y, x = second.shape
    path = Path(truth.folder) / "rois.roi.json"
    write_rois(path, Region((0, 0, 5), (z, y, x - 5)).entry("A", stack=second.id.stack))
    label = {"input.roi.label": "A", "compute.chunk_vx": [64, 64, 64]}
    folder = run(truth, label).folder
    write_rois(path, Region((0, 0, 25), (z, y, x - 25)).entry("A", stack=second.id.stack))
    (updated,) = Task.update(folder).run().images
    (fresh,) = run(truth, label).images
    np.testing.assert_array_equal(voxels(updated), voxels(fresh))
    start = place(truth, second)[2] + 25
    np.testing.assert_array_equal(voxels(fresh)[:, :, :start], embryo[:, :, :start])
    assert first.shape[2] > start
