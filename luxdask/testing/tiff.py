"""Read any 3-D TIFF as a uint16 volume with its voxel size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from luxdask.errors import ConfigError, ImageFileError
from luxdask.io.tiff_spacing import tiff_spacing_um

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from luxdask.model.geometry import Vector

_MAXIMUM = 60000.0


@dataclass(frozen=True, slots=True)
class TiffVolume:
    """A volume (Z, Y, X) or (C, Z, Y, X) uint16; the voxel size is None where no tag tells it."""

    volume: NDArray[np.uint16]
    spacing_um: Vector | None


def load_volume(path: str | os.PathLike[str]) -> TiffVolume:
    """Read a TIFF file with three axes, or four of which one is the channel.

    Floating point and wide integers are scaled to 0 ... 60000; uint8 and uint16 keep their values.
    Raises `ConfigError` for a missing file or other axes, `ImageFileError` for a damaged file.
    """
    if not Path(path).is_file():
        raise ConfigError(f"{path}: no such file; give a 3-D TIFF file")
    try:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            axes, array = series.axes, series.asarray()
            spacing = tiff_spacing_um(tiff)
    except (tifffile.TiffFileError, OSError, ValueError, IndexError) as error:
        raise ImageFileError(f"{path}: not a readable TIFF file: {error}") from error
    return TiffVolume(_as_uint16(_ordered(array, axes, path)), spacing)


def _ordered(array: NDArray[Any], axes: str, path: str | os.PathLike[str]) -> NDArray[Any]:
    """Channel first, axes of length 1 dropped."""
    kept = [(axis, n) for axis, n in zip(axes, array.shape, strict=True) if n > 1]
    array, axes = array.squeeze(), "".join(axis for axis, _ in kept)
    if array.ndim == 3 and "S" not in axes:
        return array
    channel = next((axes.index(c) for c in "CS" if c in axes), None)
    if array.ndim == 4 and channel is not None:
        return np.moveaxis(array, channel, 0)
    raise ConfigError(
        f"{path}: shape {array.shape} with axes {axes!r} given; needed are three axes (z, y, x), "
        "or four of which one is the channel"
    )


def _as_uint16(array: NDArray[Any]) -> NDArray[np.uint16]:
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return array.astype(np.uint16)
    values = np.nan_to_num(array.astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    scale = _MAXIMUM / (high - low) if high > low else 0.0
    return np.asarray(np.rint((values - low) * scale), dtype=np.uint16)
