"""Fuse the windows of several views on a GPU: arguments and launch of the kernels in `fuse.cu`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.array.backend import namespace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape

KERNELS = {"linear": "fuse_linear", "cubic": "fuse_cubic"}

THREADS = (32, 8, 1)
"""Threads of a CUDA block along x, y and z: a warp writes consecutive voxels."""

MAX_PLANES = 65_535
"""CUDA's limit on a grid along z."""

VIEW = np.dtype(
    [
        ("start", np.int64),
        ("pitch", np.int64, 2),
        ("to_window", np.float64, (3, 4)),
        ("border", np.float64, (3, 2)),
        ("slope", np.float64, 3),
        ("cells", np.int64, 4),
        ("to_cell", np.float64, (3, 4)),
    ]
)
"""One view of a block, field by field as in `fuse.cu`; every field has 8 bytes, so none pads."""


def source() -> str:
    """Text of the kernels."""
    return files("luxdask.fusion").joinpath("fuse.cu").read_text(encoding="utf-8")


def fuse_views(
    pool: Any,
    views: NDArray[Any],
    quality: NDArray[np.float32],
    shape: Shape,
    *,
    interpolation: str,
    blend: bool,
    scale: float,
) -> Any:
    """Weighted mean of all views on a block of output voxels, on the GPU that holds `pool`.

    pool : (N,) uint16 on the GPU, the windows of all views and one voxel more.
    views : (V,) `VIEW`, on the CPU.
    quality : (N,) float32 on the CPU, the quality maps of all views.
    shape : (Z, Y, X) of the block.
    Returns a new uint16 array on the GPU; it may still be being computed.
    """
    xp = namespace(pool)
    out = xp.empty(shape, dtype=np.uint16)
    if out.size == 0:
        return out
    _kernel(xp, KERNELS[interpolation])(
        _grid(shape),
        THREADS,
        (
            pool,
            xp.asarray(_bytes(views)),
            np.int32(len(views)),
            xp.asarray(quality if quality.size else np.zeros(1, np.float32)),
            np.int32(blend),
            np.float32(scale),
            *(np.int32(n) for n in shape),
            out,
        ),
    )
    return out


@cache
def _kernel(cupy: Any, name: str) -> Any:
    """A kernel; CuPy compiles it for each kind of GPU on first use and keeps the result on disk."""
    return cupy.RawKernel(source(), name)


def _grid(shape: Shape) -> tuple[int, int, int]:
    nz, ny, nx = shape
    return -(-nx // THREADS[0]), -(-ny // THREADS[1]), min(nz, MAX_PLANES)


def _bytes(views: NDArray[Any]) -> NDArray[np.uint8]:
    """GPUs know no records: the table as bytes, and never none at all."""
    table = views if len(views) else np.zeros(1, VIEW)
    return np.frombuffer(table.tobytes(), dtype=np.uint8)
