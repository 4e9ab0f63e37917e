import numpy as np
import pytest
from scipy import ndimage

from luxdask.fusion.quality import CELL, cell_energy, quality_weights


def sharp(shape, seed=0):
    image = np.random.default_rng(seed).normal(size=shape)
    image = ndimage.gaussian_filter(image, 4)
    return 5000 + 1000 * image / image.std()


def stored(image):
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


def reference(planes):
    """Mean squared difference of neighbouring 4 × 4 averages, by the cell of the first one."""
    n, ny, nx = planes.shape
    mean = planes.astype(float).reshape(n, ny // 4, 4, nx // 4, 4).mean(axis=(2, 4))
    squared = (mean[:, 1:, :-1] - mean[:, :-1, :-1]) ** 2
    squared += (mean[:, :-1, 1:] - mean[:, :-1, :-1]) ** 2
    cells = np.zeros((-(-ny // CELL), -(-nx // CELL)))
    for j, i in np.ndindex(*cells.shape):
        cells[j, i] = squared[:, 16 * j : 16 * (j + 1), 16 * i : 16 * (i + 1)].mean()
    return cells


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 128, 192), (2, 100, 160)])
def test_energy_per_cell(shape):
    planes = stored(sharp(shape))
    assert np.allclose(cell_energy(planes), reference(planes), rtol=1e-4)


def test_blur_lowers_it_and_noise_hardly_raises_it():
    image = sharp((4, 256, 256))
    blurred = ndimage.gaussian_filter(image, (0, 6, 6))
    noisy = image + np.random.default_rng(1).normal(scale=50, size=image.shape)
    energy = {n: cell_energy(stored(v)) for n, v in
              (("sharp", image), ("blurred", blurred), ("noisy", noisy))}  # fmt: skip
    assert (energy["blurred"] < 0.5 * energy["sharp"]).all()
    assert np.allclose(energy["noisy"], energy["sharp"], rtol=0.1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 200), (2, 65, 66), (1, 130, 7)])
def test_small_and_odd_images_have_cells(shape):
    n, ny, nx = shape
    energy = cell_energy(stored(sharp((2, 256, 256)))[:n, :ny, :nx])
    assert energy.shape == (-(-shape[1] // CELL), -(-shape[2] // CELL))
    assert np.isfinite(energy).all()


def test_a_remainder_too_small_to_measure_is_as_good_as_its_neighbour():
    whole = stored(sharp((2, 128, 128)))
    energy = cell_energy(whole[:, :67, :66])
    assert np.allclose(energy[1, 0], energy[0, 0])
    assert np.allclose(energy[:, 1], energy[:, 0])


@pytest.mark.parametrize("strength", [0, 0.5, 1, 2, 4])
def test_weights_are_finite_positive_and_ordered(strength):
    energy = np.array([0, 1e-3, 1, 1e3, 1e6, 8e9], np.float32).reshape(1, 2, 3)
    weights = quality_weights(energy, strength).ravel()
    assert weights.dtype == np.float32
    assert (weights > 1e-15).all()
    assert (weights < 1e15).all()
    assert (np.diff(weights) >= 0).all()
    if strength == 0:
        assert (weights == 1).all()


def test_weights_of_two_views_are_on_one_scale():
    """A cell that is alike in both views weighs alike, whatever else the views show."""
    here = quality_weights(np.array([[[500.0, 1e4]]], np.float32), 2)
    there = quality_weights(np.array([[[500.0, 2e4]]], np.float32), 2)
    assert here[0, 0, 0] == pytest.approx(there[0, 0, 0], rel=0.05)
    assert there[0, 0, 1] / here[0, 0, 1] == pytest.approx(4, rel=0.05)
