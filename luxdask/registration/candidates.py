"""Whole-voxel shifts at which two patches may belong together, the most likely first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from luxdask.array.jit import kernel
from luxdask.model.geometry import Shape, Vector, vector
from luxdask.registration.correlate import CorrelationMap, Lags, correlate
from luxdask.registration.filters import bin_mean, smooth, subtract_local_mean, subtract_plane

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BUDGET = 65_536
_FEWEST = 16  # bins along an axis
_SIGMA = (0.7, 0.7, 0.7)
_RADIUS = (3, 3, 3)
_THINNEST = 3
_SATURATION = 100.0
_KEPT = 6
_WORTH = 0.4  # of the best score; what is worse is no rival even if refined
_NORMAL_MEDIAN = 0.6745  # of |a normal variable| of unit variance
_RISES_OUTSIDE = 2
_BEYOND = 6  # bins that are looked at outside of the bound, to see whether the match lies there


@dataclass(frozen=True, slots=True)
class Candidate:
    """A shift that may be right: what lies at ``x`` in the moving volume lies at ``x + offset``.

    Attributes
    ----------
    offset
        In voxels of the volumes that were given.
    score
        Evidence for it, to be compared with that of other candidates.
    significance
        Logarithm of how much more likely the agreement is than by chance.
    at_limit
        Whether it gets better beyond the bound.
    """

    offset: Vector
    score: float
    significance: float
    at_limit: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """Offsets within `radius_um` of `centre` (voxels) are looked at."""

    centre: Vector
    spacing_um: Vector
    radius_um: float | None = None


def search_factor(fixed: Shape, moving: Shape, spacing_um: Vector) -> Shape:
    """Bins for the search: about isotropic in µm, no axis shorter than 16 bins by it."""
    shortest = np.minimum(fixed, moving)
    factor = np.ones(3, dtype=int)
    while np.prod(np.maximum(fixed, moving) // factor) > _BUDGET:
        may = np.flatnonzero(shortest // (2 * factor) >= _FEWEST)
        if not may.size:
            break
        size = factor[may] * np.asarray(spacing_um)[may]
        factor[may[np.argmin(size)]] *= 2
    z, y, x = factor.tolist()
    return (z, y, x)


def find_candidates(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], factor: Shape, bound: Bound
) -> list[Candidate]:
    """Maxima of the normalised cross-correlation of binned volumes, the best first.

    fixed, moving : (Z, Y, X) float32 with equal voxels. Empty where nothing can overlap within the
    bound, or where nothing correlates. Those far worse than the best are left out.
    """
    a, b = _prepare(fixed, factor), _prepare(moving, factor)
    lags = _lags(a.shape, b.shape, factor, bound)
    if min(lags.shape) < 1:
        return []
    return _pick(correlate(a, b, lags), _inside(lags, factor, bound), factor)


def _prepare(values: NDArray[np.float32], factor: Shape) -> NDArray[np.float32]:
    return subtract_local_mean(subtract_plane(smooth(bin_mean(values, factor), _SIGMA)), _RADIUS)


def _lags(fixed: tuple[int, ...], moving: tuple[int, ...], factor: Shape, bound: Bound) -> Lags:
    """All that leave enough overlap and are not far beyond the bound."""
    least = np.maximum(2, -(-_THINNEST // np.array(factor)))
    first, last = -(np.array(moving) - least), np.array(fixed) - least
    if bound.radius_um is not None:
        centre = np.divide(bound.centre, factor)
        reach = bound.radius_um / np.multiply(bound.spacing_um, factor) + _BEYOND
        first = np.maximum(first, np.floor(centre - reach).astype(int))
        last = np.minimum(last, np.ceil(centre + reach).astype(int))
    return Lags(cast("Shape", tuple(first.tolist())), cast("Shape", tuple(last.tolist())))


def _inside(lags: Lags, factor: Shape, bound: Bound) -> NDArray[np.bool_]:
    """Which lags lie within the bound, to half a bin."""
    if bound.radius_um is None:
        return np.ones(lags.shape, dtype=bool)
    square = np.zeros((1, 1, 1))
    for axis in range(3):
        at = np.arange(lags.first[axis], lags.last[axis] + 1) * factor[axis] - bound.centre[axis]
        at = np.maximum(0, np.abs(at) - factor[axis] / 2) * bound.spacing_um[axis]
        shape = [1, 1, 1]
        shape[axis] = len(at)
        square = square + (at**2).reshape(shape)
    return np.asarray(square <= bound.radius_um**2)


def _pick(found: CorrelationMap, inside: NDArray[np.bool_], factor: Shape) -> list[Candidate]:
    """Local maxima of the evidence."""
    spread = float(np.median(np.abs(found.ncc) * np.sqrt(found.count))) / _NORMAL_MEDIAN
    if not spread > 0:
        return []
    score, significance = np.zeros_like(found.ncc), np.zeros_like(found.ncc)
    _evidence(found.ncc, found.count, 1 / spread**2, _SATURATION, score, significance)
    kind = np.zeros(score.shape, dtype=np.uint8)
    _local_maxima(score, inside, kind)
    places = np.argwhere(kind)
    scores = score[tuple(places.T)]
    order = np.argsort(-scores, kind="stable")[:_KEPT]
    order = order[scores[order] > _WORTH * scores[order[:1]]]
    return [
        Candidate(
            offset=vector((place + np.array(found.lags.first)) * factor),
            score=float(score[tuple(place)]),
            significance=float(significance[tuple(place)]),
            at_limit=bool(kind[tuple(place)] == _RISES_OUTSIDE),
        )
        for place in places[order]
    ]


@kernel
def _local_maxima(score, inside, kind):  # type: ignore[no-untyped-def]
    """Mark what is not lower than its 26 neighbours: 1, or 2 where only outside ones are higher."""
    nz, ny, nx = score.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                value = score[z, y, x]
                if not inside[z, y, x] or value <= 0:
                    continue
                found = 1
                for k in range(max(0, z - 1), min(nz, z + 2)):
                    for j in range(max(0, y - 1), min(ny, y + 2)):
                        for i in range(max(0, x - 1), min(nx, x + 2)):
                            if score[k, j, i] > value:
                                found = min(found, 0) if inside[k, j, i] else 2 * found
                kind[z, y, x] = min(found, 2)


@kernel
def _evidence(ncc, count, independent, saturation, score, significance):  # type: ignore[no-untyped-def]
    """Log-likelihood ratio of a correlation r of n samples: -n/2 log(1 - r²).

    `independent` samples a voxel is worth follow from how much wrong lags correlate. The score
    counts large overlaps less than that: what differs between views or only looks alike does not
    become more certain with every further voxel.
    """
    for z in range(ncc.shape[0]):
        for y in range(ncc.shape[1]):
            for x in range(ncc.shape[2]):
                r = min(max(ncc[z, y, x], np.float32(0)), np.float32(0.999))
                n = max(count[z, y, x] * independent - 3, 0.0)
                ratio = -0.5 * np.log(1 - r * r)
                significance[z, y, x] = n * ratio
                score[z, y, x] = n / (1 + n / saturation) * ratio
