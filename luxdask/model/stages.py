"""Which views are compared with which: the pairs of each stage of registration.

Three small graphs follow from the views. Their nodes are

- optics, (objective, channel, camera): how images of one stack and time point lie to each other,
- stacks, (time point, channel, stack): tiles and rotations, told by the views of the reference's
  objective, camera and PM id,
- time points.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from luxdask.model.bounding_box import view_box
from luxdask.model.geometry import BoundingBox, vector
from luxdask.model.links import Pair
from luxdask.model.pairs import exact_overlap, exact_overlaps, overlapping_pairs
from luxdask.model.view import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.model.links import Kind
    from luxdask.model.view import View, ViewId

ANGLE_TOLERANCE_DEG = 0.01
"""Stacks whose stage angles differ by less are tiles of one rotation."""

LEAST_OVERLAP_VX = 4.0
"""Stacks that share less along an axis of either, such as corners that just touch, are no pair."""

AXIS_ERROR_UM = 50.0
"""How far a rotated stack may lie from where its metadata puts it, when it is not pre-aligned."""


class Optics(NamedTuple):
    """One way of looking at a stack."""

    objective: str
    channel: str
    camera: str

    def __str__(self) -> str:
        return f"obj:{self.objective} ch:{self.channel} cam:{self.camera}"


class StackAt(NamedTuple):
    """A stack at a time point; `channel` is empty where all channels move together."""

    time_point: int
    channel: str
    stack: str

    def __str__(self) -> str:
        channel = f" ch:{self.channel}" if self.channel else ""
        return f"tp:{self.time_point}{channel} st:{self.stack}"


@dataclass(frozen=True, slots=True)
class StageRules:
    """Which stages there are, and how pairs are chosen.

    Attributes
    ----------
    objectives, cameras
        Register different objectives, different cameras of a stack.
    tiles, rotations, time_points
        Register tiles, rotated stacks, time points.
    different_channels
        Tiles of different channels may form a pair.
    one_time_point
        The stacks of the reference time point stand for those of all.
    prealigned
        Rotated stacks lie about where their metadata says.
    """

    objectives: bool = False
    cameras: bool = False
    tiles: bool = False
    rotations: bool = False
    time_points: bool = False
    different_channels: bool = False
    one_time_point: bool = False
    prealigned: bool = False


def optics_of(view: ViewId) -> Optics:
    """Node of the static graph."""
    return Optics(view.objective, view.channel, view.camera)


def stack_of(view: ViewId, rules: StageRules) -> StackAt:
    """Node of the stack graph."""
    return StackAt(view.time_point, view.channel if rules.different_channels else "", view.stack)


def content_pairs(views: Sequence[View], reference: ViewId, rules: StageRules) -> tuple[Pair, ...]:
    """All pairs whose contents are to be compared, in order of the stages.

    views : of all PM ids; only those of the reference's are compared.
    """
    mine = [v for v in views if v.id.pm == reference.pm]
    return (
        *_optics_pairs(mine, reference, rules),
        *_stack_pairs(mine, reference, rules),
        *_time_pairs(mine, reference, rules),
    )


def _optics_pairs(views: Sequence[View], reference: ViewId, rules: StageRules) -> list[Pair]:
    """Each objective and camera against the reference's, in one stack and channel."""
    if not (rules.objectives or rules.cameras):
        return []
    at_time = [v for v in views if v.id.time_point == reference.time_point]
    lenses = sorted({(v.id.objective, v.id.camera) for v in at_time}, key=_natural)
    pairs = []
    for lens in lenses:
        for anchor in _anchors(lens, lenses, reference, rules):
            found = _optics_pair(at_time, anchor, lens, reference, rules)
            if found is not None:
                pairs.append(found)
                break
    return pairs


Lens = tuple[str, str]


def _anchors(
    lens: Lens, lenses: Sequence[Lens], reference: ViewId, rules: StageRules
) -> list[Lens]:
    """What an objective and camera may be compared with, the best first."""
    home = (reference.objective, reference.camera)
    if lens == home:
        return []
    order = [home, (reference.objective, lens[1]), (lens[0], reference.camera)]
    # cameras of an objective that is not compared itself follow the first of their own
    own = next(other for other in lenses if other[0] == lens[0])
    return [
        anchor
        for anchor in dict.fromkeys([*order, own])
        if anchor in lenses and anchor != lens and _may_pair(anchor, lens, rules)
    ]


def _may_pair(a: Lens, b: Lens, rules: StageRules) -> bool:
    return (a[0] == b[0] or rules.objectives) and (a[1] == b[1] or rules.cameras)


def _optics_pair(
    views: Sequence[View], fixed: Lens, moving: Lens, reference: ViewId, rules: StageRules
) -> Pair | None:
    """The pair in the reference's stack and channel, or else the nearest to it."""
    sides: tuple[dict[Lens, View], dict[Lens, View]] = ({}, {})
    for side, lens in zip(sides, (fixed, moving), strict=True):
        for v in views:
            if (v.id.objective, v.id.camera) == lens:
                side[(v.id.stack, v.id.channel)] = v
    wanted = (reference.stack, reference.channel)
    common = sorted(
        set(sides[0]) & set(sides[1]),
        key=lambda k: (k[0] != wanted[0], k[1] != wanted[1], _natural(k)),
    )
    if common:
        return _pair("objective_camera", sides[0][common[0]], sides[1][common[0]])
    if not rules.different_channels:
        return None
    stacks = sorted(
        {k[0] for k in sides[0]} & {k[0] for k in sides[1]},
        key=lambda s: (s != wanted[0], natural_key(s)),
    )
    for stack in stacks:
        one, two = (min(k for k in side if k[0] == stack) for side in sides)
        return _pair("objective_camera", sides[0][one], sides[1][two])
    return None


def stack_views(views: Iterable[View], reference: ViewId, rules: StageRules) -> dict[StackAt, View]:
    """The view that stands for each stack: of the reference's objective, camera and channel."""
    chosen = {}
    for v in views:
        i = v.id
        if rules.one_time_point and i.time_point != reference.time_point:
            continue
        if (i.objective, i.camera, i.pm) != (reference.objective, reference.camera, reference.pm):
            continue
        if rules.different_channels or i.channel == reference.channel:
            chosen[stack_of(i, rules)] = v
    return chosen


def _stack_pairs(views: Sequence[View], reference: ViewId, rules: StageRules) -> list[Pair]:
    if not (rules.tiles or rules.rotations):
        return []
    times: dict[int, list[View]] = defaultdict(list)
    for node, view in stack_views(views, reference, rules).items():
        times[node.time_point].append(view)
    pairs = []
    for t in sorted(times):
        members = sorted(times[t], key=lambda v: _from_reference(v.id, reference))
        pairs += _neighbours(members, rules)
    return pairs


def _from_reference(view: ViewId, reference: ViewId) -> tuple[object, ...]:
    """Order in which the reference's stack comes first: it is the fixed one of its pairs."""
    return (view.stack != reference.stack, view.channel != reference.channel, view.sort_key)


def _neighbours(views: Sequence[View], rules: StageRules) -> list[Pair]:
    slack = AXIS_ERROR_UM if rules.rotations and not rules.prealigned else 0.0
    boxes = [_grown(view_box(v), slack / 2) for v in views]
    close = [
        (i, j, kind)
        for i, j in overlapping_pairs(boxes).tolist()
        if (rules.tiles if (kind := stack_kind(views[i], views[j])) == "tiles" else rules.rotations)
    ]
    first, second = [views[i] for i, _, _ in close], [views[j] for _, j, _ in close]
    overlaps = exact_overlaps(first, second, minimum_voxels=LEAST_OVERLAP_VX)
    pairs = []
    for (i, j, kind), overlap in zip(close, overlaps, strict=True):
        box = overlap
        if box is None and kind == "rotation" and slack:
            box = boxes[i] & boxes[j]
        if box is not None:
            pairs.append(Pair(kind, views[i].id, views[j].id, box))
    return pairs


def stack_kind(a: View, b: View) -> Kind:
    """Whether two stacks are tiles of one stage angle or rotated against each other."""
    turn = (a.angle_deg - b.angle_deg + 180) % 360 - 180
    return "tiles" if abs(turn) < ANGLE_TOLERANCE_DEG else "rotation"


def _time_pairs(views: Sequence[View], reference: ViewId, rules: StageRules) -> list[Pair]:
    """Each time point against the one before and against the reference's."""
    if not rules.time_points:
        return []
    series = {
        v.id.time_point: v for v in views if replace(v.id, time_point=0) == _timeless(reference)
    }
    times = sorted(series)
    found = list(pairwise(times))
    far = [(reference.time_point, t) for t in times if reference.time_point in series]
    closing = [(a, b) for a, b in far if a != b and (min(a, b), max(a, b)) not in found]
    pairs = (_pair("time_points", series[a], series[b]) for a, b in found + closing)
    return [p for p in pairs if p is not None]


def _timeless(view: ViewId) -> ViewId:
    return replace(view, time_point=0)


def _pair(kind: Kind, fixed: View, moving: View) -> Pair | None:
    """The pair with the box that both see; None where they see nothing in common."""
    overlap = exact_overlap(fixed, moving)
    return None if overlap is None else Pair(kind, fixed.id, moving.id, overlap)


def _grown(box: BoundingBox, margin_um: float) -> BoundingBox:
    return BoundingBox(
        vector(np.subtract(box.lower, margin_um)), vector(np.add(box.upper, margin_um))
    )


def _natural(names: tuple[str, ...]) -> tuple[object, ...]:
    return tuple((natural_key(n), n) for n in names)
