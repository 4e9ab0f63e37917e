"""Deconvolution through `luxdask run`: against a plain reference, and stopped and resumed."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from scipy import ndimage, signal

from luxdask.cluster import connect
from luxdask.deconv.blur import gaussian_blur
from luxdask.errors import TaskStopped
from luxdask.io import open_experiment
from luxdask.tasks import Task
from luxdask.testing import DemoSpec, small_experiment, write_experiment

if TYPE_CHECKING:
    from luxdask.cluster.events import Progress
    from luxdask.model.geometry import Grid
    from luxdask.model.view import View

LATERAL_UM, AXIAL_UM = 3.0, 7.0
ITERATIONS = 10
PEDESTAL = 16.0
DARK = 100.0
SETTINGS = {
    "compute.chunk_vx": [64, 64, 64],
    "fusion.deconvolution.enabled": True,
    "fusion.deconvolution.psf_lateral_um": LATERAL_UM,
    "fusion.deconvolution.psf_axial_um": AXIAL_UM,
    "fusion.deconvolution.iterations": ITERATIONS,
    "fusion.deconvolution.background": DARK,
    "output.formats": ["lux"],
}


def sample(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Spots and a wall on a dark ground."""
    rng = np.random.default_rng(seed)
    light = np.zeros(shape)
    light[tuple(rng.integers(0, n, 80) for n in shape)] = 3e5
    light[:, shape[1] // 2] += 2000
    light = ndimage.gaussian_filter(light, 1.2) + DARK + 20
    return np.asarray(rng.poisson(light).clip(0, 65535), dtype=np.uint16)


def read(path: Path | str, dataset: str = "Data") -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file[dataset])


def ramp(position: np.ndarray, size: int) -> np.ndarray:
    """Smooth step from the border of a view to a tenth of its size inside it."""
    t = np.minimum(position + 0.5, size - 0.5 - position) / (size / 10)
    t = np.clip(t, 1e-3, 1)
    return np.asarray(t * t * (3 - 2 * t))


def seen(view: View, grid: Grid, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and blending weights of a view on the grid and a margin around it, in float64."""
    shape = tuple(n + 2 * margin for n in grid.shape)
    index = np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1) - margin
    at = (view.view_to_world.inverse() @ grid.to_world).apply(index)
    sizes = np.array(view.shape)
    covered = ((at >= -0.5 - 1e-6) & (at <= sizes - 0.5 + 1e-6)).all(axis=-1)
    values = read(view.source.path, view.source.dataset).astype(np.float64)
    image = ndimage.map_coordinates(values, np.moveaxis(at, -1, 0), order=1, mode="nearest")
    weight = np.prod([ramp(at[..., a], view.shape[a]) for a in range(3)], axis=0)
    return image * covered, weight * covered


def kernel_of(view: View, grid: Grid) -> np.ndarray:
    """The Gaussian along the normal of the view's image plane."""
    _, y, x = np.array(view.view_to_world.linear).T
    normal = np.cross(x, y)
    along = np.outer(normal, normal) / (normal @ normal)
    covariance = LATERAL_UM**2 * (np.eye(3) - along) + AXIAL_UM**2 * along
    covariance /= 8 * np.log(2) * np.outer(grid.spacing_um, grid.spacing_um)
    return gaussian_blur(covariance).kernel()


def reference(views: list[View], grid: Grid, margin: int = 16) -> np.ndarray:
    """Joint Richardson-Lucy of the whole volume in float64, in the plainest form."""
    images, weights = map(list, zip(*(seen(v, grid, margin) for v in views), strict=True))
    kernels = [kernel_of(v, grid) for v in views]
    total = np.sum(weights, axis=0)
    weights = [w / np.maximum(total, 1e-30) for w in weights]
    images = [np.maximum(i - (DARK - PEDESTAL), 0) for i in images]

    def backward(parts: list[np.ndarray]) -> np.ndarray:
        mirrored = (k[::-1, ::-1, ::-1] for k in kernels)
        found = [signal.fftconvolve(p, k, "same") for p, k in zip(parts, mirrored, strict=True)]
        return np.asarray(np.sum(found, axis=0))

    norm = backward(weights)
    known = norm > 1e-3
    norm = np.maximum(norm, 1e-3)
    estimate = backward([i * w for i, w in zip(images, weights, strict=True)]) / norm * known
    for _ in range(ITERATIONS):
        ratios = [
            w * i / np.maximum(signal.fftconvolve(estimate, k, "same"), 1e-12)
            for i, w, k in zip(images, weights, kernels, strict=True)
        ]
        estimate *= np.maximum(backward(ratios), 0) / norm * known
    removed = sum(w * (DARK - PEDESTAL) for w in weights)
    inner = tuple(slice(margin, margin + n) for n in grid.shape)
    return np.clip(np.where(total > 0, estimate + removed, 0), 0, 65535)[inner]


def run(folder: Path, **values: Any) -> tuple[np.ndarray, list[View], Grid]:
    """The only image of a run, its views and its grid."""
    given = {key.replace("__", "."): value for key, value in values.items()}
    experiment = open_experiment(folder)
    task = Task.new(experiment, values={**SETTINGS, **given})
    output = task.compile(experiment).outputs[0].output
    with connect("threads", threads_per_worker=1) as cluster:
        result = task.run(cluster=cluster)
    assert len(result.images) == 1
    return read(result.images[0]), list(output.views), output.grid


def assert_same(image: np.ndarray, expected: np.ndarray) -> None:
    """No voxel is off by more than rounding and a thousandth."""
    assert (np.abs(image - expected) <= 1 + 1e-3 * expected).all()


def test_opposing_views_and_tiles(tmp_path: Path) -> None:
    """Four images: two tiles, seen from two sides, blended."""
    volume = sample((28, 44, 110))
    spec = DemoSpec(spacing_um=(2.0, 1.0, 1.0), tiles=(1, 2), objectives=2, overlap=30)
    truth = write_experiment(tmp_path / "e", volume, spec)
    image, views, grid = run(Path(truth.folder), fusion__blending=True)
    assert len(views) == 4
    assert image.shape == volume.shape
    assert_same(image, reference(views, grid))
    assert image.max() > 1.3 * volume.max()


def test_rotated_views(tmp_path: Path) -> None:
    """Two angles of the stage: each view has its own direction, and sees its own part."""
    spec = DemoSpec(spacing_um=(1.5, 1.5, 1.5), rotations_deg=(0.0, 50.0))
    truth = write_experiment(tmp_path / "e", sample((30, 32, 48)), spec)
    image, views, grid = run(Path(truth.folder))
    assert len(views) == 2
    axes = [np.array(v.detection_directions[0]) for v in views]
    assert abs(axes[0] @ axes[1]) == pytest.approx(np.cos(np.deg2rad(50)), abs=1e-6)
    expected = reference_unblended(views, grid)
    assert 0.2 < (expected > 0).mean() < 0.9
    assert_same(image, expected)


def reference_unblended(views: list[View], grid: Grid) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "ramp", lambda position, size: np.ones_like(position))
        return reference(views, grid)


def test_channels_and_pm_ids_are_images_of_their_own(tmp_path: Path) -> None:
    truth = small_experiment(tmp_path / "e", shape=(20, 40, 60), channels=2, pms=2)
    experiment = open_experiment(truth.folder)
    few = {**SETTINGS, "fusion.deconvolution.iterations": 2}
    with connect("threads", threads_per_worker=1) as cluster:
        result = Task.new(experiment, values=few).run(cluster=cluster)
        assert len(result.images) == 4
        only = {**few, "input.select.channels": ["1"], "input.select.pms": ["1"]}
        alone = Task.new(experiment, values=only).run(cluster=cluster)
    assert len(alone.images) == 1
    same = [p for p in result.images if p.name == alone.images[0].name]
    assert np.array_equal(read(same[0]), read(alone.images[0]))


def test_stopped_and_resumed_is_uninterrupted(tmp_path: Path) -> None:
    """Byte for byte, with backgrounds that are estimated."""
    truth = write_experiment(
        tmp_path / "e", sample((40, 200, 260)), DemoSpec(tiles=(1, 2), overlap=40)
    )
    few = {
        "fusion.deconvolution.iterations": 3,
        "fusion.deconvolution.background": None,
        "fusion.blending": True,
    }
    task = Task.new(open_experiment(truth.folder), values={**SETTINGS, **few})
    stop = Event()

    def stop_soon(progress: Progress) -> None:
        if progress.stage == "fusion" and progress.done >= 2:
            stop.set()

    with connect("threads", threads_per_worker=1) as cluster:
        whole = task.run(cluster=cluster)
        with pytest.raises(TaskStopped) as caught:
            task.run(cluster=cluster, listeners=(stop_soon,), stop=stop)
        folder = Path(str(caught.value).partition("luxdask run ")[2])
        done = len((folder / "receipts.txt").read_text().splitlines())
        resumed = Task.open(folder)
        result = resumed.run(cluster=cluster)
    assert 2 <= done < 20
    assert result.voxels < whole.voxels
    for one, other in zip(whole.images, result.images, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert not (other.parent / "quality").exists()


def test_half_intensity(tmp_path: Path) -> None:
    truth = write_experiment(tmp_path / "e", sample((20, 30, 40)), DemoSpec())
    full, _, _ = run(Path(truth.folder))
    half, _, _ = run(Path(truth.folder), fusion__half_intensity=True)
    unsaturated = full < 65535
    assert np.abs(half - full / 2)[unsaturated].max() <= 0.75
    assert unsaturated.mean() > 0.9
