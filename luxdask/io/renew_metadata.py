"""Other metadata for an image whose voxels stay, byte for byte as if it had been made with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import OutputError
from luxdask.io.chunk_table import chunk_table
from luxdask.model.levels import level_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from luxdask.io.chunk_table import ChunkTable
    from luxdask.model.geometry import Shape

_PIECE_BYTES = 1 << 20


def take_over_metadata(image: Path, empty: Path, levels: Sequence[Shape]) -> None:
    """Copy all bytes that are not voxels from an empty image of the same size.

    Doing it again does no harm, so that it may be cut short and repeated.
    Raises `OutputError` where the images are laid out differently.
    """
    tables = [
        [chunk_table(str(path), level_name(factor)) for factor in levels] for path in (image, empty)
    ]
    for old, new in zip(*tables, strict=True):
        if old.shape != new.shape or not np.array_equal(old.offsets, new.offsets):
            raise OutputError(
                f"{image}: laid out differently than this version of luxdask does, so that its "
                "metadata cannot be renewed; run config_task.json as a new task"
            )
    size = empty.stat().st_size
    with empty.open("rb") as source, image.open("r+b") as target:
        for start, stop in _gaps(tables[1], size):
            for first in range(start, stop, _PIECE_BYTES):
                source.seek(first)
                target.seek(first)
                target.write(source.read(min(_PIECE_BYTES, stop - first)))
        target.truncate(size)
        target.flush()
        os.fsync(target.fileno())


def _gaps(tables: Sequence[ChunkTable], size: int) -> Iterator[tuple[int, int]]:
    """Parts of a file that hold no voxels."""
    starts = np.concatenate([t.offsets.ravel() for t in tables])
    sizes = np.concatenate([np.full(t.offsets.size, 2 * np.prod(t.chunk)) for t in tables])
    order = np.argsort(starts)
    stops = np.concatenate([[0], (starts + sizes)[order]])
    nexts = np.concatenate([starts[order], [size]])
    for start, stop in zip(stops.tolist(), nexts.tolist(), strict=True):
        if start < stop:
            yield int(start), int(stop)
