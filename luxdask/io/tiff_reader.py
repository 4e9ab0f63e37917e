"""Read voxels of TIFF stacks: of each plane only the strips or tiles that a region touches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from luxdask.errors import ImageFileError
from luxdask.io.grey_values import store
from luxdask.io.tiff_table import TiffTable, tiff_table
from luxdask.model.levels import FULL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from luxdask.model.geometry import Box, Shape
    from luxdask.model.view import Source


@dataclass(frozen=True, slots=True)
class TiffReader:
    """Stacks in TIFF files, which have no levels."""

    def levels(self, source: Source) -> tuple[Shape, ...]:
        """The full resolution alone."""
        return (FULL,)

    def read_into(
        self, source: Source, box: Box, out: NDArray[np.uint16], *, level: Shape = FULL
    ) -> None:
        """Fill `out` (shape of `box`, any strides) with a region.

        Raises `ImageFileError` naming the file: missing, truncated, or compressed in a way that
        cannot be read here.
        """
        if level != FULL:
            raise ImageFileError(f"{source.path}: TIFF files have no level {level}")
        table = tiff_table(source.path, source.dataset)
        index = source.foreign.index if source.foreign else ()
        try:
            with open(source.path, "rb", buffering=0) as file:
                for number, z in enumerate(range(box.start[0], box.stop[0])):
                    plane = table.plane(index, z)
                    store(_read_plane(file, table, plane, box), out[number], source)
        except ImageFileError:
            raise
        except OSError as error:
            raise ImageFileError(f"{source.path}: cannot read: {error}") from error


def _read_plane(file: BinaryIO, table: TiffTable, plane: int, box: Box) -> NDArray[np.generic]:
    if table.offset is not None:
        return _read_rows(file, table, table.offset, plane, box)
    segments = table.segments[plane]
    values = np.zeros(box.shape[1:], dtype=table.dtype)
    if segments is not None:
        for number, y, x in _touched(table, box):
            tile = _decoded(file, table, number, segments[0][number], segments[1][number])
            if tile is not None:
                _paste(tile, (y, x), values, box)
    return values


def _read_rows(
    file: BinaryIO, table: TiffTable, offset: int, plane: int, box: Box
) -> NDArray[np.generic]:
    """Whole rows of an uncompressed plane, cut to the region's columns."""
    _, height, width = table.shape
    rows = box.stop[1] - box.start[1]
    first = (plane * height + box.start[1]) * width * table.dtype.itemsize
    data = _bytes(file, table.path, offset + first, rows * width * table.dtype.itemsize)
    lines: NDArray[np.generic] = np.frombuffer(data, dtype=table.dtype).reshape(rows, width)
    return lines[:, box.slices[2]]


def _touched(table: TiffTable, box: Box) -> Iterator[tuple[int, int, int]]:
    """Number and place of the strips or tiles that a region touches."""
    (height, width), columns = table.segment, -(-table.shape[2] // table.segment[1])
    for row in range(box.start[1] // height, -(-box.stop[1] // height)):
        for column in range(box.start[2] // width, -(-box.stop[2] // width)):
            yield row * columns + column, row * height, column * width


def _decoded(
    file: BinaryIO, table: TiffTable, number: int, offset: int, count: int
) -> NDArray[np.generic] | None:
    """Pixels of a strip or tile; None where it was never written."""
    if count == 0:
        return None
    data = _bytes(file, table.path, offset, count)
    try:
        tile = table.decode(data, number)[0]
    except Exception as error:  # compressions have errors of their own
        raise ImageFileError(
            f"{table.path}: a part of a plane cannot be decoded: {error}. Save the file without "
            "compression or with deflate, or install the package imagecodecs"
        ) from error
    return None if tile is None else np.asarray(tile[0, :, :, 0])


def _paste(
    tile: NDArray[np.generic], place: tuple[int, int], values: NDArray[np.generic], box: Box
) -> None:
    y, x = place
    y0, y1 = max(y, box.start[1]), min(y + tile.shape[0], box.stop[1])
    x0, x1 = max(x, box.start[2]), min(x + tile.shape[1], box.stop[2])
    target = values[y0 - box.start[1] : y1 - box.start[1], x0 - box.start[2] : x1 - box.start[2]]
    target[...] = tile[y0 - y : y1 - y, x0 - x : x1 - x]


def _bytes(file: BinaryIO, path: str, offset: int, count: int) -> bytes:
    file.seek(offset)
    parts = []
    while count > 0:
        part = file.read(count)
        if not part:
            raise ImageFileError(
                f"{path}: the file ends at or before byte {offset + count}, so it is truncated. "
                "Copy it again."
            )
        parts.append(part)
        count -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
