import time

import numpy as np
import pytest

from luxdask.errors import ConfigError
from luxdask.testing import phantoms


@pytest.mark.parametrize("kind", phantoms.KINDS)
@pytest.mark.parametrize("shape", [(1, 20, 30), (7, 24, 31), (40, 40, 12)])
def test_kinds_give_uint16_with_content_and_follow_the_seed(kind, shape):
    a, b, c = (phantoms.phantom(kind, shape, seed=s) for s in (1, 1, 2))
    assert a.shape == shape
    assert a.dtype == np.uint16
    assert a.std() > 20
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="nuclei, band-limited, beads"):
        phantoms.phantom("cats", (4, 4, 4), seed=0)


def test_band_limited_has_no_short_waves():
    volume = phantoms.band_limited((32, 64, 64), seed=3, period_vx=8).astype(float)
    assert 5000 <= volume.min() < volume.max() <= 35000
    # mirrored at its borders the volume is periodic, so its spectrum is sharp
    for axis in range(3):
        mirrored = np.concatenate([volume, np.flip(volume, axis)], axis)
        power = np.abs(np.fft.rfft(mirrored, axis=axis)) ** 2
        frequency = np.fft.rfftfreq(mirrored.shape[axis])
        others = tuple(a for a in range(3) if a != axis)
        spectrum = power.sum(others)
        assert spectrum[frequency > 1 / 8 + 1e-9].sum() < 1e-6 * spectrum[frequency > 0].sum()


def test_beads_lie_at_their_positions():
    shape = (30, 60, 60)
    volume = phantoms.beads(shape, seed=4, n=1).astype(float) - 100
    (centre,) = phantoms.bead_positions(shape, seed=4, n=1)
    index = np.moveaxis(np.indices(shape), 0, -1)
    assert np.allclose((volume[..., None] * index).sum((0, 1, 2)) / volume.sum(), centre, atol=0.01)


def test_stains_show_the_same_nuclei():
    bright, dark = (phantoms.nuclei((24, 96, 96), seed=1, stain=s).astype(float) for s in (0, 1))
    middle = np.s_[10:14, 35:60, 35:60]
    assert np.corrcoef(bright[middle].ravel(), dark[middle].ravel())[0, 1] < -0.4


def test_nuclei_are_quick():
    started = time.process_time()
    phantoms.nuclei((64, 256, 256), seed=1)
    assert time.process_time() - started < 10
