"""Registration transforms in files: one ``.tf.json`` per link or correction, in ``reg_…`` folders.

The names are made of the identities of the images and never coincide, also where the disk does not
tell capital letters apart.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from luxdask.errors import MetadataError, OutputError
from luxdask.io.json_file import write_json
from luxdask.io.names import safe_name
from luxdask.io.registration_document import correction_document, link_document, parse_document

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from luxdask.model.links import Link
    from luxdask.model.registrations import Correction
    from luxdask.model.view import ViewId

SUFFIX = ".tf.json"
LANDMARK_FOLDER = "reg_lmk"
WHOLE_FOLDER = "reg_all"
FOLDERS = {
    "objective_camera": "reg_obj",
    "tiles": "reg_sti",
    "rotation": "reg_rot",
    "time_points": "reg_tim",
}
"""Folder of each kind of link; links by landmarks have their own, and so have whole corrections."""

_TOKENS = {
    "time_point": "tp",
    "channel": "ch",
    "pm": "pm",
    "stack": "st",
    "objective": "obj",
    "camera": "cam",
}
# Two identities, their tokens, a checksum, the suffix and the ending of a temporary file stay below
# the 255 bytes that file systems allow.
_MAX_PART = 14
# No "_", which separates the parts, and no capital letters, which some disks do not tell apart.
_PLAIN = re.compile(r"[a-z0-9.+-]+")


def link_path(folder: str | os.PathLike[str], link: Link) -> Path:
    """Where a link lies below a task folder: ``reg_…/<moving>__<fixed>.tf.json``."""
    kind = LANDMARK_FOLDER if link.source == "landmarks" else FOLDERS[link.kind]
    return Path(folder, kind, _name(_parts(link.moving), _parts(link.fixed)))


def correction_path(folder: str | os.PathLike[str], correction: Correction) -> Path:
    """Where a correction lies below a task folder; its name has the parts that are given."""
    kind = WHOLE_FOLDER if correction.kind is None else FOLDERS[correction.kind]
    return Path(folder, kind, _name(correction.parts))


def write_links(folder: str | os.PathLike[str], links: Iterable[Link]) -> None:
    """Write links into the ``reg_…`` folders of a task folder, over those of the same pairs.

    Raises `OutputError` where the disk refuses.
    """
    made: set[Path] = set()
    for link in links:
        path = link_path(folder, link)
        _make_folder(path.parent, made)
        write_json(path, link_document(link))


def write_corrections(folder: str | os.PathLike[str], corrections: Iterable[Correction]) -> None:
    """Write corrections into the ``reg_…`` folders of a task folder, over those of the same images.

    Raises `OutputError` where the disk refuses.
    """
    made: set[Path] = set()
    for correction in corrections:
        path = correction_path(folder, correction)
        _make_folder(path.parent, made)
        write_json(path, correction_document(correction))


def read_transform(path: str | os.PathLike[str]) -> Link | Correction:
    """The link or correction in a file.

    Raises `MetadataError` naming the file where it cannot be read or holds something else.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise MetadataError(f"{path}: cannot read this file: {error.strerror or error}") from error
    return parse_document(text, str(path))


def _make_folder(folder: Path, made: set[Path]) -> None:
    if folder in made:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot make this folder: {error.strerror or error}"
        ) from error
    made.add(folder)


def _parts(view: ViewId) -> dict[str, int | str]:
    """The parts of an identity in the order of file names; no PM id where there is none."""
    return {part: value for part in _TOKENS if (value := getattr(view, part)) is not None}


def _name(*images: Mapping[str, int | str]) -> str:
    stem = "__".join(_stem(parts) for parts in images)
    if not all(_is_plain(str(value)) for parts in images for value in parts.values()):
        stem = f"{stem}_id-{_checksum(images)}"
    return stem + SUFFIX


def _stem(parts: Mapping[str, int | str]) -> str:
    tokens = [f"{_TOKENS[part]}-{safe_name(str(v), _MAX_PART)}" for part, v in parts.items()]
    return "_".join(tokens) or "all"


def _is_plain(value: str) -> bool:
    """Whether the file name holds the value itself, so that another one gives another name."""
    return bool(_PLAIN.fullmatch(value)) and safe_name(value, _MAX_PART) == value


def _checksum(images: tuple[Mapping[str, int | str], ...]) -> str:
    text = repr([list(parts.items()) for parts in images])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
