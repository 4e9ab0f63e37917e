"""The attributes of an OME-Zarr 0.5 image: axes, transforms of the levels, display of channels.

Source: https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luxdask.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luxdask.model.geometry import Grid, Shape, Vector

AXES = ("t", "c", "z", "y", "x")
OME_VERSION = "0.5"
SATURATED = 65535
# Told apart by most people with a colour vision deficiency as well; one channel alone is grey.
PALETTE = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
GREY = "FFFFFF"


@dataclass(frozen=True, slots=True)
class OmeChannel:
    """Name of a channel and its colour, six hex digits; an empty colour is chosen by position."""

    name: str
    color: str = ""


def level_transform(grid: Grid, factor: Shape) -> tuple[Vector, Vector]:
    """Voxel size and centre of the first voxel of a level, both in µm (z, y, x).

    Voxel i of a level averages the full-resolution voxels f·i … f·i + f − 1, so its centre lies at
    f·i + (f − 1) / 2.
    """
    to_world = grid.to_world
    z, y, x = ((f - 1) / 2 for f in factor)
    oz, oy, ox = to_world.apply((z, y, x)).tolist()
    sz, sy, sx = (s * f for s, f in zip(grid.spacing_um, factor, strict=True))
    return (sz, sy, sx), (oz, oy, ox)


def image_attributes(
    name: str,
    grid: Grid,
    levels: Sequence[Shape],
    channels: Sequence[OmeChannel],
    time_interval_s: float | None,
) -> dict[str, Any]:
    """The `ome` attribute of an image whose level n is the array named n."""
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": _transformations(grid, factor, time_interval_s),
        }
        for level, factor in enumerate(levels)
    ]
    image = {
        "name": name,
        "axes": _axes(time_interval_s),
        "datasets": datasets,
        "type": "mean",
        "metadata": {"description": "each level averages the voxels of the full resolution"},
    }
    return {
        "version": OME_VERSION,
        "multiscales": [image],
        "omero": {
            "name": name,
            "channels": _channels(channels),
            "rdefs": {"model": "color" if len(channels) > 1 else "greyscale"},
        },
        "_creator": {"name": "luxdask", "version": __version__},
    }


def display_window(low: float, high: float) -> dict[str, int]:
    """Grey values shown as black and as full colour, within the range of uint16."""
    start = max(0, min(round(low), SATURATED - 1))
    end = min(SATURATED, max(round(high), start + 1))
    return {"min": 0, "max": SATURATED, "start": start, "end": end}


def _axes(time_interval_s: float | None) -> list[dict[str, str]]:
    time = {"name": "t", "type": "time"}
    if time_interval_s is not None:
        time["unit"] = "second"
    space = [{"name": n, "type": "space", "unit": "micrometer"} for n in AXES[2:]]
    return [time, {"name": "c", "type": "channel"}, *space]


def _transformations(
    grid: Grid, factor: Shape, time_interval_s: float | None
) -> list[dict[str, Any]]:
    spacing, origin = level_transform(grid, factor)
    step = 1.0 if time_interval_s is None else time_interval_s
    return [
        {"type": "scale", "scale": [step, 1.0, *spacing]},
        {"type": "translation", "translation": [0.0, 0.0, *origin]},
    ]


def _channels(channels: Sequence[OmeChannel]) -> list[dict[str, Any]]:
    alone = len(channels) == 1
    return [
        {
            "label": channel.name,
            "color": channel.color or (GREY if alone else PALETTE[n % len(PALETTE)]),
            "active": True,
            "window": display_window(0, SATURATED),
        }
        for n, channel in enumerate(channels)
    ]
