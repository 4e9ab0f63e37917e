"""Read voxels of `.lux.h5` images: straight from the file where chunks are uncompressed."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import numpy as np

from luxdask.array.scratch import scratch
from luxdask.errors import ImageFileError
from luxdask.io.chunk_table import ChunkTable, Run, axis_runs, chunk_table, open_h5
from luxdask.model.geometry import Box

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

# Bytes read in one go. A 64³ chunk is half of it; larger chunks (contiguous images are one chunk)
# are read in pieces, so that a small region of a large plane costs neither memory nor time.
PIECE_BYTES = 1 << 20
_seek_lock = threading.Lock()


def read_box(path: str, dataset: str, box: Box) -> NDArray[np.uint16]:
    """Voxels of a region as a new (Z, Y, X) uint16 array; see `read_into`."""
    out = np.empty(box.shape, dtype=np.uint16)
    read_into(path, dataset, box, out)
    return out


def read_into(
    path: str,
    dataset: str,
    box: Box,
    out: NDArray[np.uint16],
    table: ChunkTable | None = None,
) -> None:
    """Fill `out` (any strides, shape of `box`) with the voxels of a region.

    The region must lie inside the dataset. Chunks that were never written read as 0. `table` is the
    dataset's chunk table where the caller has it already.
    Raises `ImageFileError` naming the file where bytes are missing. Reading and copying release
    the GIL, so threads scale.
    """
    table = table or chunk_table(path, dataset)
    if not (box & Box.of_shape(table.shape)) == box:
        raise ImageFileError(
            f"{path}: region {box} lies outside the image of shape {table.shape}; if its metadata "
            "gives another size, the sidecar belongs to another image"
        )
    if table.is_plain:
        _read_plain(table, box, out)
    else:
        _read_h5py(path, dataset, box, out)


def _read_plain(table: ChunkTable, box: Box, out: NDArray[np.uint16]) -> None:
    descriptor = os.open(table.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        _read_chunks(descriptor, table, box, out)
    except OSError as error:
        if isinstance(error, ImageFileError):
            raise
        raise ImageFileError(f"{table.path}: cannot read: {error}") from error
    finally:
        os.close(descriptor)


def _read_chunks(descriptor: int, table: ChunkTable, box: Box, out: NDArray[np.uint16]) -> None:
    z_runs, y_runs, x_runs = (
        tuple(axis_runs(a, b, c)) for a, b, c in zip(box.start, box.stop, table.chunk, strict=True)
    )
    piece = _Piece(descriptor, table, out)
    for z in z_runs:
        for y in y_runs:
            offsets = table.offsets[z.chunk, y.chunk].tolist()
            for x in x_runs:
                piece.copy_chunk(offsets[x.chunk], z, y, x)


class _Piece:
    """Copies chunk by chunk through one small buffer that stays in the processor's cache."""

    def __init__(self, descriptor: int, table: ChunkTable, out: NDArray[np.uint16]) -> None:
        _, cy, cx = table.chunk
        self.descriptor, self.table, self.out = descriptor, table, out
        self.row_bytes, self.plane_bytes = 2 * cx, 2 * cx * cy
        self.planes = max(1, PIECE_BYTES // self.plane_bytes)
        self.is_direct = out.dtype == np.dtype("<u2") and out.flags.c_contiguous

    def copy_chunk(self, offset: int, z: Run, y: Run, x: Run) -> None:
        """Copy one chunk's share, some planes at a time."""
        ny, nx = y.stop - y.start, x.stop - x.start
        rows = self.out[:, y.target : y.target + ny, x.target : x.target + nx]
        if offset < 0:
            rows[z.target : z.target + z.stop - z.start] = 0
            return
        for first in range(z.start, z.stop, self.planes):
            last = min(z.stop, first + self.planes)
            target = rows[z.target + first - z.start : z.target + last - z.start]
            self._copy_planes(offset + first * self.plane_bytes, last - first, y, x, target)

    def _copy_planes(
        self, offset: int, nz: int, y: Run, x: Run, target: NDArray[np.uint16]
    ) -> None:
        _, cy, cx = self.table.chunk
        y0, y1 = (y.start, y.stop) if nz == 1 else (0, cy)
        if self.is_direct and target.shape == (nz, y1 - y0, cx) and target.flags.c_contiguous:
            self._fill(target.data.cast("B"), offset + y0 * self.row_bytes)
            return
        count = nz * (y1 - y0) * cx
        planes = scratch("chunk", count).reshape(nz, y1 - y0, cx)
        self._fill(planes.data.cast("B"), offset + y0 * self.row_bytes)
        target[...] = planes[:, y.start - y0 : y.stop - y0, x.start : x.stop]

    def _fill(self, memory: memoryview, offset: int) -> None:
        if _get(self.descriptor, memory, offset) < len(memory):
            raise ImageFileError(
                f"{self.table.path}: the file ends at or before byte {offset + len(memory)} of its "
                "image, so it is truncated. Copy it again."
            )


def _get(descriptor: int, buffer: memoryview, offset: int) -> int:
    if not hasattr(os, "preadv"):
        with _seek_lock:
            os.lseek(descriptor, offset, os.SEEK_SET)
            data = os.read(descriptor, len(buffer))
            buffer[: len(data)] = data
            return len(data)
    done = os.preadv(descriptor, [buffer], offset)
    while 0 < done < len(buffer):
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
