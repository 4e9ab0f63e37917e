"""Whether an alignment is to be trusted: what it explains, and how much that says."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import Affine, BoundingBox
from luxdask.registration import refine_kernel
from luxdask.registration.align import sum_over
from luxdask.registration.match import Match
from luxdask.registration.points import even_points

if TYPE_CHECKING:
    from luxdask.model.links import Status
    from luxdask.registration.align import Fit
    from luxdask.registration.match import MatchParams
    from luxdask.registration.patch import Patch
    from luxdask.registration.points import Points
    from luxdask.registration.texture import Texture

_EVEN_POINTS = 200_000
_LEAST_NCC = 0.1
_PART_OF_REACHABLE = 0.35
_SIGNIFICANT = 6.0  # standard deviations of the correlation of unrelated content
_USUAL_GRAIN = 4.0
_LEAST_INDEPENDENT = 200
_FLOOR = 0.01  # of the scale: nothing is measured more precisely


@dataclass(frozen=True, slots=True)
class Aligned:
    """A fit and the textures (at one scale) that it was found with."""

    fit: Fit
    fixed: Texture
    moving: Texture
    scale_um: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two textures are where both are known.

    Attributes
    ----------
    ncc
        Normalised cross-correlation, -1 ... 1.
    independent
        How many independent places were compared.
    grain_um3
        Volume of such a place.
    """

    ncc: float
    independent: float
    grain_um3: float


def common_box(fixed: Patch, moving: Patch, transform: Affine) -> BoundingBox:
    """What both patches see, in the sample space of the fixed one."""
    first = BoundingBox.of_volume(_shape(fixed), fixed.to_world)
    return first & BoundingBox.of_volume(_shape(moving), transform @ moving.to_world)


def _shape(patch: Patch) -> tuple[int, int, int]:
    z, y, x = patch.values.shape
    return (z, y, x)


def agreement(
    fixed: Texture, moving: Texture, transform: Affine, box: BoundingBox
) -> Agreement | None:
    """How well two textures agree all over the common box; None where there is none."""
    points = even_points(fixed, box, _EVEN_POINTS)
    if points is None:
        return None
    sums = np.empty(refine_kernel.SUMS)
    inside = sum_over(points, moving, transform, np.zeros(3), sums)
    w, f, m, ff, fm, mm = sums[150:].tolist()
    if inside < 2 or ff <= f * f / w or mm <= m * m / w:
        return None
    ncc = (fm - f * m / w) / sqrt((ff - f * f / w) * (mm - m * m / w))
    grain = _grain_um3(points)
    common = points.volume_um3 * inside / len(points.places)
    return Agreement(ncc, common / grain, grain)


def _grain_um3(points: Points) -> float:
    """Volume over which structure hangs together, from its gradients.

    For a Gaussian autocorrelation the mean squares of values and gradients give its width.
    """
    strength = float(np.square(points.places[:, 3]).mean())
    slopes = np.square(points.gradients).mean(axis=0) + 1e-30
    return float(np.prod(np.sqrt(2 * pi * strength / (2 * slopes))))


def judge(
    aligned: Aligned, fixed: Patch, moving: Patch, start: Affine, params: MatchParams
) -> Match:
    """The match with its quality, precision and status."""
    transform = aligned.fit.transform
    box = common_box(fixed, moving, transform)
    found = agreement(aligned.fixed, aligned.moving, transform, box) if box else None
    if found is None:
        return failed(start, params, box, "too little overlap", "no common volume is left")
    spread = _spread_um2(aligned, found)
    status, reason = _verdict(found, spread, aligned, box, params)
    return Match(
        transform=transform,
        model=params.model,
        quality=min(max(found.ncc, 0.0), 1.0),
        precision_um=sqrt(max(float(np.trace(spread)) / 3, (_FLOOR * aligned.scale_um) ** 2)),
        overlap=box,
        status=status,
        reason=reason,
    )


def _spread_um2(aligned: Aligned, found: Agreement) -> np.typing.NDArray[np.float64]:
    """Covariance of the shift: neighbouring points within a grain say the same."""
    return aligned.fit.variance_um2 * max(1.0, aligned.fit.density * found.grain_um3)


def _verdict(
    found: Agreement,
    spread: np.typing.NDArray[np.float64],
    aligned: Aligned,
    box: BoundingBox,
    params: MatchParams,
) -> tuple[Status, str]:
    if found.independent < _LEAST_INDEPENDENT:
        # structure of the usual grain, a few times the scale, would fill it with enough places
        room = found.independent * found.grain_um3 / (_USUAL_GRAIN * aligned.scale_um) ** 3
        return "too little overlap" if room < _LEAST_INDEPENDENT else "no texture", (
            f"the common volume holds about {found.independent:.0f} independent details, "
            f"{_LEAST_INDEPENDENT} are needed"
        )
    needed = _needed_ncc(found, aligned)
    if found.ncc < needed:
        return "no match", (
            "the views do not look alike in their common volume: "
            f"correlation {found.ncc:.2f}, {needed:.2f} is needed"
        )
    worst = sqrt(max(float(np.linalg.eigvalsh(spread).max()), 0.0))
    if worst > aligned.scale_um:
        return "no texture", (
            f"the structure leaves the shift open along one direction (to ± {worst:.1f} µm)"
        )
    return _limits(aligned.fit.transform, box, params)


def _needed_ncc(found: Agreement, aligned: Aligned) -> float:
    """More than unrelated content reaches when the best of many places is taken.

    The noise bounds what alike content can reach, so that less is asked of noisy views.
    """
    reachable = _without_noise(aligned.fixed.contrast) * _without_noise(aligned.moving.contrast)
    return max(_LEAST_NCC, _PART_OF_REACHABLE * reachable, _SIGNIFICANT / sqrt(found.independent))


def _without_noise(contrast: float) -> float:
    """Root of the part of a texture's variance that is not noise."""
    return sqrt(max(1 - 1 / contrast**2, 0.0))


def _limits(transform: Affine, box: BoundingBox, params: MatchParams) -> tuple[Status, str]:
    middle = (np.array(box.lower) + box.upper) / 2
    shift = float(np.linalg.norm(transform.apply(middle) - middle))
    bound = params.maximum_translation_um
    if bound is not None and shift > bound:
        return "at the limit", (
            f"the best match is {shift:.1f} µm away; the maximum translation is {bound:g} µm"
        )
    turn = transform.rotation_deg
    largest = sqrt(3) * params.maximum_rotation_deg
    if params.maximum_rotation_deg > 0 and turn > largest:
        return "at the limit", (
            f"the best match is turned by {turn:.1f}°; "
            f"the maximum rotation is {params.maximum_rotation_deg:g}° about each axis"
        )
    return "ok", ""


def failed(
    start: Affine, params: MatchParams, box: BoundingBox, status: Status, reason: str
) -> Match:
    """A match that nothing came of."""
    return Match(start, params.model, 0.0, float("inf"), box, status, reason)
