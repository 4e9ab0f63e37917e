"""Where the pixels of a TIFF stack lie in the file, from its directories alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from luxdask.errors import ImageFileError, MetadataError
from luxdask.io.grey_values import voxel_type
from luxdask.model.geometry import Shape, shape3

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# What tifffile calls the planes of stacks of which nothing else is known.
_PLANES = "ZQI"


@dataclass(frozen=True)
class TiffTable:
    """One series of a TIFF file.

    Attributes
    ----------
    axes, file_shape
        Letters and sizes of the axes before y and x: t, c, z as far as the file has them.
    shape
        Size of one stack (z, y, x).
    offset
        First byte of the first plane where all planes follow one another uncompressed, else None.
    segments
        Otherwise, per plane: bytes where its strips or tiles begin, and how many each has; None
        for a plane that was never written.
    segment
        Rows and columns of a strip or tile.
    decode
        Turns the bytes of a segment into pixels.
    """

    path: str
    axes: str
    file_shape: tuple[int, ...]
    shape: Shape
    dtype: np.dtype[Any]
    offset: int | None
    segments: Sequence[tuple[Sequence[int], Sequence[int]] | None]
    segment: tuple[int, int]
    decode: Callable[..., Any]

    def plane(self, index: tuple[int, ...], z: int) -> int:
        """Number of a plane; `index` is that on the axes other than z."""
        if not self.axes:
            return 0
        at = iter(index)
        place = [z if axis == "z" else next(at) for axis in self.axes]
        return int(np.ravel_multi_index(place, self.file_shape))


def dataset_name(series: int, axes: str | None) -> str:
    """What `Source.dataset` says of a TIFF file.

    >>> dataset_name(0, None), dataset_name(1, "ZYX")
    ('0', '1 ZYX')
    """
    return f"{series} {axes}" if axes else str(series)


def tiff_table(path: str, dataset: str) -> TiffTable:
    """Table of a series, kept until the file's size or date changes.

    dataset : as `dataset_name` gives it.
    Raises `ImageFileError` where the file is missing or no TIFF, `MetadataError` where it is no
    stack of grey values.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ImageFileError(f"{path}: {error.strerror or error}") from error
    series, _, axes = dataset.partition(" ")
    return _table(path, int(series), axes, (stat.st_size, stat.st_mtime_ns))


def open_tiff(path: str) -> tifffile.TiffFile:
    """Open a TIFF; raises `ImageFileError` naming a file that is none."""
    try:
        return tifffile.TiffFile(path)
    except OSError as error:
        raise ImageFileError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # damaged files fail in many ways
        raise ImageFileError(
            f"{path}: not a readable TIFF file (truncated or damaged?): {error}"
        ) from error


@lru_cache(maxsize=128)
def _table(path: str, number: int, axes: str, state: tuple[int, int]) -> TiffTable:
    with open_tiff(path) as file:
        try:
            return _read_table(path, file, number, axes)
        except (MetadataError, ImageFileError):
            raise
        except Exception as error:
            raise ImageFileError(
                f"{path}: its directories cannot be read (truncated or damaged?): {error}"
            ) from error


def _read_table(path: str, file: tifffile.TiffFile, number: int, told: str) -> TiffTable:
    if number >= len(file.series):
        raise MetadataError(f"{path}: no series {number}; the file has {len(file.series)}")
    series = file.series[number]
    axes, sizes = _axes(path, series, told or series.axes)
    page = series.keyframe
    offset = _offset(path, series)
    by_axis = dict(zip(axes, sizes, strict=True))
    height, width = series.shape[-2:]
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
    columns = page.tilewidth if page.is_tiled else width
    return TiffTable(
        path=path,
        axes=axes,
        file_shape=sizes,
        shape=shape3((by_axis.get("z", 1), height, width)),
        dtype=_dtype(path, page),
        offset=offset,
        segments=() if offset is not None else _segments(path, file, series),
        segment=(rows, columns),
        decode=page.decode,
    )


def _axes(path: str, series: tifffile.TiffPageSeries, told: str) -> tuple[str, tuple[int, ...]]:
    """Letters and sizes of the axes before y and x."""
    letters, sizes = told[:-2], series.shape[:-2]
    kinds = ["Z" if a in _PLANES else a for a in letters]
    known = set(kinds) <= set("TCZ") and len(set(kinds)) == len(kinds) == len(sizes)
    if (series.axes[-2:], told[-2:]) != ("YX", "YX") or not known:
        raise MetadataError(
            f"{path}: the axes {told} of shape {series.shape} are not understood; luxdask reads "
            "stacks of grey planes with the axes T, C and Z before Y and X. If the file names them "
            'wrongly, say in tiffs.json what they are, as in "axes": "ZYX"'
        )
    if series.keyframe.imagedepth != 1:
        raise MetadataError(f"{path}: planes of several layers (SGI volumes) are not understood")
    return "".join(kinds).lower(), tuple(int(n) for n in sizes)


def _dtype(path: str, page: tifffile.TiffPage) -> np.dtype[Any]:
    if page.dtype is None:
        raise MetadataError(f"{path}: {page.bitspersample}-bit pixels are not understood")
    if page.samplesperpixel != 1:
        raise MetadataError(f"{path}: colour pixels; save the channels as grey values")
    voxel_type(np.dtype(page.dtype), path)
    return np.dtype(page.parent.byteorder + np.dtype(page.dtype).char)


def _offset(path: str, series: tifffile.TiffPageSeries) -> int | None:
    """Where uncompressed planes begin that follow one another."""
    offset = series.dataoffset
    if offset is None or series.keyframe.compression != 1 or series.keyframe.fillorder != 1:
        return None
    end = offset + series.nbytes
    size = os.path.getsize(path)
    if end > size:
        raise ImageFileError(
            f"{path}: the file has {size} bytes, its planes need {end}, so it is truncated. "
            "Copy it again."
        )
    return int(offset)


def _segments(
    path: str, file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> list[tuple[Sequence[int], Sequence[int]] | None]:
    found: list[tuple[Sequence[int], Sequence[int]] | None] = []
    for page in series.pages:
        if page is None:
            found.append(None)
            continue
        if page.parent is not file:
            raise MetadataError(
                f"{path}: the stack is spread over several files; save each stack as one file"
            )
        found.append((tuple(page.dataoffsets), tuple(page.databytecounts)))
    return found
