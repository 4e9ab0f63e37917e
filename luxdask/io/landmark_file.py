"""Landmark files: JSON (`landmarks.lmk.json`), CSV from a spreadsheet, CSV from napari."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from luxdask.errors import ConfigError
from luxdask.io.image_ids import PARTS, ImageLookup, image_ids
from luxdask.io.image_parts import ImageParts, StrictEntry, parts_of_name
from luxdask.io.json_file import write_json
from luxdask.io.jsonc import parse_jsonc
from luxdask.io.landmark_csv import LandmarkEntry, parse_landmark_csv
from luxdask.io.nearest_file import nearest_file
from luxdask.model.landmarks import Landmark

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from luxdask.model.experiment import Experiment
    from luxdask.model.view import ViewId

LANDMARK_FILE = "landmarks.lmk.json"
_JSON_SUFFIX = ".lmk.json"
_VERSION = "1.0.0"
_MOST_BYTES = 2**28

AnyPath = str | os.PathLike[str]


class _Entry(StrictEntry):
    """One landmark; the position in the file's order: width, height, depth."""

    label: str = Field(min_length=1)
    image: Annotated[ImageParts, BeforeValidator(parts_of_name)] = ImageParts()
    position_vx: tuple[float, float, float]


def find_landmark_file(experiment: Experiment, explicit: AnyPath | None = None) -> Path | None:
    """The file to use: the given one, else `landmarks.lmk.json` nearest to the images.

    Without a given path, the folder that holds all images is looked at first, then those above it
    up to the experiment's (in which `raw` lies). None where there is none.
    Raises `ConfigError` where the given path does not exist.
    """
    if explicit is not None:
        path = Path(explicit).expanduser()
        if not path.exists():
            raise ConfigError(f"{path}: no such landmark file (or folder of such files)")
        return path
    return nearest_file(experiment, LANDMARK_FILE)


def read_landmarks(path: AnyPath, experiment: Experiment) -> tuple[Landmark, ...]:
    """Read landmarks; positions are voxels of the full-resolution image, integers voxel centres.

    Three kinds of file are understood, and a folder with several of them (all its ``.lmk.json`` and
    ``.csv`` files).

    - JSON, comments allowed: ``{"version": "1.0.0", "landmarks": [{"label": "A", "image": {"stack":
      "1-x03-y04", "channel": "0", "objective": "left", "camera": "left", "time_point": "0", "pm":
      null}, "position_vx": [width, height, depth]}]}``.
    - CSV with a header: columns ``label``, the parts of the image as above, and the position in
      ``w, h, d`` or ``x, y, z`` (the same thing, in any order of columns). Comma, semicolon or tab
      divide the columns; lines that start with ``#`` are comments.
    - CSV of a points layer that napari has saved (``index, axis-0, axis-1, axis-2``, that is z, y,
      x). Columns that the layer's features have added tell label and image; without a label column
      the number of the point counts. Without columns of the image the file's name tells it:
      ``tp-0_ch-1_st-1-x03-y04_obj-left_cam-left.csv``.

    An image may also be given as such a text (``"image": "ch-1_st-1-x03-y04"``, or a CSV column
    ``image``). Parts of an image that are missing or null are filled in where only one image is
    left that can be meant.

    Parameters
    ----------
    path
        A file or a folder.
    experiment
        The images that there are, selected or not.

    Raises
    ------
    ConfigError
        Not readable, an unknown or missing key or column, not a number, a label twice in one image;
        the message names the file and the entry or line.
    SelectionError
        An image that does not exist, or that could be one of several; the message lists what there
        is.
    """
    files = _landmark_files(Path(path))
    entries = [entry for file in files for entry in _parse(file)]
    lookup = ImageLookup(experiment)
    first: dict[tuple[ViewId, str], LandmarkEntry] = {}
    for entry in entries:
        image = lookup.find(entry.image, f"{entry.where} ({entry.label!r})")
        other = first.setdefault((image, entry.label), entry)
        if other is not entry:
            raise ConfigError(
                f"{entry.where}: the label {entry.label!r} is set twice in one image ({image}), "
                f"first in {other.where}; rename or remove one of them"
            )
    return tuple(
        Landmark(label, image, entry.position_vx) for (image, label), entry in first.items()
    )


def write_landmarks(path: AnyPath, landmarks: Iterable[Landmark]) -> None:
    """Write landmarks as JSON; raises `OutputError` where that fails."""
    document = {"version": _VERSION, "landmarks": [_as_json(mark) for mark in landmarks]}
    write_json(path, document)


def _as_json(landmark: Landmark) -> dict[str, Any]:
    i = landmark.image
    image = {
        "stack": i.stack,
        "channel": i.channel,
        "objective": i.objective,
        "camera": i.camera,
        "time_point": str(i.time_point),
        "pm": i.pm,
    }
    position = list(landmark.position_vx)[::-1]
    return {"label": landmark.label, "image": image, "position_vx": position}


def _landmark_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    names = sorted(path.iterdir())
    files = [f for f in names if f.name.lower().endswith((_JSON_SUFFIX, ".csv")) and f.is_file()]
    if not files:
        raise ConfigError(f"{path}: this folder holds no landmark files (*{_JSON_SUFFIX}, *.csv)")
    return files


def _parse(path: Path) -> tuple[LandmarkEntry, ...]:
    text = _read_text(path)
    is_json = path.suffix.lower() in (".json", ".jsonc") or text.lstrip().startswith("{")
    return _parse_json(text, str(path)) if is_json else parse_landmark_csv(text, str(path))


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{path}: not a landmark file, since it is larger than 256 MiB")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:  # tables of older spreadsheets
        return content.decode("latin-1")


def _parse_json(text: str, path: str) -> tuple[LandmarkEntry, ...]:
    try:
        document = parse_jsonc(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    landmarks = document.get("landmarks") if isinstance(document, dict) else None
    if not isinstance(landmarks, list):
        raise ConfigError(f'{path}: not a landmark file; {{"landmarks": [...]}} is expected')
    _check_top(document, path)
    return tuple(
        _json_entry(item, f"{path}: landmark {number}") for number, item in enumerate(landmarks, 1)
    )


def _check_top(document: Mapping[str, Any], path: str) -> None:
    unknown = sorted(document.keys() - {"version", "landmarks"})
    if unknown:
        raise ConfigError(f"{path}: {unknown[0]!r} is unknown; allowed are version and landmarks")
    version = str(document.get("version", _VERSION))
    if version.partition(".")[0] != _VERSION.partition(".")[0]:
        raise ConfigError(f"{path}: version {version} given; this version of luxdask reads 1.x")


def _json_entry(item: Any, where: str) -> LandmarkEntry:
    try:
        entry = _Entry.model_validate(item)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_problem(error)}") from error
    label = entry.label.strip()
    if not label:
        raise ConfigError(f"{where}: the label is empty")
    w, h, d = entry.position_vx
    return LandmarkEntry(where, label, image_ids(entry.image.model_dump()), (d, h, w))


def _problem(error: ValidationError) -> str:
    """The first complaint, with what is allowed."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        allowed = PARTS if first["loc"][0] == "image" else tuple(_Entry.model_fields)
        return f"{place!r} is unknown; allowed are {', '.join(allowed)}"
    if first["loc"][:1] == ("position_vx",):
        return f"{place}: [width, height, depth] is expected, three numbers of voxels"
    return f"{place or 'this entry'}: {first['msg']}; given was {first['input']!r}"
