"""Map of a stage: where views lie before and after, and which links hold them there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luxdask.report.canvas import BACKGROUND, MUTED, TEXT, round_length
from luxdask.report.colours import FRAMES
from luxdask.report.layout import words_width
from luxdask.report.link_style import SIGNS, WARNING
from luxdask.report.map_geometry import place_views, plane_of
from luxdask.report.map_key import (
    SMALLEST_OUTLINED,
    draw_bars,
    draw_colour_key,
    draw_legend,
    inches_per_um,
    rgb,
    size_inches,
)
from luxdask.report.registration_stage import middle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from luxdask.model.links import Link
    from luxdask.model.view import View, ViewId
    from luxdask.report.link_style import ResidualScale
    from luxdask.report.map_geometry import Placed
    from luxdask.report.registration_stage import Stage

LABEL_SIZE = 7.5
MOST_TROUBLED = 12
"""So many troubled views are named where not all names fit."""


def draw_map(axes: Axes, stage: Stage, views: Sequence[View], scale: ResidualScale) -> None:
    """Draw the views and links of a stage (or of a part of its views) on an empty axes.

    Words and lines below the axes take about 0.9 inches.
    """
    placed = place_views(stage, views, plane_of(stage, views))
    number = {v.id: n for n, v in enumerate(views)}
    links = [k for k in stage.links if k.fixed in number and k.moving in number]
    _frame(axes, placed)
    inches = placed.size_um * inches_per_um(axes)
    _draw_outlines(axes, stage, views, placed, inches)
    ends = np.array(
        [[placed.nodes[number[k.fixed]], placed.nodes[number[k.moving]]] for k in links]
    )
    _draw_links(axes, links, ends, scale, inches)
    arrows = _draw_moves(axes, stage, placed)
    _draw_labels(axes, stage, views, placed, links)
    draw_bars(axes, arrows)
    draw_colour_key(axes, scale, links)
    draw_legend(axes, stage, views, links, inches)


def _frame(axes: Axes, placed: Placed) -> None:
    points = np.concatenate([*placed.before, *placed.after])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.04 * max(*(high - low), 1.0)
    axes.set_facecolor(BACKGROUND)
    axes.set_axis_off()
    low, high = low - margin, high + margin
    axes.set_aspect("auto")
    width, height = size_inches(axes)
    spare = max(0.0, (high[1] - low[1]) * width / height - (high[0] - low[0])) / 2
    axes.set_xlim(low[0] - spare, high[0] + spare)
    axes.set_ylim(high[1], low[1])
    axes.set_aspect("equal", adjustable="box", anchor="NW")
    axes.apply_aspect()


def _draw_outlines(
    axes: Axes, stage: Stage, views: Sequence[View], placed: Placed, inches: float
) -> None:
    from matplotlib.collections import PolyCollection

    colours = _view_colours(stage)
    edges = [colours.get(v.id, MUTED) for v in views]
    faces = [(*rgb(WARNING), 0.35) if e == WARNING else (1, 1, 1, 0.035) for e in edges]
    small = inches < SMALLEST_OUTLINED
    corrected = PolyCollection(placed.after, facecolors=faces, linewidths=0.5 if small else 1.1)
    corrected.set_edgecolor([(*rgb(e), 0.4 if small and e == MUTED else 1.0) for e in edges])
    corrected.set_gid("views")
    axes.add_collection(corrected)
    if not small:
        old = PolyCollection(
            placed.before, facecolors="none", edgecolors=MUTED, linewidths=0.7, linestyles="--"
        )
        old.set_gid("views by metadata")
        axes.add_collection(old)


def _view_colours(stage: Stage) -> dict[ViewId, str]:
    """Grey for the biggest group of linked views, other colours for what is apart from it."""
    colours: dict[ViewId, str] = {}
    if not stage.links:
        return colours
    for n, group in enumerate(stage.groups):
        alone = len(group) == 1
        colour = WARNING if alone else (MUTED if n == 0 else FRAMES[(n - 1) % len(FRAMES)])
        colours.update(dict.fromkeys(group, colour))
    return colours


def _draw_links(
    axes: Axes,
    links: Sequence[Link],
    ends: NDArray[np.float64],
    scale: ResidualScale,
    inches: float,
) -> None:
    from matplotlib.collections import LineCollection

    width = float(np.clip(4 * inches, 1.4, 3.2))
    used = [n for n, link in enumerate(links) if link.is_trusted]
    if used:
        colours = scale.colours([links[n] for n in used])
        good = LineCollection(list(ends[used]), colors=colours, linewidths=width, zorder=3)
        good.set_gid("links ok")
        axes.add_collection(good)
    for status, (colour, marker) in SIGNS.items():
        members = [n for n, link in enumerate(links) if link.status == status]
        if not members:
            continue
        bad = LineCollection(
            list(ends[members]),
            colors=colour,
            linewidths=max(width, 2.2),
            linestyles=(0, (2, 1.2)),
            zorder=4,
        )
        bad.set_gid(f"links {status}")
        axes.add_collection(bad)
        x, y = ends[members].mean(axis=1).T
        size = float(np.clip(170 * inches, 60, 110))
        axes.scatter(
            x, y, size, colour, marker=marker, edgecolors=BACKGROUND, linewidths=0.5, zorder=6
        )


def _draw_moves(axes: Axes, stage: Stage, placed: Placed) -> tuple[float, float] | None:
    """Arrows for the corrections; returns a round length in µm and how much longer it is drawn."""
    lengths = np.linalg.norm(placed.moves, axis=1)
    if not (lengths > 1e-3 * stage.voxel_um).any():
        return None
    usual = float(np.percentile(lengths[lengths > 0], 95))
    big = placed.size_um * inches_per_um(axes) > SMALLEST_OUTLINED
    part = 0.2 if _is_turned(stage) else (0.4 if big else 0.9)
    factor = max(1.0, float(f"{part * placed.size_um / usual:.1g}"))
    seen = lengths * factor > 0.02 * placed.size_um
    (x, y), (u, v) = placed.nodes[seen].T, factor * placed.moves[seen].T
    arrows = axes.quiver(
        x, y, u, v, angles="xy", scale_units="xy", scale=1, color=TEXT, zorder=5,
        units="inches", width=0.014, headwidth=4.5, headlength=5, headaxislength=4.5, minlength=0.1,
        clip_on=False, alpha=0.9,
    )  # fmt: skip
    arrows.set_gid("corrections")
    return round_length(usual), factor


def _draw_labels(
    axes: Axes, stage: Stage, views: Sequence[View], placed: Placed, links: Sequence[Link]
) -> None:
    """Names of all views where they fit, otherwise of those with trouble."""
    texts = {v.id: _label(stage, v) for v in views}
    room = inches_per_um(axes) * float(np.median([np.ptp(o[:, 0]) for o in placed.after]))
    widest = max(words_width(max(t.splitlines(), key=len), LABEL_SIZE) for t in texts.values())
    turned = _is_turned(stage)
    fits = widest < 0.95 * room or (turned and len(views) <= MOST_TROUBLED)
    at = placed.nodes if turned else np.array([o.min(axis=0) for o in placed.after])
    number = {v.id: n for n, v in enumerate(views)}
    chosen = list(number) if fits else _troubled(stage, links)[: 4 * MOST_TROUBLED]
    reach = np.array([widest, 0.15]) / inches_per_um(axes)
    written: list[NDArray[np.float64]] = []
    for view_id in chosen:
        place = at[number[view_id]]
        free = all((np.abs(place - other) > reach).any() for other in written)
        if fits or (free and len(written) < MOST_TROUBLED):
            _write(axes, place, texts[view_id], beside=turned)
            written.append(place)


def _write(axes: Axes, at: NDArray[np.float64], text: str, *, beside: bool) -> None:
    from matplotlib.patheffects import withStroke

    axes.annotate(
        text, (at[0], at[1]), (7, 0) if beside else (3, -3), textcoords="offset points",
        color=TEXT, size=LABEL_SIZE, ha="left", va="center" if beside else "top", zorder=7,
        path_effects=[withStroke(linewidth=2.2, foreground=BACKGROUND)], linespacing=1.25,
    )  # fmt: skip


def _label(stage: Stage, view: View) -> str:
    name = stage.names[view.id]
    if not _is_turned(stage):
        return name
    correction = stage.correction(view)
    moved = float(np.linalg.norm(correction.apply(middle(view)) - middle(view)))
    angle = correction.rotation_deg
    turned = f", {angle:.2g}°" if angle > 0.01 else ""
    return f"{name}\n{moved:.3g} µm{turned}"


def _is_turned(stage: Stage) -> bool:
    """Whether views lie on each other, so that a node stands for where one looks from."""
    return stage.kind in ("rotation", "objective_camera")


def _troubled(stage: Stage, links: Sequence[Link]) -> list[ViewId]:
    """Views without a link, then those at which links failed most often."""
    failed = [end for k in links if not k.is_trusted for end in (k.moving, k.fixed)]
    often = sorted(dict.fromkeys(failed), key=failed.count, reverse=True)
    return list(dict.fromkeys([*(i for i in often if i in stage.unlinked), *often]))
