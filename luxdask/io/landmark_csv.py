"""Landmarks in a table: CSV from a spreadsheet, or of a points layer that napari has saved."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError
from luxdask.io.image_ids import ImageIds, image_ids, named_image, parse_image_ids
from luxdask.model.geometry import vector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from luxdask.model.geometry import Vector

_DELIMITERS = ",;\t"
_POSITIONS = (
    ("d", "h", "w"),
    ("z", "y", "x"),
    ("depth", "height", "width"),
    ("axis-0", "axis-1", "axis-2"),
)
_COLUMNS = (
    "the columns label and w, h, d or x, y, z (voxels) are needed, besides stack, channel, "
    "objective, camera, time_point and pm as far as they are not the same for all images"
)


@dataclass(frozen=True, slots=True)
class LandmarkEntry:
    """A landmark as it stands in a file.

    where : the file and the entry or line, for messages.
    """

    where: str
    label: str
    image: ImageIds
    position_vx: Vector


def parse_landmark_csv(text: str, path: str) -> tuple[LandmarkEntry, ...]:
    """Landmarks of a table; see `luxdask.io.landmark_file.read_landmarks` for its columns.

    path : for messages, and for the image where its name tells it.
    Raises `ConfigError` naming the line.
    """
    from_name = parse_image_ids(Path(path).name.removesuffix(Path(path).suffix))
    rows = _rows(text)
    try:
        _, header = next(rows)
    except StopIteration:
        raise ConfigError(f"{path}: the table is empty; {_COLUMNS}") from None
    except csv.Error as error:
        raise ConfigError(f"{path}: not a table: {error}") from error
    columns = [name.strip().lower().replace(" ", "_") for name in header]
    position = _position_columns(columns, path)
    label = _label_column(columns, path)
    decimal_comma = _delimiter(text) != ","
    return tuple(
        _entry(
            dict(zip(columns, row, strict=False)),
            label,
            position,
            f"{path}: line {line}",
            from_name,
            decimal_comma,
        )
        for line, row in rows
    )


def _delimiter(text: str) -> str:
    """The character that divides the first line best; spreadsheets differ by country."""
    header = next((line for line in text.splitlines() if _is_content(line)), "")
    return max(_DELIMITERS, key=header.count)


def _is_content(line: str) -> bool:
    return bool(line.strip(" \t,;")) and not line.lstrip().startswith("#")


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields, without empty lines and lines that start with #."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    for row in reader:
        if any(field.strip() for field in row) and not row[0].lstrip().startswith("#"):
            yield reader.line_num, row


def _position_columns(columns: Sequence[str], path: str) -> tuple[str, ...]:
    doubled = sorted({c for c in columns if c and columns.count(c) > 1})
    if doubled:
        raise ConfigError(f"{path}: the column {doubled[0]!r} appears twice")
    if "axis-3" in columns:
        raise ConfigError(
            f"{path}: these points have more than three axes; save those of one image of one time "
            "point, with the axes z, y, x"
        )
    found = [names for names in _POSITIONS if set(names) <= set(columns)]
    if len(found) != 1:
        given = ", ".join(filter(None, columns)) or "none"
        many = "positions stand in several sets of columns" if found else "no columns of positions"
        raise ConfigError(f"{path}: {many}; there are: {given}; {_COLUMNS}")
    return found[0]


def _label_column(columns: Sequence[str], path: str) -> str:
    """`label`; in napari's tables, which number the points, the number where it is missing."""
    if "label" in columns:
        return "label"
    if "index" in columns and "axis-0" in columns:
        return "index"
    raise ConfigError(f"{path}: there is no column label; {_COLUMNS}")


def _entry(
    row: dict[str, str],
    label: str,
    position: Sequence[str],
    where: str,
    from_name: ImageIds,
    decimal_comma: bool,
) -> LandmarkEntry:
    if "axis-0" in position:  # napari writes one table of floating-point numbers
        row = {key: value if key in position else _whole(value) for key, value in row.items()}
    name = row.get(label, "").strip()
    if not name:
        raise ConfigError(f"{where}: the label is empty")
    zyx = [_number(row.get(column, ""), column, where, decimal_comma) for column in position]
    try:
        named = named_image(row.get("image", ""))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    return LandmarkEntry(where, name, from_name | named | image_ids(row), vector(zyx))


def _whole(text: str) -> str:
    """The number 3 for 3.0, other text as it is."""
    return text.removesuffix(".0") if text.removesuffix(".0").isdigit() else text


def _number(text: str, column: str, where: str, decimal_comma: bool) -> float:
    try:
        value = float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{where}: {column}: {text!r} is not a number (of voxels)")
    return value
