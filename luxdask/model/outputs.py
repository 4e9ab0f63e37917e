"""From views and settings to the list of output images."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from luxdask.model.bounding_box import MODES, Sampling, anchor_of, group_views, output_grid
from luxdask.model.geometry import shape3
from luxdask.model.output import Output
from luxdask.model.view import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from luxdask.model.geometry import Grid
    from luxdask.model.view import View

STORED_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """Which views become which images.

    Attributes
    ----------
    mode
        Bounding-box mode, one of `luxdask.model.bounding_box.MODES`.
    fuse_cameras
        Fuse the objectives and cameras of a stack; otherwise each gives images of its own.
    merge_channels
        Fuse all channels into one.
    views_separately
        Also an image of every single view, on the grid of the fused one.
    full_chunks_only
        Leave out the chunks at the end of a view that are not full.
    """

    mode: str = "UnionAll"
    sampling: Sampling = field(default_factory=Sampling)
    fuse_cameras: bool = True
    merge_channels: bool = False
    views_separately: bool = False
    full_chunks_only: bool = False


def outputs_of(
    views: Sequence[View], layout: Layout, reference: View | None = None
) -> tuple[Output, ...]:
    """All output images: time point × channel × PM id × box (× camera where not fused).

    Boxes are those of all views together, so every time point and channel of a box has one grid.
    """
    if layout.full_chunks_only:
        views = [_whole_chunks(v) for v in views]
        reference = None if reference is None else _whole_chunks(reference)
    found: list[Output] = []
    for number, group in enumerate(group_views(views, layout.mode)):
        anchor = anchor_of(group.views, reference)
        grid = output_grid(group.box, layout.sampling.spacing_um(anchor), anchor)
        for members in _images(group.views, layout):
            found.extend(_with_separate(members, grid, layout, number))
    return tuple(found)


def missing_views(views: Sequence[View]) -> tuple[str, ...]:
    """Views that lack some of the time points that others have, one line each."""
    times = {v.id.time_point for v in views}
    seen: dict[object, set[int]] = defaultdict(set)
    for view in views:
        seen[replace(view.id, time_point=0)].add(view.id.time_point)
    lines = []
    for identity, present in seen.items():
        lacking = sorted(times - present)
        if lacking:
            name = str(identity).removeprefix("tp:0 ")
            lines.append(f"{name} is missing at time points {', '.join(map(str, lacking))}")
    return tuple(lines)


def _whole_chunks(view: View) -> View:
    shape = [n // STORED_CHUNK * STORED_CHUNK if n >= STORED_CHUNK else n for n in view.shape]
    return replace(view, shape=shape3(shape))


def _images(views: Sequence[View], layout: Layout) -> Iterator[tuple[View, ...]]:
    """The sets of views that are fused, in order of time point, channel, PM id, camera."""
    sets: dict[tuple[object, ...], list[View]] = defaultdict(list)
    for view in views:
        i = view.id
        channel = "" if layout.merge_channels else i.channel
        camera = ("", "") if layout.fuse_cameras else (i.objective, i.camera)
        names = (channel, i.pm or "", *camera)
        # "1" and "01" have one natural key, but are two names
        sets[(i.time_point, *((natural_key(n), n) for n in names))].append(view)
    for key in sorted(sets):
        yield tuple(sorted(sets[key], key=lambda v: v.id.sort_key))


def _with_separate(
    views: tuple[View, ...], grid: Grid, layout: Layout, group: int
) -> Iterator[Output]:
    prefix = MODES[layout.mode]
    yield Output(prefix, grid, views, group=group)
    if layout.views_separately:
        for view in views:
            yield Output(prefix, grid, (view,), separate_view=True, group=group)
