"""The picture of one stage: its map, numbers and words beside it, and overlaps below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from luxdask.report.canvas import MUTED, Canvas
from luxdask.report.drift_plot import draw_drift, draw_steps
from luxdask.report.layout import MARGIN, Rect, words_width
from luxdask.report.link_charts import draw_histogram, draw_quality, problems, summary
from luxdask.report.link_map import draw_map
from luxdask.report.link_style import ResidualScale
from luxdask.report.map_groups import map_groups
from luxdask.report.pairs_picture import draw_pair, pair_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from luxdask.report.pairs_picture import OverlapPicture
    from luxdask.report.registration_stage import Stage

MAP, BIG_MAP, MANY = (8.4, 6.2), (12.0, 8.8), 150
"""Most inches (width, height) of the map, of one with many views, and how many these are."""

HEAD = 0.7
"""Inches of the title."""

BELOW_MAP = 0.95
SIDE, CHART = 5.3, 2.5
"""Inches: width of the column with words and charts, height of the charts."""

MOST_MAPS = 4
WORDS, LINE = 8.5, 0.185
"""Size of the words beside the map, and inches from line to line."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of the picture stand, in inches."""

    map: Rect
    side: float
    overlaps: tuple[tuple[float, float], ...]
    width: float
    height: float

    @property
    def below(self) -> float:
        """Where the overlaps begin."""
        return self.map.top + self.map.height + BELOW_MAP


def draw_stage(stage: Stage, overlaps: Sequence[OverlapPicture] = ()) -> Canvas:
    """The picture of one stage."""
    layout = _layout(stage, overlaps)
    canvas = Canvas(layout.width, layout.height)
    canvas.words(MARGIN, 0.18, stage.title, size=13)
    scale = ResidualScale.of(stage)
    if stage.kind == "time_points":
        _draw_times(canvas, stage, scale, layout.map)
    else:
        _draw_maps(canvas, stage, scale, layout.map)
    _draw_side(canvas, stage, scale, layout)
    if overlaps:
        words = "overlaps: fixed view green, moving view magenta, white where both agree"
        canvas.words(MARGIN, layout.below, words, size=8.5, colour=MUTED)
    for picture, (left, top) in zip(overlaps, layout.overlaps, strict=True):
        draw_pair(canvas, picture, left, top)
    return canvas


def _layout(stage: Stage, overlaps: Sequence[OverlapPicture]) -> Layout:
    many = len(stage.views) > MANY and stage.kind != "time_points"
    width, height = BIG_MAP if many else MAP
    sizes = [pair_size(p) for p in overlaps]
    side = width + 3 * MARGIN
    total = max([side + SIDE + MARGIN, *(w + 2 * MARGIN for w, _ in sizes)])
    below = HEAD + height + BELOW_MAP
    places, bottom = _flow(sizes, total, below + 0.4)
    area = Rect(MARGIN, HEAD, width, height)
    return Layout(area, side, places, total, bottom if sizes else below)


def _flow(
    sizes: Sequence[tuple[float, float]], width: float, top: float
) -> tuple[tuple[tuple[float, float], ...], float]:
    """Upper left corners (left, top) of parts in rows, like words, and where the last row ends."""
    places, left, bottom = [], MARGIN, top
    for w, h in sizes:
        if left > MARGIN and left + w + MARGIN > width:
            left, top = MARGIN, bottom
        places.append((left, top))
        left, bottom = left + w + 2 * MARGIN, max(bottom, top + h + 2 * MARGIN)
    return tuple(places), bottom


def _draw_maps(canvas: Canvas, stage: Stage, scale: ResidualScale, area: Rect) -> None:
    groups, left_out = map_groups(stage, MOST_MAPS)
    columns = 1 if len(groups) == 1 else 2
    rows = -(-len(groups) // columns)
    width, height = area.width / columns, (area.height + BELOW_MAP) / rows
    for n, (title, views) in enumerate(groups):
        top, left = area.top + n // columns * height, area.left + n % columns * width
        if title:
            canvas.words(left, top - 0.05, title, size=9)
        strip = 0.2 if title else 0.0
        rect = Rect(left, top + strip, width - MARGIN, height - BELOW_MAP - strip)
        draw_map(_axes(canvas, rect), stage, views, scale)
    if left_out:
        words = f"{len(groups)} of {len(groups) + left_out} maps, those with the most failed links"
        canvas.words(MARGIN + 2.8, 0.24, words, size=8.5, colour=MUTED)


def _draw_times(canvas: Canvas, stage: Stage, scale: ResidualScale, area: Rect) -> None:
    left, width, upper = area.left + 0.6, area.width - 0.7, 0.55 * area.height
    drift = _axes(canvas, Rect(left, area.top, width, upper))
    lower = area.height + BELOW_MAP - upper - 1.3
    steps = _axes(canvas, Rect(left, area.top + upper + 0.4, width, lower), drift)
    draw_drift(drift, stage)
    draw_steps(steps, stage, scale)


def _axes(canvas: Canvas, rect: Rect, share: Axes | None = None) -> Axes:
    """Empty axes in a rectangle."""
    bounds = (
        rect.left / canvas.width,
        1 - (rect.top + rect.height) / canvas.height,
        rect.width / canvas.width,
        rect.height / canvas.height,
    )
    return canvas.figure.add_axes(bounds, sharex=share)


def _draw_side(canvas: Canvas, stage: Stage, scale: ResidualScale, layout: Layout) -> None:
    """Words, and the two charts below them."""
    left, chart = layout.side, layout.below - CHART - 0.55
    lines = _wrapped(summary(stage))
    room = int((chart - 0.45 - HEAD) / LINE) - len(lines) - 1
    failed = [(_cut(text), colour) for text, colour in problems(stage, max(room, 1))]
    for n, (text, colour) in enumerate([*lines, ("", MUTED), *failed]):
        canvas.words(left, HEAD + n * LINE, text, size=WORDS, colour=colour)
    if not stage.links:
        return
    quality = _axes(canvas, Rect(left + 0.55, chart, SIDE - 2.1, CHART))
    draw_quality(quality, stage, scale)
    histogram = _axes(canvas, Rect(left + SIDE - 1.4, chart, 1.4, CHART))
    draw_histogram(histogram, stage, scale)


def _letters() -> int:
    """How many letters fit beside the map."""
    return int(SIDE / words_width("n", WORDS) * 1.12)


def _wrapped(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Lines of at most three pieces that fit beside the map."""
    import textwrap

    return [
        (piece, colour)
        for text, colour in lines
        for piece in textwrap.wrap(text, _letters(), max_lines=3, placeholder=" …")
    ]


def _cut(text: str) -> str:
    return text if len(text) <= _letters() else text[: _letters() - 1] + "…"
