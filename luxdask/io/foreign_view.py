"""Views of images that are not Luxendo's: the checks and conventions that all formats share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from luxdask.errors import MetadataError
from luxdask.model.geometry import vector
from luxdask.model.value_range import needed_for
from luxdask.model.view import View

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luxdask.model.geometry import Affine, Shape, Vector
    from luxdask.model.view import Source, ViewId

_MICROMETRES = {
    "angstrom": 1e-4,
    "ångström": 1e-4,
    "å": 1e-4,
    "nanometer": 1e-3,
    "nm": 1e-3,
    "micrometer": 1.0,
    "micron": 1.0,
    "um": 1.0,
    "millimeter": 1e3,
    "mm": 1e3,
    "centimeter": 1e4,
    "cm": 1e4,
    "meter": 1e6,
    "m": 1e6,
    "inch": 25400.0,
}


class ForeignImages(NamedTuple):
    """Images found at a place: what kind of place, the folder for results, views and notes."""

    kind: str
    root: str
    views: tuple[View, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Described:
    """What some formats say of an image, and others do not."""

    spacing_um: Vector | None = None
    angle_deg: float = 0.0
    channel: str = ""
    stack: str = ""
    illuminations: tuple[str, ...] = ()
    directions: tuple[Vector, ...] = ()


def notes_on_types(views: Iterable[View]) -> list[str]:
    """One note per type of floating point, which needs a range to become uint16."""
    found: dict[str, View] = {}
    for view in views:
        foreign = view.source.foreign
        if foreign and foreign.value_range is None and foreign.voxel_type.startswith("float"):
            found.setdefault(foreign.voxel_type, view)
    return [f"{view.source.path}: {needed_for(name)}" for name, view in found.items()]


def micrometres(unit: str | None) -> float | None:
    """How many µm a unit of length is; None where it is not known.

    >>> micrometres("µm"), micrometres("millimetres"), micrometres("pixel")
    (1.0, 1000.0, None)
    """
    plain = (unit or "").strip().lower().replace("\\u00b5", "u").replace("µ", "u").replace("μ", "u")
    plain = plain.replace("metre", "meter")
    return _MICROMETRES.get(plain, _MICROMETRES.get(plain.removesuffix("s")))


def make_view(
    identity: ViewId,
    source: Source,
    shape: Shape,
    view_to_world: Affine,
    described: Described | None = None,
) -> View:
    """A view with a transform that was checked.

    The camera looks along the image's z axis unless `described` has other directions. Raises
    `MetadataError` naming the image where the transform is not finite or not invertible.
    """
    told = described or Described()
    numbers = view_to_world.to_array()
    if not np.isfinite(numbers).all() or not view_to_world.is_invertible:
        raise MetadataError(
            f"{source.path}: {identity}: the transform to sample space is not usable (not finite "
            f"or not invertible). Rows of its matrix (z, y, x, translation): {numbers.tolist()}"
        )
    axis = np.array(view_to_world.linear)[:, 0]
    own_axis = vector(axis / np.linalg.norm(axis) + 0.0)
    return View(
        id=identity,
        source=source,
        shape=shape,
        spacing_um=told.spacing_um or view_to_world.column_norms,
        view_to_world=view_to_world,
        detection_directions=told.directions or (own_axis,),
        illuminations=told.illuminations,
        angle_deg=told.angle_deg,
        channel_description=told.channel,
        stack_description=told.stack,
    )
