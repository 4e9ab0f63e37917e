"""Undo what camera pixels and field of view have done to voxels: one pass over a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.array.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@kernel
def correct_in_place(voxels, offset, factor):  # type: ignore[no-untyped-def]
    """Make each voxel ``(voxel - offset) * factor``, rounded to nearest, within 0 ... 65535.

    voxels : (Z, Y, X) uint16, any strides. offset, factor : (Y, X) float32, for every plane alike.
    """
    nz, ny, nx = voxels.shape
    for z in range(nz):
        for y in range(ny):
            line, o, f = voxels[z, y], offset[y], factor[y]
            for x in range(nx):
                value = (np.float32(line[x]) - o[x]) * f[x]
                value = min(max(value, np.float32(0)), np.float32(65535)) + np.float32(0.5)
                line[x] = np.uint16(np.int32(value))


def replace_hot(voxels: NDArray[Any], hot: NDArray[np.bool_]) -> None:
    """Give marked pixels the median of their unmarked neighbours in the same plane, in place.

    voxels : (Z, Y, X) of any type. hot : (Y, X). Neighbours are the up to eight pixels around;
    a pixel whose neighbours are all marked keeps its value.
    """
    ny, nx = hot.shape
    wanted = {}
    for y, x in np.argwhere(hot).tolist():
        rows, columns = slice(max(y - 1, 0), min(y + 2, ny)), slice(max(x - 1, 0), min(x + 2, nx))
        good = ~hot[rows, columns]
        if good.any():
            around = voxels[:, rows, columns][:, good]
            values = np.median(around, axis=1)
            whole = np.issubdtype(voxels.dtype, np.integer)
            wanted[y, x] = (np.rint(values) if whole else values).astype(voxels.dtype)
    for (y, x), values in wanted.items():
        voxels[:, y, x] = values


def binned_layers(
    offset: NDArray[np.float32], factor: NDArray[np.float32], bins: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Layers for means over `bins` (rows, columns) of pixels; a remainder at the end is dropped.

    The mean of corrected pixels is ``mean(f) * v - mean(f * o)`` where the pixels of a bin share
    the value v: exact there, and near it where the factor changes little within a bin.
    """
    f = binned_means(factor.astype(np.float64), bins)
    o = binned_means(factor.astype(np.float64) * offset, bins) / f
    return o.astype(np.float32), f.astype(np.float32)


def binned_means(layer: NDArray[np.float64], bins: tuple[int, int]) -> NDArray[np.float64]:
    """Means over `bins` (rows, columns) of pixels; a remainder at the end is dropped."""
    (by, bx), (ny, nx) = bins, layer.shape
    by, bx = min(by, ny), min(bx, nx)
    whole = layer[: ny // by * by, : nx // bx * bx]
    means: NDArray[np.float64] = whole.reshape(ny // by, by, nx // bx, bx).mean(axis=(1, 3))
    return means
