"""Groups and arrays of Zarr 2 and 3 in folders and behind URLs, opened for reading only."""

from __future__ import annotations

import os
import posixpath
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import zarr
from zarr.storage import FsspecStore, LocalStore

from luxdask.errors import ExperimentNotFoundError, ImageFileError, MetadataError
from luxdask.io.foreign_places import ZARR_DOCUMENTS, is_url
from luxdask.io.grey_values import KINDS
from luxdask.model.view import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN_ARRAYS = 512


def state_of(url: str) -> tuple[int, ...]:
    """Dates of the metadata documents, so that what is kept of an image is renewed."""
    if is_url(url):
        return ()
    return tuple(_date(os.path.join(url, name)) for name in ZARR_DOCUMENTS)


def _date(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def open_attributes(url: str) -> dict[str, Any]:
    """Attributes of a group with the key ``ome`` of version 0.5 unfolded; of an array, none.

    Raises `ExperimentNotFoundError` where nothing is, `MetadataError` for damaged metadata.
    """
    try:
        node = zarr.open(_store(url), mode="r")
    except FileNotFoundError as error:
        raise ExperimentNotFoundError(f"{url}: no Zarr group lies here") from error
    except Exception as error:  # stores and codecs have errors of their own
        raise MetadataError(f"{url}: the Zarr metadata cannot be read: {_said(error)}") from error
    if not isinstance(node, zarr.Group):
        return {}
    attributes = dict(node.attrs)
    ome = attributes.pop("ome", None)
    return {**attributes, **ome} if isinstance(ome, dict) else attributes


def child_groups(url: str) -> Iterator[str]:
    """Names of the groups in a group, in natural order."""
    group = zarr.open_group(_store(url), mode="r", use_consolidated=False)
    yield from sorted((name for name, _ in group.groups()), key=natural_key)


def open_level(url: str, dataset: str) -> zarr.Array[Any]:
    """The array of a level, kept open until its metadata changes.

    Raises `ImageFileError` naming it where it is missing or cannot be read.
    """
    where = posixpath.join(url, dataset)
    return _opened(where, state_of(where))


@lru_cache(maxsize=OPEN_ARRAYS)
def _opened(where: str, state: tuple[int, ...]) -> zarr.Array[Any]:
    try:
        array = zarr.open_array(_store(where), mode="r")
    except FileNotFoundError as error:
        raise ImageFileError(f"{where}: no Zarr array lies here; was the copy complete?") from error
    except Exception as error:
        raise ImageFileError(f"{where}: cannot be opened: {_said(error)}") from error
    if getattr(array.dtype, "kind", "V") not in KINDS:
        raise MetadataError(f"{where}: voxels are of type {array.dtype}; luxdask reads numbers")
    return array


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _store(url: str) -> LocalStore | FsspecStore:
    if is_url(url):
        return FsspecStore.from_url(url, read_only=True)
    return LocalStore(url, read_only=True)
