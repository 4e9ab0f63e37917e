"""Sub-voxel shifts of volumes that were sampled at known places."""

from __future__ import annotations

import numpy as np
import pytest

from luxdask.model.geometry import Affine, Shape
from luxdask.registration.shift import refine_shift, shared_box
from luxdask.testing.phantoms import nuclei
from luxdask.testing.sampling import sample_volume

SHAPE = (40, 64, 48)


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return nuclei((72, 96, 80), seed=3)


def look(sample: np.ndarray, at: np.ndarray, shape: Shape = SHAPE) -> np.ndarray:
    """The volume from the voxel `at` on."""
    return np.asarray(sample_volume(sample, Affine.translation(at), shape), dtype=np.float32)


def noisy(volume: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(volume.shape, dtype=np.float32)
    return volume + noise * volume.std() / 2


@pytest.mark.parametrize("seed", range(4))
def test_shift_without_noise(sample: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, start = rng.uniform(-9, 9, 3), rng.uniform(-0.7, 0.7, 3)
    fixed, moving = look(sample, np.full(3, 14.0)), look(sample, 14.0 + true)
    found = refine_shift(fixed, moving, tuple(true + start))
    assert found is not None
    assert found.converged
    np.testing.assert_allclose(found.offset, true, atol=0.005)
    assert found.ncc > 0.999


def test_error_with_noise_is_as_expected(sample: np.ndarray) -> None:
    """Its standard deviation is the one stated, its mean nothing: no pull towards whole voxels."""
    errors, spreads = [], []
    for seed in range(12):
        true = np.array([2.5, -3.5, 0.25 + seed / 24])
        fixed = noisy(look(sample, np.full(3, 14.0)), 2 * seed)
        found = refine_shift(fixed, noisy(look(sample, 14 + true), 2 * seed + 1), tuple(true))
        assert found is not None
        errors.append(np.subtract(found.offset, true))
        spreads.append(np.sqrt(np.diag(found.covariance)))
    ratio = np.std(errors) / np.mean(spreads)
    assert 0.6 < ratio < 1.6
    assert (np.abs(np.mean(errors, axis=0)) < 3 * np.mean(spreads) / np.sqrt(12)).all()
    assert np.abs(errors).max() < 0.05


def test_brightness_that_fades_towards_the_border_is_no_shift(sample: np.ndarray) -> None:
    true = np.array([0.3, -0.4, 30.2])
    fixed, moving = look(sample, np.full(3, 14.0)), look(sample, 14 + true)
    fade = np.linspace(1.0, 0.5, SHAPE[2], dtype=np.float32)
    found = refine_shift(fixed * fade, moving * fade[::-1], tuple(true))
    assert found is not None
    np.testing.assert_allclose(found.offset, true, atol=0.06)


def test_gain_and_offset_do_not_matter(sample: np.ndarray) -> None:
    true = np.array([1.4, 2.2, -3.3])
    fixed, moving = look(sample, np.full(3, 14.0)), look(sample, 14 + true)
    one = refine_shift(fixed, moving, tuple(true))
    other = refine_shift(fixed * 0.25 + 100, moving * 3 - 7, tuple(true))
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.offset, other.offset, atol=1e-3)


@pytest.mark.parametrize("start", [(38.5, 0.0, 0.0), (0.0, 0.0, 200.0)])
def test_nothing_to_compare(sample: np.ndarray, start: tuple[float, float, float]) -> None:
    fixed = look(sample, np.full(3, 14.0))
    assert refine_shift(fixed, fixed, start) is None


def test_constant_volume(sample: np.ndarray) -> None:
    fixed = look(sample, np.full(3, 14.0))
    assert refine_shift(fixed, np.zeros_like(fixed), (0.0, 0.0, 0.0)) is None


def test_shared_box_keeps_thin_overlaps() -> None:
    assert shared_box((40, 40, 40), (40, 40, 40), (0, 36, 10)).shape == (36, 4, 26)
