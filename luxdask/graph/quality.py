"""The layer of image-quality maps: one small array per view, computed once, kept on disk."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luxdask.fusion.quality import CELL, PLANE_STEP, cell_energy, quality_weights
from luxdask.io.reader import reader_for
from luxdask.io.replace_file import replacing
from luxdask.model.geometry import Box
from luxdask.model.levels import FULL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape
    from luxdask.model.view import Source


def estimate_quality(source: Source, shape: Shape, strength: float) -> NDArray[np.float32]:
    """Weights of a view per 64-voxel cell, (Z, Y, X) float32; reads one plane in four."""
    layers = [
        cell_energy(_planes(source, shape, z, min(z + CELL, shape[0])))
        for z in range(0, shape[0], CELL)
    ]
    return quality_weights(np.stack(layers), strength)


def _planes(source: Source, shape: Shape, start: int, stop: int) -> NDArray[np.uint16]:
    wanted = range(start, stop, PLANE_STEP)
    planes = np.empty((len(wanted), *shape[1:]), dtype=np.uint16)
    reader = reader_for(source)
    for out, z in zip(planes, wanted, strict=True):
        box = Box((z, 0, 0), (z + 1, *shape[1:]))
        reader.read_into(source, box, out[np.newaxis], level=FULL)
    return planes


def save_quality(source: Source, shape: Shape, strength: float, path: str) -> str:
    """Compute a view's map and keep it at `path` (NumPy format); returns the path."""
    weights = estimate_quality(source, shape, strength)
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        np.save(file, weights)
    return path


@lru_cache(maxsize=256)
def load_quality(path: str) -> NDArray[np.float32]:
    """A map that was saved; each worker reads it once."""
    weights: NDArray[np.float32] = np.load(path)
    return weights
