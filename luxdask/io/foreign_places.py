"""Images of other formats, told by names of files and folders alone."""

from __future__ import annotations

import os

TIFFS_JSON = "tiffs.json"
TIFF_ENDINGS = (".tif", ".tiff", ".btf", ".tf8", ".tf2")
ZARR_DOCUMENTS = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
_FILE = "file://"


def is_url(path: str) -> bool:
    """Whether a path is an address such as ``s3://…`` and not a place in the file system."""
    return "://" in path and not path.startswith(_FILE)


def local_path(path: str) -> str:
    """A path without ``file://`` in front."""
    return path.removeprefix(_FILE)


def is_zarr(folder: str) -> bool:
    """Whether a folder is a Zarr group or array."""
    return any(os.path.isfile(os.path.join(folder, name)) for name in ZARR_DOCUMENTS)


def is_tiff_name(name: str) -> bool:
    """Whether a file is a TIFF by its name."""
    return name.lower().endswith(TIFF_ENDINGS) and not name.startswith(".")
