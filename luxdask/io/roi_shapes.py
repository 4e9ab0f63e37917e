"""Regions of interest from a shapes layer that napari has saved as CSV."""

from __future__ import annotations

import csv
from math import ceil, floor, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError

if TYPE_CHECKING:
    import os

    from luxdask.model.roi import Bounds

_AXES = ("axis-0", "axis-1", "axis-2")


def read_shapes_box(path: str | os.PathLike[str]) -> tuple[Bounds, Bounds]:
    """The box around all shapes of a table: first voxel and one past the last (z, y, x).

    It holds the voxels whose centres lie in it. Shapes drawn in one plane only say nothing about
    the axis across it: there the box is as long as the image. Shapes in the first and in the last
    plane bound it along z as well.

    Raises
    ------
    ConfigError
        Not readable, not such a table, no shape, or not a number; it names file and line.
    """
    corners = _corners(path)
    start: list[int | None] = []
    stop: list[int | None] = []
    for axis in zip(*corners, strict=True):
        low, high = min(axis), max(axis)
        is_open = low == high
        start.append(None if is_open else max(ceil(low), 0))
        stop.append(None if is_open else floor(high) + 1)
    if all(bound is None for bound in start):
        raise ConfigError(f"{path}: the shapes have no extent; draw a rectangle")
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def _corners(path: str | os.PathLike[str]) -> list[tuple[float, ...]]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a table of shapes: {error}") from error
    rows = csv.DictReader(text.splitlines())
    columns = tuple(rows.fieldnames or ())
    if not set(_AXES) <= set(columns) or "axis-3" in columns:
        raise ConfigError(
            f"{path}: not a shapes layer of one image; the columns {', '.join(_AXES)} (z, y, x) "
            f"are expected, there are: {', '.join(columns) or 'none'}"
        )
    found = [_corner(row, f"{path}: line {rows.line_num}") for row in rows]
    if not found:
        raise ConfigError(f"{path}: the table holds no shapes")
    return found


def _corner(row: dict[str, str], where: str) -> tuple[float, ...]:
    try:
        corner = tuple(float(row[axis]) for axis in _AXES)
    except (TypeError, ValueError):
        corner = ()
    if not corner or not all(map(isfinite, corner)):
        raise ConfigError(f"{where}: three numbers of voxels are expected in {', '.join(_AXES)}")
    return corner
