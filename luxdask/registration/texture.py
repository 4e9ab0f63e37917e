"""What registration compares: the structure of a patch at one scale, with its contrast evened out.

Structure that is much larger than the scale (illumination, background) is subtracted, smaller one
(noise) is smoothed away, and the rest is divided by its local strength, so that a place counts
alike whether a view sees it brightly or through a lot of scattering tissue. Noise alone stays weak.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import Affine, Shape, shape3
from luxdask.registration import texture_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.registration.patch import Patch

    Volume = NDArray[np.float32]

# Chosen on real volumes with noise and blur along different axes: less smoothing lets noise weigh
# too much, a wider band or a narrower window for the contrast make the border of a view count.
_SMOOTH = 1.75  # standard deviation of the smoothing in units of the scale
_LEAST_SIGMA = 0.7  # ... but at least this many bins
_WIDE = 2.5  # structure beyond this many standard deviations is removed
_LOCAL = 32.0  # contrast is evened out over this many standard deviations
_REACH = 3.0  # standard deviations that a Gaussian reaches
_LEAST_BINS = 8  # along a thin axis
_FLOOR_OF_NOISE = 2.0
_FLOOR_OF_CONTRAST = 0.2


@dataclass(frozen=True)
class Texture:
    """Structure of a patch at one scale.

    Attributes
    ----------
    values
        (Z, Y, X) float32, mean about 0, of unit strength where there is structure.
    to_world
        Voxel index of `values` to sample space in µm.
    sigma_vx
        Standard deviation of the smoothing in voxels of `values` per axis.
    contrast
        Strength of the structure relative to what noise alone would leave; about 1 for pure noise,
        0 for a constant patch.
    """

    values: Volume
    to_world: Affine
    sigma_vx: tuple[float, float, float]
    contrast: float


def texture_of(patch: Patch, scale_um: float, background: float = 0.0) -> Texture:
    """Structure of a patch at the scale `scale_um`, on bins of at most that size.

    patch : bins of whole voxels are averaged; what is left over at the end of an axis is dropped.
    background : subtracted first, what is darker counts as it.
    """
    factor = bin_factor(patch, scale_um)
    bins = _binned(patch.values, factor, background)
    _subtract_plane(bins)
    spacing = np.multiply(patch.spacing_um, factor)
    sigma = np.maximum(_SMOOTH * scale_um / spacing, _LEAST_SIGMA)
    values = gaussian(bins, sigma)
    noise = noise_of(patch.values) / np.sqrt(np.prod(factor)) * _remaining_noise(sigma)
    contrast = _even_out(values, sigma, noise)
    middle = (np.array(factor) - 1) / 2
    to_world = patch.to_world @ Affine.scale(factor, middle)
    z, y, x = sigma.tolist()
    return Texture(values, to_world, (z, y, x), contrast)


def bin_factor(patch: Patch, scale_um: float) -> Shape:
    """Whole voxels per axis that make bins of at most `scale_um` (but one voxel at least)."""
    factor = np.floor(np.divide(scale_um, patch.spacing_um) + 1e-6)
    largest = np.maximum(np.array(patch.values.shape) // _LEAST_BINS, 1)
    return shape3(np.clip(factor, 1, largest).astype(int).tolist())


def gaussian(volume: Volume, sigma_vx: NDArray[np.float64]) -> Volume:
    """Smoothed copy; beyond its border nothing is known, so weights are normalised there."""
    out = volume
    for axis, sigma in enumerate(sigma_vx):
        out = _smooth_axis(out, axis, float(sigma))
    return out


def _smooth_axis(volume: Volume, axis: int, sigma: float) -> Volume:
    if sigma <= 0 or volume.shape[axis] == 1:
        return volume
    distance = np.arange(int(np.ceil(_REACH * sigma)) + 1)
    weights = np.exp(-0.5 * (distance / sigma) ** 2).astype(np.float32)
    out = np.empty_like(volume)
    n = volume.shape[axis]
    if axis == 2:
        texture_kernel.smooth_rows(volume.reshape(-1, n), weights, out.reshape(-1, n))
    else:
        inner = int(np.prod(volume.shape[axis + 1 :]))
        form = (-1, n, inner)
        texture_kernel.smooth(volume.reshape(form), weights, out.reshape(form))
    return out


def _binned(values: Volume, factor: Shape, background: float) -> Volume:
    """Means of whole bins of max(values, background)."""
    if factor == (1, 1, 1) and background <= 0:
        return np.array(values, dtype=np.float32, order="C")
    shape = [n // f for n, f in zip(values.shape, factor, strict=True)]
    return _means(values, factor, shape, background if background > 0 else -np.inf)


def _means(
    values: Volume, factor: Shape, shape: list[int], low: float = -np.inf, squared: bool = False
) -> Volume:
    out = np.empty(shape, dtype=np.float32)
    texture_kernel.bin_means(values, factor, np.float32(low), squared, out)
    return out


def noise_of(values: Volume) -> float:
    """Standard deviation of the white noise of single voxels, from cubes of 2 × 2 × 2 voxels.

    The difference between the even and the odd corners of a cube holds hardly any structure.
    Source: Donoho and Johnstone 1994, doi:10.1093/biomet/81.3.425 (finest diagonal band).
    """
    if min(values.shape) < 2:
        return 0.0
    step = 2 * max(1, round((values.size / 8 / 100_000) ** (1 / 3)))
    difference = np.float32(0)
    for corner in np.ndindex(2, 2, 2):
        part = values[tuple(map(slice, corner, np.add(values.shape, corner) - 1, [step] * 3))]
        difference = difference + (-1) ** sum(corner) * part
    rounding = 1e-5 * float(np.abs(values[::step, ::step, ::step]).max())
    return max(float(np.median(np.abs(difference))) / (0.6745 * sqrt(8)), rounding)


def _remaining_noise(sigma: NDArray[np.float64]) -> float:
    """What smoothing leaves of white noise, as a fraction of its standard deviation."""
    return float(np.prod(1 / np.sqrt(2 * np.sqrt(np.pi) * sigma)))


def _even_out(values: Volume, sigma: NDArray[np.float64], noise: float) -> float:
    """Subtract the large scale and divide by the local strength, in place; returns the contrast."""
    factor = _coarse_factor(sigma, values.shape)
    shape = [-(-n // f) for n, f in zip(values.shape, factor, strict=True)]
    wide = np.sqrt(_WIDE**2 - 1) * sigma / factor
    texture_kernel.subtract_coarse(values, gaussian(_means(values, factor, shape), wide), factor)
    squares = _means(values, factor, shape, squared=True)
    usual = float(squares.mean())
    if usual <= 0:
        return 0.0
    local = gaussian(squares, _LOCAL * sigma / factor)
    floor = (_FLOOR_OF_NOISE * noise) ** 2 + _FLOOR_OF_CONTRAST**2 * usual
    texture_kernel.divide_by_root(values, local + np.float32(floor), factor)
    return float(np.sqrt(usual) / max(noise, 1e-3 * np.sqrt(usual)))


def _subtract_plane(values: Volume) -> None:
    """Subtract the linear trend, in place; at the border no local mean would follow it."""
    few = values[tuple(slice(None, None, max(1, n // 64)) for n in values.shape)]
    for axis, n in enumerate(values.shape):
        profile = few.mean(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
        place = np.linspace(-1, 1, len(profile)) if len(profile) > 1 else np.zeros(1)
        slope = float(profile @ place / max(float(place @ place), 1.0))
        step = max(1, n // 64)
        where = (np.arange(n) - step * (len(profile) - 1) / 2) / max(
            step * (len(profile) - 1) / 2, 1
        )
        trend = (slope * where).astype(np.float32)
        values -= trend.reshape([-1 if a == axis else 1 for a in range(3)])


def _coarse_factor(sigma: NDArray[np.float64], shape: tuple[int, ...]) -> Shape:
    """Bins that resolve the large scale well and cost little."""
    return shape3([max(1, min(round(2 * s), n)) for s, n in zip(sigma, shape, strict=True)])
