from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from luxdask.deconv.lattice import gaussian_lines, gaussian_taps, line_kernel


def covariance_of(kernel):
    axes = [np.arange(n) - n // 2 for n in kernel.shape]
    at = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return (at * kernel.reshape(-1, 1)).T @ at


CASES = list(
    product([(4, 1.5, 1.5), (1.2, 1, 2.5), (0.4, 0.3, 3)], [(0, 0, 0), (0, 35, 0), (20, 35, 50)])
)


@pytest.mark.parametrize(("sigmas", "angles"), CASES)
def test_the_kernel_has_the_covariance_that_was_asked_for(plain, sigmas, angles):
    wanted = plain.covariance(sigmas, angles)
    kernel = line_kernel(gaussian_lines(wanted))
    assert kernel.sum() == pytest.approx(1)
    assert kernel.min() >= 0
    np.testing.assert_allclose(covariance_of(kernel), wanted, atol=1e-5 * wanted.trace())


@pytest.mark.parametrize("angles", [(0, 0, 0), (0, 35, 0), (0, 45, 0), (20, 35, 50)])
def test_the_kernel_is_a_gaussian(plain, angles):
    wanted = plain.covariance((4, 1.5, 1.5), angles)
    kernel = line_kernel(gaussian_lines(wanted))
    axes = [np.arange(n) - n // 2 for n in kernel.shape]
    at = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    ideal = np.exp(-0.5 * np.einsum("...i,ij,...j", at, np.linalg.inv(wanted), at))
    assert 0.5 * np.abs(kernel - ideal / ideal.sum()).sum() < 0.003


def test_at_most_six_lines_and_three_for_parallel_axes(plain):
    assert len(gaussian_lines(plain.covariance((4, 1.5, 1.5)))) == 3
    assert len(gaussian_lines(plain.covariance((4, 1.5, 1.5), (0, 35, 0)))) == 4
    assert len(gaussian_lines(plain.covariance((4, 1.5, 1.2), (20, 35, 50)))) == 6


@pytest.mark.parametrize("variance", [1e-4, 0.1, 0.5, 2.25, 100])
def test_taps_have_the_variance_and_the_sum(variance):
    taps = np.array(gaussian_taps(variance))
    at = np.arange(len(taps))
    assert 2 * taps.sum() - taps[0] == pytest.approx(1)
    assert 2 * (taps * at**2).sum() == pytest.approx(variance, rel=1e-6)
