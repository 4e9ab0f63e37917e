"""Self-contained Imaris files, for readers that do not follow links (Bio-Formats, older tools)."""

from __future__ import annotations

import os
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from luxdask.array.pyramid import downsample
from luxdask.io.histogram import GREY_VALUES, blocks_of, count_values, quantile_range
from luxdask.io.imaris import fitting_setups
from luxdask.io.imaris_info import (
    channel_path,
    write_copy_info,
    write_info,
    write_level,
    write_root,
)
from luxdask.io.lux_reader import read_box
from luxdask.io.replace_file import replacing
from luxdask.io.stored_levels import level_source, stored_levels
from luxdask.model.geometry import Box, Shape, shape3
from luxdask.model.levels import FULL, level_factors, level_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from luxdask.model.view import View

    Reader = Callable[[Box], NDArray[np.uint16]]
    Encoded = tuple[bytes, NDArray[np.int64]]

CHUNK_VOXELS = 1 << 19
CHUNK_DEPTH = 32
GZIP_LEVEL = 2
IN_FLIGHT_PER_THREAD = 3


@dataclass(slots=True)
class _Progress:
    """Counts finished chunks and tells the listener."""

    total: int
    listener: Callable[[int, int], None] | None
    done: int = 0

    def step(self) -> None:
        self.done += 1
        if self.listener is not None:
            self.listener(self.done, self.total)


def write_imaris_copy(
    path: str | os.PathLike[str],
    views: Sequence[View],
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write an `.ims` file with copies of images that exist.

    It has the levels that Imaris itself would make; those that an image has are copied, the others
    averaged from the next finer one. Chunks of about 1 MB are shuffled and gzipped in a pool of
    threads; memory holds a few chunks per thread, however large the images are. Histograms are
    exact at every level.

    Parameters
    ----------
    path
        The file to write; an existing one is replaced when the new one is complete.
    views
        Images of one group of `luxdask.io.imaris.imaris_groups`.
    threads
        Number of threads, by default one per processor.
    progress
        Called in the calling thread with the number of finished chunks and of all chunks.

    Raises
    ------
    ConfigError
        Where the images do not fit into one file.
    OutputError
        Where the file cannot be written.
    ImageFileError
        Naming the image that cannot be read.
    """
    main = Path(path)
    setups = fitting_setups(main, views)
    counter = _Progress(_chunk_count(views), progress)
    workers = threads or os.cpu_count() or 1
    with (
        replacing(main) as temporary,
        h5py.File(temporary, "w") as file,
        ThreadPoolExecutor(workers) as pool,
    ):
        write_root(file)
        encoder = _Encoder(pool, workers, counter)
        ranges = []
        for channel, setup in enumerate(setups):
            for time, (_, view) in enumerate(sorted(setup.views.items())):
                counts = _copy_image(file, (time, channel), view, encoder)
                if time == 0:
                    ranges.append(quantile_range(counts))
        write_info(file, setups, ranges)
        write_copy_info(file)


def chunk_shape(shape: Shape) -> Shape:
    """Chunk of about 1 MB of uint16: 32 planes of 128×128, or fewer and larger ones."""
    depth = min(CHUNK_DEPTH, shape[0])
    side = 1 << ((CHUNK_VOXELS // depth).bit_length() - 1) // 2
    return shape3([depth, min(side, shape[1]), min(side, shape[2])])


def _chunk_count(views: Sequence[View]) -> int:
    shapes = [level_shape(v.shape, factor) for v in views for factor in level_factors(v.shape)]
    return sum(1 for shape in shapes for _ in blocks_of(shape, chunk_shape(shape)))


def _copy_image(
    file: h5py.File, place: tuple[int, int], view: View, encoder: _Encoder
) -> NDArray[np.int64]:
    """Copy all levels of one image; returns the counts of its grey values at full resolution."""
    at_full: NDArray[np.int64] | None = None
    finer: tuple[Reader, Shape] | None = None
    for level, factor in enumerate(level_factors(view.shape)):
        group = file.create_group(channel_path(level, *place))
        data = _create_data(group, level_shape(view.shape, factor))
        read = _level_reader(view, factor, finer)
        counts = encoder.fill(data, read)
        write_level(group, shape3(data.shape), counts, fine=True)
        at_full = counts if at_full is None else at_full
        finer = (_stored_reader(view, factor) or _own_reader(data), factor)
    assert at_full is not None
    return at_full


def _create_data(group: h5py.Group, shape: Shape) -> h5py.Dataset:
    return group.create_dataset(
        "Data",
        shape=shape,
        dtype="<u2",
        chunks=chunk_shape(shape),
        shuffle=True,
        compression="gzip",
        compression_opts=GZIP_LEVEL,
    )


def _level_reader(view: View, factor: Shape, finer: tuple[Reader, Shape] | None) -> Reader:
    """Reads a level from the image, or averages it from the next finer level."""
    stored = _stored_reader(view, factor)
    if stored is not None:
        return stored
    assert finer is not None
    read, finer_factor = finer
    step = shape3([f // g for f, g in zip(factor, finer_factor, strict=True)])

    def averaged(box: Box) -> NDArray[np.uint16]:
        start = shape3([a * s for a, s in zip(box.start, step, strict=True)])
        stop = shape3([b * s for b, s in zip(box.stop, step, strict=True)])
        return downsample(read(Box(start, stop)), step)

    return averaged


def _stored_reader(view: View, factor: Shape) -> Reader | None:
    if factor != FULL and factor not in stored_levels(view.source):
        return None
    path, dataset = level_source(view.source, factor)
    return lambda box: read_box(path, dataset, box)


def _own_reader(data: h5py.Dataset) -> Reader:
    """Reads a level that was written before into the same file."""
    return lambda box: np.asarray(data[box.slices], dtype=np.uint16)


@dataclass(frozen=True, slots=True)
class _Encoder:
    """Fills datasets: threads read and compress, the calling thread writes, in order."""

    pool: ThreadPoolExecutor
    threads: int
    progress: _Progress

    def fill(self, data: h5py.Dataset, read: Reader) -> NDArray[np.int64]:
        """Write all chunks of `data`; returns how often each grey value occurs."""
        counts = np.zeros(GREY_VALUES, dtype=np.int64)
        for start, (compressed, found) in self._encoded(data, read):
            data.id.write_direct_chunk(start, compressed)
            counts += found
            self.progress.step()
        return counts

    def _encoded(self, data: h5py.Dataset, read: Reader) -> Iterator[tuple[Shape, Encoded]]:
        waiting: deque[tuple[Shape, Future[Encoded]]] = deque()
        try:
            for box in blocks_of(shape3(data.shape), shape3(data.chunks)):
                waiting.append((box.start, self.pool.submit(_encode, read, box, data.chunks)))
                if len(waiting) > IN_FLIGHT_PER_THREAD * self.threads:
                    start, future = waiting.popleft()
                    yield start, future.result()
            for start, future in waiting:
                yield start, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _encode(read: Reader, box: Box, chunk: tuple[int, ...]) -> Encoded:
    block = read(box)
    padded = np.zeros(chunk, dtype="<u2")
    padded[Box.of_shape(block.shape).slices] = block
    # HDF5's shuffle: first all low bytes, then all high bytes.
    shuffled = padded.reshape(-1).view(np.uint8).reshape(-1, 2).T.tobytes()
    return zlib.compress(shuffled, GZIP_LEVEL), count_values(block)
