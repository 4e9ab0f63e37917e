"""Normalised cross-correlation of two volumes at every whole-voxel shift, on their true overlap.

The cross-correlation comes from padded Fourier transforms (nothing wraps around), the means and
variances of what overlaps from summed-volume tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from luxdask.array.jit import inlined, kernel
from luxdask.model.geometry import Shape, shape3

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Lags:
    """The whole-voxel shifts first ... last (both included) that are compared, per axis."""

    first: Shape
    last: Shape

    @property
    def shape(self) -> Shape:
        """Number of shifts per axis."""
        return shape3([b - a + 1 for a, b in zip(self.first, self.last, strict=True)])


@dataclass(frozen=True)
class CorrelationMap:
    """NCC at every lag: ``fixed[x + lag]`` against ``moving[x]``.

    Attributes
    ----------
    ncc
        -1 ... 1, 0 where either volume is constant; shape of `lags`.
    count
        Number of voxels that overlap.
    """

    lags: Lags
    ncc: NDArray[np.float32]
    count: NDArray[np.float32]


def correlate(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], lags: Lags
) -> CorrelationMap:
    """Normalised cross-correlation of two (Z, Y, X) volumes of any shapes.

    Both should have a mean near 0. Every lag must leave an overlap of at least one voxel.
    Source: Padfield 2012, doi:10.1109/TIP.2011.2181402, with boxes for masks.
    """
    products = _cross_correlation(fixed, moving, lags)
    count = np.empty(lags.shape, dtype=np.float32)
    _normalise(_tables(fixed), _tables(moving), lags.first, products, count)
    return CorrelationMap(lags, products, count)


def _cross_correlation(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], lags: Lags
) -> NDArray[np.float32]:
    """Sums of products at the lags; padded so far that no other lag falls on them."""
    size = [
        fft.next_fast_len(max(b + m, f - a, f, m), real=True)
        for a, b, f, m in zip(lags.first, lags.last, fixed.shape, moving.shape, strict=True)
    ]
    spectrum = fft.rfftn(fixed, size, workers=1)
    other = fft.rfftn(moving, size, workers=1)
    _multiply_conjugate(spectrum, other)
    product = fft.irfftn(spectrum, size, workers=1, overwrite_x=True)
    index = [np.arange(a, b + 1) % n for a, b, n in zip(lags.first, lags.last, size, strict=True)]
    return product[np.ix_(*index)]


@kernel
def _multiply_conjugate(a, b):  # type: ignore[no-untyped-def]
    for z in range(a.shape[0]):
        for y in range(a.shape[1]):
            for x in range(a.shape[2]):
                a[z, y, x] *= np.conj(b[z, y, x])


def _tables(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sums of values and of squares over all voxels before each corner, (Z+1, Y+1, X+1, 2)."""
    out = np.zeros((*(n + 1 for n in values.shape), 2), dtype=np.float64)
    _sum_up(values, out)
    return out


@kernel
def _sum_up(values, out):  # type: ignore[no-untyped-def]
    nz, ny, nx = values.shape
    for z in range(nz):
        for y in range(ny):
            total, squares = 0.0, 0.0
            for x in range(nx):
                value = np.float64(values[z, y, x])
                total += value
                squares += value * value
                above = out[z, y + 1, x + 1]
                left = out[z + 1, y, x + 1]
                corner = out[z, y, x + 1]
                out[z + 1, y + 1, x + 1, 0] = total + above[0] + left[0] - corner[0]
                out[z + 1, y + 1, x + 1, 1] = squares + above[1] + left[1] - corner[1]


@inlined
def _box_sum(table, z0, z1, y0, y1, x0, x1, k):  # type: ignore[no-untyped-def]
    return (
        table[z1, y1, x1, k]
        - table[z0, y1, x1, k]
        - table[z1, y0, x1, k]
        - table[z1, y1, x0, k]
        + table[z0, y0, x1, k]
        + table[z0, y1, x0, k]
        + table[z1, y0, x0, k]
        - table[z0, y0, x0, k]
    )


@kernel
def _normalise(fixed, moving, first, products, count):  # type: ignore[no-untyped-def]
    """Turn sums of products into NCC, in place; `fixed` and `moving` are summed-volume tables."""
    fz, fy, fx = fixed.shape[0] - 1, fixed.shape[1] - 1, fixed.shape[2] - 1
    mz, my, mx = moving.shape[0] - 1, moving.shape[1] - 1, moving.shape[2] - 1
    floor_f = 1e-6 * fixed[fz, fy, fx, 1] / (fz * fy * fx)
    floor_m = 1e-6 * moving[mz, my, mx, 1] / (mz * my * mx)
    for k in range(products.shape[0]):
        z = first[0] + k
        z0, z1 = max(0, z), min(fz, mz + z)
        for j in range(products.shape[1]):
            y = first[1] + j
            y0, y1 = max(0, y), min(fy, my + y)
            for i in range(products.shape[2]):
                x = first[2] + i
                x0, x1 = max(0, x), min(fx, mx + x)
                n = (z1 - z0) * (y1 - y0) * (x1 - x0)
                sf = _box_sum(fixed, z0, z1, y0, y1, x0, x1, 0)
                qf = _box_sum(fixed, z0, z1, y0, y1, x0, x1, 1)
                sm = _box_sum(moving, z0 - z, z1 - z, y0 - y, y1 - y, x0 - x, x1 - x, 0)
                qm = _box_sum(moving, z0 - z, z1 - z, y0 - y, y1 - y, x0 - x, x1 - x, 1)
                vf, vm = qf / n - sf / n * (sf / n), qm / n - sm / n * (sm / n)
                count[k, j, i] = n
                if vf > floor_f and vm > floor_m:
                    covariance = products[k, j, i] / n - sf / n * (sm / n)
                    products[k, j, i] = covariance / np.sqrt(vf * vm)
                else:
                    products[k, j, i] = 0
