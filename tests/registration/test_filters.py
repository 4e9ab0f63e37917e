"""Filters against SciPy's and NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from luxdask.model.geometry import Box
from luxdask.registration.filters import (
    bin_mean,
    gaussian,
    smooth,
    subtract_local_mean,
    subtract_plane,
)


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(1).random((13, 22, 31), dtype=np.float32)


def test_bins_are_means_and_drop_the_remainder(volume: np.ndarray) -> None:
    expected = volume[:12, :21, :30].reshape(6, 2, 7, 3, 6, 5).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(bin_mean(volume, (2, 3, 5)), expected, rtol=1e-5)


@pytest.mark.parametrize("sigma", [(0.7, 1.0, 1.6), (2.0, 0.0, 0.7)])
def test_smoothing_is_scipys(volume: np.ndarray, sigma: tuple[float, float, float]) -> None:
    radius = [len(gaussian(s)) // 2 for s in sigma]
    expected = ndimage.gaussian_filter(volume, sigma, mode="nearest", radius=radius)
    np.testing.assert_allclose(smooth(volume, sigma), expected, atol=1e-5)


def test_a_part_is_smoothed_like_the_whole(volume: np.ndarray) -> None:
    box = Box((0, 5, 11), (9, 22, 27))
    whole = smooth(volume, (1.0, 1.0, 1.0), shift=(0.3, -0.4, 0.5))
    part = smooth(volume, (1.0, 1.0, 1.0), box, (0.3, -0.4, 0.5))
    np.testing.assert_allclose(part, whole[box.slices], atol=1e-6)


@pytest.mark.parametrize("shift", [(0.5, 0.0, -0.5), (0.21, -0.37, 0.48)])
def test_a_shifted_kernel_interpolates(shift: tuple[float, float, float]) -> None:
    """Of waves longer than 6 voxels, to a thousandth of their height."""
    grid = np.indices((40, 40, 40), dtype=np.float64)

    def waves(offset: tuple[float, float, float]) -> np.ndarray:
        z, y, x = (g + o for g, o in zip(grid, offset, strict=True))
        return (np.sin(z / 1.1) * np.cos(y / 1.4) + np.sin((x + y - z) / 2)).astype(np.float32)

    inner = (slice(8, 32),) * 3
    sigma = (0.8, 0.8, 0.8)
    found = smooth(waves((0, 0, 0)), sigma, shift=shift)[inner]
    np.testing.assert_allclose(found, smooth(waves(shift), sigma)[inner], atol=2e-3)


def test_local_mean_counts_only_voxels_that_exist(volume: np.ndarray) -> None:
    ones = ndimage.uniform_filter(np.ones(volume.shape), (7, 5, 11), mode="constant")
    mean = ndimage.uniform_filter(volume.astype(float), (7, 5, 11), mode="constant") / ones
    found = subtract_local_mean(volume, (3, 2, 5))
    np.testing.assert_allclose(found, volume - mean, atol=1e-5)


def test_local_mean_of_a_volume_that_is_smaller_than_the_box(volume: np.ndarray) -> None:
    found = subtract_local_mean(volume, (40, 40, 40))
    np.testing.assert_allclose(found, volume - volume.mean(), atol=1e-5)


def test_a_plane_is_removed(volume: np.ndarray) -> None:
    z, y, x = np.indices(volume.shape)
    sloped = (volume + 0.3 * z - 0.2 * y + 0.05 * x + 7).astype(np.float32)
    np.testing.assert_allclose(subtract_plane(sloped), subtract_plane(volume), atol=1e-4)
    assert abs(subtract_plane(sloped).mean()) < 1e-4
