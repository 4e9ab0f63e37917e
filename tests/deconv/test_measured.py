"""Measured point-spread functions: cleaned, centred, turned and resampled."""

import numpy as np
import pytest

from luxdask.deconv.measured import MOST_VOXELS, checked_psf, cleaned_psf, resampled_psf
from luxdask.errors import ConfigError

SIGMA_UM = np.array([2.0, 0.7, 0.7])


def bead(shape=(31, 41, 41), spacing=(0.5, 0.2, 0.2), middle=(16.3, 18.8, 21.4), ground=100.0,
         noise=0.0):  # fmt: skip
    """A stack of a bead on a ground, off its middle."""
    at = (np.indices(shape) - np.array(middle)[:, None, None, None]).T * spacing / SIGMA_UM
    light = 1000 * np.exp(-0.5 * (at.T**2).sum(axis=0)) + ground
    return (light + np.random.default_rng(0).normal(0, noise, shape)).astype(np.float32)


def moments(psf, spacing):
    at = [np.arange(n) - n // 2 for n in psf.shape]
    grid = np.stack(np.meshgrid(*at, indexing="ij"), -1).reshape(-1, 3) * spacing
    weight = psf.ravel().astype(float)
    mean = weight @ grid
    return mean, (grid * weight[:, None]).T @ grid - np.outer(mean, mean)


@pytest.mark.parametrize("spacing", [(0.5, 0.2, 0.2), (1.0, 0.3, 0.4), (0.4, 0.1, 0.1)])
def test_resampled_on_any_voxels(spacing):
    psf = cleaned_psf(bead(), "a")
    assert psf.sum() == pytest.approx(1, abs=1e-5)
    made = resampled_psf(psf, (0.5, 0.2, 0.2), np.eye(3), spacing)
    assert all(n % 2 for n in made.shape)
    assert made.sum() == pytest.approx(1, abs=1e-5)
    mean, covariance = moments(made, spacing)
    assert np.abs(mean / spacing).max() < 0.1
    assert np.sqrt(np.diag(covariance)) == pytest.approx(SIGMA_UM, rel=0.06)


def test_turned():
    a = np.deg2rad(30)
    axes = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    psf = cleaned_psf(bead(), "a")
    made = resampled_psf(psf, (0.5, 0.2, 0.2), axes, (0.25, 0.25, 0.25))
    _, covariance = moments(made, (0.25,) * 3)
    expected = axes.T @ np.diag(SIGMA_UM**2) @ axes
    assert covariance == pytest.approx(expected, abs=0.12)
    assert covariance[0, 2] > 1


def test_background_and_noise_are_removed():
    made = cleaned_psf(bead(noise=5.0), "a")
    assert (made == 0).mean() > 0.3
    resampled = resampled_psf(made, (0.5, 0.2, 0.2), np.eye(3), (0.5, 0.2, 0.2))
    _, covariance = moments(resampled, (0.5, 0.2, 0.2))
    assert np.sqrt(np.diag(covariance)) == pytest.approx(SIGMA_UM, rel=0.12)
    small = cleaned_psf(np.pad(bead(), 20, constant_values=100), "a")
    assert max(small.shape) < 45  # what holds no light is cut off


@pytest.mark.parametrize(
    ("psf", "words"),
    [
        (np.zeros((3, 3, 3, 3)), "4 axes"),
        (np.zeros((5, 5)), "2 axes"),
        (np.zeros((0, 5, 5)), "at least one voxel"),
        (np.broadcast_to(np.float32(0), (1, 1, MOST_VOXELS + 1)), "crop it"),
        (np.full((3, 3, 3), np.nan), "not finite"),
        (np.full((3, 3, 3), np.inf), "not finite"),
        (np.zeros((3, 3, 3), complex), "real numbers"),
        (np.zeros((3, 3, 3)), "no voxel is brighter"),
        (np.full((5, 5, 5), 7.0), "no voxel is brighter"),
    ],
)
def test_what_is_no_psf_is_refused_by_name(psf, words):
    with pytest.raises(ConfigError, match=f"psf.tif: not a point-spread function.*{words}"):
        cleaned_psf(checked_psf(psf, "psf.tif"), "psf.tif")


def test_too_large_on_the_output_grid():
    psf = cleaned_psf(bead(), "a")
    with pytest.raises(ConfigError, match=r"psf_file: in output voxels.*check its voxel size"):
        resampled_psf(psf, (500, 200, 200), np.eye(3), (0.5, 0.2, 0.2))


def test_one_plane_and_one_voxel():
    plane = cleaned_psf(bead()[16:17], "a")
    assert resampled_psf(plane, (0.5, 0.2, 0.2), np.eye(3), (0.5, 0.2, 0.2)).shape[0] <= 3
    point = cleaned_psf(np.ones((1, 1, 1), np.float32), "a")
    assert point.tolist() == [[[1.0]]]
