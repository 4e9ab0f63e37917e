"""Picture of a flatfield correction: the centre line before and after, and the factors on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.report.canvas import MUTED, TEXT, Canvas
from luxdask.report.layout import MARGIN, words_width
from luxdask.report.link_charts import dress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MOST = 6
"""Profiles that are drawn; more are told by their number."""

WIDTH, HEAD, ROW, WORDS = 11.0, 0.75, 2.4, 0.45
"""Inches: of the figure, of the title, of a chart, of the words above it."""

BEFORE, AFTER, FACTOR = "#ffd166", "#4cc9f0", "#ff7ab6"


@dataclass(frozen=True, slots=True)
class Profile:
    """The middle row of a mean projection (grey values), and the factors on that row."""

    name: str
    mean: NDArray[np.floating]
    factor: NDArray[np.floating]


def draw_profiles(profiles: Sequence[Profile]) -> Canvas:
    """One row per correction: the mean projection before and after, and the factors beside it."""
    shown = profiles[:MOST]
    title = "Flatfield correction: middle row of the mean projection"
    if len(shown) < len(profiles):
        title += f" (the first {MOST} of {len(profiles)})"
    row = ROW + WORDS + 0.55
    widest = max(words_width(p.name, 9) for p in shown) + 2 * MARGIN
    canvas = Canvas(max(WIDTH, widest), HEAD + len(shown) * row)
    canvas.words(MARGIN, 0.2, title, size=13)
    for n, profile in enumerate(shown):
        top = HEAD + n * row
        canvas.words(MARGIN, top, profile.name, size=9)
        _draw_lines(_chart(canvas, top + WORDS, 0.7, 6.0), profile)
        _draw_factors(_chart(canvas, top + WORDS, 7.6, canvas.width - 7.6 - MARGIN), profile)
    return canvas


def _chart(canvas: Canvas, top: float, left: float, width: float) -> Axes:
    bottom = 1 - (top + ROW) / canvas.height
    bounds = (left / canvas.width, bottom, width / canvas.width, ROW / canvas.height)
    axes = canvas.figure.add_axes(bounds)
    dress(axes)
    axes.set_xlabel("column (pixels)", color=MUTED, size=8)
    return axes


def _draw_lines(axes: Axes, profile: Profile) -> None:
    axes.plot(profile.mean, color=BEFORE, lw=1.4, label="before")
    axes.plot(profile.mean * profile.factor, color=AFTER, lw=1.4, label="after")
    top = float(np.max(profile.mean * profile.factor))
    axes.set_ylim(0, 1.2 * top if top > 0 else 1.0)
    axes.set_xlim(0, max(1, profile.mean.size - 1))
    axes.set_ylabel("mean grey value", color=MUTED, size=8)
    axes.legend(frameon=False, labelcolor=TEXT, fontsize=8, ncols=2, loc="upper left")


def _draw_factors(axes: Axes, profile: Profile) -> None:
    axes.plot(profile.factor, color=FACTOR, lw=1.4)
    axes.set_ylim(0, 1.1 * float(np.max(profile.factor)))
    axes.set_xlim(0, max(1, profile.factor.size - 1))
    axes.set_ylabel("factor", color=MUTED, size=8)
