"""Pairs of patches: known truth on real volumes, mirrored views, and everything that goes wrong."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest

from luxdask.model.geometry import Affine, Vector
from luxdask.registration.match import MatchParams
from luxdask.registration.measure import match
from luxdask.registration.patch import Patch
from luxdask.testing.phantoms import nuclei
from luxdask.testing.sampling import sample_volume
from luxdask.testing.tiff import load_volume

if TYPE_CHECKING:
    from pathlib import Path

SPACING = (2.0, 1.0, 1.0)
ORIGIN = np.array([-300.0, 40.0, 1000.0])
TRUE_UM = np.array([5.3, -3.7, 4.45])
# sides of the sample, a strip each, as of two tiles that share 20 voxels
FIXED_AT, MOVING_AT = np.array([10.0, 10.0, 10.0]), np.array([10.0, 10.0, 34.0])
SHAPE = (30, 90, 44)


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return nuclei((50, 110, 100), seed=5, spacing_um=SPACING)


def expose(volume: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(volume.shape)
    return (volume + noise * np.sqrt(np.maximum(volume, 0) + 16)).astype(np.float32)


def take(
    sample: np.ndarray,
    at: np.ndarray,
    *,
    error_um: np.ndarray | float = 0.0,
    axes: np.ndarray | None = None,
    seed: int = 0,
) -> Patch:
    """A patch that lies at voxel `at` by its metadata, in truth `error_um` further on.

    `axes`: signed permutation, from the axes of the patch to those of the sample.
    """
    to_sample = Affine.translation(at)
    shape = SHAPE
    if axes is not None:
        shape = tuple(np.abs(axes.T @ SHAPE).astype(int).tolist())
        middle = (np.array(SHAPE) - 1) / 2 - axes @ ((np.array(shape) - 1) / 2)
        to_sample = to_sample @ Affine.from_array(axes, middle)
    truly = Affine.translation(np.broadcast_to(np.divide(error_um, SPACING), 3)) @ to_sample
    values = expose(np.asarray(sample_volume(sample, truly, shape)), seed)
    return Patch(values, Affine.scale(SPACING, ORIGIN) @ to_sample)


def pair(sample: np.ndarray, **kwargs: np.ndarray) -> tuple[Patch, Patch]:
    return take(sample, FIXED_AT, seed=1), take(
        sample, MOVING_AT, error_um=TRUE_UM, seed=2, **kwargs
    )


def test_known_shift_with_its_precision(sample: np.ndarray) -> None:
    found = match(*pair(sample), MatchParams())
    assert (found.status, found.reason) == ("ok", "")
    np.testing.assert_allclose(found.transform.offset, TRUE_UM, atol=0.05)
    assert found.model == "translation"
    assert found.quality > 0.8
    assert 0 < found.precision_um < 0.05
    assert found.overlap


def test_the_other_way_round(sample: np.ndarray) -> None:
    fixed, moving = pair(sample)
    found = match(moving, fixed, MatchParams())
    np.testing.assert_allclose(found.transform.offset, -TRUE_UM, atol=0.05)


@pytest.mark.parametrize(
    "axes",
    [
        np.diag([-1, 1, -1]),
        np.diag([-1, -1, -1]),
        np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
        np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]]),
    ],
    ids=["opposing", "all mirrored", "swapped", "turned by 90 degrees"],
)
def test_mirrored_and_transposed_views(axes: np.ndarray) -> None:
    """Voxels are cubes here, so that their axes may be swapped."""
    cube = nuclei((50, 110, 100), seed=6)
    true = TRUE_UM / SPACING
    fixed = take(cube, FIXED_AT, seed=1)
    moving = take(cube, MOVING_AT, error_um=TRUE_UM, axes=axes, seed=2)
    to_world = Affine.scale(np.divide(1, SPACING)) @ Affine.translation(-ORIGIN)
    fixed, moving = (Patch(p.values, to_world @ p.to_world) for p in (fixed, moving))
    found = match(fixed, moving, MatchParams())
    assert found.status == "ok"
    np.testing.assert_allclose(found.transform.offset, true, atol=0.05)


@pytest.mark.parametrize("bound", [9.0, 30.0])
def test_a_bound_that_holds_the_truth(sample: np.ndarray, bound: float) -> None:
    found = match(*pair(sample), MatchParams(maximum_translation_um=bound))
    assert found.status == "ok"
    np.testing.assert_allclose(found.transform.offset, TRUE_UM, atol=0.05)


@pytest.mark.parametrize("bound", [6.0, 7.5])
def test_a_bound_that_is_too_tight(sample: np.ndarray, bound: float) -> None:
    """The length of the true shift is 7.85 µm."""
    found = match(*pair(sample), MatchParams(maximum_translation_um=bound))
    assert found.status == "at the limit"
    assert f"{bound:g} µm" in found.reason


def test_background_is_subtracted(sample: np.ndarray) -> None:
    fixed, moving = pair(sample)
    lifted = Patch(moving.values + 500, moving.to_world)
    everything = MatchParams(background=1e5)
    assert match(fixed, lifted, everything).status == "no texture"
    found = match(fixed, lifted, MatchParams(background=50))
    np.testing.assert_allclose(found.transform.offset, TRUE_UM, atol=0.05)


def test_without_the_last_step(sample: np.ndarray) -> None:
    """Still sub-voxel, but of the bins; the patches are large enough for them."""
    big = nuclei((70, 230, 110), seed=7)
    volumes = [
        np.asarray(sample_volume(big, Affine.translation(at), (64, 200, 64)))
        for at in ((3.0, 3.0, 3.0), (5.4, 9.3, 33.2))
    ]
    fixed, moving = (Patch(expose(v, i), Affine()) for i, v in enumerate(volumes))
    true = (2.4, 6.3, 30.2)
    coarse = match(fixed, moving, MatchParams(fine_alignment=False))
    fine = match(fixed, moving, MatchParams())
    np.testing.assert_allclose(coarse.transform.offset, true, atol=0.3)
    np.testing.assert_allclose(fine.transform.offset, true, atol=0.02)
    assert coarse.precision_um > fine.precision_um


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    volume = 200 + 14 * np.random.default_rng(seed).standard_normal(shape)
    return volume.astype(np.float32)


def place(values: np.ndarray, at: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Patch:
    return Patch(values, Affine.translation(at))


def test_constant_patches() -> None:
    flat = place(np.full(SHAPE, 100, dtype=np.float32))
    for fixed, moving in ((flat, flat), (flat, place(noise(1))), (place(noise(1)), flat)):
        found = match(fixed, moving, MatchParams())
        assert found.status == "no texture"
        assert "100" in found.reason


@pytest.mark.parametrize("seed", range(6))
def test_noise_matches_nothing(seed: int) -> None:
    found = match(place(noise(2 * seed)), place(noise(2 * seed + 1), (0, 0, 24)), MatchParams())
    assert found.status in ("no texture", "no match", "ambiguous")
    assert found.reason


@pytest.mark.parametrize("seed", range(4))
def test_uneven_light_is_no_structure(seed: int) -> None:
    z, y, x = np.indices(SHAPE) / np.max(SHAPE)
    light = (300 * np.exp(-3 * (x - 0.3) ** 2 - (y - 0.5) ** 2) + 80 * z).astype(np.float32)
    fixed, moving = (place(noise(seed + k) + light, (0, 0, 24 * k)) for k in (0, 10))
    assert match(fixed, moving, MatchParams()).status != "ok"


def test_other_content_is_not_trusted(sample: np.ndarray) -> None:
    other = nuclei((50, 110, 100), seed=77, spacing_um=SPACING)
    found = match(take(sample, FIXED_AT, seed=1), take(other, MOVING_AT, seed=2), MatchParams())
    assert found.status != "ok"


def test_repeated_texture_is_ambiguous() -> None:
    z, y, x = np.indices((40, 120, 80))
    grid = (1000 * (np.sin(z / 1.6) * np.sin(y / 1.6) * np.sin(x / 1.6)) ** 2).astype(np.float32)
    fixed = place(expose(grid[:30, :90, :44], 1))
    moving = place(expose(grid[4:34, 6:96, 24:68], 2), (4.0, 6.0, 24.0))
    found = match(fixed, moving, MatchParams())
    assert found.status == "ambiguous"
    assert "µm away" in found.reason


@pytest.mark.parametrize("size", [0, 1, 2])
def test_nothing_to_compare(sample: np.ndarray, size: int) -> None:
    fixed, moving = pair(sample)
    found = match(Patch(fixed.values[:, :, :size], fixed.to_world), moving, MatchParams())
    assert found.status == "too little overlap"
    assert found.reason


def strips(volume: np.ndarray, spacing: Vector, seed: int) -> list[tuple[Patch, Patch, np.ndarray]]:
    """Overlaps (15 %) of tiles with stage errors of a few voxels, and the true shifts."""
    rng = np.random.default_rng(seed)
    shape = np.array(volume.shape)
    size = np.array([shape[0] - 6, *(shape[1:] * 0.42).astype(int)])
    step = (size * 0.85).astype(int)
    found = []
    for axis, k in product((1, 2), range(2)):
        start = np.array([3, 12, 12])
        start[3 - axis] += k * step[3 - axis]
        error = np.append(rng.uniform(-2, 2), rng.uniform(-4, 4, 2))
        margin = 10
        low = start.copy()
        low[axis] += step[axis] - margin
        end = size.copy()
        end[axis] = size[axis] - step[axis] + margin
        views = []
        for n, (at, wrong) in enumerate(((low, np.zeros(3)), (low + _along(axis, margin), error))):
            true = Affine.translation(at + wrong)
            values = np.asarray(sample_volume(volume, true, tuple(end.tolist())))
            nominal = Affine.scale(spacing) @ Affine.translation(at)
            views.append(Patch(expose(values, 10 * seed + 2 * k + n), nominal))
        found.append((views[0], views[1], error * spacing))
    return found


def _along(axis: int, length: int) -> np.ndarray:
    vector = np.zeros(3)
    vector[axis] = length
    return vector


@pytest.mark.parametrize(
    ("name", "scale", "spacing"),
    [
        ("brain_signal.tif", 1.0, (5.0, 2.0, 2.0)),
        ("cells3d_nuclei.tif", 0.06, (1.0, 1.0, 1.0)),
        ("neuron.tif", 0.02, (1.0, 1.0, 1.0)),
        ("tribolium_lightsheet.tif", 1.0, (1.0, 1.0, 1.0)),
    ],
)
def test_tiles_of_real_volumes(real_data: Path, name: str, scale: float, spacing: Vector) -> None:
    volume = np.rint(load_volume(real_data / name).volume[:, :300, :300] * scale)
    errors = []
    for fixed, moving, true in strips(volume.astype(np.uint16), spacing, seed=3):
        found = match(fixed, moving, MatchParams())
        if found.status == "ok":
            errors.append(np.linalg.norm((found.transform.offset - true) / spacing))
    assert len(errors) >= 3
    assert np.median(errors) < 0.06
    assert max(errors) < 0.2
