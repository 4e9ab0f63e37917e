"""The table of all links, for people and their spreadsheets."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.io.replace_file import replacing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from luxdask.model.geometry import Affine
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


def rotation_deg(transform: Affine) -> float:
    """Angle of the rotation nearest to a transform, in degrees, 0 to 180."""
    u, _, vt = np.linalg.svd(np.array(transform.linear))
    turn = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    skew = (turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1])
    # exact near 0, unlike the arc cosine of the trace alone
    return math.degrees(math.atan2(math.hypot(*skew), float(np.trace(turn)) - 1))


def _row(link: Link) -> tuple[Any, ...]:
    middle = np.add(link.overlap.lower, link.overlap.upper) / 2
    dz, dy, dx = (link.transform.apply(middle) - middle).tolist()
    return (
        link.kind,
        *(getattr(link.moving, part) for part in _ID_PARTS),
        *(getattr(link.fixed, part) for part in _ID_PARTS),
        *(dx, dy, dz, rotation_deg(link.transform)),
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
