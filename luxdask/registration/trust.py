"""Whether a measured shift is to be trusted, and if not, why, in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import Affine, BoundingBox, Vector
from luxdask.registration.filters import gaussian, smooth, subtract_local_mean
from luxdask.registration.match import Match
from luxdask.registration.shift import THINNEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from luxdask.model.links import Status
    from luxdask.registration.candidates import Bound, Candidate
    from luxdask.registration.parallel import Parallel
    from luxdask.registration.shift import Shift

    Verdict = tuple[Status, str]

SHARP_BINS = 0.1
_SIGNIFICANT = 12.0  # e^12 times more likely than chance: more than there are shifts to test
_VAGUE = 0.3  # voxels, or bins in the search
_RIVAL = 0.7
_RIVAL_OF_VAGUE = 0.5
_LOWEST_NCC = 0.1
_FLOOR_VX = 0.005
_STRUCTURED = 1.3
_SMOOTHING = 1.0
_LOCAL = 8
_MEDIAN_OF_NORMAL = 0.6745  # of its absolute value
_SECOND_DIFFERENCE = 6.0  # variance of (1, -2, 1) applied to noise of unit variance

_NOTHING_SHARED: Verdict = (
    "too little overlap",
    f"no allowed shift leaves {THINNEST} or more voxels along every axis in common with anything "
    "in them that agrees",
)


@dataclass(frozen=True, slots=True)
class Tested:
    """A candidate and what it became on bins; its shift counts in voxels."""

    candidate: Candidate
    shift: Shift

    @property
    def score(self) -> float:
        """The evidence, less where parts of the volume contradict each other about the shift."""
        return self.candidate.score * min(1.0, SHARP_BINS / max(self.shift.spread_bins, 1e-9))


def judge(pair: Parallel, bound: Bound, tested: Sequence[Tested], final: Shift | None) -> Match:
    """The best of the tested shifts, refined to `final`, as a match with status and reason."""
    status, reason = _status(pair, bound, tested, final)
    if final is None:
        nothing = BoundingBox((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
        return Match(Affine(), "translation", 0.0, 0.0, nothing, status, reason)
    return Match(
        transform=pair.transform(final.offset),
        model="translation",
        quality=min(1.0, max(0.0, final.ncc)),
        precision_um=_precision_um(final, pair.spacing_um),
        overlap=pair.bounding_box(final.box),
        status=status,
        reason=reason,
    )


def _precision_um(shift: Shift, spacing_um: Vector) -> float:
    """Standard deviation in the worst direction."""
    covariance = shift.covariance * np.outer(spacing_um, spacing_um)
    return float(np.hypot(np.sqrt(_largest(covariance)), _FLOOR_VX * min(spacing_um)))


def _largest(covariance: NDArray[np.float64]) -> float:
    return max(0.0, float(np.linalg.eigvalsh(covariance)[-1]))


def _status(pair: Parallel, bound: Bound, tested: Sequence[Tested], final: Shift | None) -> Verdict:
    """The first thing that is wrong."""
    found = _NOTHING_SHARED
    if tested:
        found = (
            _check_chance(pair, tested[0])
            or _check_limit(pair, bound, tested[0], final)
            or _check_rivals(pair, tested)
            or _check_end(pair, tested[0], final)
            or ("ok", "")
        )
    return found if found[0] == "ok" else _check_constant(pair) or found


def _check_constant(pair: Parallel) -> Verdict | None:
    for name, values in (("fixed", pair.fixed), ("moving", pair.moving)):
        if values.size == 0:
            return "too little overlap", f"the {name} view has no voxel where the views overlap"
        if values.min() == values.max():
            return "no texture", (
                f"the {name} view holds nothing there: all voxels have the value "
                f"{float(values.min()):g} (background subtracted)"
            )
    return None


def _check_chance(pair: Parallel, best: Tested) -> Verdict | None:
    if best.candidate.significance >= _SIGNIFICANT:
        return None
    structure = min(structure_to_noise(v) for v in (pair.fixed, pair.moving))
    if structure < _STRUCTURED:
        return "no texture", (
            "the common volume holds no structure above the noise (smoothed, it varies "
            f"{structure:.2f} times as much as noise alone would; {_STRUCTURED:g} is needed)"
        )
    return "no match", (
        "the views agree nowhere better than by chance (evidence "
        f"{best.candidate.significance:.1f}, needed {_SIGNIFICANT:g})"
    )


def _check_limit(pair: Parallel, bound: Bound, best: Tested, final: Shift | None) -> Verdict | None:
    if bound.radius_um is None:
        return None
    offset = (final or best.shift).offset
    length = float(np.linalg.norm(np.subtract(offset, pair.offset) * pair.spacing_um))
    if length <= bound.radius_um and not best.candidate.at_limit:
        return None
    return "at the limit", (
        f"the best match lies at or beyond the allowed shift of {bound.radius_um:g} µm "
        f"(found at {length:.1f} µm); allow more if the stage may be that wrong"
    )


def _check_rivals(pair: Parallel, tested: Sequence[Tested]) -> Verdict | None:
    """Another shift that is nearly as good, by the score or, for a vague best one, in total."""
    if len(tested) < 2:
        return None
    best, rivals = tested[0], tested[1:]
    share = max(t.score for t in rivals) / best.score
    total = max(t.candidate.score for t in rivals) / best.candidate.score
    vague = best.shift.spread_bins > SHARP_BINS and total > _RIVAL_OF_VAGUE
    if share <= _RIVAL and total <= 1 and not vague:
        return None
    if share <= _RIVAL:
        share = total
    rival = max(rivals, key=lambda t: t.score if share < total else t.candidate.score)
    apart = np.subtract(rival.shift.offset, best.shift.offset) * pair.spacing_um
    return "ambiguous", (
        f"another shift fits {100 * min(1.0, share):.0f} % as well, "
        f"{float(np.linalg.norm(apart)):.1f} µm away (NCC {best.shift.ncc:.2f} and "
        f"{rival.shift.ncc:.2f})"
    )


def _check_end(pair: Parallel, best: Tested, final: Shift | None) -> Verdict | None:
    if final is None or not final.converged or final.ncc < _LOWEST_NCC:
        found = "" if final is None else f" (NCC {final.ncc:.2f})"
        return "no match", f"the match of the averaged views gets lost at higher resolution{found}"
    spread = max(final.spread_bins, best.shift.spread_bins)
    if spread <= _VAGUE:
        return None
    return "no texture", (
        "the structure of the common volume does not determine the shift: its parts disagree by "
        f"{_precision_um(final, pair.spacing_um):.2g} µm ({spread:.2g} voxels or bins; at most "
        f"{_VAGUE:g} are trusted)"
    )


def structure_to_noise(values: NDArray[np.float32]) -> float:
    """Variance of the smoothed patch relative to what white noise alone would leave; 1 ... ∞.

    The noise is estimated from second differences along x, by their median, so that structure
    hardly counts.
    """
    if values.shape[2] < 3:
        return math.inf
    rows = values[::2, ::2]
    second = rows[..., 2:] - 2 * rows[..., 1:-1] + rows[..., :-2]
    noise = float(np.median(np.abs(second))) / _MEDIAN_OF_NORMAL
    weights = gaussian(_SMOOTHING)
    left = noise**2 / _SECOND_DIFFERENCE * float((weights**2).sum()) ** 3
    smoothed = subtract_local_mean(smooth(values, (_SMOOTHING,) * 3), (_LOCAL,) * 3)
    inner = smoothed[tuple(slice(k, n - k) for n, k in ((n, min(3, n // 4)) for n in values.shape))]
    return float(inner.var(dtype=np.float64)) / left if left > 0 else math.inf
