"""Find the image files below a folder, by name only: no file is opened."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from luxdask.errors import ExperimentNotFoundError
from luxdask.io.lux_writer import sidecar_path
from luxdask.model.view import Source, natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# Beside `.lux.h5`, early microscopes wrote `Cam_Left_00000.h5`, early processing `uni_tp-0_….h5`.
_IMAGE = re.compile(r"\.lux\.h5$|^Cam_.+_\d+\.h5$|^(uni|int|sep)_.*tp-\d+.*\.h5$", re.IGNORECASE)
_LINKS_ONLY = re.compile(r"^main[_.]|_bdv\.h5$", re.IGNORECASE)
_ORPHAN = re.compile(r"^Cam_.+_\d+\.json$", re.IGNORECASE)
_PART = re.compile(r"\.h5\.part$", re.IGNORECASE)
_SKIPPED_FOLDERS = {"processed", "mip", "snapshots"}


@dataclass
class Walk:
    """Image files found so far, in natural order of their paths, and what was passed over."""

    sources: list[Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    visited: set[tuple[int, int]] = field(default_factory=set)


def walk_images(folder: str) -> Walk:
    """Flat image files in a folder and below it.

    Passed over: hidden files, `processed`, `mip` and `snapshots` folders, main files (they only
    link to images), unknown files. Incomplete files (`.part`), dead links and metadata without an
    image are noted.
    """
    walk = Walk()
    _walk(folder, walk)
    return walk


def flat_source(path: str) -> Source:
    """The source for one flat file; the sidecar lies beside it or beside what it links to."""
    for place in (path, os.path.realpath(path)):
        sidecar = str(sidecar_path(place))
        if os.path.isfile(sidecar):
            return Source(path, sidecar=sidecar)
    return Source(path)


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image when a folder is opened."""
    return bool(_IMAGE.search(name)) and not name.startswith(".") and not _LINKS_ONLY.search(name)


def list_folder(folder: str) -> list[os.DirEntry[str]]:
    """Entries of a folder in natural order, hidden ones left out.

    Raises `ExperimentNotFoundError` where it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise ExperimentNotFoundError(
            f"{folder}: cannot be listed: {error.strerror or error}"
        ) from error
    return sorted(visible, key=lambda entry: natural_key(entry.name))


def _walk(folder: str, walk: Walk) -> None:
    if not _is_first_visit(folder, walk):
        return
    entries = list_folder(folder)
    by_name = {entry.name: entry for entry in entries}
    for entry in entries:
        if entry.is_dir():
            _enter(entry, walk)
        elif _PART.search(entry.name):
            walk.notes.append(f"{entry.path}: incomplete (.part), not used")
        elif is_image_name(entry.name):
            _add(entry, by_name, walk)
        elif _ORPHAN.search(entry.name) and not _has_image(entry.name, by_name):
            walk.notes.append(f"{entry.path}: metadata without an image; was the image removed?")


def _has_image(sidecar: str, names: Mapping[str, os.DirEntry[str]]) -> bool:
    stem = sidecar.removesuffix(".json")
    return any(stem + ending in names for ending in (".lux.h5", ".h5", ".lux.h5.part", ".h5.part"))


def _is_first_visit(folder: str, walk: Walk) -> bool:
    """Guards against links that lead back up."""
    try:
        stat = os.stat(folder)
    except OSError:
        return True
    # Some network file systems of Windows give no inode numbers.
    key = (stat.st_dev, stat.st_ino)
    seen = stat.st_ino != 0 and key in walk.visited
    walk.visited.add(key)
    return not seen


def _enter(entry: os.DirEntry[str], walk: Walk) -> None:
    if entry.name.lower() in _SKIPPED_FOLDERS or entry.name.lower().endswith(".zarr"):
        return
    if os.path.isdir(os.path.join(entry.path, "raw")):
        walk.notes.append(f"{entry.path}: another experiment, not used")
        return
    try:
        _walk(entry.path, walk)
    except ExperimentNotFoundError as error:
        walk.notes.append(str(error))


def _add(entry: os.DirEntry[str], by_name: Mapping[str, os.DirEntry[str]], walk: Walk) -> None:
    if not entry.is_file():
        walk.notes.append(f"{entry.path}: a dead link or not a regular file, not used")
        return
    sidecar = by_name.get(sidecar_path(entry.name).name)
    if sidecar is not None and sidecar.is_file():
        walk.sources.append(Source(entry.path, sidecar=sidecar.path))
    else:
        walk.sources.append(flat_source(entry.path))


def names_of(entries: Iterable[os.DirEntry[str]], at_most: int = 8) -> str:
    """A few names for a message."""

    def quoted() -> Iterator[str]:
        for number, entry in enumerate(entries):
            if number == at_most:
                yield "…"
                return
            yield repr(entry.name)

    return ", ".join(quoted()) or "nothing"
