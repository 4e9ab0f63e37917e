"""NCC of all lags against the definition and against scikit-image's."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.feature import match_template

from luxdask.registration.correlate import Lags, correlate


@pytest.fixture
def volumes() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    fixed, moving = rng.random((9, 14, 12)), rng.random((7, 10, 15))
    return fixed.astype(np.float32) - 0.5, moving.astype(np.float32) - 0.5


@pytest.mark.parametrize(
    "lags",
    [Lags((-5, -8, -13), (7, 12, 10)), Lags((-2, 0, -1), (1, 3, 2)), Lags((4, -8, 2), (7, -6, 9))],
)
def test_ncc_is_that_of_what_overlaps(volumes: tuple[np.ndarray, np.ndarray], lags: Lags) -> None:
    fixed, moving = volumes
    found = correlate(fixed, moving, lags)
    for index in np.random.default_rng(0).integers(0, lags.shape, (40, 3)):
        lag = index + lags.first
        low = np.maximum(0, lag)
        high = np.minimum(fixed.shape, np.add(moving.shape, lag))
        a = fixed[tuple(slice(s, e) for s, e in zip(low, high, strict=True))]
        b = moving[tuple(slice(s, e) for s, e in zip(low - lag, high - lag, strict=True))]
        assert found.count[tuple(index)] == a.size
        expected = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert found.ncc[tuple(index)] == pytest.approx(expected, abs=1e-4)


def test_ncc_is_scikit_images_where_the_moving_volume_lies_inside() -> None:
    rng = np.random.default_rng(3)
    fixed = rng.random((12, 20, 18)).astype(np.float32)
    moving = fixed[3:9, 5:14, 2:12] + rng.random((6, 9, 10)).astype(np.float32) / 4
    lags = Lags((0, 0, 0), (6, 11, 8))
    found = correlate(fixed - fixed.mean(), moving - moving.mean(), lags).ncc
    np.testing.assert_allclose(found, match_template(fixed, moving), atol=1e-4)
    assert np.unravel_index(found.argmax(), found.shape) == (3, 5, 2)


def test_constant_volumes_correlate_with_nothing() -> None:
    zero = np.zeros((6, 6, 6), dtype=np.float32)
    noise = np.random.default_rng(4).random((6, 6, 6), dtype=np.float32)
    assert not correlate(zero, noise, Lags((-3, -3, -3), (3, 3, 3))).ncc.any()
