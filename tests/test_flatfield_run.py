"""Flatfield correction and camera pixels through whole runs, against numpy and scipy."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile
from scipy import ndimage

import luxdask
from luxdask.cluster import connect
from luxdask.errors import ConfigError, TaskStopped
from luxdask.io import open_experiment
from luxdask.tasks import Task
from luxdask.testing import DemoSpec, write_experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.cluster.events import Progress
    from luxdask.tasks import TaskResult
    from luxdask.testing import Truth

LOSS = 0.65
FLAT = {"input__flatfield__enabled": True}


def falloff(shape: tuple[int, int]) -> np.ndarray:
    """1 in the middle, 35 % in the corners."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    return 1 - LOSS * (y[:, None] ** 2 + x**2) / 2


def gaussian(size: int) -> np.ndarray:
    """Weights of a kernel of `size` pixels, as the documentation gives them."""
    radius = size // 2
    sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    return weights / weights.sum()


def true_layer(mean: np.ndarray, size: int = 9, most: float = 3.0) -> np.ndarray:
    """The steps of the correction, each written out."""
    kernel = gaussian(size)
    smooth = ndimage.convolve1d(mean.astype(float), kernel, axis=0, mode="nearest")
    smooth = ndimage.convolve1d(smooth, kernel, axis=1, mode="nearest")
    return np.minimum(1 / (smooth / smooth.max()), most)


def stored(path: str | Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["Data"][:]


def raw_images(truth: Truth) -> list[Path]:
    return [truth.path(view) for view in truth.views]


def edit(truth: Truth, change: Callable[[dict[str, Any]], None], *, detection: bool = True) -> None:
    """Change the metadata of all images of an experiment."""
    for path in raw_images(truth):
        sidecar = path.with_name(path.name.removesuffix(".lux.h5") + ".json")
        document = json.loads(sidecar.read_text())
        information = document["processingInformation"]
        taken = information["acquisition"]
        change(taken[0]["detection"] if detection else information)
        sidecar.write_text(json.dumps(document))


def flat_stack(folder: Path, shape: tuple[int, int, int], level: int = 20000) -> Truth:
    """A correction image: even light, seen through the falloff."""
    plane = level * falloff(shape[1:])
    volume = np.broadcast_to(np.rint(plane).astype(np.uint16), shape)
    return write_experiment(folder, np.ascontiguousarray(volume), DemoSpec())


def single(folder: Path, volume: np.ndarray) -> Truth:
    return write_experiment(folder, volume, DemoSpec())


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(1).integers(500, 20000, (6, 40, 56), dtype=np.uint16)


def corrected(volume: np.ndarray, layer: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(volume * layer), 0, 65535)


def one(result: TaskResult) -> np.ndarray:
    (path,) = result.images
    return stored(path).astype(float)


def test_falloff_on_real_tiles_is_flattened(
    tmp_path: Path, real_data: Path, run_task: Callable[..., TaskResult]
) -> None:
    brain = tifffile.imread(real_data / "brain_signal.tif")[:24, 300:640, 100:500]
    spec = DemoSpec(tiles=(2, 2), overlap=0.1)
    truth = write_experiment(tmp_path / "truth", brain, spec)
    dark = write_experiment(tmp_path / "dark", brain, replace(spec, flatfield=LOSS))
    shape = stored(raw_images(dark)[0]).shape
    light = flat_stack(tmp_path / "light", (4, *shape[1:]))
    whole = {"compute__chunk_vx": None}
    expected = one(run_task(truth, **whole))
    result = run_task(dark, input__flatfield__correction_images=[light.folder], **FLAT, **whole)
    got = one(result)
    bright = expected > np.percentile(expected, 50)
    error = np.abs(got - expected)[bright] / expected[bright]
    assert np.percentile(error, 99.9) < 0.02
    before = one(run_task(dark, **whole))
    assert np.abs(before - expected)[bright].max() / expected.max() > 0.1
    assert (result.folder / "flatfield.png").stat().st_size > 5000
    assert not list(Path(dark.folder, "raw").rglob("*.tif*"))


def test_the_sample_itself_corrects(
    tmp_path: Path, noise: np.ndarray, run_task: Callable[..., TaskResult]
) -> None:
    volume = np.rint(noise * falloff(noise.shape[1:])).astype(np.uint16)
    truth = single(tmp_path / "sample", volume)
    result = run_task(
        truth,
        input__flatfield__maximum_factor=2.0,
        input__flatfield__smoothing_kernel_px=5,
        input__flatfield__save_layers=True,
        **FLAT,
    )
    layer = true_layer(volume.mean(axis=0), 5, 2.0)
    np.testing.assert_allclose(one(result), corrected(volume, layer), atol=1)
    kept = tifffile.imread(next(result.folder.glob("flatfield_*_layer.tiff")))
    np.testing.assert_allclose(kept, layer, rtol=1e-4)
    mean = tifffile.imread(next(result.folder.glob("flatfield_*_mean.tiff")))
    np.testing.assert_allclose(mean, volume.mean(axis=0), rtol=1e-5)


def test_all_tiles_count_by_their_planes(
    tmp_path: Path, noise: np.ndarray, run_task: Callable[..., TaskResult]
) -> None:
    truth = write_experiment(tmp_path / "tiles", noise, DemoSpec(tiles=(1, 2), overlap=0.2))
    run_task(truth, **FLAT)
    (path,) = Path(truth.folder, "processed", "flatfield").glob("*.layers.tiff")
    images = [stored(p).astype(float) for p in raw_images(truth)]
    layer = true_layer(np.concatenate(images).mean(axis=0))
    np.testing.assert_allclose(tifffile.imread(path)[1], layer, rtol=1e-4)


def test_robust_fit_sees_the_light_behind_the_sample(
    tmp_path: Path, real_data: Path, run_task: Callable[..., TaskResult]
) -> None:
    brain = tifffile.imread(real_data / "brain_signal.tif")[:, :1100, :620]
    spec = DemoSpec(tiles=(3, 3), overlap=0.1, flatfield=LOSS)
    truth = write_experiment(tmp_path / "tiles", np.ascontiguousarray(brain), spec)
    off = {}
    for method in ("mean", "robust"):
        run_task(truth, input__flatfield__method=method, **FLAT)
        files = Path(truth.folder, "processed", "flatfield").glob("*.layers.tiff")
        layer = tifffile.imread(max(files, key=lambda path: path.stat().st_mtime_ns))[1]
        even = layer * falloff(layer.shape)
        off[method] = np.percentile(np.abs(even / np.median(even) - 1), 95)
    assert off["robust"] < 0.1
    assert off["robust"] < 0.6 * off["mean"]


def test_camera_pixels_by_number_and_file(
    tmp_path: Path, noise: np.ndarray, run_task: Callable[..., TaskResult]
) -> None:
    rng = np.random.default_rng(2)
    offset = rng.uniform(50, 900, noise.shape[1:]).astype(np.float32)
    truth = single(tmp_path / "sample", noise)
    frame = open_experiment(truth.folder).views[0].camera_frame
    (top, left), (ny, nx) = frame.crop_offset_px, noise.shape[1:]
    sensor = np.full(frame.sensor_px, 1.25, dtype=np.float32)
    sensor[top : top + ny, left : left + nx] = rng.uniform(0.8, 1.2, (ny, nx))
    tifffile.imwrite(tmp_path / "offset.tif", offset)
    tifffile.imwrite(tmp_path / "gain.tif", sensor)
    values = {
        "input__camera_pixels__enabled": True,
        "input__camera_pixels__offset": {"left": str(tmp_path / "offset.tif"), "right": 3},
        "input__camera_pixels__gain": str(tmp_path / "gain.tif"),
    }
    truth_camera = open_experiment(truth.folder).views[0].id.camera
    values["input__camera_pixels__offset"][truth_camera] = str(tmp_path / "offset.tif")
    gain = sensor[top : top + ny, left : left + nx]
    expected = np.clip(np.rint((noise - offset) / gain), 0, 65535)
    np.testing.assert_allclose(one(run_task(truth, **values)), expected, atol=1)
    numbers = {"input__camera_pixels__offset": 700, "input__camera_pixels__gain": 2}
    got = one(run_task(truth, **values | numbers))
    np.testing.assert_allclose(got, np.clip((noise - 700.0) / 2, 0, None), atol=0.51)


def test_hot_pixels_become_the_median_of_their_neighbours(
    tmp_path: Path, noise: np.ndarray, run_task: Callable[..., TaskResult]
) -> None:
    noise = np.tile(noise, (1, 2, 3))
    volume = noise.copy()
    hot = np.zeros(noise.shape[1:], dtype=np.uint8)
    for y, x in ((0, 0), (63, 64), (64, 127), (79, 167), (20, 20), (20, 21)):
        hot[y, x], volume[:, y, x] = 1, 65535
    tifffile.imwrite(tmp_path / "hot.tif", hot)
    truth = single(tmp_path / "sample", volume)
    values = {"enabled": True, "hot_pixels": str(tmp_path / "hot.tif")}
    got = one(run_task(truth, input__camera_pixels=values))
    np.testing.assert_array_equal(got[:, hot == 0], volume[:, hot == 0])
    around = [volume[:, y, x] for y in (62, 63, 64) for x in (63, 64, 65) if (y, x) != (63, 64)]
    np.testing.assert_allclose(got[:, 63, 64], np.median(around, axis=0), atol=0.51)
    assert got.max() <= noise.max()


def test_a_cropped_sample_and_a_whole_correction_image(
    tmp_path: Path, noise: np.ndarray, run_task: Callable[..., TaskResult]
) -> None:
    light = flat_stack(tmp_path / "light", (3, 70, 90))
    whole = {"width": 90, "height": 70}
    edit(
        light,
        lambda d: d.update(
            sensor_size_px=whole, crop_size_px=whole, crop_offset_px={"left": 0, "top": 0}
        ),
    )
    truth = single(tmp_path / "sample", noise)
    edit(truth, lambda d: d.update(sensor_size_px=whole, crop_offset_px={"left": 21, "top": 11}))
    result = run_task(truth, input__flatfield__correction_images=[light.folder], **FLAT)
    layer = true_layer(stored(raw_images(light)[0])[0])[11:51, 21:77]
    np.testing.assert_allclose(one(result), corrected(noise, layer), atol=1)


def test_a_mean_projection_beside_the_correction_image_is_taken(
    tmp_path: Path, noise: np.ndarray, run_task: Callable[..., TaskResult]
) -> None:
    light = flat_stack(tmp_path / "light", (3, *noise.shape[1:]))
    (path,) = raw_images(light)
    mean = np.linspace(100, 200, noise[0].size).reshape(noise.shape[1:])
    beside = path.with_name(path.name.removesuffix(".lux.h5") + ".mean.z.tiff")
    tifffile.imwrite(beside, mean.astype(np.float32))
    truth = single(tmp_path / "sample", noise)
    result = run_task(truth, input__flatfield__correction_images=[light.folder], **FLAT)
    np.testing.assert_allclose(one(result), corrected(noise, true_layer(mean)), atol=1)


def test_downsampled_images_are_means_of_corrected_ones(
    tmp_path: Path, noise: np.ndarray, run_task: Callable[..., TaskResult]
) -> None:
    truth = single(tmp_path / "sample", noise)
    layer = true_layer(noise.mean(axis=0))
    means = corrected(noise, layer).reshape(3, 2, 20, 2, 28, 2).mean(axis=(1, 3, 5))
    got = one(run_task(truth, output__sampling=2, **FLAT))
    np.testing.assert_allclose(got, means, atol=1)


@pytest.mark.parametrize(
    ("change", "detection", "words"),
    [
        (lambda d: d.update(magnification=7.0), True, "has a magnification of 7"),
        (
            lambda d: d.update(voxel_size_um={"width": 2, "height": 2, "depth": 1}),
            False,
            r"pixel size of 2 x 2 µm, .*1 x 1 µm: .*downsample the correction images",
        ),
        (
            lambda d: d.update(crop_offset_px={"left": 3, "top": 0}),
            True,
            "has a crop of 56 x 40 pixels from column 3, row 0",
        ),
        (lambda d: d.update(camera="other"), False, r"none for ch:0 obj:left .*cam:other"),
    ],
    ids=["magnification", "pixel size", "crop", "camera"],
)
def test_requirements(
    tmp_path: Path,
    noise: np.ndarray,
    make_task: Callable[..., Task],
    change: Callable[[dict[str, Any]], None],
    detection: bool,
    words: str,
) -> None:
    light = flat_stack(tmp_path / "light", (2, *noise.shape[1:]))
    edit(light, change, detection=detection)
    truth = single(tmp_path / "sample", noise)
    task = make_task(truth, input__flatfield__correction_images=[light.folder], **FLAT)
    with pytest.raises(ConfigError, match=words):
        task.compile(open_experiment(truth.folder))
    assert not Path(truth.folder, "processed").exists()


def test_bad_camera_pixels(
    tmp_path: Path, noise: np.ndarray, make_task: Callable[..., Task]
) -> None:
    truth = single(tmp_path / "sample", noise)
    tifffile.imwrite(tmp_path / "small.tif", np.ones((8, 9), dtype=np.float32))
    tifffile.imwrite(tmp_path / "zero.tif", np.zeros(noise.shape[1:], dtype=np.float32))
    (tmp_path / "text.tif").write_text("no image")
    for key, value, words in (
        ("offset", str(tmp_path / "small.tif"), r"9 x 8 pixels; it needs the size of the sensor"),
        ("offset", str(tmp_path / "none.tif"), r"offset: cannot read .*none\.tif"),
        ("offset", str(tmp_path / "text.tif"), r"cannot read .*text\.tif as TIFF"),
        ("offset", {"top": 1.0}, r"offset: nothing for camera .*; there is top"),
        ("gain", 0.0, "must be above zero"),
        ("gain", str(tmp_path / "zero.tif"), "gains that are not above zero"),
    ):
        given = {"input__camera_pixels__enabled": True, f"input__camera_pixels__{key}": value}
        task = make_task(truth, **given)
        with pytest.raises(ConfigError, match=words):
            task.compile(open_experiment(truth.folder))


def test_registration_measures_corrected_voxels(tmp_path: Path) -> None:
    volume = np.random.default_rng(3).integers(500, 9000, (16, 90, 150), dtype=np.uint16)
    truth = write_experiment(
        tmp_path / "tiles",
        ndimage.gaussian_filter(volume, 1.5) * 2,
        DemoSpec(tiles=(1, 2), overlap=0.4),
    )
    light = flat_stack(tmp_path / "light", (2, *stored(raw_images(truth)[0]).shape[1:]))
    layer = true_layer(stored(raw_images(light)[0])[0])
    shutil.copytree(truth.folder, tmp_path / "even")
    even = replace(truth, folder=str(tmp_path / "even"))
    for path in raw_images(even):
        with h5py.File(path, "r+") as file:
            file["Data"][...] = corrected(file["Data"][:], layer)
    values = {"input.flatfield.enabled": True, "input.flatfield.correction_images": [light.folder]}
    measured = []
    for folder, given in ((truth.folder, {}), (truth.folder, values), (even.folder, {})):
        (link,) = luxdask.register(open_experiment(folder), given).links
        measured.append(link.quality)
    plain, flat, expected = measured
    assert flat == pytest.approx(expected, abs=1e-4)
    assert abs(plain - expected) > 5e-4


def test_stopped_and_resumed_is_the_same(
    tmp_path: Path, noise: np.ndarray, make_task: Callable[..., Task]
) -> None:
    volume = np.tile(noise, (1, 2, 4))
    truth = write_experiment(tmp_path / "tiles", volume, DemoSpec(tiles=(1, 2), overlap=0.2))
    task = make_task(truth, **FLAT)
    stop = Event()

    def end(progress: Progress) -> None:
        if progress.done > 0:
            stop.set()

    kept = Path(truth.folder, "processed", "flatfield")
    with connect("threads", threads_per_worker=1) as cluster:
        with pytest.raises(TaskStopped):
            task.run(cluster=cluster, stop=stop, listeners=[end])
        dates = {p: p.stat().st_mtime_ns for p in kept.iterdir()}
        assert dates
        (stopped,) = kept.parent.glob("*_S")
        resumed = Task.open(stopped, resume=True).run(cluster=cluster)
        assert all(p.stat().st_mtime_ns == date for p, date in dates.items())
        layers = {p.name: tifffile.imread(p) for p in kept.iterdir()}
        shutil.rmtree(kept)
        fresh = task.run(cluster=cluster)
    for name, layer in layers.items():
        np.testing.assert_array_equal(tifffile.imread(kept / name), layer)
    np.testing.assert_array_equal(one(resumed), one(fresh))


def test_an_update_does_again_what_a_new_correction_changes(
    tmp_path: Path, noise: np.ndarray, run_task: Callable[..., TaskResult]
) -> None:
    truth = single(tmp_path / "sample", noise)
    first = run_task(truth, **FLAT)
    pixels = {"enabled": True, "offset": 100.0}
    more = {"input.flatfield.maximum_factor": 1.2, "input.camera_pixels": pixels}
    with connect("threads", threads_per_worker=1) as cluster:
        changed = Task.update(first.folder).replace(more).run(cluster=cluster)
        again = Task.update(changed.folder).run(cluster=cluster)
    mean = np.maximum(noise.mean(axis=0) - 100, 0)
    assert again.voxels == 0
    layer = true_layer(mean, most=1.2)
    np.testing.assert_allclose(one(changed), corrected(np.maximum(noise - 100.0, 0), layer), atol=1)


def test_a_region_is_cut_out_of_the_corrected_image(
    tmp_path: Path, noise: np.ndarray, run_task: Callable[..., TaskResult]
) -> None:
    """Layers belong to the whole image: a region of it comes out as in a run without it."""
    volume = np.rint(noise * falloff(noise.shape[1:])).astype(np.uint16)
    truth = single(tmp_path / "sample", volume)
    light = flat_stack(tmp_path / "light", (4, *noise.shape[1:]))
    images = {"input__flatfield__correction_images": [light.folder]}
    entry = {"label": "A", "image": {}, "offset_vx": [7, 3, 1], "size_vx": [41, 30, 4]}
    Path(truth.folder, "rois.roi.json").write_text(json.dumps({"rois": [entry]}))
    whole = one(run_task(truth, **FLAT, **images))
    region = one(run_task(truth, **FLAT, **images, input__roi__label="A"))
    np.testing.assert_array_equal(region, whole[1:5, 3:33, 7:48])
