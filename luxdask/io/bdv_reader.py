"""Read voxels of BigDataViewer HDF5 files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

import h5py
import numpy as np

from luxdask.errors import ImageFileError
from luxdask.io import lux_reader
from luxdask.io.chunk_table import chunk_table, open_h5
from luxdask.io.grey_values import store
from luxdask.io.h5_deflate import deflated_table, read_chunks
from luxdask.model.geometry import Box, shape3
from luxdask.model.levels import FULL, level_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape
    from luxdask.model.view import Source

SLAB_BYTES = 1 << 25
"""Decoded voxels held at a time, beside what is asked for; always whole chunks along z."""


@dataclass(frozen=True, slots=True)
class BdvReader:
    """Images in HDF5 files of BigDataViewer."""

    def levels(self, source: Source) -> tuple[Shape, ...]:
        """Downsampling factors (z, y, x) of the stored levels, full resolution first."""
        return tuple(_levels(source))

    def read_into(
        self, source: Source, box: Box, out: NDArray[np.uint16], *, level: Shape = FULL
    ) -> None:
        """Fill `out` (shape of `box`, any strides) with a region of a stored level.

        Raises `ImageFileError` naming the file: unreadable, truncated, or without this level.
        """
        found = _levels(source)
        if level not in found:
            raise ImageFileError(
                f"{source.path}: {source.dataset} has no level of factors (z, y, x) {level}; it "
                f"has {list(found)}"
            )
        table = chunk_table(source.path, found[level])
        if table.is_plain:
            lux_reader.read_into(source.path, found[level], box, out, table)
            return
        deflated = deflated_table(source.path, found[level])
        if deflated is None:
            _read_h5py(source, found[level], box, out)
            return
        for place, values in read_chunks(deflated, box):
            store(_as_bits(values, source), out[place], source)


def _read_h5py(source: Source, dataset: str, box: Box, out: NDArray[np.uint16]) -> None:
    with open_h5(source.path) as file:
        data = file[dataset]
        for part in _slabs(data, box):
            target = out[part.start[0] - box.start[0] : part.stop[0] - box.start[0]]
            store(_as_bits(_read(data, part, source), source), target, source)


def _as_bits(values: NDArray[np.generic], source: Source) -> NDArray[np.generic]:
    """Voxels of type int16 as uint16, where the image was opened as such."""
    is_unsigned = source.foreign is not None and source.foreign.voxel_type == "uint16"
    if is_unsigned and values.dtype.kind == "i":
        return values.astype("=i2", copy=False).view(np.uint16)
    return values


def _slabs(data: h5py.Dataset, box: Box) -> Iterator[Box]:
    """The region cut along z at borders of chunks, so that memory stays bounded."""
    depth = (data.chunks or data.shape)[0]
    plane = prod(box.shape[1:]) * data.dtype.itemsize
    step = depth * max(1, SLAB_BYTES // max(1, depth * plane))
    for first in range(box.start[0] // step * step, box.stop[0], step):
        z0, z1 = max(first, box.start[0]), min(first + step, box.stop[0])
        yield Box((z0, *box.start[1:]), (z1, *box.stop[1:]))


def _read(data: h5py.Dataset, box: Box, source: Source) -> NDArray[np.generic]:
    try:
        return np.asarray(data[box.slices])
    except OSError as error:
        raise ImageFileError(
            f"{source.path}: cannot read {box} of {source.dataset} (truncated or damaged?): {error}"
        ) from error


def _levels(source: Source) -> Mapping[Shape, str]:
    try:
        stat = os.stat(source.path)
    except OSError as error:
        raise ImageFileError(f"{source.path}: {error.strerror or error}") from error
    return _cached(source.path, source.dataset, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=65536)
def _cached(path: str, dataset: str, state: tuple[int, int]) -> Mapping[Shape, str]:
    """Datasets of the levels by their factors; BigDataViewer's levels are means."""
    group, setup, *_ = dataset.split("/")
    with open_h5(path) as file:
        full = _image(file, dataset)
        if full is None:
            raise ImageFileError(f"{path}: no 3-D image {dataset!r} or a dead link")
        places = {FULL: dataset}
        for number, factor in enumerate(_factors(file, setup)):
            name = f"{group}/{setup}/{number}/cells"
            level = _image(file, name)
            if level is not None and factor not in places and _is_large_enough(level, full, factor):
                places[factor] = name
    ordered = sorted(places, key=lambda factor: (prod(factor), factor))
    return MappingProxyType({factor: places[factor] for factor in ordered})


def _factors(file: h5py.File, setup: str) -> Iterator[Shape]:
    """Downsampling factors (z, y, x) of the levels; (0, 0, 0) stands for one that is not whole."""
    try:
        rows = np.atleast_2d(file[f"{setup}/resolutions"][()])
    except (KeyError, OSError, ValueError):
        return
    for row in rows:
        whole = np.rint(row)
        usable = row.shape == (3,) and np.allclose(row, whole) and (whole >= 1).all()
        yield shape3(whole[::-1].astype(int).tolist()) if usable else (0, 0, 0)


def _image(file: h5py.File, name: str) -> h5py.Dataset | None:
    try:
        found = file[name]
    except (KeyError, OSError):
        return None
    return found if isinstance(found, h5py.Dataset) and found.ndim == 3 else None


def _is_large_enough(level: h5py.Dataset, full: h5py.Dataset, factor: Shape) -> bool:
    if min(factor) < 1:
        return False
    needed = level_shape(shape3(full.shape), factor)
    return all(n >= m for n, m in zip(level.shape, needed, strict=True))
