"""Real data through the program: cut into views, fused again, compared with the uncut volume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from luxdask.cli import main
from luxdask.io import open_experiment
from luxdask.testing import Truth, read_truth, small_experiment
from luxdask.testing.sampling import sample_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from luxdask.model.view import View
    from luxdask.tasks import TaskResult

BRAIN = "brain_signal.tif"


def luxdask(*arguments: object) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    assert caught.value.code == 0


def fuse(folder: Path, source: Path, make: Sequence[str], *settings: str) -> tuple[Truth, Any]:
    """demo-data, new and run as on the command line; the truth, and the written images."""
    if not folder.exists():
        luxdask("demo-data", folder, "--from", source, *make)
    task = folder.parent / "task.json"
    options = [word for setting in settings for word in ("--set", setting)]
    luxdask("new", folder, "-o", task, "--force", *options)
    luxdask("run", task)
    done = max(Path(folder, "processed").glob("*_C"), key=lambda p: p.stat().st_mtime_ns)
    return read_truth(folder), open_experiment(done).views


def voxels(view: View) -> np.ndarray:
    with h5py.File(view.source.path) as file:
        return np.asarray(file["Data"][:])


def truth_on(truth: Truth, view: View, colour: int = 0) -> np.ndarray:
    """The uncut volume on the grid of an image."""
    to_volume = truth.volume_to_world.inverse() @ view.view_to_world
    return np.asarray(sample_volume(truth.read_volume(colour), to_volume, view.shape))


@pytest.mark.parametrize("blending", ["false", "true"])
@pytest.mark.parametrize(
    "make",
    [["--tiles", "2x3", "--overlap", "12%"], ["--objectives", "2"]],
    ids=["tiles", "opposing objectives"],
)
def test_real_volume_comes_back_exactly(
    real_data: Path, tmp_path: Path, make: list[str], blending: str
) -> None:
    truth, (image,) = fuse(
        tmp_path / "X", real_data / BRAIN, make, f"fusion.blending.enabled={blending}"
    )
    np.testing.assert_array_equal(voxels(image), truth.read_volume())
    np.testing.assert_allclose(
        image.view_to_world.offset, truth.volume_to_world.offset, rtol=0, atol=1e-6
    )


def test_real_volume_comes_back_from_tiles_of_two_objectives_and_weights(
    real_data: Path, tmp_path: Path
) -> None:
    """Whatever the weights are, voxels that agree are kept."""
    truth, (image,) = fuse(
        tmp_path / "X",
        real_data / "tribolium_lightsheet.tif",
        ["--tiles", "2x2", "--objectives", "2", "--cameras", "2"],
        "fusion.fuse_different_cams=true",
        "fusion.blending.enabled=true",
        "fusion.image_quality_weighting.enabled=true",
    )
    np.testing.assert_array_equal(voxels(image), truth.read_volume())


def test_several_channels_of_real_data(real_data: Path, tmp_path: Path) -> None:
    truth, images = fuse(
        tmp_path / "X", real_data / "cortex_3ch.tif", ["--tiles", "2x2", "--overlap", "20px"]
    )
    assert len(images) == 3
    for image in images:
        colour = int(image.id.channel)
        np.testing.assert_array_equal(voxels(image), truth.read_volume(colour))


def interpolation_bound(expected: np.ndarray) -> np.ndarray:
    """How far trilinear interpolation between voxels may lie from the continuous image.

    Along one axis, a line between two samples misses a function f by t (1 - t) / 2 · |f''| ≤
    |f''| / 8, where t is the place between them. Trilinear interpolation does this for one axis
    after the other, and averaging never makes an error larger, so the errors of the axes add up.
    f'' follows from second differences: for a wave of k radians per voxel these are smaller than
    f'' by 2 (1 - cos k) / k², which is 4 / π² for the shortest wave that voxels hold (k = π).
    The largest value among the neighbours stands for the place between voxels. Two roundings to
    whole grey values (input and output) add 1.
    """
    image = expected.astype(np.float64)
    total = np.zeros_like(image)
    for axis in range(3):
        second = np.abs(ndimage.correlate1d(image, [1, -2, 1], axis=axis, mode="nearest"))
        total += ndimage.maximum_filter(second, size=3)
    return total / 8 * np.pi**2 / 4 + 1


def test_tiles_between_voxels_are_as_near_as_interpolation_allows(
    real_data: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.tif"
    tifffile.imwrite(cut, tifffile.imread(real_data / BRAIN)[:, 300:620, 150:470])
    truth, (image,) = fuse(
        tmp_path / "X",
        cut,
        ["--tiles", "2x3", "--overlap", "12%", "--sub-voxel"],
        "fusion.blending.enabled=true",
    )
    expected = truth_on(truth, image).clip(0, 65535).astype(np.float64)
    # no view covers the outermost voxels of this grid, or only by its border
    inner = (slice(2, -2),) * 3
    found, bound = voxels(image)[inner], interpolation_bound(expected)[inner]
    assert (np.abs(found - expected[inner]) <= bound).all()
    # it is narrow enough to notice an image that lies one voxel off, in noisy data like these
    for axis in range(3):
        off = np.abs(found - np.roll(expected, 1, axis)[inner])
        assert (off > bound).sum() > 1000


def test_smooth_tiles_between_voxels(tmp_path: Path, run_task: Callable[..., TaskResult]) -> None:
    truth = small_experiment(
        tmp_path / "e", shape=(40, 90, 120), tiles=(2, 2), sub_voxel=True, overlap=0.2
    )
    result = run_task(truth)
    (image,) = open_experiment(result.images[0]).views
    expected = truth_on(truth, image)
    inner = (slice(2, -2),) * 3
    error = np.abs(voxels(image)[inner] - expected[inner])
    assert (error <= interpolation_bound(expected)[inner]).all()


# ---- rotated views ----


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return small_experiment(
        tmp_path_factory.mktemp("r") / "e",
        shape=(60, 70, 80),
        tiles=(1, 1),
        rotations_deg=(0.0, 30.0, 90.0, 137.0),
    )


def correlation(truth: Truth, image: View, margin: int) -> float:
    """With the uncut volume, on its voxels at least `margin` from its border."""
    found = voxels(image)
    to_volume = truth.volume_to_world.inverse() @ image.view_to_world
    index = np.stack(np.meshgrid(*map(np.arange, found.shape), indexing="ij"), axis=-1)
    at = to_volume.apply(index)
    inside = ((at >= margin) & (at <= np.array(truth.shape) - 1 - margin)).all(axis=-1)
    assert inside.sum() > np.prod(truth.shape) / 3
    expected = truth_on(truth, image)
    return float(np.corrcoef(found[inside], expected[inside])[0, 1])


@pytest.mark.parametrize("stack", ["0", "1", "2", "3"], ids=["0°", "30°", "90°", "137°"])
def test_one_rotated_view(
    rotated: Truth, run_task: Callable[..., TaskResult], stack: str, tmp_path: Path
) -> None:
    result = run_task(rotated, input__select__stacks=[stack], output__folder=str(tmp_path))
    (image,) = open_experiment(result.images[0]).views
    assert correlation(rotated, image, 3) > 0.999


@pytest.mark.parametrize("weights", [{}, {"fusion__blending__enabled": True}])
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_all_rotated_views(
    rotated: Truth,
    run_task: Callable[..., TaskResult],
    tmp_path: Path,
    weights: dict[str, Any],
    interpolation: str,
) -> None:
    result = run_task(
        rotated, fusion__interpolation=interpolation, output__folder=str(tmp_path), **weights
    )
    (image,) = open_experiment(result.images[0]).views
    assert correlation(rotated, image, 3) > (0.9999 if interpolation == "cubic" else 0.999)


def test_rotated_opposing_tiles_through_the_program(tmp_path: Path) -> None:
    """All of it at once, from the command line, without any real data."""
    folder = tmp_path / "X"
    luxdask(
        "demo-data", folder, "--kind", "band-limited", "--size", "40x60x70", "--tiles", "1x2",
        "--rotations", "0,137", "--objectives", "2", "--overlap", "30%",
    )  # fmt: skip
    luxdask("new", folder, "-o", tmp_path / "t.json", "--set", "fusion.blending.enabled=true")
    luxdask("check", tmp_path / "t.json")
    luxdask("run", tmp_path / "t.json")
    (done,) = Path(folder, "processed").iterdir()
    (image,) = open_experiment(done).views
    assert correlation(read_truth(folder), image, 3) > 0.999
    assert json.loads((done / "status.json").read_text())["state"] == "Completed"
