"""Files that hold a measured point-spread function: TIFF stacks and NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.errors import ConfigError, ImageFileError
from luxdask.io.tiff_spacing import tiff_spacing_um

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Vector


@dataclass(frozen=True, slots=True)
class Stack:
    """An image as it lies in a file: any axes and type, and the voxel size where one is given."""

    values: NDArray[Any]
    spacing_um: Vector | None

    @property
    def digest(self) -> str:
        """A checksum of the voxels."""
        data = np.ascontiguousarray(self.values)
        return sha256(repr((data.shape, str(data.dtype))).encode() + data.tobytes()).hexdigest()


def read_stack(path: str) -> Stack:
    """Read a ``.tif``, ``.tiff`` or ``.npy`` file; axes of length 1 before the last three go.

    Raises `ConfigError` for a missing file or another kind, `ImageFileError` for a damaged one.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"{path}: no such file; give a TIFF stack or a .npy array (z, y, x)")
    kind = file.suffix.lower()
    if kind == ".npy":
        return Stack(_without_leading(_read_npy(file)), None)
    if kind in (".tif", ".tiff"):
        values, spacing = _read_tiff(file)
        return Stack(_without_leading(values), spacing)
    raise ConfigError(f"{path}: files ending in .tif, .tiff or .npy can be read, not {kind!r}")


def _without_leading(values: NDArray[Any]) -> NDArray[Any]:
    while values.ndim > 3 and values.shape[0] == 1:
        values = values[0]
    return values


def _read_npy(file: Path) -> NDArray[Any]:
    try:
        values: NDArray[Any] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageFileError(f"{file}: not a readable NumPy array: {error}") from error
    return values


def _read_tiff(file: Path) -> tuple[NDArray[Any], Vector | None]:
    import tifffile

    try:
        with tifffile.TiffFile(file) as tiff:
            return tiff.series[0].asarray(), tiff_spacing_um(tiff)
    except (tifffile.TiffFileError, OSError, ValueError, IndexError) as error:
        raise ImageFileError(f"{file}: not a readable TIFF file: {error}") from error
