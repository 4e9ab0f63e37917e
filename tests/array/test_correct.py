"""Kernels of the correction against plain NumPy."""

import numpy as np
import pytest

from luxdask.array.correct import binned_layers, correct_in_place, replace_hot
from luxdask.array.flatfield import multiplication_layer
from luxdask.array.robust_field import fit_field


def test_each_voxel_is_corrected_rounded_and_bounded():
    rng = np.random.default_rng(1)
    voxels = rng.integers(0, 65536, (5, 17, 33), dtype=np.uint16)
    offset = rng.uniform(0, 500, (17, 33)).astype(np.float32)
    factor = rng.uniform(0.5, 3, (17, 33)).astype(np.float32)
    expected = np.clip((voxels.astype(np.float64) - offset) * factor, 0, 65535)
    got = voxels.copy()
    correct_in_place(got, offset, factor)
    np.testing.assert_allclose(got, expected, atol=0.51)
    assert got.min() == 0
    assert got.max() == 65535
    part = voxels[:, 3:9, 5:30].copy()
    correct_in_place(part, offset[3:9, 5:30], factor[3:9, 5:30])
    np.testing.assert_array_equal(part, got[:, 3:9, 5:30])
    strided = np.zeros((5, 17, 66), dtype=np.uint16)[:, :, ::2]
    strided[...] = voxels
    correct_in_place(strided, offset, factor)
    np.testing.assert_array_equal(strided, got)


def test_ones_and_zeros_change_nothing():
    voxels = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
    got = voxels.copy()
    correct_in_place(got, np.zeros((256, 256), np.float32), np.ones((256, 256), np.float32))
    np.testing.assert_array_equal(got, voxels)


def test_binned_layers_correct_means():
    rng = np.random.default_rng(2)
    offset = rng.uniform(0, 50, (12, 21)).astype(np.float32)
    factor = rng.uniform(1, 3, (12, 21)).astype(np.float32)
    o, f = binned_layers(offset, factor, (2, 4))
    assert o.shape == f.shape == (6, 5)
    even = (1000 - offset[:, :20]) * factor[:, :20]
    means = even.reshape(6, 2, 5, 4).mean(axis=(1, 3))
    np.testing.assert_allclose((1000 - o) * f, means, rtol=1e-5)


def test_a_hot_pixel_without_good_neighbours_stays():
    voxels = np.arange(9, dtype=np.uint16).reshape(1, 3, 3)
    expected = voxels.copy()
    replace_hot(voxels, np.ones((3, 3), dtype=bool))
    np.testing.assert_array_equal(voxels, expected)


def test_the_layer_is_bounded_and_nothing_is_darkened():
    mean = np.linspace(0, 100, 30 * 40).reshape(30, 40)
    layer = multiplication_layer(mean, 9, 3.0)
    assert layer.min() == 1
    assert layer.max() == pytest.approx(3)
    with pytest.raises(ValueError, match="zero everywhere"):
        multiplication_layer(np.zeros((4, 4)), 9, 3.0)


def test_robust_fit_passes_over_bright_cells():
    rng = np.random.default_rng(3)
    y, x = (np.linspace(-1, 1, n) for n in (60, 80))
    light = 1 - 0.4 * (y[:, None] ** 2 + x**2) / 2
    images = light * rng.uniform(100, 900, (12, 1, 1))
    images[rng.random(images.shape) < 0.15] *= 5
    field = fit_field(images.reshape(12, 30, 2, 40, 2).mean(axis=(2, 4)), (2, 2), (60, 80))
    even = field / light
    assert np.abs(even / np.median(even) - 1).max() < 0.03
    with pytest.raises(ValueError, match="zero everywhere"):
        fit_field(np.zeros((2, 5, 5)), (1, 1), (5, 5))
