"""Images of other microscopes through the whole road, compared with the uncut volume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import npy2bdv
import numpy as np
import pytest
import tifffile
import zarr

import luxdask
from luxdask.cli import main
from luxdask.errors import ConfigError, ImageFileError
from luxdask.io import open_experiment
from luxdask.io.reader import reader_for
from luxdask.model.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luxdask.model.view import View
    from luxdask.tasks import Task, TaskResult

SPACING = (5.0, 2.0, 2.0)
SIZE = {"width": 2.0, "height": 2.0, "depth": 5.0}
WHOLE = {"compute__chunk_vx": None}


def voxels(view: View) -> np.ndarray:
    out = np.empty(view.shape, dtype=np.uint16)
    reader_for(view.source).read_into(view.source, Box.of_shape(view.shape), out)
    return out


def fused(result: TaskResult) -> dict[str, np.ndarray]:
    """Written images by their channel."""
    images = {}
    for path in result.images:
        with h5py.File(path) as file:
            name = json.loads(Path(str(path).removesuffix(".lux.h5") + ".json").read_text())
            images[name["processingInformation"]["channel"]] = file["Data"][:]
    return images


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    files = (p for p in folder.rglob("*") if p.is_file() and "processed" not in p.parts)
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


@pytest.fixture(scope="module")
def brain(real_data: Path) -> np.ndarray:
    return tifffile.imread(real_data / "brain_signal.tif")[:, 300:640, 100:500]


def tiles(volume: np.ndarray) -> Iterator[tuple[str, tuple[int, int], np.ndarray]]:
    """Name, place (y, x) in voxels and voxels of 2 × 2 tiles that overlap."""
    for j, y in enumerate((slice(0, 190), slice(150, 340))):
        for i, x in enumerate((slice(0, 230), slice(170, 400))):
            yield f"0-x{i:02}-y{j:02}", (y.start, x.start), volume[:, y, x]


def write_tiffs(folder: Path, volume: np.ndarray, errors: Any = None) -> Path:
    """Tiles as TIFF in all forms, with a tiffs.json; errors of stages in voxels (y, x)."""
    folder.mkdir()
    forms: list[dict[str, Any]] = [
        {},
        {"compression": "zlib", "predictor": True},
        {"tile": (64, 48)},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
    ]
    images = []
    for number, (stack, (y, x), part) in enumerate(tiles(volume)):
        name = f"tile{number}.tif"
        tifffile.imwrite(folder / name, part, photometric="minisblack", **forms[number])
        dy, dx = (0, 0) if errors is None else errors[number]
        place = [2.0 * (x + dx), 2.0 * (y + dy), 0]
        images.append({"file": name, "stack": stack, "voxel_size_um": SIZE, "position_um": place})
    (folder / "tiffs.json").write_text(json.dumps({"images": images}))
    return folder


def test_tiff_tiles_become_the_uncut_volume(
    tmp_path: Path, brain: np.ndarray, run_task: Callable[..., TaskResult]
) -> None:
    folder = write_tiffs(tmp_path / "stacks", brain)
    before = listing(folder)
    result = run_task(folder, **WHOLE)
    np.testing.assert_array_equal(fused(result)["0"], brain)
    assert result.folder.parent == folder / "processed"
    assert listing(folder) == before
    again = open_experiment(result.folder).views[0]
    assert again.view_to_world.offset == (0.0, 0.0, 0.0)
    assert again.stack_description == ""


def test_tiles_are_registered(tmp_path: Path, brain: np.ndarray) -> None:
    errors = [(0, 0), (3, -4), (-2, 5), (4, 2)]
    folder = write_tiffs(tmp_path / "stacks", brain, errors)
    found = luxdask.register(open_experiment(folder))
    moved = {view.stack: np.array(by.offset) for view, by in found.transforms.items()}
    stacks = [stack for stack, _, _ in tiles(brain)]
    for stack, (dy, dx) in zip(stacks, errors, strict=True):
        relative = moved[stack] - moved[stacks[0]]
        np.testing.assert_allclose(relative, (0, -2.0 * dy, -2.0 * dx), atol=0.5)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_omezarr_tiles_become_the_uncut_volume_and_return(
    tmp_path: Path, brain: np.ndarray, run_task: Callable[..., TaskResult], version: str
) -> None:
    folder = tmp_path / "images"
    for stack, (y, x), part in tiles(brain):
        write_omezarr(folder / f"{stack}.ome.zarr", part, (0.0, 2.0 * y, 2.0 * x), version)
    before = listing(folder)
    result = run_task(folder, output__formats=["ome-zarr"], **WHOLE)
    assert listing(folder) == before
    (view,) = open_experiment(result.ome_zarr[0]).views
    np.testing.assert_array_equal(voxels(view), brain)
    assert view.spacing_um == SPACING
    assert open_experiment(result.folder).root == str(folder)


def write_omezarr(
    path: Path,
    volume: np.ndarray,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    version: str = "0.5",
) -> None:
    """An image with a level of 1 × 2 × 2 means."""
    number = 2 if version == "0.4" else 3
    z, y, x = (n // f for n, f in zip(volume.shape, (1, 2, 2), strict=True))
    blocks = volume[:, : 2 * y, : 2 * x].reshape(z, y, 2, x, 2)
    means = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint16)
    datasets = []
    for n, f in enumerate(((1, 1, 1), (1, 2, 2))):
        scale = np.multiply(SPACING, f).tolist()
        place = np.add(origin, np.multiply(SPACING, np.subtract(f, 1)) / 2).tolist()
        chain = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": place},
        ]
        datasets.append({"path": str(n), "coordinateTransformations": chain})
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    ome = {"multiscales": [{"axes": axes, "datasets": datasets, "version": version}]}
    group = zarr.create_group(path, zarr_format=number)
    group.attrs.update(ome if number == 2 else {"ome": {"version": version, **ome}})
    for n, values in enumerate((volume, means)):
        group.create_array(str(n), data=values, chunks=(16, 64, 64))


def test_downsampling_reads_the_level(
    tmp_path: Path, brain: np.ndarray, run_task: Callable[..., TaskResult]
) -> None:
    path = tmp_path / "a.ome.zarr"
    write_omezarr(path, brain)
    expected = zarr.open_array(path / "1", mode="r")[:]
    shutil.rmtree(path / "0" / "c")  # of the full resolution nothing but its size is left
    task = {"output__sampling": {"depth": 1, "height": 2, "width": 2}}
    result = run_task(path, **task, **WHOLE)
    np.testing.assert_array_equal(fused(result)["0"], expected)


def test_kidney_comes_out_as_npy2bdv_reads_it(
    tmp_path: Path, real_data: Path, run_task: Callable[..., TaskResult]
) -> None:
    folder = tmp_path / "kidney"
    shutil.copytree(real_data / "kidney_bdv", folder)
    before = listing(folder)
    result = run_task(folder, **WHOLE)
    assert listing(folder) == before
    editor = npy2bdv.BdvEditor(str(folder / "kidney.h5"))
    expected = [editor.read_view(time=0, channel=c) for c in range(3)]
    editor.finalize()
    images = fused(result)
    assert sorted(images) == ["0", "1", "2"]
    for channel, image in images.items():
        np.testing.assert_array_equal(image, expected[int(channel)])
    # what luxdask wrote for BigDataViewer opens as well
    (xml,) = result.folder.glob("*_bdv.xml")
    for view in open_experiment(xml).views:
        np.testing.assert_array_equal(voxels(view), images[view.id.channel])


@pytest.mark.parametrize("name", ["mri-stack-multilevel", "mri-stack-shiftedX"])
def test_files_of_bigdataviewer_come_out_as_they_are(
    tmp_path: Path, real_data: Path, run_task: Callable[..., TaskResult], name: str
) -> None:
    source = real_data / "bdv_reference"
    for file in (f"{name}.xml", "mri-stack.h5", "mri-stack-multilevel.h5"):
        shutil.copy(source / file, tmp_path)
    experiment = open_experiment(tmp_path)
    result = run_task(tmp_path, **WHOLE)
    (view,) = experiment.views
    with h5py.File(view.source.path, locking=False) as file:
        expected = file["t00000/s00/0/cells"][:]
    np.testing.assert_array_equal(fused(result)["1"], expected.view(np.uint16))
    (written,) = open_experiment(result.folder).views
    np.testing.assert_allclose(written.view_to_world.to_array(), view.view_to_world.to_array())


class TestFloatingPoint:
    @pytest.fixture
    def nuclei(self, tmp_path: Path, real_data: Path) -> Path:
        shutil.copy(real_data / "mesospim_cortex_nuclei.tif", tmp_path / "a.tif")
        image = {"file": "a.tif", "voxel_size_um": {"width": 5.26, "height": 5.26, "depth": 5}}
        path = tmp_path / "tiffs.json"
        path.write_text(json.dumps({"images": [image]}))
        return path

    def test_needs_a_range(
        self, nuclei: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        task = tmp_path / "task.json"
        for command, code in ((["new", nuclei, "-o", task], 0), (["check", task], 2)):
            with pytest.raises(SystemExit) as caught:
                main([str(word) for word in command])
            assert caught.value.code == code
        said = " ".join(capsys.readouterr().err.split())
        assert "a.tif" in said
        assert "Set input.value_range to" in said

    def test_becomes_what_the_range_says(
        self, nuclei: Path, run_task: Callable[..., TaskResult]
    ) -> None:
        values = tifffile.imread(nuclei.with_name("a.tif")).astype(np.float64)
        low, high = float(values.min()), float(values.max())
        result = run_task(nuclei, input__value_range=[low, high], **WHOLE)
        expected = np.rint((values - low) * (65535 / (high - low)))
        np.testing.assert_array_equal(fused(result)["0"], expected)


def test_update_sees_new_chunks_of_a_zarr(
    tmp_path: Path, brain: np.ndarray, run_task: Callable[..., TaskResult], one_thread: Any
) -> None:
    path = tmp_path / "a.ome.zarr"
    volume = brain[:16, :128, :200].copy()
    write_omezarr(path, volume)
    folder = run_task(path).folder
    volume[3, 100, 150] = 9
    zarr.open_array(path / "0", mode="r+")[3, 100, 150] = 9
    updated = luxdask.Task.update(folder).run(cluster=one_thread)
    np.testing.assert_array_equal(fused(updated)["0"], volume)


def test_main_files_alone_need_luxendo_images(
    tmp_path: Path, brain: np.ndarray, make_task: Callable[..., Task]
) -> None:
    folder = write_tiffs(tmp_path / "stacks", brain[:4])
    task = make_task(folder, input__only_create_main_files=True)
    with pytest.raises(ImageFileError, match=r"can only link to \.lux\.h5 images"):
        task.run()


def test_compiling_reads_no_voxel(
    tmp_path: Path, brain: np.ndarray, make_task: Callable[..., Task]
) -> None:
    write_omezarr(tmp_path / "a.ome.zarr", brain)
    shutil.rmtree(tmp_path / "a.ome.zarr" / "0" / "c")
    experiment = open_experiment(tmp_path)
    assert len(make_task(tmp_path).compile(experiment).outputs) == 1


def test_multi_transform_file_beside_the_images(
    tmp_path: Path, brain: np.ndarray, make_task: Callable[..., Task]
) -> None:
    for stack in ("a", "b"):
        write_omezarr(tmp_path / f"{stack}.ome.zarr", brain[:4, :64, :64])
    shift = {"matrix": np.eye(3).tolist(), "translation": [128.0, 0.0, 0.0]}
    entry = {"stacks": ["b"], "append": [shift]}
    (tmp_path / "transforms.mtf.json").write_text(json.dumps({"affines": [entry]}))
    task = make_task(tmp_path, input__metadata__multi_transform=True)
    (output,) = task.compile(open_experiment(tmp_path)).outputs
    assert output.array.shape == (4, 64, 128)  # side by side


def test_an_impossible_range_is_refused(
    tmp_path: Path, brain: np.ndarray, make_task: Callable[..., Task]
) -> None:
    folder = write_tiffs(tmp_path / "stacks", brain[:4])
    with pytest.raises(ConfigError, match=r"input\.value_range.*lower first"):
        make_task(folder, input__value_range=[1, 0])
