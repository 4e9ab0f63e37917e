"""The width of a point-spread function from an image of beads or of small, isolated spots.

Spots are found, a Gaussian is fitted to each, and the medians of the fits are taken, so that
clusters, larger structures and noise do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.optimize import least_squares

from luxdask.deconv.psf import FWHM_PER_SIGMA
from luxdask.errors import ConfigError
from luxdask.model.geometry import shape3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape, Vector

MOST_SPOTS = 150
"""Fits that are made at the most; the brightest spots first."""

FEWEST_SPOTS = 3
"""Good fits that an estimate needs."""

_NOISE_LEVELS = 8.0
_FIRST_SIGMA_VX = 1.0
_REACH_SIGMAS = 3.0
_GOOD_FIT = 0.8
_SPREAD = 3.0


@dataclass(frozen=True, slots=True)
class Spot:
    """A fitted Gaussian: its middle in voxels (z, y, x), height, and widths (FWHM) in µm.

    `goodness` is the part of the variance around the spot that the Gaussian explains.
    """

    middle_vx: Vector
    height: float
    axial_um: float
    lateral_um: float
    goodness: float


@dataclass(frozen=True, slots=True)
class PsfEstimate:
    """Widths of a point-spread function, measured.

    Attributes
    ----------
    lateral_um, axial_um
        Medians of the full widths at half maximum across the z axis and along it.
    lateral_spread_um, axial_spread_um
        Half of the range that holds the middle two quarters of the spots.
    spots
        Those that were used.
    n_found
        Spots that were looked at.
    mean
        (Z, Y, X) mean of the used spots around their middles, each scaled to its height.
    spacing_um
        Voxel size of the image (z, y, x).
    """

    lateral_um: float
    axial_um: float
    lateral_spread_um: float
    axial_spread_um: float
    spots: tuple[Spot, ...]
    n_found: int
    mean: NDArray[np.float32]
    spacing_um: Vector


def estimate_psf(image: NDArray[np.generic], spacing_um: Vector) -> PsfEstimate:
    """Widths of the point-spread function of an image with beads or small spots.

    image : (Z, Y, X) real numbers, z the detection axis. spacing_um : its voxel size.
    Spots at the border of the image, beside another one, or cut off at the greatest grey value are
    left out. Raises `ConfigError` where fewer than `FEWEST_SPOTS` fits are good.
    """
    values = _checked(image)
    smooth = ndimage.gaussian_filter(values, _FIRST_SIGMA_VX)
    sigma_vx = _typical_sigma(values, smooth, spacing_um)
    reach = shape3([max(2, round(_REACH_SIGMAS * s)) for s in sigma_vx])
    middles = _isolated(values, smooth, reach)
    fits = [_fit(values, middle, reach, sigma_vx, spacing_um) for middle in middles]
    spots = _consistent([spot for spot in fits if spot is not None])
    if len(spots) < FEWEST_SPOTS:
        raise ConfigError(
            f"only {len(spots)} of {len(middles)} spots look like a point-spread function; at "
            f"least {FEWEST_SPOTS} are needed: choose an image with isolated beads or small spots"
        )
    lateral, lateral_spread = _middle([s.lateral_um for s in spots])
    axial, axial_spread = _middle([s.axial_um for s in spots])
    mean = _mean_spot(values, spots, reach)
    return PsfEstimate(
        lateral, axial, lateral_spread, axial_spread, spots, len(middles), mean, spacing_um
    )


def _checked(image: NDArray[np.generic]) -> NDArray[np.float32]:
    if image.ndim != 3 or min(image.shape) < 5:
        raise ConfigError(
            f"the image has the shape {image.shape}; needed are three axes (z, y, x) of at least "
            "5 voxels each"
        )
    values = image.astype(np.float32)
    if not np.isfinite(values).all():
        raise ConfigError("the image holds values that are not finite (NaN or infinity)")
    return values


def _typical_sigma(
    values: NDArray[np.float32], smooth: NDArray[np.float32], spacing_um: Vector
) -> Vector:
    """Standard deviation of spots in voxels, from where the brightest fall to half their height."""
    peaks = _peaks(smooth, shape3([3, 3, 3]))[:MOST_SPOTS]
    if not len(peaks):
        raise ConfigError(
            "no spot rises above the noise; choose an image with isolated beads or small spots"
        )
    ground = float(np.median(values))
    widths = np.array([_half_widths(smooth, peak, ground) for peak in peaks])
    z, y, x = np.median(widths, axis=0) * 2 / FWHM_PER_SIGMA
    lateral_um = float(np.sqrt(y * spacing_um[1] * x * spacing_um[2]))
    smoothed = np.array([z, lateral_um / spacing_um[1], lateral_um / spacing_um[2]])
    narrow = np.maximum(smoothed**2 - _FIRST_SIGMA_VX**2, 0.25)
    sz, sy, sx = np.sqrt(narrow).tolist()
    return (sz, sy, sx)


def _half_widths(
    smooth: NDArray[np.float32], peak: NDArray[np.int64], ground: float
) -> list[float]:
    """Voxels per axis from a peak to half its height: the nearer of both sides."""
    half = (float(smooth[tuple(peak)]) + ground) / 2
    found = []
    for axis in range(3):
        line = np.moveaxis(smooth, axis, 0)[(slice(None), *np.delete(peak, axis))]
        sides = (line[peak[axis] :], line[peak[axis] :: -1])
        found.append(min(_falls_below(side, half) for side in sides))
    return found


def _falls_below(line: NDArray[np.float32], level: float) -> float:
    """Where a line first falls below a level, between voxels; its length where it never does."""
    below = np.flatnonzero(line < level)
    if not len(below):
        return float(len(line))
    n = int(below[0])
    return n - 1 + float((line[n - 1] - level) / (line[n - 1] - line[n]))


def _peaks(smooth: NDArray[np.float32], reach: Shape) -> NDArray[np.int64]:
    """Local maxima (N, 3) well above the noise, the brightest first."""
    ground = np.median(smooth)
    noise = 1.4826 * np.median(np.abs(smooth - ground))
    size = [2 * r + 1 for r in reach]
    greatest = ndimage.maximum_filter(smooth, size=size)
    level = ground + max(_NOISE_LEVELS * noise, 0.05 * (smooth.max() - ground))
    at = np.argwhere((smooth == greatest) & (smooth > level))
    return np.asarray(at[np.argsort(-smooth[tuple(at.T)], kind="stable")])


def _isolated(
    values: NDArray[np.float32], smooth: NDArray[np.float32], reach: Shape
) -> list[Shape]:
    """Peaks that have their surroundings for themselves, brightest first."""
    peaks = _peaks(smooth, shape3([max(1, r // 2) for r in reach]))
    ceiling = values.max()
    kept = []
    for peak in peaks:
        inside = (peak >= reach).all() and (peak + reach < values.shape).all()
        near = (np.abs(peaks - peak) <= 2 * np.array(reach)).all(axis=1).sum() > 1
        if inside and not near:
            window = values[_around(shape3(peak.tolist()), reach)]
            if (window >= ceiling).sum() <= 1:  # more are cut off by the camera
                kept.append(shape3(peak.tolist()))
    return kept[:MOST_SPOTS]


def _around(middle: Shape, reach: Shape) -> tuple[slice, ...]:
    return tuple(slice(m - r, m + r + 1) for m, r in zip(middle, reach, strict=True))


def _fit(
    values: NDArray[np.float32], middle: Shape, reach: Shape, sigma_vx: Vector, spacing_um: Vector
) -> Spot | None:
    """Least squares of one Gaussian on a constant ground; None where it does not fit."""
    window = values[_around(middle, reach)].astype(np.float64)
    offsets = [np.arange(-r, r + 1.0) for r in reach]
    ratio = spacing_um[1] / spacing_um[2]
    ground = float(np.percentile(window, 10))
    height = float(window.max()) - ground

    def model(p: NDArray[np.float64]) -> NDArray[np.float64]:
        sigmas = (p[5], p[6], p[6] * ratio)
        z, y, x = (
            np.exp(-0.5 * ((at - c) / s) ** 2)
            for at, c, s in zip(offsets, p[2:5], sigmas, strict=True)
        )
        spot: NDArray[np.float64] = p[0] + p[1] * z[:, None, None] * y[:, None] * x
        return spot

    def error(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((model(p) - window) / height).ravel()

    start = np.array([ground, height, 0, 0, 0, sigma_vx[0], sigma_vx[1]])
    low = [-np.inf, 0, *(-r / 2 for r in reach), 0.2, 0.2]
    high = [np.inf, np.inf, *(r / 2 for r in reach), 2.0 * reach[0], 2.0 * reach[1]]
    scale = np.array([height, height, 1, 1, 1, 1, 1])
    found = least_squares(
        error,
        np.clip(start, low, high),
        bounds=(low, high),
        x_scale=scale,
        max_nfev=60,
    )
    goodness = 1 - 2 * found.cost * height**2 / max(float(((window - window.mean()) ** 2).sum()), 1)
    if goodness < _GOOD_FIT:
        return None
    z, y, x = (np.array(middle) + found.x[2:5]).tolist()
    return Spot(
        (z, y, x),
        float(found.x[1]),
        float(FWHM_PER_SIGMA * found.x[5] * spacing_um[0]),
        float(FWHM_PER_SIGMA * found.x[6] * spacing_um[1]),
        float(goodness),
    )


def _consistent(spots: list[Spot]) -> tuple[Spot, ...]:
    """Without those whose widths are far from the middle of all."""
    if not spots:
        return ()
    widths = np.log([(s.axial_um, s.lateral_um) for s in spots])
    middle = np.median(widths, axis=0)
    spread = 1.4826 * np.median(np.abs(widths - middle), axis=0)
    near = np.abs(widths - middle) <= np.maximum(_SPREAD * spread, 0.05)
    return tuple(s for s, kept in zip(spots, near.all(axis=1), strict=True) if kept)


def _middle(values: list[float]) -> tuple[float, float]:
    low, middle, high = np.percentile(values, [25, 50, 75]).tolist()
    return middle, (high - low) / 2


def _mean_spot(
    values: NDArray[np.float32], spots: tuple[Spot, ...], reach: Shape
) -> NDArray[np.float32]:
    """The used spots laid on each other, between voxels, each scaled to its height."""
    offsets = np.stack(np.meshgrid(*(np.arange(-r, r + 1.0) for r in reach), indexing="ij"))
    total = np.zeros(offsets.shape[1:])
    for spot in spots:
        at = offsets + np.array(spot.middle_vx)[:, None, None, None]
        one = ndimage.map_coordinates(values, at, order=1, mode="nearest").astype(np.float64)
        total += (one - np.percentile(one, 10)) / spot.height
    return np.asarray(total / len(spots), dtype=np.float32)
