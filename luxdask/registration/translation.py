"""The shift between two patches with parallel axes: search on bins, refinement to the full detail.

Every step compares the volume that both patches share at the shift in question, nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import Shape, Vector, shape3, vector
from luxdask.registration.candidates import Bound, Candidate, find_candidates, search_factor
from luxdask.registration.filters import bin_mean
from luxdask.registration.shift import Shift, refine_shift
from luxdask.registration.trust import Tested, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.registration.match import Match, MatchParams
    from luxdask.registration.parallel import Parallel

    Volume = NDArray[np.float32]

_SIGMA = (0.7, 0.7, 0.7)
_RADIUS = (5, 5, 5)
_COARSER = 4  # bins of one level in a bin of the level before
_SAME_BINS = 1.0
_RETRIED = ("no match", "ambiguous", "no texture")
_SAMPLE, _USUAL, _LIMIT = 200_000, 0.6, 2.0


def match_translation(pair: Parallel, params: MatchParams) -> Match:
    """Measure the shift of a pair within ``params.maximum_translation_um``.

    ``params.background`` is subtracted first; with ``params.fine_alignment`` off the result is that
    of the last step on bins, where the patches are large enough for bins. A pair that does not
    match is tried once more with bright parts dimmed: dirt that one view sees outshines the rest.
    """
    fixed, moving = (_without(values, params.background) for values in (pair.fixed, pair.moving))
    pair = replace(pair, fixed=fixed, moving=moving)
    found = _match(pair, params)
    if found.status not in _RETRIED:
        return found
    dimmed = _match(replace(pair, fixed=dim(fixed), moving=dim(moving)), params)
    return dimmed if dimmed.status == "ok" else found


def _match(pair: Parallel, params: MatchParams) -> Match:
    fixed, moving = pair.fixed, pair.moving
    factor = search_factor(shape3(fixed.shape), shape3(moving.shape), pair.spacing_um)
    bound = Bound(pair.offset, pair.spacing_um, params.maximum_translation_um)
    if not fixed.size or not moving.size:
        return judge(pair, bound, [], None)
    tested = _test(fixed, moving, factor, find_candidates(fixed, moving, factor, bound))
    if not tested:
        return judge(pair, bound, tested, None)
    levels = _levels(factor)[1:]
    final = _refine(
        fixed, moving, tested[0].shift, levels if params.fine_alignment else levels[:-1]
    )
    return judge(pair, bound, tested, final)


def dim(values: Volume) -> Volume:
    """Grey values with a soft limit at a few times their usual distance from the median."""
    sample = values.reshape(-1)[:: max(1, values.size // _SAMPLE)]
    middle = np.median(sample)
    limit = np.float32(_LIMIT * np.quantile(np.abs(sample - middle), _USUAL))
    if limit == 0:
        return values
    away = values - np.float32(middle)
    return np.asarray(away / np.sqrt(1 + (away / limit) ** 2))


def _without(values: Volume, background: float) -> Volume:
    values = np.ascontiguousarray(values)
    if background == 0:
        return values
    return np.asarray(np.maximum(values - np.float32(background), np.float32(0)))


def _levels(factor: Shape) -> list[Shape]:
    """From the search's bins to single voxels."""
    levels = [factor]
    while max(levels[-1]) > 1:
        levels.append(shape3([max(1, n // _COARSER) for n in levels[-1]]))
    return levels


def _test(
    fixed: Volume, moving: Volume, factor: Shape, candidates: list[Candidate]
) -> list[Tested]:
    """The candidates refined on bins, one of those that end at the same place, the best first."""
    fixed, moving = bin_mean(fixed, factor), bin_mean(moving, factor)
    tested: list[Tested] = []
    for candidate in candidates:
        start = vector(np.divide(candidate.offset, factor))
        shift = refine_shift(fixed, moving, start, sigma_vx=_SIGMA, radius=_RADIUS)
        if shift is not None and not _known(shift, tested, factor):
            tested.append(Tested(candidate, shift.scaled(factor)))
    return sorted(tested, key=lambda t: -t.score)


def _known(shift: Shift, tested: list[Tested], factor: Shape) -> bool:
    at = np.multiply(shift.offset, factor)
    reach = np.multiply(_SAME_BINS, factor)
    return any((np.abs(np.subtract(t.shift.offset, at)) < reach).all() for t in tested)


def _refine(fixed: Volume, moving: Volume, start: Shift, levels: list[Shape]) -> Shift | None:
    """On ever smaller bins; None where the match gets lost on the way."""
    shift: Shift | None = start
    for factor in levels:
        if shift is None:
            return None
        begin: Vector = vector(np.divide(shift.offset, factor))
        found = refine_shift(
            bin_mean(fixed, factor),
            bin_mean(moving, factor),
            begin,
            sigma_vx=_SIGMA,
            radius=_RADIUS,
        )
        shift = None if found is None else found.scaled(factor)
    return shift
