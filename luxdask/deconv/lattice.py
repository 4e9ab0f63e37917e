"""A Gaussian of any orientation as a few one-dimensional filters along whole-voxel directions.

Selling's decomposition writes a covariance as ``sum(w * outer(e, e))`` with at most six integer
directions `e` and weights `w` above 0. A filter of variance `w` along each direction, one after
the other, is a Gaussian of exactly that covariance: nothing is interpolated or resampled.
Source: Selling 1874; Conway and Sloane 1992, doi:10.1098/rspa.1992.0004; used for anisotropic
diffusion by Fehrenbach and Mirebeau 2014, doi:10.1007/s10851-013-0461-7.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import ceil, gcd, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape

TRUNCATION = 3.25
"""Filters end this many standard deviations from the middle; their variance is exact anyway."""

_NEGLIGIBLE = 1e-6
"""Variances below this share of the largest are rounding errors of the decomposition."""


@dataclass(frozen=True)
class Line:
    """A symmetric filter along one direction.

    Attributes
    ----------
    step
        (z, y, x) in whole voxels from tap to tap; its parts have no common divisor.
    taps
        The filter's value at 0, 1, 2 ... steps; with both sides, they add up to 1.
    """

    step: Shape
    taps: tuple[float, ...]

    @property
    def reach(self) -> Shape:
        """Voxels that light is carried along each axis, at most."""
        z, y, x = (abs(s) * (len(self.taps) - 1) for s in self.step)
        return z, y, x


def gaussian_lines(covariance_vx: NDArray[np.float64]) -> list[Line]:
    """The filters whose composition is a Gaussian of this covariance (3, 3) in voxels².

    It must be symmetric and positive definite.
    """
    matrix = np.asarray(covariance_vx, dtype=np.float64)
    return list(_gaussian_lines(tuple(matrix.ravel().tolist())))


@lru_cache(maxsize=256)
def _gaussian_lines(covariance_vx: tuple[float, ...]) -> tuple[Line, ...]:
    matrix = np.array(covariance_vx).reshape(3, 3)
    return tuple(Line(step, gaussian_taps(w)) for step, w in _selling(matrix))


def line_kernel(lines: list[Line]) -> NDArray[np.float64]:
    """Point-spread function of filters applied one after the other: odd shape, sum 1."""
    kernel = np.ones((1, 1, 1))
    for line in lines:
        kernel = _convolve_line(kernel, line)
    return np.asarray(kernel / kernel.sum())


@lru_cache(maxsize=256)
def gaussian_taps(variance: float) -> tuple[float, ...]:
    """Samples of a Gaussian at 0, 1, 2 ..., scaled so that sum and variance are exact."""
    radius = max(1, ceil(TRUNCATION * sqrt(variance)))
    at = np.arange(radius + 1)

    def taps(sigma: float) -> NDArray[np.float64]:
        values = np.exp(-0.5 * (at / sigma) ** 2)
        return np.asarray(values / (2 * values.sum() - values[0]))

    def excess(sigma: float) -> float:
        return float(2 * (taps(sigma) * at**2).sum()) - variance

    sigma = brentq(excess, 0.05, 3 * sqrt(variance) + 1)
    return tuple(taps(sigma).tolist())


def _convolve_line(kernel: NDArray[np.float64], line: Line) -> NDArray[np.float64]:
    reach = np.array(line.reach)
    out = np.zeros(np.array(kernel.shape) + 2 * reach)
    for k in range(-len(line.taps) + 1, len(line.taps)):
        z, y, x = reach + k * np.array(line.step)
        nz, ny, nx = kernel.shape
        out[z : z + nz, y : y + ny, x : x + nx] += line.taps[abs(k)] * kernel
    return out


def _selling(covariance: NDArray[np.float64]) -> list[tuple[Shape, float]]:
    base = _obtuse_superbase(covariance)
    found = []
    for i, j in combinations(range(4), 2):
        k, m = (n for n in range(4) if n not in (i, j))
        weight = -float(base[i] @ covariance @ base[j])
        if weight > _NEGLIGIBLE * covariance.trace():
            found.append((_direction(np.cross(base[k], base[m])), weight))
    return found


def _obtuse_superbase(covariance: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Four integer vectors that add up to 0 and no two of which are at an acute angle."""
    base = [np.array(v) for v in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, -1, -1))]
    tolerance = 1e-12 * covariance.trace()
    while True:
        acute = (
            (i, j)
            for i, j in combinations(range(4), 2)
            if base[i] @ covariance @ base[j] > tolerance
        )
        pair = next(acute, None)
        if pair is None:
            return base
        i = pair[0]
        k, m = (n for n in range(4) if n not in pair)
        base[k], base[m], base[i] = base[k] + base[i], base[m] + base[i], -base[i]


def _direction(vector: NDArray[np.int64]) -> Shape:
    """Of the two opposite vectors the one whose first part above or below 0 is above it."""
    z, y, x = (int(v) for v in vector)
    assert gcd(z, y, x) == 1
    return (z, y, x) if (z, y, x) > (0, 0, 0) else (-z, -y, -x)
