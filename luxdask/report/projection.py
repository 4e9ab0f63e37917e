"""Maximum projections of stored images, read piece by piece at the resolution of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.io.reader import reader_for
from luxdask.model.geometry import Box, vector
from luxdask.model.levels import FULL, level_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape, Vector
    from luxdask.model.view import View

SIDE_PX = 800
"""Wanted pixels along the longer side of a picture."""

READ_VOXELS = 1 << 26
"""Voxels read per image; where no small level is stored, planes are left out evenly."""

PIECE_VOXELS, PLANES_PER_PIECE = 1 << 23, 8
"""Voxels held in memory at a time, and the planes that these are to contain at least."""


@dataclass(frozen=True, slots=True)
class Projections:
    """Maximum projections of an image along its three axes.

    Attributes
    ----------
    front, top, side
        Along z (Y, X), along y (Z, X) and along x (Z, Y); float32 grey values.
    extent_um
        Size of the image (z, y, x), voxel borders included.
    """

    front: NDArray[np.float32]
    top: NDArray[np.float32]
    side: NDArray[np.float32]
    extent_um: Vector


def project(view: View, side_px: int = SIDE_PX, read_voxels: int = READ_VOXELS) -> Projections:
    """Project a stored image, using the smallest stored level that still has `side_px` pixels.

    What is larger than needed is averaged laterally, and at most about `read_voxels` voxels are
    read. Raises `ImageFileError` where the image cannot be read.
    """
    reader = reader_for(view.source)
    level = choose_level(reader.levels(view.source), view.shape, side_px)
    shape = level_shape(view.shape, level)
    bins = _bins(shape, side_px)
    planes = _planes(shape, read_voxels)
    height, width = shape[1] // bins[0] * bins[0], shape[2] // bins[1] * bins[1]
    fronts, sides = [], []
    top = np.zeros((len(planes), width), dtype=np.uint16)
    for y, rows in _bands(height, shape[2], bins[0]):
        front = np.zeros((rows, width), dtype=np.uint16)
        side = np.zeros((len(planes), rows), dtype=np.uint16)
        for at, count in _slabs(planes, rows * width):
            box = Box((planes[at], y, 0), (planes[at] + count, y + rows, width))
            block = np.empty(box.shape, dtype=np.uint16)
            reader.read_into(view.source, box, block, level=level)
            z = slice(at, at + count)
            np.maximum(front, block.max(axis=0), out=front)
            np.maximum(top[z], block.max(axis=1), out=top[z])
            side[z] = block.max(axis=2)
        fronts.append(_averaged(front, bins))
        sides.append(_averaged(side, (1, bins[0])))
    extent_um = vector(np.multiply(view.shape, view.spacing_um))
    averaged = _averaged(top, (1, bins[1]))
    return Projections(np.concatenate(fronts), averaged, np.concatenate(sides, axis=1), extent_um)


def choose_level(levels: Sequence[Shape], shape: Shape, side_px: int) -> Shape:
    """The coarsest level whose longer lateral side has at least `side_px` voxels, else the full."""
    enough = (f for f in levels if max(level_shape(shape, f)[1:]) >= side_px)
    return max(enough, key=lambda factor: int(np.prod(factor)), default=FULL)


def _bins(shape: Shape, side_px: int) -> tuple[int, int]:
    factor = max(1, max(shape[1:]) // side_px)
    return min(factor, shape[1]), min(factor, shape[2])


def _planes(shape: Shape, read_voxels: int) -> range:
    most = max(1, read_voxels // (shape[1] * shape[2]))
    return range(0, shape[0], -(-shape[0] // most))


def _bands(height: int, width: int, step: int) -> Iterator[tuple[int, int]]:
    """First row and number of rows, in multiples of `step`."""
    rows = max(1, PIECE_VOXELS // (PLANES_PER_PIECE * width * step)) * step
    for y in range(0, height, rows):
        yield y, min(rows, height - y)


def _slabs(planes: range, size: int) -> Iterator[tuple[int, int]]:
    """Number of the first plane and how many are read together; just one where some are skipped."""
    depth = max(1, PIECE_VOXELS // size) if planes.step == 1 else 1
    for at in range(0, len(planes), depth):
        yield at, min(depth, len(planes) - at)


def _averaged(image: NDArray[np.uint16], bins: tuple[int, int]) -> NDArray[np.float32]:
    rows, columns = image.shape[0] // bins[0], image.shape[1] // bins[1]
    blocks = image.reshape(rows, bins[0], columns, bins[1])
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
