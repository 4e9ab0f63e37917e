"""Widths measured in images of beads with known point-spread functions, and in a real one."""

import numpy as np
import pytest
import tifffile

from luxdask.deconv.estimate import estimate_psf
from luxdask.deconv.psf import FWHM_PER_SIGMA
from luxdask.errors import ConfigError


def beads(lateral_um, axial_um, spacing, shape=(48, 128, 128), count=30, seed=0, wide=0):
    """Beads at any place between voxels, with photon noise; `wide` of them are no beads."""
    rng = np.random.default_rng(seed)
    light = np.zeros(shape)
    axes = [np.arange(n) for n in shape]
    for n, place in enumerate(rng.uniform(0.1, 0.9, (count, 3)) * shape):
        scale = 2.5 if n < wide else 1.0
        widths = np.array([axial_um, lateral_um, lateral_um]) * scale / FWHM_PER_SIGMA / spacing
        z, y, x = (np.exp(-0.5 * ((at - c) / w) ** 2)
                   for at, c, w in zip(axes, place, widths, strict=True))  # fmt: skip
        light += rng.uniform(300, 1000) * z[:, None, None] * y[:, None] * x
    return rng.poisson(light + 100).astype(np.uint16)


@pytest.mark.parametrize(
    ("lateral", "axial", "spacing"),
    [(0.8, 2.4, (0.6, 0.3, 0.3)), (1.2, 3.0, (1.0, 0.4, 0.4)), (0.6, 4.0, (0.8, 0.25, 0.2))],
)
def test_known_widths_are_found(lateral, axial, spacing):
    found = estimate_psf(beads(lateral, axial, spacing), spacing)
    assert found.lateral_um == pytest.approx(lateral, rel=0.03)
    assert found.axial_um == pytest.approx(axial, rel=0.03)
    assert 8 <= len(found.spots) <= found.n_found <= 30
    assert found.mean.shape == tuple(n | 1 for n in found.mean.shape)
    assert np.unravel_index(found.mean.argmax(), found.mean.shape) == tuple(
        n // 2 for n in found.mean.shape
    )


def test_other_structures_do_not_count():
    spacing = (0.6, 0.3, 0.3)
    image = beads(0.8, 2.4, spacing, wide=6, seed=1).astype(np.int64)
    image[20:25, :, 60:64] += 800  # a bright band
    found = estimate_psf(image.astype(np.uint16), spacing)
    assert found.lateral_um == pytest.approx(0.8, rel=0.05)
    assert found.axial_um == pytest.approx(2.4, rel=0.05)


def test_cut_off_spots_are_left_out():
    spacing = (0.6, 0.3, 0.3)
    image = np.minimum(beads(0.8, 2.4, spacing), 500)
    found = estimate_psf(image, spacing)
    assert max(spot.height for spot in found.spots) < 480
    assert found.lateral_um == pytest.approx(0.8, rel=0.05)


def test_real_beads(real_data):
    image = tifffile.imread(real_data / "beads_confocal.tif")
    found = estimate_psf(image, (0.125, 0.0225, 0.0225))
    assert 0.15 < found.lateral_um < 0.25
    assert 0.45 < found.axial_um < 0.7


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 20, 20)), "at least 5 voxels"),
        (np.zeros((20, 20)), "three axes"),
        (np.full((9, 9, 9), np.nan), "not finite"),
        (np.full((20, 30, 30), 100.0), "no spot rises above the noise"),
        (np.random.default_rng(0).poisson(100, (20, 40, 40)), "spot"),
    ],
)
def test_images_without_spots_say_so(image, words):
    with pytest.raises(ConfigError, match=words):
        estimate_psf(image, (1.0, 1.0, 1.0))
