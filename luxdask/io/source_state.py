"""Whether the file of an image has changed, told by size and date; no voxel is read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from luxdask.io.foreign_places import ZARR_DOCUMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luxdask.model.view import Source

MISSING = (-1, -1)
MOST_ENTRIES = 100_000
"""Files and folders of a Zarr array that are looked at; what comes later is not."""


def source_state(source: Source) -> tuple[int, int]:
    """Size in bytes and newest date in ns of what holds the voxels; (-1, -1) where it is missing.

    Of a folder (OME-Zarr) all files count: metadata and chunks of the full resolution, up to
    100,000 of them. Images behind URLs have no date.
    """
    try:
        found = os.stat(source.path)
    except OSError:
        return MISSING
    if not os.path.isdir(source.path):
        return found.st_size, found.st_mtime_ns
    size, newest = 0, 0
    for number, entry in enumerate(_entries(source)):
        if number == MOST_ENTRIES:
            break
        size += entry.st_size
        newest = max(newest, entry.st_mtime_ns)
    return size, newest


def _entries(source: Source) -> Iterator[os.stat_result]:
    for name in ZARR_DOCUMENTS:
        try:
            yield os.stat(os.path.join(source.path, name))
        except OSError:
            continue
    folders = [os.path.join(source.path, source.dataset)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.path)
                    yield entry.stat()
        except OSError:
            continue
