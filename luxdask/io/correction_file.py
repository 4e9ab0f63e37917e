"""TIFF files of mean projections, of camera pixels, and of the layers that correct images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from luxdask.array.correct import binned_layers
from luxdask.errors import ConfigError, ImageFileError
from luxdask.io.replace_file import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


KEPT = 8
"""Corrections whose layers stay in memory: 32 MiB each for a sensor of 2048 x 2048 pixels."""


@dataclass(frozen=True)
class Layers:
    """What corrects the pixels of an image: offset, factor, and which pixels are hot.

    All are (Y, X); `hot` is None where no pixel is.
    """

    offset: NDArray[np.float32]
    factor: NDArray[np.float32]
    hot: NDArray[np.bool_] | None


def write_plane(path: Path, plane: NDArray[np.floating]) -> None:
    """Write a plane, or several, as float32 TIFF; readers see the old file or the new one."""
    _write(path, plane.astype(np.float32))


def read_plane(path: str | Path, what: str) -> NDArray[np.float64]:
    """The only plane of a TIFF.

    what : the setting or the thing it is, for messages. Raises `ConfigError` naming both.
    """
    pages = _pages(path, what)
    if pages.ndim != 2 or not np.isfinite(pages).all():
        raise ConfigError(
            f"{what}: {path} has shape {pages.shape}; one plane of finite numbers is needed"
        )
    return pages.astype(np.float64)


def read_planes(path: str | Path, what: str) -> NDArray[np.float64]:
    """All planes of a TIFF as (planes, rows, columns)."""
    pages = _pages(path, what).astype(np.float64)
    return pages if pages.ndim == 3 else pages[np.newaxis]


def write_layers(path: Path, layers: Layers) -> None:
    """Write three planes as TIFF: offset, factor, and 1 where pixels are hot."""
    hot = np.zeros(layers.factor.shape) if layers.hot is None else layers.hot
    _write(path, np.stack([layers.offset, layers.factor, hot]).astype(np.float32))


@lru_cache(maxsize=KEPT)
def read_layers(path: str, digest: str) -> Layers:
    """The layers of a correction; kept, as every window asks for them.

    digest : what they are made of; part of the call so that newer ones are not mixed up.
    Raises `ImageFileError` where they have not been made yet.
    """
    try:
        offset, factor, hot = _pages(path, f"correction {digest}")
    except (ConfigError, ValueError) as error:
        raise ImageFileError(
            f"{path}: the layers of the flatfield or camera-pixel correction are not there, or "
            "not whole. A run makes them before anything else: run the task once"
        ) from error
    return Layers(offset, factor, hot > 0 if (hot > 0).any() else None)


@lru_cache(maxsize=KEPT)
def read_binned_layers(
    path: str, digest: str, bins: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Offset and factor for a stored level that averages `bins` (rows, columns) of pixels."""
    layers = read_layers(path, digest)
    if bins == (1, 1):
        return layers.offset, layers.factor
    return binned_layers(layers.offset, layers.factor, bins)


def _pages(path: str | Path, what: str) -> NDArray[np.generic]:
    import tifffile

    try:
        pages: NDArray[np.generic] = np.squeeze(tifffile.imread(path))
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise ConfigError(f"{what}: cannot read {path} as TIFF: {error}") from error
    return pages


def _write(path: Path, pages: NDArray[np.float32]) -> None:
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        tifffile.imwrite(file, pages, photometric="minisblack")
