"""A picture of finished images: maximum projections in colours, beside the tiles they came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import ConfigError
from luxdask.io.lux_metadata import read_view
from luxdask.io.lux_writer import sidecar_path
from luxdask.io.replace_file import replacing
from luxdask.model.bounding_box import view_box
from luxdask.model.view import Source, View, natural_key
from luxdask.report.colours import channel_colours, display_range
from luxdask.report.draw import draw
from luxdask.report.panel import Channel, Palette, Panel, channel_name, channel_of
from luxdask.report.projection import project

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

MOST_PANELS = 6


def write_overview(
    images: Sequence[str | os.PathLike[str] | View],
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[View] = (),
) -> Path:
    """Write a PNG with the maximum projections of images along z, y and x.

    Channels are added up in colours. Stored pyramid levels are used, and big images are read piece
    by piece, so that neither time nor memory grows with them. At most six volumes are shown.

    Parameters
    ----------
    images
        ``.lux.h5`` files or opened views.
    path
        The PNG file; an existing one is replaced.
    inputs
        Views that the images were fused from: the first volume is shown beside them, with their
        outlines on it.

    Returns
    -------
    The path.

    Raises
    ------
    ConfigError
        No images were given.
    ImageFileError, MetadataError, OutputError
        An image cannot be read, or the picture cannot be written.
    """
    if not images:
        raise ConfigError("overview: no images given; at least one is needed")
    volumes = _volumes([v if isinstance(v, View) else _opened(v) for v in images])
    shown = _spread(volumes, 1 if inputs else MOST_PANELS)
    panels = [_panel(volume) for volume in shown]
    palette = _palette(panels)
    canvas = draw(panels, palette, inputs, left_out=len(volumes) - len(shown))
    with replacing(Path(path)) as temporary:
        canvas.save(temporary)
    return Path(path)


def _opened(path: str | os.PathLike[str]) -> View:
    place = Path(path).resolve()
    sidecar = sidecar_path(str(place))
    source = Source(str(place), sidecar=str(sidecar) if sidecar.exists() else None)
    return read_view(source)[0]


def _volumes(views: Sequence[View]) -> list[dict[Channel, View]]:
    """Images that differ in channel and PM id only belong together."""
    found: dict[object, dict[Channel, View]] = {}
    for view in sorted(views, key=lambda v: v.id.sort_key):
        i, box = view.id, view_box(view)
        place = tuple(np.round([*box.lower, *box.upper], 3).tolist())
        key = (i.time_point, i.stack, i.objective, i.camera, place)
        found.setdefault(key, {}).setdefault(channel_of(view), view)
    return list(found.values())


def _spread(volumes: list[dict[Channel, View]], most: int) -> list[dict[Channel, View]]:
    """At most so many, evenly spread from first to last."""
    if len(volumes) <= most:
        return volumes
    chosen = np.linspace(0, len(volumes) - 1, most).round().astype(int)
    return [volumes[n] for n in chosen]


def _panel(volume: dict[Channel, View]) -> Panel:
    return Panel(
        next(iter(volume.values())),
        {channel: project(view) for channel, view in volume.items()},
        {channel: channel_name(view) for channel, view in volume.items()},
    )


def _palette(panels: Sequence[Panel]) -> Palette:
    channels = {c for panel in panels for c in panel.channels}
    ordered = sorted(channels, key=lambda c: (natural_key(c[0]), natural_key(c[1])))
    colours = dict(zip(ordered, channel_colours(len(ordered)), strict=True))
    ranges = {}
    for channel in ordered:
        values = [p.channels[channel].front.ravel() for p in panels if channel in p.channels]
        ranges[channel] = display_range(np.concatenate(values))
    return Palette(colours, ranges)
