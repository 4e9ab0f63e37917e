"""How the parts of an overview are laid out and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.bounding_box import view_box
from luxdask.report.canvas import MUTED, Canvas, draw_frame, draw_scale_bar, mixed
from luxdask.report.colours import FRAMES
from luxdask.report.layout import MARGIN, TITLE_SIZE, Block, Rect, place
from luxdask.report.mosaic import mosaics
from luxdask.report.panel import channel_of
from luxdask.report.projection import project

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from luxdask.model.view import View
    from luxdask.report.mosaic import Mosaic
    from luxdask.report.panel import Channel, Palette, Panel

GAP = 0.06
"""Inches between the projections of one volume."""

COLUMNS = 3
TILE_PX, TILE_VOXELS = 300, 1 << 25
SMALLEST_LABELLED = 0.8
"""Tiles narrower than this (inches) bear no name."""


def draw(
    panels: Sequence[Panel], palette: Palette, inputs: Sequence[View], *, left_out: int = 0
) -> Canvas:
    """Draw volumes, on their left the tiles that went into the first one."""
    tiled = mosaics(inputs) if inputs else []
    titles = [_title(panel, len(inputs), alone=len(panels) == 1) for panel in panels]
    tile_blocks = [Block(m.size_um[0] / m.size_um[1], m.title) for m in tiled]
    beside, right = place(tile_blocks, 1 if len(tiled) <= 2 else 2, MARGIN)
    panel_blocks = [Block(_ratio(p), t) for p, t in zip(panels, titles, strict=True)]
    rects, right = place(panel_blocks, COLUMNS, right + 2 * MARGIN if tiled else MARGIN)
    bottom = max(r.top + r.height for r in (*rects, *beside))
    canvas = Canvas(right + MARGIN, bottom + MARGIN)
    frames = _frames(tiled)
    for mosaic, rect in zip(tiled, beside, strict=True):
        _draw_mosaic(canvas, mosaic, rect, palette, frames)
    for panel, rect, title in zip(panels, rects, titles, strict=True):
        canvas.words(rect.left, rect.top - 0.48, title, size=TITLE_SIZE)
        front = _draw_panel(canvas, panel, rect, palette)
        _draw_outlines(front, panel, inputs, frames)
    if left_out and not inputs:
        text = f"{len(panels)} of {len(panels) + left_out} volumes"
        canvas.words(MARGIN, 0.05, text, size=8, colour=MUTED)
    return canvas


def _frames(tiled: Sequence[Mosaic]) -> dict[str, str]:
    """A colour for each stack where there are several."""
    stacks = dict.fromkeys(tile[0].id.stack for mosaic in tiled for tile in mosaic.tiles)
    if len(stacks) < 2:
        return {}
    return {stack: FRAMES[n % len(FRAMES)] for n, stack in enumerate(stacks)}


def _ratio(panel: Panel) -> float:
    z, y, x = panel.extent_um
    return (y + z) / (x + z)


def _draw_mosaic(
    canvas: Canvas, mosaic: Mosaic, rect: Rect, palette: Palette, frames: Mapping[str, str]
) -> None:
    canvas.words(rect.left, rect.top - 0.48, mosaic.title, size=TITLE_SIZE)
    canvas.words(rect.left, rect.top - 0.24, "as the camera sees them", size=8, colour=MUTED)
    scale = rect.width / mosaic.size_um[1]
    for tile, (y, x) in zip(mosaic.tiles, mosaic.places, strict=True):
        height, width = np.multiply(tile[0].shape, tile[0].spacing_um)[1:].tolist()
        part = Rect(rect.left + x * scale, rect.top + y * scale, width * scale, height * scale)
        axes = canvas.picture(part, palette.paint(_tile_images(tile, palette)), (height, width))
        stack = tile[0].id.stack
        if stack in frames:
            label = (tile[0].id.tile or stack) if part.width >= SMALLEST_LABELLED else ""
            draw_frame(axes, (0, 0), (height, width), frames[stack], label)


def _tile_images(tile: Sequence[View], palette: Palette) -> dict[Channel, NDArray[np.float32]]:
    """Projections by channel; what was merged with others takes part in the first channel."""
    images: dict[Channel, NDArray[np.float32]] = {}
    for view in tile:
        own, merged = channel_of(view), next(iter(palette.colours))
        image = project(view, TILE_PX, TILE_VOXELS).front
        channel = own if own in palette.colours else merged
        images[channel] = np.maximum(images[channel], image) if channel in images else image
    return images


def _draw_panel(canvas: Canvas, panel: Panel, rect: Rect, palette: Palette) -> Axes:
    """Projections along z, y and x as in a technical drawing; returns the first."""
    z, y, x = panel.extent_um
    scale = (rect.height - GAP) / (y + z)
    right, below = rect.left + x * scale + GAP, rect.top + y * scale + GAP
    channels = panel.channels.items()
    front = palette.paint({c: p.front for c, p in channels})
    top = palette.paint({c: p.top for c, p in channels})
    side = palette.paint({c: p.side for c, p in channels}).transpose(1, 0, 2)
    axes = canvas.picture(Rect(rect.left, rect.top, x * scale, y * scale), front, (y, x))
    canvas.picture(Rect(rect.left, below, x * scale, z * scale), top, (z, x))
    canvas.picture(Rect(right, rect.top, z * scale, y * scale), side, (y, z))
    colours = [mixed(palette.colours[c]) for c in panel.channels]
    canvas.names(rect.left, rect.top - 0.24, [panel.names[c] for c in panel.channels], colours)
    draw_scale_bar(axes, (y, x))
    return axes


def _title(panel: Panel, n_views: int, *, alone: bool) -> str:
    i = panel.view.id
    words = f"fused from {n_views} views" if n_views else f"time point {i.time_point}, {i.stack}"
    size = " x ".join(f"{n:.4g}" for n in panel.extent_um[::-1])
    return f"{words}: {size} µm (x, y, z)" if alone else words


def _draw_outlines(
    axes: Axes, panel: Panel, inputs: Sequence[View], frames: Mapping[str, str]
) -> None:
    """The boxes of the input stacks on the projection along z."""
    lower = np.array(view_box(panel.view).lower)
    done = set()
    for view in inputs:
        stack = view.id.stack
        if stack in frames and stack not in done:
            done.add(stack)
            box = view_box(view)
            _, y, x = (np.array(box.lower) - lower).tolist()
            draw_frame(axes, (y, x), box.extent_um[1:], frames[stack])
