"""Where the chunks of an uncompressed HDF5 dataset lie in the file, from HDF5's own index."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import h5py
import numpy as np

from luxdask.errors import ImageFileError
from luxdask.model.geometry import Shape, shape3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True)
class ChunkTable:
    """Byte offsets of the chunks of a 3-D dataset.

    Attributes
    ----------
    path
        The file that really holds the voxels (external links are followed).
    shape, chunk
        Size of the dataset and of a chunk (z, y, x). A contiguous dataset is one chunk.
    offsets
        int64, one per chunk (z, y, x); -1 where nothing was ever written.
    is_plain
        Whether chunks are native uint16 without filters, so that bytes are voxels.
    """

    path: str
    shape: Shape
    chunk: Shape
    offsets: NDArray[np.int64]
    is_plain: bool


class Run(NamedTuple):
    """What one chunk contributes to a region along one axis.

    The number of the chunk, its voxels from `start` to `stop`, and their place in the region.
    """

    chunk: int
    start: int
    stop: int
    target: int


def axis_runs(start: int, stop: int, chunk: int) -> Iterator[Run]:
    """The chunks along one axis that a region from `start` to `stop` touches."""
    for number in range(start // chunk, -(-stop // chunk)):
        origin = number * chunk
        first, last = max(start, origin), min(stop, origin + chunk)
        yield Run(number, first - origin, last - origin, first - start)


def open_h5(path: str | os.PathLike[str]) -> h5py.File:
    """Open for reading without a lock, which network file systems often lack.

    Raises `ImageFileError` naming the file where it is missing, truncated or not HDF5.
    """
    try:
        return h5py.File(path, "r", locking=False)
    except FileNotFoundError as error:
        raise ImageFileError(f"{path}: file not found") from error
    except PermissionError as error:
        raise ImageFileError(f"{path}: no permission to read this file") from error
    except OSError as error:
        size = Path(path).stat().st_size if Path(path).exists() else 0
        raise ImageFileError(
            f"{path}: not a readable HDF5 file ({size} bytes; truncated or damaged?). "
            f"Expected a .lux.h5 image. HDF5 says: {error}"
        ) from error


def chunk_table(path: str, dataset: str) -> ChunkTable:
    """Chunk table of a dataset, cached until the file's size or date changes."""
    stat = _stat(path)
    return _chunk_table(path, dataset, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


def table_while_written(path: str, dataset: str) -> ChunkTable:
    """Chunk table of a file whose voxels are being written: its structure stays, its date does not.

    Whoever makes such a file anew calls `forget_table`.
    """
    stat = _stat(path)
    return _chunk_table(path, dataset, (stat.st_ino, stat.st_size, -_renewals.get(path, 0)))


def forget_table(path: str) -> None:
    """Read the tables of a file anew: it was replaced, maybe by one that looks the same."""
    _renewals[path] = _renewals.get(path, 0) + 1


_renewals: dict[str, int] = {}


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise ImageFileError(f"{path}: {error.strerror or error}") from error


@lru_cache(maxsize=256)
def _chunk_table(path: str, dataset: str, state: tuple[int, ...]) -> ChunkTable:
    with open_h5(path) as file:
        try:
            data = file[dataset]
        except KeyError as error:
            raise ImageFileError(
                f"{path}: no dataset {dataset!r} or a dead link; it holds {sorted(file)[:8]}"
            ) from error
        if not isinstance(data, h5py.Dataset) or data.ndim != 3:
            raise ImageFileError(f"{path}: {dataset!r} is not a 3-D image")
        return _read_table(data)


def _read_table(data: h5py.Dataset) -> ChunkTable:
    shape = shape3(data.shape)
    chunk = shape3(data.chunks or data.shape)
    grid = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
    offsets = np.full(grid, -1, dtype=np.int64)
    properties = data.id.get_create_plist()
    is_plain = (
        data.dtype == np.dtype("<u2")
        and properties.get_nfilters() == 0
        and properties.get_external_count() == 0
        and data.file.userblock_size == 0
        and not data.is_virtual
    )
    if is_plain:
        _fill_offsets(data, chunk, offsets)
    return ChunkTable(data.file.filename, shape, chunk, offsets, bool(is_plain))


def _fill_offsets(data: h5py.Dataset, chunk: Shape, offsets: NDArray[np.int64]) -> None:
    if data.chunks is None:
        offset = data.id.get_offset()
        offsets[0, 0, 0] = -1 if offset is None else offset
        return

    def note(info: h5py.h5d.StoreInfo) -> None:
        index = tuple(o // c for o, c in zip(info.chunk_offset, chunk, strict=True))
        offsets[index] = info.byte_offset

    data.id.chunk_iter(note)
