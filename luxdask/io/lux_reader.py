"""Read voxels of `.lux.h5` images: straight from the file where chunks are uncompressed."""

from __future__ import annotations

import os
import threading
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import ImageFileError
from luxdask.io.chunk_table import ChunkTable, chunk_table, open_h5
from luxdask.model.geometry import Box, shape3

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

_seek_lock = threading.Lock()


def read_box(path: str, dataset: str, box: Box) -> NDArray[np.uint16]:
    """Voxels of a region as a new (Z, Y, X) uint16 array; see `read_into`."""
    out = np.empty(box.shape, dtype=np.uint16)
    read_into(path, dataset, box, out)
    return out


def read_into(path: str, dataset: str, box: Box, out: NDArray[np.uint16]) -> None:
    """Fill `out` (any strides, shape of `box`) with the voxels of a region.

    The region must lie inside the dataset. Chunks that were never written read as 0.
    Raises `ImageFileError` naming the file where bytes are missing.
    """
    table = chunk_table(path, dataset)
    if not (box & Box.of_shape(table.shape)) == box:
        raise ImageFileError(f"{path}: region {box} lies outside the image of shape {table.shape}")
    if table.is_plain:
        _read_plain(table, box, out)
    else:
        _read_h5py(path, dataset, box, out)


def _read_plain(table: ChunkTable, box: Box, out: NDArray[np.uint16]) -> None:
    descriptor = os.open(table.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        ranges = (
            range(a // c, -(-b // c))
            for a, b, c in zip(box.start, box.stop, table.chunk, strict=True)
        )
        for index in product(*ranges):
            _read_chunk(descriptor, table, index, box, out)
    finally:
        os.close(descriptor)


def _read_chunk(
    descriptor: int,
    table: ChunkTable,
    index: tuple[int, ...],
    box: Box,
    out: NDArray[np.uint16],
) -> None:
    """Copy one chunk's share of `box`; only the planes that are needed are read."""
    origin = shape3([i * c for i, c in zip(index, table.chunk, strict=True)])
    part = box & Box(origin, shape3(np.add(origin, table.chunk).tolist()))
    target = out[part.shift([-s for s in box.start]).slices]
    offset = int(table.offsets[index])
    if offset < 0:
        target[...] = 0
        return
    _, cy, cx = table.chunk
    z0, y0, x0 = part.shift([-o for o in origin]).start
    nz, ny, nx = part.shape
    planes = np.empty((nz, cy, cx), dtype="<u2")
    got = _get(descriptor, planes.data.cast("B"), offset + z0 * cy * cx * 2)
    if got < planes.nbytes:
        raise ImageFileError(
            f"{table.path}: the file ends inside chunk {index}: truncated while copying?"
        )
    target[...] = planes[:, y0 : y0 + ny, x0 : x0 + nx]


def _get(descriptor: int, buffer: memoryview, offset: int) -> int:
    if not hasattr(os, "preadv"):
        with _seek_lock:
            os.lseek(descriptor, offset, os.SEEK_SET)
            data = os.read(descriptor, len(buffer))
            buffer[: len(data)] = data
            return len(data)
    done = 0
    while done < len(buffer):
        got = os.preadv(descriptor, [buffer[done:]], offset + done)
        if got == 0:
            break
        done += got
    return done


def _read_h5py(path: str, dataset: str, box: Box, out: NDArray[np.uint16]) -> None:
    with open_h5(path) as file:
        data: h5py.Dataset = file[dataset]
        if data.dtype.kind != "u" or data.dtype.itemsize > 2:
            raise ImageFileError(f"{path}: {dataset} holds {data.dtype}, expected uint16")
        try:
            out[...] = data[box.slices]
        except OSError as error:
            raise ImageFileError(f"{path}: cannot read {dataset} {box}: {error}") from error
