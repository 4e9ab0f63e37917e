"""What a run writes: every format, opened by other people's readers, against the known volume."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import h5py
import npy2bdv
import numpy as np
import pybdv.metadata
import pybdv.util
import pytest
import tensorstore as ts
import zarr
from imaris_ims_file_reader import ims
from ome_zarr_models.v05 import Image

from luxdask.io import open_experiment
from luxdask.testing import small_experiment, write_experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.tasks import TaskResult
    from luxdask.testing import Truth

    Run = Callable[..., TaskResult]

ALL = ["lux", "bdv", "imaris", "ome-zarr"]


def pixels(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file["Data"][:])


def one(paths: Any, ending: str) -> Path:
    (found,) = [p for p in paths if str(p).endswith(ending)]
    return Path(found)


def zarr_pixels(url: str, level: int = 0) -> np.ndarray:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{url}/{level}/"}}
    return np.asarray(ts.open(spec, read=True).result().read().result())


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Two channels, two time points, two PM ids, two tiles; every time point is different."""
    truth = small_experiment(
        tmp_path_factory.mktemp("rich") / "e", channels=2, time_points=2, pms=2, bleaching=0.5
    )
    assert len(truth.views) == 16
    return truth


def expected(truth: Truth, time_point: int, channel: int) -> np.ndarray:
    """What the demo microscope's bleaching leaves of the volume."""
    volume = truth.read_volume(channel)
    return volume if time_point == 0 else np.rint(volume * 0.5).astype(np.uint16)


@pytest.fixture(scope="module")
def everything(rich: Truth) -> TaskResult:
    """All formats at once."""
    from luxdask.tasks import Task

    values = {"output.formats": ALL, "compute.chunk_vx": [64, 64, 64]}
    return Task.new(open_experiment(rich.folder), values=values).run()


def named(result: TaskResult, time_point: int, channel: int, pm: int) -> Path:
    return one(
        result.images,
        f"uni_tp-{time_point}_ch-{channel}_pm-{pm}_st-0-x00-y00-0-x01-y00"
        "_obj-left_cam-left_etc.lux.h5",
    )


CASES = [(t, c, p) for t in (0, 1) for c in (0, 1) for p in (0, 1)]


@pytest.mark.parametrize(("t", "c", "p"), CASES)
def test_lux_by_h5py(rich: Truth, everything: TaskResult, t: int, c: int, p: int) -> None:
    found = pixels(named(everything, t, c, p))
    difference = np.abs(found.astype(int) - expected(rich, t, c))
    assert difference.max() <= (0 if t == 0 else 1)


def test_main_lux_links_everything(rich: Truth, everything: TaskResult) -> None:
    main = one(everything.main_files, "main_processed.lux.h5")
    with h5py.File(main) as file:
        for t, c, p in CASES:
            (group,) = file[f"timepoint_{t}/channel_{c}_pm_{p}_cam_left"].values()
            np.testing.assert_array_equal(group["Data"][:], pixels(named(everything, t, c, p)))
    assert len(open_experiment(main)) == 8


def test_bdv_by_pybdv_and_npy2bdv(rich: Truth, everything: TaskResult) -> None:
    xml = one(everything.main_files, "_bdv.xml")
    h5 = one(everything.main_files, "_bdv.h5")
    setups = [s.find("name").text for s in ET.parse(xml).getroot().iter("ViewSetup")]
    assert len(setups) == 4
    assert pybdv.metadata.get_time_range(str(xml)) == (0, 1)
    seen = set()
    for setup in range(4):
        assert pybdv.metadata.get_resolution(str(xml), setup) == pytest.approx([1, 1, 1])
        for t in (0, 1):
            key = pybdv.util.get_key(True, timepoint=t, setup_id=setup, scale=0)
            with h5py.File(h5) as file:
                found = file[key][:]
            (match,) = [
                (c, p)
                for c in (0, 1)
                for p in (0, 1)
                if f"ch:{c}" in setups[setup].replace("-", ":").replace(" ", "")
                and f"pm:{p}" in setups[setup].replace("-", ":").replace(" ", "")
            ]
            seen.add((t, *match))
            np.testing.assert_array_equal(found, pixels(named(everything, t, *match)))
    assert seen == set(CASES)
    editor = npy2bdv.BdvEditor(str(xml), mode="r")
    assert (editor.ntimes, editor.nchannels) == (2, 4)
    editor._file_object_h5.close()


def test_bdv_affine_is_sample_space(everything: TaskResult) -> None:
    xml = one(everything.main_files, "_bdv.xml")
    root = ET.parse(xml).getroot()
    first = "ViewRegistrations/ViewRegistration[@timepoint='0'][@setup='0']"
    affines = root.findall(f"{first}/ViewTransform/affine")
    assert affines
    matrix = np.eye(4)
    for affine in affines:  # the first one applies last
        rows = np.array(affine.text.split(), dtype=float).reshape(3, 4)
        matrix = matrix @ np.vstack([rows, [0, 0, 0, 1]])
    view = open_experiment(everything.images[0]).views[0]
    for corner in ((0, 0, 0), (5, 7, 9)):
        z, y, x = view.view_to_world.apply(corner)
        np.testing.assert_allclose(matrix @ [*corner[::-1], 1], [x, y, z, 1], rtol=0, atol=1e-6)


def test_imaris_by_its_reader(rich: Truth, everything: TaskResult) -> None:
    check_imaris(one(everything.main_files, ".ims"), everything)


def check_imaris(path: Path, result: TaskResult) -> None:
    reader = ims(str(path), squeeze_output=False)
    assert reader.shape[:2] == (2, 4)
    for t in (0, 1):
        stored = [pixels(named(result, t, c, p)) for c in (0, 1) for p in (0, 1)]
        for channel, voxels in enumerate(stored):
            found = reader[0, t, channel, :, :, :]
            np.testing.assert_array_equal(np.squeeze(found), voxels)
    reader.close()


def test_imaris_copy_stands_alone(rich: Truth, tmp_path: Path, run_task: Run) -> None:
    result = run_task(rich, output__imaris="copy", output__folder=str(tmp_path))
    path = one(result.main_files, ".ims")
    stored = pixels(named(result, 1, 1, 1))
    for image in result.images:
        image.rename(image.with_suffix(".gone"))
    reader = ims(str(path), squeeze_output=False)
    np.testing.assert_array_equal(np.squeeze(reader[0, 1, 3, :, :, :]), stored)
    reader.close()


def test_ome_zarr_by_tensorstore_and_models(everything: TaskResult) -> None:
    (url,) = everything.ome_zarr
    Image.from_zarr(zarr.open_group(url, mode="r"))
    found = zarr_pixels(url)
    assert found.shape[:2] == (2, 4)
    for t in (0, 1):
        for number, (c, p) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            np.testing.assert_array_equal(found[t, number], pixels(named(everything, t, c, p)))


def test_levels_are_block_means(everything: TaskResult) -> None:
    path = named(everything, 0, 0, 0)
    full = pixels(path).astype(float)
    with h5py.File(path) as file:
        names = [n for n in file if n.startswith("Data_")]
        for name in names:
            z, y, x = (int(n) for n in reversed(name.split("_")[1:]))
            level = file[name][:]
            cut = full[: level.shape[0] * z, : level.shape[1] * y, : level.shape[2] * x]
            blocks = cut.reshape(level.shape[0], z, level.shape[1], y, level.shape[2], x)
            assert np.abs(blocks.mean(axis=(1, 3, 5)) - level).max() <= 1.5


# ---- one format at a time, and other destinations ----


@pytest.mark.parametrize("formats", [["lux"], ["lux", "bdv"], ["lux", "imaris"], ["ome-zarr"]])
def test_only_what_is_asked_for(tiles: Truth, run_task: Run, formats: list[str]) -> None:
    result = run_task(tiles, output__formats=formats)
    endings = {".lux.h5": "lux", "_bdv.xml": "bdv", ".ims": "imaris", ".ome.zarr": "ome-zarr"}
    found = {
        kind
        for path in result.folder.iterdir()
        for ending, kind in endings.items()
        if path.name.endswith(ending)
    }
    assert found == set(formats)
    assert bool(result.images) == ("lux" in formats)
    if formats == ["ome-zarr"]:
        voxels = zarr_pixels(result.ome_zarr[0])
        for channel in (0, 1):
            np.testing.assert_array_equal(voxels[0, channel], tiles.read_volume(channel))


def test_ome_zarr_in_an_object_store(tiles: Truth, run_task: Run) -> None:
    result = run_task(
        tiles, output__formats=["lux", "ome-zarr"], output__ome_zarr_url="memory://bucket/run"
    )
    (url,) = result.ome_zarr
    assert url.startswith("memory://bucket/run/uni_st-")
    store = zarr.storage.FsspecStore.from_url(url)
    array = zarr.open_array(store, path="0", mode="r")
    np.testing.assert_array_equal(array[0, 1], tiles.read_volume(1))
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def test_ome_zarr_beside_foreign_content_fails_and_leaves_it(
    tiles: Truth, run_task: Run, tmp_path: Path
) -> None:
    from luxdask.errors import OutputError

    name = "uni_st-0-x00-y00-0-x01-y00_obj-left_cam-left_etc.ome.zarr"
    note = tmp_path / "place" / name / "note.txt"
    note.parent.mkdir(parents=True)
    note.write_text("mine")
    with pytest.raises(OutputError, match="luxdask did not write"):
        run_task(tiles, output__formats=["ome-zarr"], output__ome_zarr_url=str(tmp_path / "place"))
    assert note.read_text() == "mine"


# ---- which images ----


def test_merged_channels(tiles: Truth, run_task: Run) -> None:
    result = run_task(tiles, fusion__merge_all_channels=True)
    (image,) = result.images
    assert "_ch-0-1_" in image.name
    mean = (tiles.read_volume(0).astype(float) + tiles.read_volume(1)) / 2
    assert np.abs(pixels(image) - mean).max() <= 0.5 + 1e-3


def test_half_intensity(tiles: Truth, run_task: Run) -> None:
    image = run_task(tiles, fusion__half_intensity=True).images[0]
    assert np.abs(pixels(image) - tiles.read_volume(0) / 2).max() <= 0.5


def test_views_separately(tiles: Truth, run_task: Run) -> None:
    result = run_task(tiles, output__views_separately=True, output__formats=ALL)
    views = [p for p in result.images if p.name.startswith("uni_view_")]
    assert len(views) == 4
    assert len(result.images) == 6
    assert len(result.ome_zarr) == 3
    volume = tiles.read_volume(0)
    covered = np.zeros(volume.shape, dtype=bool)
    for path in views:
        if "_ch-0_" in path.name:
            found = pixels(path)
            assert found.shape == volume.shape
            inside = found > 0
            np.testing.assert_array_equal(found[inside], volume[inside])
            covered |= inside
    assert covered.all()


def test_cameras_that_are_not_fused(tmp_path: Path, run_task: Run) -> None:
    truth = small_experiment(tmp_path / "e", objectives=2, cameras=2)
    result = run_task(truth, fusion__fuse_different_cams=False)
    assert len(result.images) == 4
    for path in result.images:
        np.testing.assert_array_equal(pixels(path), truth.read_volume())
    assert {p.name.partition("_obj-")[2] for p in result.images} == {
        f"{o}_cam-{c}_etc.lux.h5" for o in ("left", "right") for c in ("short", "long")
    }


def test_conversion_only(tiles: Truth, run_task: Run) -> None:
    """Registration off and Separate: every stack by itself, voxel by voxel."""
    result = run_task(tiles, output__bounding_boxes="Separate", output__formats=ALL)
    assert len(result.images) == len(tiles.views)
    for view in tiles.views:
        image = one(
            result.images,
            f"sep_tp-0_ch-{view.id.channel}_st-{view.id.stack}_obj-left_cam-left_etc.lux.h5",
        )
        np.testing.assert_array_equal(pixels(image), pixels(tiles.path(view)))
        written = open_experiment(image).views[0]
        np.testing.assert_allclose(
            written.view_to_world.offset, view.view_to_world.offset, rtol=0, atol=1e-6
        )


def test_intersection(tiles: Truth, run_task: Run) -> None:
    result = run_task(tiles, output__bounding_boxes="Intersections")
    image = result.images[0]
    assert image.name.startswith("int_")
    views = [v for v in tiles.views if v.id.channel == "0"]
    first = views[0].shape[2]
    overlap = sum(v.shape[2] for v in views) - tiles.shape[2]
    np.testing.assert_array_equal(pixels(image), tiles.read_volume()[:, :, first - overlap : first])


# ---- an output as the next input ----


def test_output_folder_is_input_again(tiles: Truth, run_task: Run) -> None:
    first = run_task(tiles)
    again = run_task(first.folder)
    assert again.folder.parent == first.folder.parent
    assert [p.name for p in again.images] == [p.name for p in first.images]
    for a, b in zip(again.images, first.images, strict=True):
        np.testing.assert_array_equal(pixels(a), pixels(b))


def test_binned_output_as_input(tiles: Truth, run_task: Run) -> None:
    first = run_task(tiles, output__sampling=2)
    again = run_task(first.folder)
    np.testing.assert_array_equal(pixels(again.images[0]), pixels(first.images[0]))


# ---- main files only ----


def test_main_files_for_a_task_folder(tiles: Truth, run_task: Run) -> None:
    first = run_task(tiles, output__formats=["lux"])
    before = {p.name: p.stat().st_mtime_ns for p in first.folder.iterdir()}
    result = run_task(first.folder, input__only_create_main_files=True)
    assert result.folder == first.folder
    names = {p.name for p in result.main_files}
    assert names == {
        "main_ADDED_processed.lux.h5",
        "main_ADDED_st-0-x00-y00-0-x01-y00.ims",
        "main_ADDED_st-0-x00-y00-0-x01-y00_bdv.h5",
        "main_ADDED_st-0-x00-y00-0-x01-y00_bdv.xml",
    }
    after = {p.name: p.stat().st_mtime_ns for p in first.folder.iterdir()}
    assert {n: t for n, t in after.items() if n not in names} == before
    with h5py.File(one(result.main_files, "_bdv.h5")) as file:
        np.testing.assert_array_equal(file["t00000/s01/0/cells"][:], tiles.read_volume(1))


def test_main_files_for_raw_images(tiles: Truth, run_task: Run) -> None:
    raw = {p: p.stat().st_mtime_ns for p in Path(tiles.folder, "raw").rglob("*")}
    result = run_task(tiles, input__only_create_main_files=True)
    assert result.folder.parent == Path(tiles.folder, "processed")
    assert result.folder.name.endswith("_C")
    assert all(p.parent == result.folder for p in result.main_files)
    assert {p: p.stat().st_mtime_ns for p in Path(tiles.folder, "raw").rglob("*")} == raw
    xml = one(result.main_files, "_bdv.xml")
    setups = ET.parse(xml).getroot().findall(".//ViewSetup")
    assert len(setups) == len(tiles.views)
    with h5py.File(one(result.main_files, "_bdv.h5")) as file:
        found = [file[f"t00000/s{n:02d}/0/cells"][:] for n in range(len(setups))]
    for view in tiles.views:
        voxels = pixels(tiles.path(view))
        assert any(f.shape == voxels.shape and (f == voxels).all() for f in found)
    assert len(open_experiment(one(result.main_files, ".lux.h5"))) == len(tiles.views)


def test_bright_voxels_do_not_wrap(tmp_path: Path, run_task: Run) -> None:
    from luxdask.testing import DemoSpec

    volume = np.full((20, 40, 70), 65535, dtype=np.uint16)
    truth = write_experiment(tmp_path / "e", volume, DemoSpec(tiles=(1, 2), overlap=10))
    image = run_task(truth, fusion__blending=True, fusion__interpolation="cubic").images[0]
    np.testing.assert_array_equal(pixels(image), volume)
