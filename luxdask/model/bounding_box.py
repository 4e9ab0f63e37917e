"""From views to output grids: which stacks share an image, and where its voxels lie."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import ConfigError
from luxdask.model.geometry import BoundingBox, Grid, shape3, vector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.model.geometry import Vector
    from luxdask.model.view import View

MODES = {"UnionAll": "uni", "UnionsOverlapping": "uni", "Intersections": "int", "Separate": "sep"}
"""Bounding-box modes and the prefix of their output files."""

TOLERANCE = 1e-4
"""Part of an output voxel by which a box may miss a voxel centre and still hold it."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Output voxel size relative to the input's: factors > 1 downsample, < 1 upsample.

    With `isotropic`, voxels are cubes of the input's lateral voxel size times the factors;
    otherwise the depth keeps the input's own sampling times the depth factor.
    """

    depth: float = 1.0
    height: float = 1.0
    width: float = 1.0
    isotropic: bool = False

    def spacing_um(self, view: View) -> Vector:
        """Voxel size (z, y, x) of an output made from views like this one."""
        base = list(world_spacing(view))
        if self.isotropic:
            base[0] = base[1] = base[2]
        return vector(np.multiply(base, (self.depth, self.height, self.width)))


@dataclass(frozen=True, slots=True)
class StackGroup:
    """Views that share one output box."""

    box: BoundingBox
    views: tuple[View, ...]


def world_spacing(view: View) -> Vector:
    """Voxel size along the axes of sample space; along the image's own where it is oblique."""
    if not view.view_to_world.is_axis_aligned():
        return view.spacing_um
    linear = np.abs(np.array(view.view_to_world.linear))
    return vector(linear.max(axis=1))


def view_box(view: View) -> BoundingBox:
    """Sample-space box around a view."""
    return BoundingBox.of_volume(view.shape, view.view_to_world)


def group_views(views: Sequence[View], mode: str) -> tuple[StackGroup, ...]:
    """Divide views into groups with one output box each, by a bounding-box mode.

    "UnionAll" encloses everything, "UnionsOverlapping" each set of overlapping stacks,
    "Intersections" keeps what all views of such a set share, "Separate" takes each stack alone.
    Raises `ConfigError` where an intersection is empty.
    """
    boxes = {view: view_box(view) for view in views}
    if mode == "UnionAll":
        return (StackGroup(reduce(or_, boxes.values()), tuple(views)),)
    stacks: dict[str, list[View]] = defaultdict(list)
    for view in views:
        stacks[view.id.stack].append(view)
    if mode == "Separate":
        sets = [[name] for name in stacks]
    else:
        sets = _overlapping({n: reduce(or_, (boxes[v] for v in s)) for n, s in stacks.items()})
    combine = and_ if mode == "Intersections" else or_
    groups = []
    for names in sets:
        members = [view for name in names for view in stacks[name]]
        box = reduce(combine, (boxes[v] for v in members))
        if not box:
            raise ConfigError(
                f"output.bounding_boxes: Intersections: the stacks {', '.join(names)} have no "
                "region in common. Choose UnionsOverlapping, or select stacks that all overlap."
            )
        groups.append(StackGroup(box, tuple(members)))
    return tuple(groups)


def _overlapping(boxes: dict[str, BoundingBox]) -> list[list[str]]:
    """Connected components of stacks whose boxes share volume, in the given order."""
    names = list(boxes)
    lower = np.array([boxes[n].lower for n in names])
    upper = np.array([boxes[n].upper for n in names])
    order = np.argsort(lower[:, 2], kind="stable")
    starts = lower[order, 2]
    parent = list(range(len(names)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for rank, i in enumerate(order):
        end = np.searchsorted(starts, upper[i, 2], side="left")
        later = order[rank + 1 : end]
        touch = ((lower[later] < upper[i]) & (upper[later] > lower[i])).all(axis=1)
        for j in later[touch]:
            parent[root(int(j))] = root(int(i))
    components: dict[int, list[str]] = defaultdict(list)
    for i, name in enumerate(names):
        components[root(i)].append(name)
    return list(components.values())


def output_grid(box: BoundingBox, spacing_um: Vector, anchor: View | None = None) -> Grid:
    """Voxels whose centres lie in a box; one in its middle along axes where no centre does.

    Where the anchor view's axes are those of sample space, output voxels are laid on the anchor's,
    so that at equal sampling its voxels are copied and not interpolated.
    """
    spacing = np.array(spacing_um)
    lower, upper = np.array(box.lower), np.array(box.upper)
    border = lower
    if anchor is not None and anchor.view_to_world.is_axis_aligned():
        border = np.array(view_box(anchor).lower)
    first = np.ceil((lower - border) / spacing - 0.5 - TOLERANCE)
    last = np.floor((upper - border) / spacing - 0.5 + TOLERANCE)
    shape = np.maximum(last - first + 1, 1).astype(int)
    origin = border + (first + 0.5) * spacing
    # else a box thinner than half a voxel, such as a single plane, would give an empty image
    origin = np.where(last < first, (lower + upper) / 2, origin)
    return Grid(shape3(shape.tolist()), vector(spacing), vector(origin))


def anchor_of(views: Iterable[View], reference: View | None) -> View:
    """The view that an output grid is laid on: the reference where it takes part."""
    members = tuple(views)
    return reference if reference is not None and reference in members else members[0]
