"""Uneven light estimated from images with a sample in them: what all of them have in common.

Each image counts as its brightness times the field of the light (a matrix of rank one), with parts
that do not fit: the sample. In logarithms that is a sum, which is fitted so that the sum of the
absolute misfits is least; so bright cells and dark holes count little. The field is a polynomial of
fourth degree, which is smooth and need not be level at the border. The idea of a low-rank fit with
sparse misfits is that of BaSiC (Peng et al. 2017, doi:10.1038/ncomms14836), the method is simpler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import legendre

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float64]

DEGREE = 4
ROUNDS = 40
LEAST_MISFIT = 0.02
"""Relative misfits below this all count alike."""

DARKEST = 1e-3
"""Values below this part of the mean of their image are taken for this part."""


def fit_field(samples: Field, bins: tuple[int, int], shape: tuple[int, int]) -> Field:
    """The field of the light, 1 where it is brightest.

    samples : (P, Y, X) means over `bins` (rows, columns) of pixels, one per part of an image.
    shape : (rows, columns) of the field in pixels. Raises `ValueError` where all samples are dark.
    """
    means = samples.mean(axis=(1, 2))
    lit = samples[means > 0]
    if not len(lit):
        raise ValueError("the mean projection is zero everywhere")
    floor = DARKEST * means[means > 0][:, None, None]
    logs = np.log(np.maximum(lit, floor)).reshape(len(lit), -1)
    places = [
        (np.arange(n) * b + b / 2) / size * 2 - 1
        for n, b, size in zip(samples.shape[1:], bins, shape, strict=True)
    ]
    factors = _least_misfit(logs, _polynomials(places[0], places[1]))
    whole = _polynomials(*((np.arange(n) + 0.5) / n * 2 - 1 for n in shape))
    field = (whole @ factors).reshape(shape)
    result: Field = np.exp(field - field.max())
    return result


def _polynomials(y: Field, x: Field) -> Field:
    """Columns: all products of Legendre polynomials up to the degree, but not the constant."""
    along_y, along_x = legendre.legvander(y, DEGREE), legendre.legvander(x, DEGREE)
    columns = [
        np.outer(along_y[:, j], along_x[:, i]).ravel()
        for j in range(DEGREE + 1)
        for i in range(DEGREE + 1 - j)
        if i + j > 0
    ]
    return np.stack(columns, axis=1)


def _least_misfit(logs: Field, basis: Field) -> Field:
    """Factors of the polynomials, by least squares whose weights follow the misfits."""
    factors = np.zeros(basis.shape[1])
    for _ in range(ROUNDS):
        field = basis @ factors
        brightness = np.median(logs - field, axis=1, keepdims=True)
        weights = 1 / np.maximum(np.abs(logs - brightness - field), LEAST_MISFIT)
        total = weights.sum(axis=0)
        wanted = (weights * (logs - brightness)).sum(axis=0)
        normal = (basis * total[:, None]).T @ basis
        factors = np.linalg.lstsq(normal, basis.T @ wanted, rcond=None)[0]
    return factors
