"""What explains a map: scale bars, the colours of residuals, the legend."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.report.canvas import BACKGROUND, MUTED, TEXT, length_text, round_length
from luxdask.report.colours import FRAMES
from luxdask.report.link_style import SIGNS, UNSOLVED, WARNING, ResidualScale, known_residuals
from luxdask.report.registration_stage import residual_um

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from luxdask.model.links import Link
    from luxdask.model.view import View
    from luxdask.report.registration_stage import Stage

SMALLEST_OUTLINED = 0.45
"""Views smaller than this (inches) get no second outline at their metadata position."""

BELOW = (0.16, 0.42)
"""Inches below the map where scale bars and legend begin."""


NARROW = 5.5
"""Inches; on narrower maps the colours are explained above, not below."""


def inches_per_um(axes: Axes) -> float:
    """How large a µm is drawn."""
    low, high = axes.get_xlim()
    return float(size_inches(axes)[0] / (high - low))


def size_inches(axes: Axes) -> tuple[float, float]:
    """Width and height of an axes."""
    axes.apply_aspect()
    figure, place = axes.get_figure(root=True), axes.get_position()
    assert figure is not None
    width, height = figure.get_size_inches().tolist()
    return place.width * width, place.height * height


def draw_bars(axes: Axes, arrows: tuple[float, float] | None) -> None:
    """A scale bar, and an arrow of a known length, below the map."""
    low, high = axes.get_xlim()
    bottom, _ = axes.get_ylim()
    per_inch = 1 / inches_per_um(axes)
    y = bottom + BELOW[0] * per_inch
    length = round_length((high - low) / 6)
    plain: dict[str, Any] = {"clip_on": False, "zorder": 8}
    axes.plot([low, low + length], [y, y], color=TEXT, lw=3, solid_capstyle="butt", **plain)
    words: dict[str, Any] = {"color": TEXT, "size": 8, "va": "center", "annotation_clip": False}
    axes.annotate(length_text(length), (low + length + 0.06 * per_inch, y), **words)
    if arrows is None:
        return
    move, factor = arrows
    start = low + length + 0.9 * per_inch
    axes.annotate(
        "", (start + move * factor, y), (start, y), annotation_clip=False,
        arrowprops={"arrowstyle": "-|>", "color": TEXT, "shrinkA": 0, "shrinkB": 0, "lw": 1.2},
    )  # fmt: skip
    enlarged = f" (drawn x {factor:g})" if factor > 1 else ""
    text = f"moved by {length_text(move)}{enlarged}"
    axes.annotate(text, (start + move * factor + 0.06 * per_inch, y), **words)


def draw_colour_key(axes: Axes, scale: ResidualScale, links: Sequence[Link]) -> None:
    """The colours of residuals, below the right end of the map."""
    known = known_residuals([link for link in links if link.is_trusted])
    if not known.size:
        return
    width, height = size_inches(axes)
    y = -BELOW[0] - 0.05 if width > NARROW else height + 0.08
    bar = axes.inset_axes((1 - 1.35 / width, y / height, 1.05 / width, 0.1 / height))
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=scale.colormap, aspect="auto")
    bar.set_axis_off()
    words: dict[str, Any] = {
        "color": TEXT,
        "size": 7.5,
        "va": "center",
        "xycoords": "axes fraction",
    }
    bar.annotate("residual of a link (µm)  0", (-0.04, 0.45), ha="right", **words)
    bar.annotate(f"{scale.most_um:.2g}", (1.04, 0.45), ha="left", **words)


def draw_legend(
    axes: Axes, stage: Stage, views: Sequence[View], links: Sequence[Link], inches: float
) -> None:
    """What lines and signs mean, with the number of links of each status."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shown = {v.id for v in views}
    entries: list[tuple[Artist, str]] = [(Line2D([], [], color=MUTED, lw=1.2), "view, corrected")]
    if inches > SMALLEST_OUTLINED:
        entries.append((Line2D([], [], color=MUTED, lw=0.8, ls="--"), "by the metadata"))
    if any(k.is_trusted and isnan(residual_um(k)) for k in links):
        entries.append((Line2D([], [], color=UNSOLVED, lw=2.5), "link without residual"))
    lonely = len(stage.unlinked & shown) if stage.links else 0
    if lonely:
        entries.append((Patch(fc=(*rgb(WARNING), 0.35), ec=WARNING), f"no link holds it: {lonely}"))
    apart = sum(1 for g in stage.groups[1:] if len(g) > 1 and g & shown)
    if apart:
        entries.append((Line2D([], [], color=FRAMES[0], lw=1.2), "group apart from the rest"))
    for status, (colour, marker) in SIGNS.items():
        count = sum(k.status == status for k in links)
        if count:
            line = Line2D([], [], color=colour, marker=marker, ls=(0, (1.5, 1)), mec=BACKGROUND)
            entries.append((line, f"{status}: {count}"))
    width, height = size_inches(axes)
    handles, names = zip(*entries, strict=True)
    axes.legend(
        handles, names, loc="upper left", bbox_to_anchor=(0, -BELOW[1] / height),
        ncols=5 if width > NARROW else 3,
        frameon=False, labelcolor=TEXT, fontsize=8, borderpad=0, borderaxespad=0, handlelength=2.4,
        columnspacing=1.4,
    )  # fmt: skip


def rgb(colour: str) -> tuple[float, float, float]:
    """Red, green and blue in 0 ... 1."""
    from matplotlib.colors import to_rgb

    return to_rgb(colour)
