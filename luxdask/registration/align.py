"""Alignment of two patches at one scale, in any orientation: shift, rigid or affine.

The structure of the moving patch is explained, by weighted least squares, as that of
the fixed one with a gain, an offset and a small displacement: that maximises normalised
cross-correlation. The alignment is found where the fixed patch's gradients say so (inverse
compositional): interpolating the noise of the moving patch cannot pull it towards places between
voxels. Source: Baker and Matthews 2004, doi:10.1023/B:VISI.0000011205.11775.fd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import Affine
from luxdask.registration import refine_kernel
from luxdask.registration.points import border_vx

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.links import Model
    from luxdask.registration.points import Points
    from luxdask.registration.texture import Texture

    Array = NDArray[np.float64]

_ITERATIONS = 20
_STEP = 0.003  # in units of the scale, at the farthest corner
_LARGEST_STEP = 1.5
_OUTLIER = 3.0  # residuals of so many standard deviations count a quarter
_LEAST_POINTS = 300
_DAMPING = 0.05
_SAMPLE = 50_000


@dataclass(frozen=True, slots=True)
class Fit:
    """A transform (moving -> fixed, sample space) and how well it fits at one scale.

    Attributes
    ----------
    variance_um2
        (3, 3) covariance of the shift, if the residuals of all points were independent.
    density
        Points per µm³ that it comes from.
    """

    transform: Affine
    variance_um2: Array
    density: float


def align(
    fixed: Texture, moving: Texture, start: Affine, model: Model, points: Points, scale_um: float
) -> Fit | None:
    """Best transform near `start` at one scale; None where the patches lose each other."""
    basis = _basis(model)
    transform, fit = start, np.zeros(3)
    sums = np.empty(refine_kernel.SUMS)
    variance, curvature = np.zeros((3, 3)), _curvature(points)
    for _ in range(_ITERATIONS):
        inside = sum_over(points, moving, transform, fit, sums)
        if inside < _LEAST_POINTS:
            return None
        solution = _solve(sums, basis, curvature)
        if solution is None:
            return None
        variance = solution.variance
        step, size = _limited(solution.step, points, _LARGEST_STEP * scale_um)
        transform = _moved(transform, step, points, model)
        fit = np.array([solution.gain, solution.offset, _OUTLIER * solution.residual])
        if size < _STEP * scale_um:
            break
    return Fit(transform, variance, len(points.places) / points.volume_um3)


@dataclass(frozen=True, slots=True)
class _Solution:
    step: Array  # (3, 4): displacement in µm of a place (1, z, y, x)
    gain: float
    offset: float
    residual: float
    variance: Array


def sum_over(points: Points, moving: Texture, transform: Affine, fit: Array, sums: Array) -> int:
    """Fill `sums`; returns the number of points within the moving patch."""
    place_to_world = Affine.scale([points.radius_um] * 3, points.centre)
    to_voxel = moving.to_world.inverse() @ transform.inverse() @ place_to_world
    margin = border_vx(moving)
    return int(
        refine_kernel.sums(
            moving.values,
            points.places,
            points.gradients,
            to_voxel.to_array(),
            points.radius_um,
            margin,
            fit,
            sums,
        )
    )


def _basis(model: Model) -> Array:
    """(12, K) fields of displacement; row 4 i + k is what axis i has of (1, z, y, x)[k]."""
    shifts = np.zeros((12, 3))
    shifts[[0, 4, 8], [0, 1, 2]] = 1
    if model == "translation":
        return shifts
    if model == "affine":
        return np.eye(12)
    turns = np.zeros((12, 3))
    for k, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
        turns[4 * i + 1 + j, k] = 1
        turns[4 * j + 1 + i, k] = -1
    return np.hstack([shifts, turns])


_PAIRS = [(k, q) for k in range(4) for q in range(k, 4)]


def _cross_matrix(sums: Array) -> Array:
    """(12, 12) sums of G_i x_k D_j x_q, made symmetric."""
    out = np.empty((3, 4, 3, 4))
    blocks = sums[:90].reshape(3, 3, 10)
    for n, (k, q) in enumerate(_PAIRS):
        out[:, k, :, q] = out[:, q, :, k] = blocks[:, :, n]
    square = out.reshape(12, 12)
    return (square + square.T) / 2


def _solve(sums: Array, basis: Array, curvature: Array) -> _Solution | None:
    """Regression of the moving values on the fixed ones, displacements, and a constant.

    The fixed gradients are its instruments: the product of both patches' gradients holds no noise,
    while squares of gradients do, and would make every step too short.
    """
    w, f, m, ff, fm, _ = sums[150:].tolist()
    variance = ff - f * f / w
    gain = (fm - f * m / w) / variance if variance > 0 else 0.0
    if not gain > 0:
        return None
    k = basis.shape[1]
    own = gain * w * basis.T @ curvature @ basis
    cross = basis.T @ _cross_matrix(sums) @ basis + _DAMPING * own
    if np.linalg.eigvalsh(cross).min() <= _DAMPING * np.linalg.eigvalsh(own).min() / 2:
        cross = own  # too far apart for the gradients to match
    left = np.empty((k + 2, k + 2))
    left[:k, :k] = cross
    left[:k, k], left[k, :k] = basis.T @ sums[90:102], basis.T @ sums[126:138]
    left[:k, k + 1], left[k + 1, :k] = basis.T @ sums[102:114], basis.T @ sums[138:150]
    left[k:, k:] = [[ff, f], [f, w]]
    right = np.concatenate([basis.T @ sums[114:126], [fm, m]])
    try:
        solution = np.linalg.solve(left, right)
        inverse = np.linalg.inv(cross)
    except np.linalg.LinAlgError:
        return None
    offset = (m - gain * f) / w
    rest = max(_residual(sums, gain, offset), 0.0)
    spread = inverse @ own @ inverse * rest / gain
    if not np.isfinite(solution).all():
        return None
    step = (basis @ solution[:k]).reshape(3, 4)
    return _Solution(step, gain, offset, float(np.sqrt(rest)), spread[:3, :3])


def _residual(sums: Array, gain: float, offset: float) -> float:
    """Mean square of what the fixed values leave of the moving ones."""
    w, f, m, ff, fm, mm = sums[150:].tolist()
    square = mm + gain**2 * ff + offset**2 * w
    return float((square - 2 * gain * fm - 2 * offset * m + 2 * gain * offset * f) / w)


def _curvature(points: Points) -> Array:
    """(12, 12) mean of G_i x_k G_j x_q over some of the points."""
    some = slice(None, None, max(1, len(points.places) // _SAMPLE))
    places = np.concatenate(
        [np.ones((len(points.places[some]), 1), np.float32), points.places[some, :3]], axis=1
    )
    fields = (points.gradients[some, :, None] * places[:, None, :]).reshape(-1, 12)
    return np.asarray(fields.T @ fields, dtype=np.float64) / len(fields)


def _limited(step: Array, points: Points, largest_um: float) -> tuple[Array, float]:
    """The step, made smaller if a corner would move farther than allowed; and how far one moves."""
    corners = (points.corners - points.centre) / points.radius_um
    moves = step[:, 0] + corners @ step[:, 1:].T
    size = float(np.linalg.norm(moves, axis=1).max())
    return step * min(1.0, largest_um / max(size, 1e-12)), size


def _moved(transform: Affine, step: Array, points: Points, model: Model) -> Affine:
    """`transform` followed by a small displacement about the centre of the points."""
    linear = np.eye(3) + step[:, 1:] / points.radius_um
    if model != "affine":
        linear = nearest_rotation(linear)
    centre = points.centre
    small = Affine.from_array(linear, centre + step[:, 0] - linear @ centre)
    return small @ transform


def nearest_rotation(linear: Array) -> Array:
    """The rotation that differs least from a matrix."""
    u, _, v = np.linalg.svd(linear)
    return np.asarray(u @ v)
