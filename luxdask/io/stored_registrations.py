"""Registrations of another task, read from its folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError, MetadataError
from luxdask.io.link_log import read_link_log
from luxdask.io.registration_file import SUFFIX, read_transform
from luxdask.model.links import Link
from luxdask.model.registrations import Correction, StoredRegistration

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

# Task folders often lie on network file systems, where many requests at a time are faster.
READING_THREADS = 8
_STATES = ("_C", "", "_S", "_F")
_MOST_NOTES = 5
_EXPECTED = (
    "Give a folder below 'processed' of a task that has registered its images: it holds folders "
    f"reg_… with {SUFFIX} files"
)


def read_registrations(folder: str | os.PathLike[str]) -> StoredRegistration:
    """All links and corrections of a task, whatever its state.

    Parameters
    ----------
    folder
        The task folder. Its name may have changed with its state meanwhile (``_S``, ``_F``, ``_C``
        or none at the end).

    Returns
    -------
    StoredRegistration
        Links of the ``reg_…`` folders, then those that so far lie in the log of a running or
        stopped task only. Files that are not of luxdask or damaged are passed over with a note.

    Raises
    ------
    ConfigError
        There is no such folder, or no registration in it.
    """
    for _ in range(2):
        path = existing_folder(Path(folder).expanduser())
        files = sorted(f for f in path.glob(f"reg_*/*{SUFFIX}") if not f.name.startswith("."))
        stored = _read(path, files)
        if path.is_dir():  # else it was renamed meanwhile, as its task ended
            break
    if not stored.links and not stored.globals:
        problems = "".join(f"\n  {note}" for note in stored.notes)
        raise ConfigError(f"{path}: no registrations in this folder. {_EXPECTED}{problems}")
    return stored


def existing_folder(path: Path) -> Path:
    """A task folder under the name that it has now; raises `ConfigError` where there is none."""
    if path.is_dir():
        return path
    stem = path.name
    for state in filter(None, _STATES):
        stem = stem.removesuffix(state)
    candidates = [path.with_name(stem + state) for state in _STATES] if stem else []
    found = next((c for c in candidates if c.is_dir()), None)
    if found is None:
        problem = "not a folder" if path.exists() else "no such folder"
        raise ConfigError(f"{path}: {problem}, with any state at its end. {_EXPECTED}")
    return found


def _read(path: Path, files: Sequence[Path]) -> StoredRegistration:
    with ThreadPoolExecutor(READING_THREADS) as pool:
        found = list(pool.map(_read_or_note, files))
    links = [f for f in found if isinstance(f, Link)]
    corrections = tuple(f for f in found if isinstance(f, Correction))
    notes = [f for f in found if isinstance(f, str)]
    if len(notes) > _MOST_NOTES:
        notes[_MOST_NOTES:] = [f"and {len(notes) - _MOST_NOTES} more such files"]
    links += _only_in_log(links, read_link_log(path))
    return StoredRegistration(str(path), tuple(links), corrections, tuple(notes))


def _read_or_note(file: Path) -> Link | Correction | str:
    try:
        return read_transform(file)
    except MetadataError as error:
        return f"{error}. It is not used"


def _only_in_log(links: Iterable[Link], logged: Iterable[Link]) -> list[Link]:
    known = {(link.kind, link.fixed, link.moving) for link in links}
    return [link for link in logged if (link.kind, link.fixed, link.moving) not in known]
