"""Measured point-spread functions: cleaned, centred, and resampled on the output grid."""

from __future__ import annotations

from itertools import product
from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from luxdask.errors import ConfigError
from luxdask.model.geometry import shape3

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from luxdask.model.geometry import Shape, Vector

MOST_VOXELS = 1 << 24
"""Of a measured point-spread function, in the file as well as on the output grid."""

KEPT_LIGHT = 0.999
"""Part of the light that a cropped point-spread function holds."""

_NOISE_LEVELS = 3.0
_SUBSAMPLES = 5


def checked_psf(psf: NDArray[np.generic], name: str) -> NDArray[np.float32]:
    """The stack as (Z, Y, X) float32; raises `ConfigError` where it cannot be one."""
    if psf.ndim != 3:
        raise _bad(name, f"it has {psf.ndim} axes {psf.shape}; needed are three (z, y, x)")
    if not 0 < psf.size <= MOST_VOXELS:
        raise _bad(
            name,
            f"its shape is {psf.shape}; needed is at least one voxel, and at most {MOST_VOXELS:,}: "
            "crop it around the middle of the spot",
        )
    if psf.dtype.kind not in "uif":
        raise _bad(name, f"its voxels are {psf.dtype}; needed are real numbers")
    values = psf.astype(np.float32)
    if not np.isfinite(values).all():
        raise _bad(name, "it holds values that are not finite (NaN or infinity)")
    return values


def cleaned_psf(psf: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Without its background, cropped to what holds the light, its sum 1.

    Background and noise are those of the outer shell of the stack: its median is subtracted, and
    what does not rise above three times its spread becomes 0. Raises `ConfigError` where nothing
    is left.
    """
    shell = psf[_shell(psf.shape)]
    background = float(np.median(shell)) if shell.size else 0.0
    noise = 1.4826 * float(np.median(np.abs(shell - background))) if shell.size else 0.0
    light = np.where(psf > background + _NOISE_LEVELS * noise, psf - background, 0)
    if not light.sum() > 0:
        raise _bad(name, "no voxel is brighter than its border; it should hold one spot")
    light = _cropped(light.astype(np.float32))
    return np.asarray(light / light.sum(dtype=np.float64), dtype=np.float32)


def resampled_psf(
    psf: NDArray[np.float32],
    spacing_um: Vector,
    axes: ArrayLike,
    out_spacing_um: Vector,
) -> NDArray[np.float32]:
    """A cleaned stack on the output grid: odd shape, its centre of light in the middle, sum 1.

    axes : unit vectors in sample space (rows: z, y, x) along which the stack's axes lie.
    Where output voxels are larger than those of the stack, it is averaged over them.
    Raises `ConfigError` where it would have more than `MOST_VOXELS` voxels.
    """
    middle = _centre_of_light(psf)
    # output voxel -> voxel of the stack, relative to the two centres
    to_psf = np.asarray(axes) * np.array(out_spacing_um) / np.array(spacing_um)[:, None]
    half = _half_widths(psf.shape, middle, np.linalg.inv(to_psf))
    shape = shape3([2 * h + 1 for h in half])
    if prod(shape) > MOST_VOXELS:
        raise ConfigError(
            f"fusion.deconvolution.psf_file: in output voxels it is {shape} large, more than "
            f"{MOST_VOXELS:,} voxels; crop it, check its voxel size {spacing_um} µm, or raise "
            "output.sampling"
        )
    total = np.zeros(shape)
    for shift in _subsamples(to_psf):
        ranges = [np.arange(-h, h + 1) + s for h, s in zip(half, shift, strict=True)]
        grid = np.stack(np.meshgrid(*ranges, indexing="ij"))
        at = np.tensordot(to_psf, grid, axes=1) + middle[:, None, None, None]
        total += ndimage.map_coordinates(psf, at, order=1, mode="constant", cval=0.0)
    light = _centred(total.astype(np.float32))
    return np.asarray(light / light.sum(dtype=np.float64), dtype=np.float32)


def _bad(name: str, why: str) -> ConfigError:
    return ConfigError(f"{name}: not a point-spread function: {why}")


def _shell(shape: Sequence[int]) -> NDArray[np.bool_]:
    """The outermost voxels, along axes that have more than two."""
    outer = np.zeros(shape, dtype=bool)
    for axis, n in enumerate(shape):
        if n > 2:
            moved = np.moveaxis(outer, axis, 0)
            moved[0] = moved[-1] = True
    return outer


def _cropped(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """The part of a stack that holds `KEPT_LIGHT` along each axis."""
    ranges = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        below = np.cumsum(light.sum(axis=others, dtype=np.float64))
        lost = (1 - KEPT_LIGHT) / 2 * below[-1]
        first = int(np.searchsorted(below, lost, side="right"))
        last = int(np.searchsorted(below, below[-1] - lost, side="left"))
        ranges.append(slice(first, last + 1))
    return light[tuple(ranges)]


def _centred(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cropped alike on both sides of the middle."""
    ranges = []
    for axis, n in enumerate(light.shape):
        others = tuple(a for a in range(3) if a != axis)
        along = light.sum(axis=others, dtype=np.float64)
        middle = n // 2
        pairs = along[middle:] + along[middle::-1]
        kept = np.cumsum(pairs) - along[middle]
        half = int(np.searchsorted(kept, KEPT_LIGHT * kept[-1], side="left"))
        ranges.append(slice(middle - half, middle + half + 1))
    return light[tuple(ranges)]


def _centre_of_light(psf: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of the bright part: faint remains of the background far out count as little as they should.

    Voxels are weighted by how far they rise above a fifth of the brightest.
    """
    bright = np.maximum(psf - 0.2 * psf.max(), 0)
    return np.array(ndimage.center_of_mass(bright))


def _half_widths(
    shape: Sequence[int], middle: NDArray[np.float64], to_out: NDArray[np.float64]
) -> Shape:
    """Output voxels on each side of the middle that the stack reaches."""
    ends = [(-0.5 - m, n - 0.5 - m) for n, m in zip(shape, middle, strict=True)]
    corners = np.array(list(product(*ends)))
    reach = np.abs(corners @ to_out.T).max(axis=0)
    return shape3([ceil(r) for r in reach])


def _subsamples(to_psf: NDArray[np.float64]) -> Iterator[tuple[float, float, float]]:
    """Points of an output voxel at which the stack is looked up; one where it is coarser."""
    steps = np.linalg.norm(to_psf, axis=0)
    counts = [min(_SUBSAMPLES, max(1, ceil(s - 1e-6))) for s in steps]
    z, y, x = ((np.arange(n) - (n - 1) / 2) / n for n in counts)
    return ((float(a), float(b), float(c)) for a in z for b in y for c in x)
