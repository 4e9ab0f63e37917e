"""Which pyramid levels of an input image really exist, told by dataset names, not by shapes."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

import h5py

from luxdask.errors import ImageFileError
from luxdask.io.chunk_table import open_h5
from luxdask.model.levels import FULL, level_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from luxdask.model.geometry import Shape
    from luxdask.model.view import Source

_FACTORS = re.compile(r"^_(\d+)_(\d+)_(\d+)$")
Place = tuple[str, str]


def stored_levels(source: Source) -> tuple[Shape, ...]:
    """Downsampling factors (z, y, x) of the levels beside an image, finest first.

    Levels may be padded (to whole chunks): crop them to `level_shape`. Levels that are smaller than
    that, or whose link is dead, are left out. Raises `ImageFileError` for an unreadable file.
    """
    return tuple(_places(source))


def level_source(source: Source, factor: Shape) -> Place:
    """File and dataset of a level.

    Raises `ImageFileError` listing the existing levels where there is no such level.
    """
    if factor == FULL:
        return source.path, source.dataset
    places = _places(source)
    if factor not in places:
        raise ImageFileError(
            f"{source.path}: {source.dataset!r} has no level of factors (z, y, x) {factor}; "
            f"it has {list(places)}"
        )
    return places[factor]


def _places(source: Source) -> Mapping[Shape, Place]:
    if source.foreign is not None:
        raise ImageFileError(
            f"{source.path}: main files can only link to .lux.h5 images, and this is one of "
            f"{source.foreign.format}. Run a task on it that writes images"
        )
    try:
        stat = os.stat(source.path)
    except OSError as error:
        raise ImageFileError(f"{source.path}: {error.strerror or error}") from error
    return _cached_places(source.path, source.dataset, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=65536)
def _cached_places(path: str, dataset: str, size: int, mtime_ns: int) -> Mapping[Shape, Place]:
    with open_h5(path) as file:
        full = _image(file, dataset)
        if full is None:
            raise ImageFileError(f"{path}: no 3-D image {dataset!r} or a dead link")
        places: dict[Shape, Place] = {FULL: (path, dataset)}
        # A main file often links the full image only; its levels lie in the file linked to.
        for group, base in ((full.parent, full.name), (file, dataset)):
            for factor, level in _levels_beside(group, base):
                if _is_large_enough(level.shape, level_shape(full.shape, factor)):
                    places.setdefault(factor, (level.file.filename, level.name))
    ordered = sorted(places, key=lambda factor: (prod(factor), factor))
    return MappingProxyType({factor: places[factor] for factor in ordered})


def _image(group: h5py.Group, name: str) -> h5py.Dataset | None:
    try:
        found = group[name]
    except (KeyError, OSError):
        return None
    return found if isinstance(found, h5py.Dataset) and found.ndim == 3 else None


def _levels_beside(group: h5py.Group, base: str) -> Iterator[tuple[Shape, h5py.Dataset]]:
    """Datasets called ``<base>_<w>_<h>_<d>`` with their factors (z, y, x)."""
    folder, _, stem = base.rpartition("/")
    beside = group[folder] if folder else group
    for name in beside:
        match = _FACTORS.match(name.removeprefix(stem)) if name.startswith(stem) else None
        level = _image(beside, name) if match else None
        if match is None or level is None:
            continue
        x, y, z = (int(factor) for factor in match.groups())
        if min(x, y, z) > 0:
            yield (z, y, x), level


def _is_large_enough(shape: Shape, needed: Shape) -> bool:
    return all(n >= m for n, m in zip(shape, needed, strict=True))
