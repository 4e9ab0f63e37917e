"""Nested files (`main_raw.lux.h5` and the like): groups of images, or links to images elsewhere."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, NamedTuple

import h5py

from luxdask.io.chunk_table import open_h5
from luxdask.io.lux_writer import sidecar_path
from luxdask.model.view import Source, natural_key

if TYPE_CHECKING:
    from collections.abc import Iterator

# Names of an image and of its metadata inside a view: today's, then those of about 2020.
_DATA = ("Data", "res_0/data")
_METADATA = ("metadata", "res_0/metadata")


class _Target(NamedTuple):
    """Where a name in a group leads, and whether HDF5 itself finds its way there."""

    path: str
    dataset: str
    exists: bool
    is_native: bool


def is_flat(path: str) -> bool:
    """Whether an HDF5 file is one image (`Data` at its top); otherwise it is a nested file."""
    with open_h5(path) as file:
        return file.get("Data", getlink=True) is not None


def holds_nested_images(path: str) -> bool:
    """Whether an HDF5 file has the groups of a nested file."""
    with open_h5(path) as file:
        return any(name.startswith("timepoint_") for name in file)


def nested_sources(path: str) -> tuple[list[Source], list[str]]:
    """Images that a nested file holds or links to, and notes about dead links.

    Links are followed wherever the experiment was moved: relative ones, and absolute ones of
    another computer (also with drive letter and backslashes) by the longest tail of their path
    that exists near the nested file. No linked file is opened.
    """
    sources, notes = [], []
    with open_h5(path) as file:
        for group in _view_groups(file):
            source = _view_source(path, group)
            if isinstance(source, Source):
                sources.append(source)
            else:
                notes.append(source)
    return sources, notes


def _view_groups(file: h5py.File) -> Iterator[h5py.Group]:
    for time_point in _subgroups(file):
        if not time_point.name.startswith("/timepoint_"):
            continue
        for channel in _subgroups(time_point):
            yield from _subgroups(channel)


def _subgroups(group: h5py.Group) -> Iterator[h5py.Group]:
    for name in sorted(group, key=natural_key):
        try:
            child = group[name]
        except (KeyError, OSError):  # a dead link to a group
            continue
        if isinstance(child, h5py.Group):
            yield child


def _view_source(path: str, group: h5py.Group) -> Source | str:
    """The image of a view group, or a note why there is none."""
    name, data = _first_target(path, group, _DATA)
    if data is None:
        return f"{path}: {group.name}: no 'Data' in this group, not used"
    if not data.exists:
        return f"{path}: {group.name}: the linked file {data.path} is not there, not used"
    metadata_name, metadata = _first_target(path, group, _METADATA)
    if metadata is None or not metadata.exists:
        beside = posixpath.join(posixpath.dirname(data.dataset), "metadata")
        return Source(data.path, data.dataset, beside, _sidecar(path, data.path))
    if metadata.path != data.path and data.is_native:
        return Source(path, f"{group.name}/{name}", f"{group.name}/{metadata_name}")
    return Source(data.path, data.dataset, metadata.dataset, _sidecar(path, data.path))


def _first_target(
    path: str, group: h5py.Group, names: tuple[str, ...]
) -> tuple[str, _Target | None]:
    for name in names:
        target = _target(path, group, name)
        if target is not None:
            return name, target
    return "", None


def _sidecar(main: str, path: str) -> str | None:
    sidecar = sidecar_path(path)
    return str(sidecar) if path != main and sidecar.is_file() else None


def _target(main: str, group: h5py.Group, name: str) -> _Target | None:
    """Follow an external link by hand; HDF5 itself knows no Windows paths and no moved files."""
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if isinstance(link, h5py.ExternalLink):
        found = locate(link.filename, main)
        is_native = (Path(main).parent / link.filename).is_file()
        return _Target(found or link.filename, link.path.lstrip("/"), found is not None, is_native)
    return _Target(main, f"{group.name}/{name}", name in group, True)


def locate(filename: str, main: str) -> str | None:
    """The existing file that a link in the file `main` means, absolute; None where there is none.

    >>> locate("raw/none.lux.h5", "/nowhere/main_raw.lux.h5") is None
    True
    """
    folder = Path(main).parent
    parts = PureWindowsPath(filename).parts  # splits at both kinds of slash
    is_absolute = bool(PureWindowsPath(filename).anchor)
    candidates = [folder / filename]
    if not is_absolute:
        candidates.append(folder.joinpath(*parts))
    # The longest tail wins, since a base name (Cam_left_00000) occurs in every stack's folder.
    tails = [parts[-length:] for length in range(min(6, len(parts)), 0, -1)]
    for tail in tails:
        bases = [folder] if len(tail) == 1 else [folder, *list(folder.parents)[:2]]
        candidates += [base.joinpath(*tail) for base in bases if not Path(*tail).anchor]
    for candidate in candidates:
        if candidate.is_file():
            # "a/../b" is not "b" where "a" is a symbolic link.
            return os.path.realpath(candidate) if ".." in candidate.parts else str(candidate)
    return None
