"""Sub-voxel shift between two volumes: Newton's method on their cross-correlation.

Both are smoothed and freed of their local mean on exactly the voxels that they share, so that
neither borders nor windows pull the result towards zero. The moving volume is sampled between its
voxels by the smoothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numba
import numpy as np

from luxdask.model.geometry import Box, Shape, Vector, shape3, vector
from luxdask.registration.filters import smooth, subtract_local_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

THINNEST = 3
_LONGEST_STEP = 1.0
_RECENTRE = 0.6  # kernels reach this far; less often than 0.5, so that no start flips to and fro
_BORDER = 2  # voxels next to the end of the data, smoothed with repeated values
_PARTS = 8
_PART_VX = 4
_N, _F, _M, _FF, _MM, _FM, _GF, _GM, _GFM, _FGM, _H, _X, _COUNT = (
    *range(6),
    6,
    9,
    12,
    15,
    18,
    24,
    28,
)


@dataclass(frozen=True, slots=True)
class Shift:
    """Where ``moving[x]`` lies in the fixed volume: at ``x + offset``.

    Attributes
    ----------
    offset
        In voxels.
    ncc
        Normalised cross-correlation of the filtered volumes on `box`.
    covariance
        Of `offset` (3, 3), from how well the parts of the volume agree with each other.
    spread_bins
        Its standard deviation in the worst direction, in voxels of the volumes that were compared.
    box
        The compared voxels of the fixed volume.
    converged
        Whether the last step was below the tolerance.
    """

    offset: Vector
    ncc: float
    covariance: NDArray[np.float64]
    spread_bins: float
    box: Box
    converged: bool

    def scaled(self, factor: Shape) -> Shift:
        """The same of volumes of which these were bins."""
        start, stop = (
            shape3([a * f for a, f in zip(at, factor, strict=True)])
            for at in (self.box.start, self.box.stop)
        )
        return replace(
            self,
            offset=vector(np.multiply(self.offset, factor)),
            covariance=self.covariance * np.outer(factor, factor),
            box=Box(start, stop),
        )


def refine_shift(
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
    start: Vector,
    *,
    sigma_vx: Vector = (1.0, 1.0, 1.0),
    radius: Shape = (10, 10, 10),
    iterations: int = 10,
    tolerance: float = 0.02,
) -> Shift | None:
    """Maximise the NCC of two (Z, Y, X) float32 volumes from a start within about a voxel.

    sigma_vx : smoothing; radius : half width of the box whose mean is subtracted; tolerance : step
    in voxels after which to stop (what is left is a small part of it).

    None where fewer than three voxels overlap along an axis, or a volume is 0 there.
    """
    offset, last = np.array(start), np.zeros(3)
    whole, box, reference = _recentre(fixed, moving, offset, sigma_vx, radius)
    newton, converged = None, False
    for _ in range(iterations):
        if (np.abs(offset - whole) > _RECENTRE).any():
            whole, box, reference = _recentre(fixed, moving, offset, sigma_vx, radius)
        if min(box.shape) < THINNEST:
            return None
        there = box.shift([-int(w) for w in whole])
        other = smooth(moving, sigma_vx, there, vector(whole - offset))
        newton = _newton(reference, subtract_local_mean(other, radius))
        if newton is None:
            return None
        step = np.clip(newton.step, -_LONGEST_STEP, _LONGEST_STEP)
        if step @ last < 0:  # to and fro about the maximum
            step /= 2
        offset, last = offset + step, step
        converged = bool((np.abs(step) < tolerance).all())
        if converged:
            break
    return None if newton is None else _result(offset, newton, box, converged)


def _recentre(
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
    offset: NDArray[np.float64],
    sigma_vx: Vector,
    radius: Shape,
) -> tuple[NDArray[np.float64], Box, NDArray[np.float32]]:
    """The nearest whole shift, what is shared there, and the fixed volume on it, filtered."""
    whole = np.rint(offset)
    box = shared_box(shape3(fixed.shape), shape3(moving.shape), shape3(whole.tolist()))
    if min(box.shape) < THINNEST:
        return whole, box, fixed
    return whole, box, subtract_local_mean(smooth(fixed, sigma_vx, box), radius)


def _result(offset: NDArray[np.float64], newton: _Newton, box: Box, converged: bool) -> Shift:
    spread = float(np.sqrt(max(0.0, np.linalg.eigvalsh(newton.covariance)[-1])))
    return Shift(vector(offset), newton.ncc, newton.covariance, spread, box, converged)


def shared_box(fixed: Shape, moving: Shape, whole: Shape) -> Box:
    """Voxels of the fixed volume that the moving one covers, shifted by `whole`, less a border.

    The border is thinner where little overlaps.
    """
    box = Box.of_shape(fixed) & Box.of_shape(moving).shift(whole)
    border = [min(_BORDER, max(0, (n - THINNEST) // 4)) for n in box.shape]
    start = [a + b for a, b in zip(box.start, border, strict=True)]
    stop = [a - b for a, b in zip(box.stop, border, strict=True)]
    return Box(shape3(start), shape3(stop))


@dataclass(frozen=True, slots=True)
class _Newton:
    """A step to the maximum of the cross-correlation, and what is known about its place."""

    step: NDArray[np.float64]
    ncc: float
    covariance: NDArray[np.float64]


def _newton(fixed: NDArray[np.float32], moving: NDArray[np.float32]) -> _Newton | None:
    """None where a volume is 0 everywhere.

    With C(s) = sum of fixed(x + s) moving(x): its slope is the sum of grad(fixed) moving, and also
    of -fixed grad(moving); their mean vanishes exactly for equal volumes, whatever the borders.
    Its curvature is -sum grad(fixed) grad(moving)ᵀ, in which independent noise cancels.
    """
    blocks = _blocks(fixed.shape)
    parts = np.zeros((blocks[0] * blocks[1], _COUNT))
    _accumulate(fixed, moving, blocks, parts)
    total = parts.sum(axis=0)
    mean_f, mean_m = total[_F] / total[_N], total[_M] / total[_N]
    var_f = total[_FF] / total[_N] - mean_f**2
    var_m = total[_MM] / total[_N] - mean_m**2
    if not (var_f > 0 and var_m > 0):
        return None
    scale = 1 / np.sqrt(var_f * var_m)
    slopes = parts[:, _GFM : _GFM + 3] - mean_m * parts[:, _GF : _GF + 3]
    slopes -= parts[:, _FGM : _FGM + 3] - mean_f * parts[:, _GM : _GM + 3]
    ramp = _gain_ramp(parts, _centres(fixed.shape, blocks), var_f, var_m)
    slopes = (slopes + ramp * parts[:, _FM, None]) * (scale / 2)
    inverse = np.asarray(np.linalg.inv(_curvature(total[_H : _H + 6] * scale)), dtype=np.float64)
    return _Newton(
        step=inverse @ slopes.sum(axis=0),
        ncc=float((total[_FM] / total[_N] - mean_f * mean_m) * scale),
        covariance=_covariance(inverse, slopes, parts[:, _N]),
    )


def _blocks(shape: tuple[int, ...]) -> tuple[int, int]:
    """Into how many parts z and y are cut: many, but parts should not know of each other."""
    z, y = (min(_PARTS, max(1, n // _PART_VX)) for n in shape[:2])
    return z, y


def _centres(shape: tuple[int, ...], blocks: tuple[int, int]) -> NDArray[np.float64]:
    """Middle of every block along z and y, in voxels from that of the volume, (blocks, 2)."""
    z, y = (((np.arange(k) + 0.5) / k - 0.5) * n for n, k in zip(shape[:2], blocks, strict=True))
    return np.stack(np.meshgrid(z, y, indexing="ij"), axis=-1).reshape(-1, 2)


def _gain_ramp(
    parts: NDArray[np.float64], centres: NDArray[np.float64], var_f: float, var_m: float
) -> NDArray[np.float64]:
    """Change per voxel of the moving volume's brightness relative to the fixed one's, (3,).

    Where tiles overlap, both cameras see the border of their field, darker in opposite directions;
    that looks like a shift: for moving = fixed (1 + ramp x) the slope of the cross-correlation is
    -ramp/2 times the sum of fixed moving. The ramp is a weighted least-squares fit to the squares
    of the two, block by block in z and y, by moments in x.
    """
    power_f = np.stack([parts[:, _FF], parts[:, _X], parts[:, _X + 2]]) / (2 * var_f)
    power_m = np.stack([parts[:, _MM], parts[:, _X + 1], parts[:, _X + 3]]) / (2 * var_m)
    w0, w1, w2 = power_f + power_m
    r0, r1, _ = power_m - power_f
    basis = np.column_stack([np.ones(len(centres)), centres])
    normal = np.zeros((4, 4))
    normal[:3, :3] = (basis * w0[:, None]).T @ basis
    normal[:3, 3] = normal[3, :3] = w1 @ basis
    normal[3, 3] = w2.sum()
    fitted = np.linalg.pinv(normal, rcond=1e-9) @ np.append(r0 @ basis, r1.sum())
    return np.asarray(fitted[1:])


def _curvature(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric (3, 3), made positive definite where the start is far from the maximum."""
    zz, zy, zx, yy, yx, xx = sums
    values, vectors = np.linalg.eigh(np.array([[zz, zy, zx], [zy, yy, yx], [zx, yx, xx]]))
    values = np.maximum(np.abs(values), 1e-6 * np.abs(values).max() + 1e-12)
    return np.asarray((vectors * values) @ vectors.T)


def _covariance(
    inverse: NDArray[np.float64], slopes: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of the shift, from how much the blocks contradict each other (the sandwich estimate)."""
    blocks = len(slopes)
    spread = slopes - slopes.sum(axis=0) * (counts / counts.sum())[:, None]
    return np.asarray(inverse @ (spread.T @ spread) @ inverse * (blocks / max(1, blocks - 1)))


# Sums may be reordered here, which lets them run in vectors.
_reordering = numba.njit(nogil=True, cache=True, fastmath=True, boundscheck=False)
# Compiled on its own, a part would round differently fresh and from numba's cache.
_part = numba.njit(inline="always", fastmath=True, boundscheck=False)


@_part
def _gradient(before, after, scale, row, out_z):  # type: ignore[no-untyped-def]
    for i in range(len(row)):
        out_z[i] = (after[i] - before[i]) * scale


@_part
def _gradient_row(row, out):  # type: ignore[no-untyped-def]
    n = len(row)
    for i in range(1, n - 1):
        out[i] = (row[i + 1] - row[i - 1]) * np.float32(0.5)
    out[0] = row[1] - row[0]
    out[n - 1] = row[n - 1] - row[n - 2]


@_part
def _gradients(values, z, y, out):  # type: ignore[no-untyped-def]
    """Central differences of a row along z, y and x (one-sided at the border), (3, X)."""
    nz, ny, _ = values.shape
    z0, z1 = max(z - 1, 0), min(z + 1, nz - 1)
    y0, y1 = max(y - 1, 0), min(y + 1, ny - 1)
    row = values[z, y]
    _gradient(values[z0, y], values[z1, y], np.float32(1 / (z1 - z0)), row, out[0])
    _gradient(values[z, y0], values[z, y1], np.float32(1 / (y1 - y0)), row, out[1])
    _gradient_row(row, out[2])


@_reordering
def _accumulate(fixed, moving, blocks, parts):  # type: ignore[no-untyped-def]
    """Sums that Newton's method needs, for each block of rows."""
    nz, ny, nx = fixed.shape
    kz, ky = blocks
    gf, gm = np.empty((3, nx), np.float32), np.empty((3, nx), np.float32)
    at = (np.arange(nx) - (nx - 1) / 2).astype(np.float32)
    for z in range(nz):
        for y in range(ny):
            _gradients(fixed, z, y, gf)
            _gradients(moving, z, y, gm)
            sums = parts[z * kz // nz * ky + y * ky // ny]
            _power_sums(fixed[z, y], moving[z, y], at, sums)
            _slope_sums(fixed[z, y], moving[z, y], gf, gm, sums)


@_part
def _power_sums(f, m, at, sums):  # type: ignore[no-untyped-def]
    zero = np.float32(0)
    s1, s2, s3, s4, s5, s6, s7, s8, s9 = zero, zero, zero, zero, zero, zero, zero, zero, zero
    for i in range(len(f)):
        ff, mm = f[i] * f[i], m[i] * m[i]
        xf, xm = at[i] * ff, at[i] * mm
        s1 += f[i]
        s2 += m[i]
        s3 += ff
        s4 += mm
        s5 += f[i] * m[i]
        s6 += xf
        s7 += xm
        s8 += at[i] * xf
        s9 += at[i] * xm
    sums[0] += len(f)
    sums[1] += s1
    sums[2] += s2
    sums[3] += s3
    sums[4] += s4
    sums[5] += s5
    sums[24] += s6
    sums[25] += s7
    sums[26] += s8
    sums[27] += s9


@_part
def _slope_sums(f, m, gf, gm, sums):  # type: ignore[no-untyped-def]
    fz, fy, fx = gf[0], gf[1], gf[2]
    mz, my, mx = gm[0], gm[1], gm[2]
    zero = np.float32(0)
    for k in range(3):
        a, b = gf[k], gm[k]
        s1, s2, s3, s4 = zero, zero, zero, zero
        for i in range(len(f)):
            s1 += a[i]
            s2 += b[i]
            s3 += a[i] * m[i]
            s4 += f[i] * b[i]
        sums[6 + k] += s1
        sums[9 + k] += s2
        sums[12 + k] += s3
        sums[15 + k] += s4
    s0, s1, s2, s3, s4, s5 = zero, zero, zero, zero, zero, zero
    half = np.float32(0.5)
    for i in range(len(f)):
        s0 += fz[i] * mz[i]
        s1 += half * (fz[i] * my[i] + fy[i] * mz[i])
        s2 += half * (fz[i] * mx[i] + fx[i] * mz[i])
        s3 += fy[i] * my[i]
        s4 += half * (fy[i] * mx[i] + fx[i] * my[i])
        s5 += fx[i] * mx[i]
    sums[18] += s0
    sums[19] += s1
    sums[20] += s2
    sums[21] += s3
    sums[22] += s4
    sums[23] += s5
