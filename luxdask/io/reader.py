"""What an input image format must be able to do, and which reader an image takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from luxdask.io import lux_reader
from luxdask.io.stored_levels import level_source, stored_levels
from luxdask.model.levels import FULL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from luxdask.model.geometry import Box, Shape
    from luxdask.model.view import Source


class Reader(Protocol):
    """Reads one kind of input file; small, immutable and picklable, safe in many threads."""

    def levels(self, source: Source) -> tuple[Shape, ...]:
        """Downsampling factors (z, y, x) of the stored levels, full resolution first."""

    def read_into(
        self, source: Source, box: Box, out: NDArray[np.uint16], *, level: Shape = FULL
    ) -> None:
        """Fill `out` with the voxels of a region, given in voxels of the level of these factors."""


@dataclass(frozen=True, slots=True)
class LuxReader:
    """Images in Luxendo's HDF5 form."""

    def levels(self, source: Source) -> tuple[Shape, ...]:
        """Downsampling factors (z, y, x) of the stored levels, full resolution first."""
        return stored_levels(source)

    def read_into(
        self, source: Source, box: Box, out: NDArray[np.uint16], *, level: Shape = FULL
    ) -> None:
        """Fill `out` (shape of `box`, any strides) with a region of a stored level.

        Raises `ImageFileError` naming the file: unreadable, truncated, or without this level.
        """
        path, dataset = level_source(source, level)
        lux_reader.read_into(path, dataset, box, out)


def reader_for(source: Source) -> Reader:
    """The reader for an image; every input so far is a `.lux.h5`."""
    return LuxReader()
