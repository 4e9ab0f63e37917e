"""Where the pictures of tiles stand beside each other, as the camera that took them sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from luxdask.model.view import View

GAP = 0.06


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Tiles of one camera, drawn apart although they overlap.

    Attributes
    ----------
    title
        Which camera, how many tiles.
    tiles
        One tuple of views per place: the channels, in order.
    places
        Upper left corner (y, x) of each tile in µm, y downwards.
    size_um
        Height and width of the whole.
    """

    title: str
    tiles: tuple[tuple[View, ...], ...]
    places: tuple[tuple[float, float], ...]
    size_um: tuple[float, float]


def mosaics(views: Sequence[View], *, most: int = 4, most_tiles: int = 25) -> list[Mosaic]:
    """One mosaic per objective, camera and angle, of the first time point.

    At most `most` mosaics of `most_tiles` tiles; titles say where some are left out.
    """
    first = min(v.id.time_point for v in views)
    groups: dict[tuple[str, str, float], list[View]] = {}
    for view in views:
        if view.id.time_point == first:
            key = (view.id.objective, view.id.camera, view.angle_deg)
            groups.setdefault(key, []).append(view)
    turned = len({angle for _, _, angle in groups}) > 1
    chosen = list(groups.items())[:most]
    return [_mosaic(key, members, most_tiles, turned) for key, members in chosen]


def _mosaic(key: tuple[str, str, float], views: Sequence[View], most: int, turned: bool) -> Mosaic:
    stacks: dict[str, list[View]] = {}
    for view in views:
        stacks.setdefault(view.id.stack, []).append(view)
    tiles = tuple(tuple(members) for members in stacks.values())[:most]
    places, size = _places([members[0] for members in tiles])
    name = f"objective {key[0]}" if key[0] == key[1] else f"objective {key[0]}, camera {key[1]}"
    angle = f", {key[2]:g}°" if turned else ""
    shown = f"{len(tiles)} of {len(stacks)}" if len(tiles) < len(stacks) else f"{len(stacks)}"
    tile = "tile" if len(stacks) == 1 else "tiles"
    return Mosaic(f"{name}{angle}: {shown} {tile}", tiles, places, size)


def _places(
    views: Sequence[View],
) -> tuple[tuple[tuple[float, float], ...], tuple[float, float]]:
    """Rows and columns by the stage position along the camera's own axes."""
    sizes = np.array([np.multiply(v.shape, v.spacing_um)[1:] for v in views])
    centres = np.array([_centre_in_camera(v) for v in views])
    pitch = sizes.max(axis=0) * (1 + GAP)
    ranks = np.stack([_ranks(c, p / 4) for c, p in zip(centres.T, pitch, strict=True)], axis=1)
    corners = ranks * pitch
    whole = (corners + sizes).max(axis=0)
    places = tuple((float(y), float(x)) for y, x in corners)
    return places, (float(whole[0]), float(whole[1]))


def _centre_in_camera(view: View) -> NDArray[np.float64]:
    """Position (y, x) of the middle of a view along the directions of its own rows and columns."""
    middle = view.view_to_world.apply((np.array(view.shape) - 1) / 2)
    axes = np.array(view.view_to_world.linear) / np.array(view.view_to_world.column_norms)
    return np.asarray((middle @ axes)[1:])


def _ranks(values: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    """Number of each value among the distinct ones, where close ones count as the same."""
    order = np.argsort(values, kind="stable")
    steps = np.diff(values[order], prepend=values[order[:1]]) > tolerance
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = np.cumsum(steps)
    return ranks
