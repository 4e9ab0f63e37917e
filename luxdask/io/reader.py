"""What an input image format must be able to do, and which reader an image takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
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


@dataclass(frozen=True, slots=True)
class CroppedReader:
    """Reads images of which a region counts as the whole, through the reader of the whole."""

    whole: Reader

    def levels(self, source: Source) -> tuple[Shape, ...]:
        """Levels of the whole image whose voxels begin where the region begins."""
        start = _crop(source).start
        return tuple(
            level
            for level in self.whole.levels(replace(source, crop=None))
            if all(first % factor == 0 for first, factor in zip(start, level, strict=True))
        )

    def read_into(
        self, source: Source, box: Box, out: NDArray[np.uint16], *, level: Shape = FULL
    ) -> None:
        """Fill `out` with voxels that are counted from the beginning of the region."""
        start = [first // f for first, f in zip(_crop(source).start, level, strict=True)]
        whole = replace(source, crop=None)
        self.whole.read_into(whole, box.shift(start), out, level=level)


def _crop(source: Source) -> Box:
    assert source.crop is not None  # reader_for wraps only these
    return source.crop


def reader_for(source: Source) -> Reader:
    """The reader for an image; that of another format is loaded with its first image.

    Images that are corrected come out corrected, whoever reads them. Corrections count pixels of
    the whole image, of which a region is cut out last.
    """
    stored = _stored_reader(source)
    whole = stored if source.correction is None else _corrected_reader(stored)
    return whole if source.crop is None else CroppedReader(whole)


def _corrected_reader(stored: Reader) -> Reader:
    from luxdask.io.corrected_reader import CorrectedReader  # loads the compiler of kernels

    return CorrectedReader(stored)


def _stored_reader(source: Source) -> Reader:
    return LuxReader() if source.foreign is None else _foreign_reader(source.foreign.format)


@cache
def _foreign_reader(name: str) -> Reader:
    if name == "ome-zarr":
        from luxdask.io.omezarr_reader import OmeZarrReader

        return OmeZarrReader()
    if name == "bdv":
        from luxdask.io.bdv_reader import BdvReader

        return BdvReader()
    if name == "tiff":
        from luxdask.io.tiff_reader import TiffReader

        return TiffReader()
    raise AssertionError(f"no reader for {name!r}")
