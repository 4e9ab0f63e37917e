"""The table of all links, for people and their spreadsheets."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.io.replace_file import replacing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from luxdask.model.links import Link

CSV_NAME = "registration.csv"
_ID_PARTS = ("time_point", "channel", "stack", "objective", "camera", "pm")
# A cell that begins with one of these is taken for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

COLUMNS = (
    "kind",
    *(f"moving_{part}" for part in _ID_PARTS),
    *(f"fixed_{part}" for part in _ID_PARTS),
    "shift_x_um",
    "shift_y_um",
    "shift_z_um",
    "rotation_deg",
    "model",
    "quality",
    "precision_um",
    "residual_um",
    "cost",
    "status",
    "reason",
    "source",
)


def write_links_csv(path: str | os.PathLike[str], links: Iterable[Link]) -> None:
    """Write one row per link; UTF-8 with the mark by which spreadsheets know it.

    The shift is where the link moves the middle of what was compared; the angle is that of the
    rotation nearest to it. Texts that a spreadsheet would take for a formula have a ' in front.
    Raises `OutputError` where the disk refuses.
    """
    with (
        replacing(Path(path)) as temporary,
        temporary.open("w", encoding="utf-8-sig", errors="replace", newline="") as file,
    ):
        table = csv.writer(file, dialect="excel")
        table.writerow(COLUMNS)
        table.writerows([_cell(value) for value in _row(link)] for link in links)


def _row(link: Link) -> tuple[Any, ...]:
    middle = np.add(link.overlap.lower, link.overlap.upper) / 2
    dz, dy, dx = (link.transform.apply(middle) - middle).tolist()
    return (
        link.kind,
        *(getattr(link.moving, part) for part in _ID_PARTS),
        *(getattr(link.fixed, part) for part in _ID_PARTS),
        *(dx, dy, dz, link.transform.rotation_deg),
        link.model,
        *(link.quality, link.precision_um, link.residual_um, link.cost),
        link.status,
        link.reason,
        link.source,
    )


def _cell(value: Any) -> Any:
    """None is an empty cell; numbers have six digits that matter."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
