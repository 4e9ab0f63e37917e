"""Read HDF5 datasets compressed with deflate without HDF5's lock, so that threads decode at a time.

HDF5 decodes one chunk at a time in a whole process. Here its index tells where chunks lie; reading
and inflating them are left to the operating system and zlib, which run beside one another.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

import h5py
import numpy as np

from luxdask.errors import ImageFileError
from luxdask.io.chunk_table import axis_runs, open_h5
from luxdask.model.geometry import shape3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from luxdask.model.geometry import Box, Shape

_DEFLATE, _SHUFFLE = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE


@dataclass(frozen=True)
class DeflatedTable:
    """Where the chunks of a 3-D dataset lie.

    Attributes
    ----------
    path
        The file that really holds the voxels (external links are followed).
    places
        int64 (z, y, x, 2): byte offset and number of bytes of each chunk; offset -1 where nothing
        was written.
    is_shuffled
        Whether the bytes of voxels are stored by their significance.
    """

    path: str
    shape: Shape
    chunk: Shape
    dtype: np.dtype[Any]
    places: NDArray[np.int64]
    is_shuffled: bool


def deflated_table(path: str, dataset: str) -> DeflatedTable | None:
    """Table of a dataset, kept until the file changes; None for any other kind of storage."""
    stat = os.stat(path)
    return _table(path, dataset, (stat.st_size, stat.st_mtime_ns))


def read_chunks(
    table: DeflatedTable, box: Box
) -> Iterator[tuple[tuple[slice, slice, slice], NDArray[np.generic]]]:
    """The parts of a region, chunk by chunk: where each belongs in the region, and its voxels.

    Raises `ImageFileError` naming the file where a chunk is truncated or damaged.
    """
    z_runs, y_runs, x_runs = (
        tuple(axis_runs(a, b, c)) for a, b, c in zip(box.start, box.stop, table.chunk, strict=True)
    )
    with _open(table.path) as file:
        for z in z_runs:
            for y in y_runs:
                for x in x_runs:
                    voxels = _chunk(file, table, (z.chunk, y.chunk, x.chunk))
                    inside = tuple(slice(run.start, run.stop) for run in (z, y, x))
                    target = (
                        slice(z.target, z.target + z.stop - z.start),
                        slice(y.target, y.target + y.stop - y.start),
                        slice(x.target, x.target + x.stop - x.start),
                    )
                    yield target, voxels[inside]


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise ImageFileError(f"{path}: {error.strerror or error}") from error


def _chunk(file: BinaryIO, table: DeflatedTable, number: Shape) -> NDArray[np.generic]:
    offset, count = table.places[number].tolist()
    if offset < 0:
        return np.zeros(table.chunk, dtype=table.dtype)
    file.seek(offset)
    size = int(np.prod(table.chunk)) * table.dtype.itemsize
    try:
        content = zlib.decompress(file.read(count), bufsize=size)
    except (zlib.error, OSError) as error:
        raise _damaged(table, number, str(error)) from error
    if len(content) != size:
        raise _damaged(table, number, f"{len(content)} bytes of {size}")
    values = np.frombuffer(content, dtype=np.uint8)
    if table.is_shuffled:
        values = np.ascontiguousarray(values.reshape(table.dtype.itemsize, -1).T).reshape(-1)
    return values.view(table.dtype).reshape(table.chunk)


def _damaged(table: DeflatedTable, number: Shape, problem: str) -> ImageFileError:
    return ImageFileError(
        f"{table.path}: cannot read chunk {number} (z, y, x) of an image (truncated or damaged?): "
        f"{problem}"
    )


@lru_cache(maxsize=256)
def _table(path: str, dataset: str, state: tuple[int, int]) -> DeflatedTable | None:
    with open_h5(path) as file:
        data = file[dataset]
        properties = data.id.get_create_plist()
        filters = [properties.get_filter(n)[0] for n in range(properties.get_nfilters())]
        plain = data.fillvalue == 0 and data.file.userblock_size == 0 and not data.is_virtual
        if filters not in ([_DEFLATE], [_SHUFFLE, _DEFLATE]) or not plain:
            return None
        places = _places(data)
        if places is None:
            return None
        return DeflatedTable(
            data.file.filename,
            shape3(data.shape),
            shape3(data.chunks),
            np.dtype(data.dtype),
            places,
            _SHUFFLE in filters,
        )


def _places(data: h5py.Dataset) -> NDArray[np.int64] | None:
    """Offset and size of all chunks; None where one of them is stored in another way."""
    grid = [-(-n // c) for n, c in zip(data.shape, data.chunks, strict=True)]
    places = np.full((*grid, 2), -1, dtype=np.int64)
    skipped = []

    def note(info: h5py.h5d.StoreInfo) -> None:
        index = tuple(o // c for o, c in zip(info.chunk_offset, data.chunks, strict=True))
        places[index] = (info.byte_offset, info.size)
        if info.filter_mask:
            skipped.append(index)

    data.id.chunk_iter(note)
    return None if skipped else places
