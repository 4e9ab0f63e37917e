"""Voxels that a chunk needs beyond its own."""

from __future__ import annotations

from math import ceil, log
from typing import TYPE_CHECKING

import numpy as np

from luxdask.deconv.wiener_butterworth import covariance_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from luxdask.deconv.blur import Blur
    from luxdask.model.geometry import Shape

AT_TEN_ITERATIONS = 8.9
PER_LOG_ITERATIONS = 1.9
SHORTEST = 7.4
BACK_PROJECTOR = 5.5
"""Standard deviations of the point-spread function; see `halo_vx`."""


def halo_vx(
    blurs: Sequence[Blur],
    iterations: int = 10,
    *,
    order: str = "joint",
    back_projector: str = "matched",
    acceleration: bool = False,
) -> Shape:
    """Voxels (z, y, x) around a chunk with which its result is that of the whole volume.

    The same within 0.5 % of the local value: of a voxel's own or, if more, of what a view of the
    result would show there. Found by a search for the worst case: bright spots, 600 times the
    ground, just outside a chunk. Beside a whole bright layer of that contrast the ground may be off
    by 1 to 2 % (4 % after 2 iterations). More iterations, and bolder ones, reach further.
    """
    steps = float(iterations)
    if acceleration:
        steps *= (iterations + 2) / 1.5  # as many plain ones have the same reach
    if order == "ordered_subsets":
        steps *= len(blurs)
    sigmas = max(SHORTEST, AT_TEN_ITERATIONS + PER_LOG_ITERATIONS * log(steps / 10))
    if back_projector == "wiener_butterworth":
        sigmas += BACK_PROJECTOR * steps**0.5
    z, y, x = (ceil(sigmas * s) for s in np.max([_sigma_vx(b) for b in blurs], axis=0))
    return z, y, x


def _sigma_vx(blur: Blur) -> NDArray[np.float64]:
    return np.sqrt(np.diag(covariance_of(blur.kernel())))
