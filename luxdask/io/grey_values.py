"""Voxels of any type as the uint16 that everything else works with; nothing is cut off unsaid.

uint8, uint16 and bool are taken as they are. Other whole numbers are, too, but each is looked at:
one outside of 0 to 65535 is an error. Floating point needs a range, which becomes 0 to 65535; whole
numbers may have one. With a range, what lies beyond it gets its end, and NaN (no data) becomes 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import ImageFileError, MetadataError
from luxdask.model.value_range import NATIVE, SETTING, needed_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.view import Source

GREATEST = 65535
KINDS = "buif"


def voxel_type(dtype: np.dtype[np.generic], where: str) -> str:
    """Name of a type of voxels.

    Raises `MetadataError` naming `where` for what is no number.
    """
    if dtype.kind not in KINDS or dtype.itemsize > 8:
        raise MetadataError(
            f"{where}: voxels are of type {dtype}; luxdask reads whole numbers and floating point "
            "of up to 64 bits"
        )
    return dtype.newbyteorder("=").name


def store(values: NDArray[np.generic], out: NDArray[np.uint16], source: Source) -> None:
    """Put stored voxels into `out`.

    Raises `ImageFileError` naming the file where a value does not fit; it says what to set.
    """
    value_range = source.foreign.value_range if source.foreign else None
    if values.dtype.name in NATIVE:
        out[...] = values
    elif value_range is not None:
        out[...] = _scaled(values, *value_range)
    elif values.dtype.kind == "f":
        raise ImageFileError(f"{source.path}: {needed_for(values.dtype.name)}")
    else:
        _check_range(values, source.path)
        out[...] = values


def _scaled(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint16]:
    scaled = (values.astype(np.float64) - low) * (GREATEST / (high - low))
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=np.inf, neginf=-np.inf)
    np.clip(np.rint(scaled, out=scaled), 0, GREATEST, out=scaled)
    return scaled.astype(np.uint16)


def _check_range(values: NDArray[np.generic], path: str) -> None:
    if values.size == 0:
        return
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > GREATEST:
        raise ImageFileError(
            f"{path}: voxels are {values.dtype.name} and hold {low if low < 0 else high}, the "
            f"output is uint16 (0 to {GREATEST}). Set {SETTING} to the values that become 0 "
            f"and {GREATEST}"
        )
