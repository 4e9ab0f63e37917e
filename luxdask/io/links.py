"""HDF5 external links from a main file to the images beside it."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import h5py


def relative_link(main: Path, target: str, dataset: str) -> h5py.ExternalLink:
    """A link in the file `main` to a dataset in the file `target`.

    The path is relative with ``/`` on every system, so that the whole folder can be moved; it is
    absolute only where Windows has the two on different drives. Links of the file system in the
    folders are resolved, because ``..`` after such a link would lead elsewhere.
    """
    folder = os.path.realpath(main.parent)
    where = Path(os.path.realpath(Path(target).parent)) / Path(target).name
    try:
        path = PurePath(os.path.relpath(where, folder)).as_posix()
    except ValueError:
        path = where.as_posix()
    return h5py.ExternalLink(path, dataset.lstrip("/"))
