"""The background of a view: what the camera shows where there is no light of the sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

LATERAL = 4
"""Voxels averaged per lateral axis, so that camera noise does not count as dark."""

PERCENTILE = 2.0
"""Of the averages: nearly nothing is darker."""


def estimate_background(planes: Iterable[NDArray[np.uint16]]) -> float:
    """Grey value of the background from a sample of a view's planes (Y, X).

    A low percentile of small averages: it is that of the dark where the image has some, and never
    much above the darkest part where it has none. Voxels of value 0 are no data and do not count;
    0 where there are no others.
    """
    means = np.concatenate([_averages(plane) for plane in planes])
    means = means[means > 0]
    return float(np.percentile(means, PERCENTILE)) if means.size else 0.0


def _averages(plane: NDArray[np.uint16]) -> NDArray[np.float32]:
    ny, nx = (min(LATERAL, n) for n in plane.shape)
    rows, columns = plane.shape[0] // ny, plane.shape[1] // nx
    cut = plane[: rows * ny, : columns * nx].reshape(rows, ny, columns, nx)
    means = cut.mean(axis=(1, 3), dtype=np.float32)
    means[(cut == 0).any(axis=(1, 3))] = 0
    return np.asarray(means.ravel())
