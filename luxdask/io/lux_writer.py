"""Write `.lux.h5` images from many processes without a lock.

One process creates the file with every chunk allocated; workers then put their chunks at the byte
offsets from HDF5's own index. The result is an ordinary, uncompressed HDF5 file.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from luxdask.array.scratch import scratch
from luxdask.errors import OutputError
from luxdask.io.chunk_table import (
    ChunkTable,
    Run,
    axis_runs,
    forget_table,
    table_while_written,
)
from luxdask.io.durable import this_machine
from luxdask.io.lux_reader import read_into
from luxdask.io.renew_metadata import take_over_metadata
from luxdask.io.replace_file import replacing
from luxdask.model.geometry import Box, Shape, Vector, shape3
from luxdask.model.levels import FULL, level_name, level_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CHUNK = 64
PAGE = 4096
_seek_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class LuxWriter:
    """One `.lux.h5` file with its pyramid; see `luxdask.io.writer.Writer`.

    `metadata` is the JSON text for the dataset `metadata` and for the sidecar beside the file.
    `home` is the machine that made this writer.
    """

    path: str
    shape: Shape
    spacing_um: Vector
    levels: tuple[Shape, ...] = (FULL,)
    metadata: str = "{}"
    home: str = field(default_factory=this_machine, repr=False)

    def create(self) -> None:
        """Create the file and its sidecar; an existing file of this name is replaced."""
        try:
            _create_file(self)
            forget_table(self.path)
            _write_sidecar(self)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot create the image: {error}") from error

    def renew(self) -> None:
        """Give an existing image this metadata; its voxels stay. Nothing is done where it is so.

        Raises `OutputError` where the image has another size or layout.
        """
        sidecar = sidecar_path(self.path)
        if sidecar.read_text(encoding="utf-8") == _sidecar_text(self.metadata):
            return
        empty = Path(f"{self.path}.empty")
        try:
            _create_file(replace(self, path=str(empty)))
            take_over_metadata(Path(self.path), empty, self.levels)
            _write_sidecar(self)  # last, as it tells that all is done
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{self.path}: cannot renew its metadata: {error}") from error
        finally:
            empty.unlink(missing_ok=True)
            forget_table(self.path)

    def write(self, level: int, start: Shape, block: NDArray[np.uint16]) -> int:
        """Store a block; chunks it covers only in part are written in part."""
        table = table_while_written(self.path, level_name(self.levels[level]))
        try:
            return _write_block(table, start, block, sync=self.home != this_machine())
        except OSError as error:
            raise OutputError(f"{self.path}: cannot write: {error}") from error

    def files(self, level: int, start: Shape) -> tuple[str, ...]:
        """The one file that holds all levels, its sidecar, and their folder."""
        sidecar = sidecar_path(self.path)
        return self.path, str(sidecar), str(sidecar.parent)

    def read(self, level: int, box: Box) -> NDArray[np.uint16]:
        """Voxels of a level."""
        name = level_name(self.levels[level])
        out = np.empty(box.shape, dtype=np.uint16)
        read_into(self.path, name, box, out, table_while_written(self.path, name))
        return out


def sidecar_path(path: str) -> Path:
    """The JSON file beside an image (`X.json` for `X.lux.h5`)."""
    name = Path(path).name
    for suffix in (".part", ".h5", ".lux"):
        name = name.removesuffix(suffix)
    return Path(path).with_name(name + ".json")


def chunk_shape(shape: Shape) -> Shape:
    """Chunk size of an image: 64 per axis, less where the image is thinner."""
    return shape3([min(CHUNK, n) for n in shape])


def _create_file(image: LuxWriter) -> None:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_alignment(PAGE, PAGE)
    access.set_libver_bounds(h5py.h5f.LIBVER_EARLIEST, h5py.h5f.LIBVER_LATEST)
    Path(image.path).unlink(missing_ok=True)
    file_id = h5py.h5f.create(os.fsencode(image.path), h5py.h5f.ACC_EXCL, fapl=access)
    with h5py.File(file_id) as file:
        for factor in image.levels:
            _create_level(file, image, factor)
        text = h5py.string_dtype("utf-8")
        file.create_dataset("metadata", shape=(), dtype=text, data=image.metadata)


def _write_sidecar(image: LuxWriter) -> None:
    with replacing(sidecar_path(image.path)) as temporary:
        temporary.write_text(_sidecar_text(image.metadata), encoding="utf-8")


def _sidecar_text(metadata: str) -> str:
    return json.dumps(json.loads(metadata), indent=2) + "\n"


def _create_level(file: h5py.File, image: LuxWriter, factor: Shape) -> None:
    shape = level_shape(image.shape, factor)
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_chunk(chunk_shape(shape))
    create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    # no creation time in the file: the same image is the same bytes
    create.set_obj_track_times(False)
    name = level_name(factor)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.STD_U16LE, space, create)
    spacing = np.multiply(image.spacing_um, factor).astype(np.float32)
    file[name].attrs["element_size_um"] = spacing


def _write_block(table: ChunkTable, start: Shape, block: NDArray[np.uint16], *, sync: bool) -> int:
    stop = [a + n for a, n in zip(start, block.shape, strict=True)]
    z_runs, y_runs, x_runs = (
        tuple(axis_runs(a, b, c)) for a, b, c in zip(start, stop, table.chunk, strict=True)
    )
    written = 0
    descriptor = os.open(table.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        for z, y in product(z_runs, y_runs):
            offsets = table.offsets[z.chunk, y.chunk].tolist()
            for x in x_runs:
                values = block[_part(z), _part(y), _part(x)]
                for offset, data in _pieces(values, z, y, x, table):
                    _put(descriptor, data, offsets[x.chunk] + offset)
                    written += data.nbytes
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return written


def _part(run: Run) -> slice:
    return slice(run.target, run.target + run.stop - run.start)


def _is_whole(run: Run, chunk: int, size: int) -> bool:
    """Whether a run holds all of its chunk that lies in the image."""
    return run.start == 0 and (run.stop == chunk or run.chunk * chunk + run.stop == size)


def _pieces(
    values: NDArray[np.uint16], z: Run, y: Run, x: Run, table: ChunkTable
) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """Contiguous runs of bytes in one chunk: (offset from the chunk's start, voxels).

    Each is valid until the next one is taken.
    """
    _, cy, cx = table.chunk
    if _is_whole(y, cy, table.shape[1]) and _is_whole(x, cx, table.shape[2]):
        count = z.stop - z.start
        padded = scratch("chunk", count * cy * cx).reshape(count, cy, cx)
        if (y.stop, x.stop) != (cy, cx):
            padded[...] = 0
        padded[:, : y.stop, : x.stop] = values
        yield z.start * cy * cx * 2, padded
        return
    for plane, lines in zip(range(z.start, z.stop), values, strict=True):
        for row, line in zip(range(y.start, y.stop), lines, strict=True):
            offset = ((plane * cy + row) * cx + x.start) * 2
            yield offset, np.ascontiguousarray(line, dtype="<u2")


def _put(descriptor: int, data: NDArray[np.uint16], offset: int) -> None:
    view = data.data.cast("B")
    if not hasattr(os, "pwrite"):
        with _seek_lock:
            os.lseek(descriptor, offset, os.SEEK_SET)
            while view:
                view = view[os.write(descriptor, view) :]
        return
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done
