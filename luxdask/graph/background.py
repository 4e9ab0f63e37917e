"""The layer of backgrounds: one grey value per view, estimated once, kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luxdask.fusion.background import estimate_background
from luxdask.io.reader import reader_for
from luxdask.io.replace_file import replacing
from luxdask.model.geometry import Box
from luxdask.model.levels import level_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape
    from luxdask.model.view import Source

PLANES = 32
"""Planes that are looked at, evenly spread."""

LEAST_VOXELS = 1 << 18
"""The stored level that is read has at least so many voxels, where the view has."""


def view_background(source: Source, shape: Shape) -> float:
    """The background of a view in grey values; reads a few planes of a coarse level."""
    return estimate_background(_planes(source, shape))


def _planes(source: Source, shape: Shape) -> Iterator[NDArray[np.uint16]]:
    reader = reader_for(source)
    levels = sorted(reader.levels(source), key=lambda factor: int(np.prod(factor)))
    large = [f for f in levels if int(np.prod(level_shape(shape, f))) >= LEAST_VOXELS]
    level = large[-1] if large else levels[0]
    nz, ny, nx = level_shape(shape, level)
    for z in np.unique(np.linspace(0, nz - 1, PLANES).round().astype(int)).tolist():
        plane = np.empty((1, ny, nx), dtype=np.uint16)
        reader.read_into(source, Box((z, 0, 0), (z + 1, ny, nx)), plane, level=level)
        yield plane[0]


def save_background(source: Source, shape: Shape, path: str) -> str:
    """Estimate a view's background and keep it at `path` (NumPy format); returns the path."""
    value = np.float64(view_background(source, shape))
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        np.save(file, value)
    return path


def load_background(path: str) -> float:
    """A background that was saved."""
    return float(np.load(path))
