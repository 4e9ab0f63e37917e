"""Corrections that gross errors do not spoil, and how large an error is usual.

Plain least squares spreads an error of one link over its neighbours, so residuals against it tell
little about which link is wrong. Here links are weighted by the Geman-McClure function of their
residual, whose width narrows from beyond the largest residual (graduated non-convexity, Yang et al.
2020, doi:10.1109/LRA.2020.2965893). The width at which to stop is the one that best explains the
residuals as normally distributed ones of links that are right and evenly spread ones of links that
are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from luxdask.registration.network import Corrections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.registration.least_squares import Fit
    from luxdask.registration.network import Network

_WIDTH = 5.0  # usual residuals within the Geman-McClure width: weight 0.84 for one of 1.5
_NARROWING = 1.5
_POLISH = 5
_SPREAD = 1e4  # range of wrong links in expected standard deviations, at least
_CLAIMS = 3.0  # factor by which expected standard deviations may well be wrong
_BELIEF = 4.0  # numbers that the expected standard deviation counts for beside the measured ones


@dataclass(frozen=True)
class Estimate:
    """A robust solution.

    Attributes
    ----------
    corrections
        Of all nodes.
    weights
        What each link counts for, 0 ... 1 times its weight.
    usual_um
        Usual residual along one axis, by each link's precision, (links,).
    """

    corrections: Corrections
    weights: NDArray[np.float64]
    usual_um: NDArray[np.float64]


def estimate_robust(network: Network, fit: Fit, floor_um: float) -> Estimate:
    """Corrections by the majority of the links, and the scale to judge the residuals of all by."""
    plain = network.weights
    current = fit.minimise(network, plain, Corrections.none(network.count))
    if not network.usable.any():
        return Estimate(current, plain, np.maximum(network.sigma_um, floor_um))
    if fit.model == "affine":
        scale, current = _soften(network, fit, floor_um)
    else:
        preferred = plain * _plausible(network, floor_um) * _uneven(len(plain))
        scale, current = _narrow(network, fit, preferred, current)
    for _ in range(_POLISH):
        weights = plain * _geman_mcclure(_relative(network, current), _WIDTH * scale)
        current = fit.step(network, weights, current)
        relative = _relative(network, current)
        scale = _usual(network, relative, relative <= _WIDTH * scale)
    weights = plain * _geman_mcclure(relative, _WIDTH * scale)
    current = fit.minimise(network, weights, current)
    return Estimate(current, weights, np.maximum(scale * network.sigma_um, floor_um))


def _soften(network: Network, fit: Fit, floor_um: float) -> tuple[float, Corrections]:
    """Start of an affine solution from the links that are right in a rigid one.

    Shear can take up a gross error so well that the wrong link fits as well as its neighbours;
    rotations cannot.
    """
    rigid = estimate_robust(network, replace(fit, model="rigid"), floor_um)
    current = fit.minimise(network, rigid.weights, rigid.corrections)
    right = rigid.weights > network.weights / 4
    return _usual(network, _relative(network, current), right), current


def _narrow(
    network: Network, fit: Fit, weights: NDArray[np.float64], start: Corrections
) -> tuple[float, Corrections]:
    """Narrow the width step by step; the usual residual and corrections at the best width."""
    current = start
    relative = _relative(network, current)
    width = float(relative[network.usable].max())
    best = (np.inf, 1.0, current)
    while True:
        scale = _usual(network, relative, relative <= width)
        best = min(best, (_surprise(network, relative, width, scale), scale, current), key=_first)
        width /= _NARROWING
        if width < 1.0:
            return best[1], best[2]
        current = fit.step(network, weights * _geman_mcclure(relative, width), current)
        relative = _relative(network, current)


def _first(candidate: tuple[float, float, Corrections]) -> float:
    return candidate[0]


def _relative(network: Network, corrections: Corrections) -> NDArray[np.float64]:
    return corrections.residual_um(network) / network.sigma_um


def _geman_mcclure(relative: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    square = max(width, 1e-12) ** 2
    return np.asarray(np.square(square / (square + np.square(relative))))


def _plausible(network: Network, floor_um: float) -> NDArray[np.float64]:
    """Less weight for links that ask for far larger shifts than the others do.

    Where links contradict each other one against one, it is the larger shift that gives way.
    """
    shifts = np.linalg.norm(network.away.mean(axis=1), axis=1)
    common = 3 * float(np.median(shifts[network.usable])) + 20 * floor_um
    return np.asarray(1 / (1 + np.square(shifts / common)))


def _uneven(count: int) -> NDArray[np.float64]:
    """Slightly different weights: two links in a perfect balance would both keep half the error."""
    golden = (np.sqrt(5.0) - 1) / 2
    return np.asarray(1.0 + 0.02 * np.mod(golden * np.arange(count), 1.0))


def _spare(network: Network, inside: NDArray[np.bool_]) -> int:
    """Links beyond those that hold the nodes together: only these can show a residual."""
    parts, _ = network.components(inside)
    return int(inside.sum()) - (network.count - parts)


def _usual(network: Network, relative: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Usual residual along one axis of the links that are right, in expected deviations.

    Counted by the links to spare: those that merely hold the nodes together fit by themselves. With
    few to spare, the expected precision is believed instead.
    """
    inside = network.usable & right
    squares = float(np.square(relative[inside]).sum())
    return float(np.sqrt((_BELIEF + squares) / (_BELIEF + 3 * _spare(network, inside))))


def _surprise(network: Network, relative: NDArray[np.float64], width: float, scale: float) -> float:
    """Negative logarithm of the likelihood, links within the width taken as right."""
    right = network.usable & (relative <= width)
    word = network.share
    wrong = float(word[network.usable].sum() - word[right].sum())
    spread = max(_SPREAD, float(relative[network.usable].max()))
    squares = float((word * np.square(relative))[right].sum())
    normal = 3 * float(word[right].sum()) * np.log(scale) + squares / (2 * scale**2)
    claims = np.square(np.log(scale) / np.log(_CLAIMS)) / 2
    return float(normal + 3 * wrong * np.log(spread) + claims)


def without(network: Network, removed: NDArray[np.bool_]) -> Network:
    """The same network with some of its links taking no part."""
    return replace(network, usable=network.usable & ~removed)
