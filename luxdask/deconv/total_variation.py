"""Total variation as a factor on an estimate: noise is damped, edges stay.

Source: Dey et al. 2006, doi:10.1002/jemt.20294.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.array.backend import is_device, namespace
from luxdask.array.jit import kernel

if TYPE_CHECKING:
    from luxdask.deconv.workspace import Workspace

FLAT = 1e-2
"""Slopes below this share of the local value count as this share: flat is flat, without a sign."""

DARK = 1e-12
LARGEST = 2.0
"""No voxel becomes brighter by more than this factor."""


def damping(estimate: Any, strength: float, out: Any, work: Workspace) -> None:
    """``1 / (1 - strength * div(grad x / |grad x|))`` of the estimate x, into `out`.

    Slopes are per voxel, towards the next voxel; at the border they are 0. Both (Z, Y, X) float32.
    """
    if is_device(estimate):
        out[...] = damping_expression(estimate, strength)
        return
    values, target = np.ascontiguousarray(estimate), out
    work.run(
        lambda first, last: _damp(values, np.float32(strength), first, last, target), len(values)
    )


def damping_expression(x: Any, strength: float) -> Any:
    """The same as one expression, in the precision of `x`."""
    xp = namespace(x)
    slopes = [xp.diff(x, axis=axis, append=_plane(x, -1, axis)) for axis in range(3)]
    length = xp.sqrt(sum(s * s for s in slopes) + (FLAT * x) ** 2 + DARK**2)
    divergence = sum(
        xp.diff(slope / length, axis=axis, prepend=0 * _plane(x, 0, axis))
        for axis, slope in enumerate(slopes)
    )
    return 1 / xp.maximum(1 - strength * divergence, 1 / LARGEST)


def _plane(x: Any, n: int, axis: int) -> Any:
    """The first (0) or last (-1) plane along an axis."""
    index = (slice(None),) * axis + (slice(n, None if n else 1),)
    return x[index]


@kernel
def _damp(x, strength, first, last, out):  # type: ignore[no-untyped-def]
    nz, ny, nx = x.shape
    scales = np.zeros(
        (3, nx), np.float32
    )  # of this row and the one beside it in turn; of that above
    above = scales[2]
    for z in range(first, last):
        for y in range(ny):
            here, beside = scales[y & 1], scales[1 - (y & 1)]
            for k in range(2 if z > 0 else 1):
                _slope_scale(x, z - k, y, above if k else here)
            row, target = x[z, y], out[z, y]
            down, right = x[min(z + 1, nz - 1), y], x[z, min(y + 1, ny - 1)]
            up, left = x[max(z - 1, 0), y], x[z, max(y - 1, 0)]
            for i in range(nx):
                inflow = (row[i] - up[i]) * above[i] + (row[i] - left[i]) * beside[i]
                target[i] = (down[i] - row[i] + right[i] - row[i]) * here[i] - inflow
            for i in range(nx - 1):
                target[i] += (row[i + 1] - row[i]) * here[i]
            for i in range(1, nx):
                target[i] -= (row[i] - row[i - 1]) * here[i - 1]
            for i in range(nx):
                factor = np.float32(1) - strength * target[i]
                target[i] = np.float32(1) / max(factor, np.float32(1 / LARGEST))


@kernel
def _slope_scale(x, z, y, out):  # type: ignore[no-untyped-def]
    """One over the length of the slope on a row."""
    nz, ny, nx = x.shape
    row, down, right = x[z, y], x[min(z + 1, nz - 1), y], x[z, min(y + 1, ny - 1)]
    flat, dark = np.float32(FLAT**2), np.float32(DARK**2)
    for i in range(nx):
        a, b, c = down[i] - row[i], right[i] - row[i], row[min(i + 1, nx - 1)] - row[i]
        out[i] = np.float32(1) / np.sqrt(a * a + b * b + c * c + flat * row[i] * row[i] + dark)
