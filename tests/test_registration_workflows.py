"""The guide's workflows with registration, from the first task to the last, against the truth."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from luxdask.graph import registration as graph_registration
from luxdask.io import open_experiment
from luxdask.io.landmark_file import write_landmarks
from luxdask.model.geometry import vector
from luxdask.model.landmarks import Landmark
from luxdask.tasks import Task
from luxdask.testing import small_experiment
from luxdask.testing.alignment import position_errors, worst_error_vx
from luxdask.testing.spoil import neighbouring_tiles, spoil_overlaps

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.model.geometry import Affine
    from luxdask.model.view import View, ViewId
    from luxdask.tasks import TaskResult
    from luxdask.testing import Truth

ON = {"registration.enabled": True}
TILES = ON | {"registration.tiles.enabled": True}
LUX = {"output.formats": ["lux"]}


def run(truth: Truth, *values: dict[str, Any]) -> TaskResult:
    """A task with the defaults for this experiment and some settings, run to its end."""
    experiment = open_experiment(truth.folder)
    given = {key: value for some in (LUX, *values) for key, value in some.items()}
    return Task.new(experiment, values=given).run(experiment)


def worst_vx(truth: Truth, result: TaskResult) -> float:
    """How far the worst view is from its true place, in voxels."""
    found = result.registration
    assert found is not None
    return worst_error_vx(position_errors(truth, found.transforms, found.reference))


def likeness(truth: Truth, image: View, colour: int = 0) -> float:
    """Correlation of a fused image with the true volume, where it shows something.

    The first tile, camera and colour are where their metadata says: sample space is the true one.
    """
    with h5py.File(image.source.path) as file:
        voxels = file["Data"][:].astype(np.float64)
    index = np.stack(np.meshgrid(*map(np.arange, voxels.shape), indexing="ij"), axis=-1)
    to_volume = truth.volume_to_world.inverse() @ image.view_to_world
    places = np.moveaxis(to_volume.apply(index.reshape(-1, 3)), -1, 0)
    volume = truth.read_volume(colour).astype(np.float64)
    true = map_coordinates(volume, places, order=1, mode="constant").reshape(voxels.shape)
    both = (voxels > 0) & (true > 0)
    assert both.mean() > 0.5
    return float(np.corrcoef(voxels[both], true[both])[0, 1])


def placed(truth: Truth, result: TaskResult) -> dict[ViewId, Affine]:
    """Corrections of the views: what a multi-transform file and registration did together."""
    found = result.registration
    assert found is not None
    return {
        v: found.transforms[v] @ view.view_to_world @ truth.by_id[v].view_to_world.inverse()
        for v, view in found.by_id.items()
    }


def fused(result: TaskResult) -> View:
    """The one image that a task has written."""
    (view,) = open_experiment(result.folder).views
    return view


def forbid_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, a pair that is measured is a failure of the test."""

    def refuse(job: Any) -> Any:
        raise AssertionError(f"{job.pair} was measured again")

    monkeypatch.setattr(graph_registration, "match", refuse)
    monkeypatch.setattr(graph_registration, "read_patch", refuse)


# ---- typical workflow for stitching ----


@pytest.fixture(scope="module")
def stitching(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """3 × 3 tiles with stage errors; in one overlap a piece of the sample has moved."""
    folder = tmp_path_factory.mktemp("stitching") / "e"
    truth = small_experiment(
        folder,
        shape=(24, 170, 190),
        tiles=(3, 3),
        overlap=0.3,
        stage_error_um=3.0,
        sub_voxel=True,
        noise=True,
    )
    spoil_overlaps(truth, {neighbouring_tiles(truth)[4]: "moved"}, moved_um=8.0)
    return truth


def test_stitching_workflow(stitching: Truth, monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = {"output.sampling": 2}
    first = run(stitching, coarse)
    assert first.registration is None

    second = run(stitching, coarse, TILES)
    found = second.registration
    assert found is not None
    high = [w for w in found.warnings if "contradicts the other pairs" in w]
    assert len(high) == 2
    assert any("registration.tiles.remove_outliers" in w for w in found.warnings)
    assert likeness(stitching, fused(second)) > likeness(stitching, fused(first)) + 0.05

    forbid_measuring(monkeypatch)
    reuse = TILES | {"registration.reuse.task_folder": str(second.folder)}
    outliers = {"registration.tiles.remove_outliers.mode": "AutomaticWithCostThreshold"}
    third = run(stitching, coarse, reuse, outliers)
    assert third.registration is not None
    removed = [link for link in third.registration.links if link.status == "removed"]
    assert all(any(str(link) in w for w in high) for link in removed)
    assert len(removed) == 2
    assert {link.source for link in third.registration.links} == {"reused"}
    assert worst_vx(stitching, third) < 0.05

    fourth = run(stitching, reuse, outliers, {"fusion.blending": True})
    assert fourth.registration is not None
    assert fourth.registration.transforms == third.registration.transforms
    assert fused(fourth).spacing_um == stitching.spacing_um
    assert likeness(stitching, fused(fourth)) > 0.98


def test_reuse_of_a_task_that_wrote_no_images(
    stitching: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registration with fusion off keeps transforms only; what is missing there is measured."""
    part = {"input.select.tiles": ["x00-y00", "x01-y00", "x00-y01"]}
    first = run(stitching, TILES, part, {"fusion.enabled": False})
    assert first.images == ()
    assert first.main_files == ()
    assert list(first.folder.glob("reg_sti/*.tf.json"))
    assert first.registration is not None
    assert worst_vx(stitching, first) < 0.05

    again = TILES | {"registration.reuse.task_folder": str(first.folder), "output.sampling": 4}
    experiment = open_experiment(stitching.folder)
    plan = Task.new(experiment, values=again).compile(experiment)
    assert plan.registration is not None
    assert len(plan.registration.known) == len(first.registration.links) == 3
    assert len(plan.registration.jobs) == 17
    forbid_measuring(monkeypatch)
    second = run(stitching, again, part).registration
    assert second is not None
    assert second.transforms == first.registration.transforms


# ---- stitching single-sided-illumination channels ----


def test_single_sided_illumination_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = small_experiment(
        tmp_path / "e",
        shape=(24, 90, 140),
        channels=2,
        single_sided=True,
        stage_error_um=3.0,
        channel_error_um=2.0,
        sub_voxel=True,
    )
    different = {"registration.tiles.register_channels": "RegisterDifferentChannels"}
    merged = different | {"fusion.merge_all_channels": True, "output.bounding_boxes": "UnionAll"}
    formats = {"output.formats": ["lux", "bdv", "imaris"]}

    first = run(truth, TILES, merged, formats, {"input.select.channels": ["0", "1"]})
    assert first.registration is not None
    assert {link.fixed.channel for link in first.registration.links} == {"0", "1"}
    # both halves get darker away from their own light, which pulls their contents apart a little
    assert worst_vx(truth, first) < 0.3

    chromatic = {
        "input.metadata.multi_transform.enabled": True,
        "input.metadata.multi_transform.file": str(chromatic_correction(truth, tmp_path)),
    }
    forbid_measuring(monkeypatch)
    reuse = {
        "registration.reuse.task_folder": str(first.folder),
        "registration.reuse.match_channel": False,
    }
    halves = {"input.select.channels": ["2", "3"]}
    second = run(truth, TILES, merged, formats, chromatic, reuse, halves)
    assert second.registration is not None
    assert {link.source for link in second.registration.links} == {"reused"}
    together = placed(truth, first) | placed(truth, second)
    assert worst_error_vx(position_errors(truth, together, truth.views[0].id)) < 0.3
    plain = run(truth, TILES, merged, reuse, halves)
    better = likeness(truth, fused(second), 1) - likeness(truth, fused(plain), 1)
    assert better > 0.05

    copies = [*second.folder.glob("uni_*.lux.h5")]
    assert len(copies) == 1
    shutil.copy(copies[0], first.folder)
    both = open_experiment(first.folder)
    assert both.channels == ("0-1", "2-3")
    third = Task.new(both, values=formats | {"input.only_create_main_files": True}).run(both)
    assert third.folder == first.folder
    names = sorted(p.name for p in third.main_files)
    assert all(n.startswith("main_ADDED") for n in names)
    assert sorted(n.rpartition(".")[2] for n in names) == ["h5", "h5", "ims", "xml"]
    (xml,) = (p for p in third.main_files if p.suffix == ".xml")
    setups = ElementTree.parse(xml).findall(".//ViewSetup")
    assert len({s.findtext("attributes/channel") for s in setups}) == 2
    (imaris,) = (p for p in third.main_files if p.suffix == ".ims")
    with h5py.File(imaris) as file:
        channels = file["DataSet/ResolutionLevel 0/TimePoint 0"]
        shown = [channels[name]["Data"][:] for name in sorted(channels)]
    assert len(shown) == 2
    for channel, result in zip(shown, (first, second), strict=True):
        with h5py.File(result.images[0]) as own:
            np.testing.assert_array_equal(channel, own["Data"][:])


def chromatic_correction(truth: Truth, folder: Path) -> Path:
    """A multi-transform file, made by a landmark in one tile of each channel."""
    tile = truth.views[0].id.stack
    images = [v for v in truth.views if v.id.stack == tile and v.id.channel != "1"]
    write_landmarks(folder / "landmarks.lmk.json", [landmark(truth, v.id, "A") for v in images])
    values = {
        "input.landmarks_file": str(folder / "landmarks.lmk.json"),
        "registration.landmarks.enabled": True,
        "fusion.enabled": False,
    }
    result = run(truth, ON, values)
    return result.folder / "reuse_static_regis.mtf.json"


def landmark(truth: Truth, image: ViewId, label: str, part: float = 0.5) -> Landmark:
    """A point of the sample as it is seen in an image."""
    world = truth.volume_to_world.apply(np.multiply(truth.shape, (part, part, part / 2)))
    return Landmark(
        label, image, vector(truth.by_id[image].true_view_to_world.inverse().apply(world))
    )


# ---- reuse static registration transforms ----


def test_static_transforms_are_used_again_for_another_sample(tmp_path: Path) -> None:
    optics: dict[str, Any] = {
        "objectives": 2,
        "cameras": 2,
        "camera_error_um": 3.0,
        "camera_tilt_deg": 0.5,
        "sub_voxel": True,
    }
    one = small_experiment(tmp_path / "one", shape=(32, 110, 120), tiles=(1, 1), **optics)
    both = {"different_objectives": True, "different_cameras": True, "enabled": True}
    # this one is not turned against the stage, so that tiles lie where the stage put them
    straight = {"input.reference.camera": "short", "fusion.enabled": False}
    first = run(one, ON, straight, {"registration.objective_camera": both})
    assert worst_vx(one, first) < 0.1

    other = small_experiment(
        tmp_path / "other",
        shape=(32, 110, 210),
        tiles=(1, 2),
        overlap=30,
        time_points=2,
        kind="nuclei",
        **optics,
    )
    assert {v.shape for v in other.views} == {v.shape for v in one.views}
    static = {
        "input.metadata.multi_transform.enabled": True,
        "input.metadata.multi_transform.file": str(first.folder / "reuse_static_regis.mtf.json"),
    }
    experiment = open_experiment(other.folder)
    task = Task.new(experiment, values=LUX | static | {"fusion.fuse_different_cams": True})
    assert not task.config.registration.enabled
    plan = task.compile(experiment)
    views = {v.id: v for p in plan.outputs for v in p.output.views}
    corrections = {v.id: views[v.id].view_to_world @ v.view_to_world.inverse() for v in other.views}
    errors = position_errors(other, corrections, other.views[0].id)
    assert worst_error_vx(errors) < 0.1
    before = position_errors(
        other, {v.id: v.view_to_world @ v.view_to_world.inverse() for v in other.views}
    )
    assert worst_error_vx(before) > 2


def test_chromatic_shift_is_used_again_for_another_sample(tmp_path: Path) -> None:
    colours: dict[str, Any] = {"channels": 2, "channel_error_um": 3.0, "shape": (24, 60, 90)}
    one = small_experiment(tmp_path / "one", **colours)
    marks = [landmark(one, v.id, "A") for v in one.views if v.id.stack == one.views[0].id.stack]
    write_landmarks(tmp_path / "one" / "landmarks.lmk.json", marks)
    first = run(one, ON, {"registration.landmarks.enabled": True, "fusion.enabled": False})
    assert first.registration is not None
    assert worst_vx(one, first) < 1e-6

    other = small_experiment(tmp_path / "other", **colours, kind="nuclei", stage_error_um=3.0)
    static = {
        "input.metadata.multi_transform.enabled": True,
        "input.metadata.multi_transform.file": str(first.folder / "reuse_static_regis.mtf.json"),
    }
    second = run(other, static, TILES)
    # the tiles of the first colour are registered, and those of the other one follow
    errors = position_errors(other, placed(other, second), other.views[0].id)
    assert worst_error_vx(errors) < 0.05
