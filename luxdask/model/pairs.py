"""Which views share a volume of the sample, found from their geometry alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.bounding_box import view_box
from luxdask.model.geometry import BoundingBox, vector, volume_corners

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from luxdask.model.geometry import Affine
    from luxdask.model.view import View

_CANDIDATES = 2_000_000
"""Pairs of boxes that are compared at once; bounds the memory."""

_NEVER = 1e-9
"""Part of a voxel below which a line runs along a face rather than through it."""

# volume_corners counts in binary, so the two ends of an edge differ in one bit
_EDGES = np.array([(c, c | bit) for bit in (1, 2, 4) for c in range(8) if not c & bit])


def overlapping_pairs(
    boxes: Sequence[BoundingBox], minimum_um: float | Sequence[float] = 0.0
) -> NDArray[np.intp]:
    """All pairs of boxes that share volume, each once, as (n, 2) indices in ascending order.

    A pair counts when it shares more than `minimum_um` (one number or z, y, x) along every axis;
    boxes that only touch never do. The boxes are swept along the axis on which they spread most, so
    that the time grows with the pairs rather than with the square of the boxes.
    """
    if len(boxes) < 2:
        return np.empty((0, 2), dtype=np.intp)
    lower = np.array([b.lower for b in boxes])
    upper = np.array([b.upper for b in boxes])
    minimum = np.broadcast_to(np.maximum(minimum_um, 0.0), 3)
    found = [
        pairs[_shared(lower, upper, pairs, minimum)] for pairs in _candidates(lower, upper, minimum)
    ]
    pairs = np.sort(np.concatenate([np.empty((0, 2), dtype=np.intp), *found]), axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def exact_overlap(view_a: View, view_b: View, *, minimum_voxels: float = 0.0) -> BoundingBox | None:
    """Box in sample space around what two views both see; None where that is nothing.

    Exact for any pair of affine transforms: the corners of the common volume lie on the edges of
    one view clipped by the faces of the other. With `minimum_voxels`, a common volume that is
    thinner along an axis of either view counts as nothing.
    """
    return _overlaps([view_a], [view_b], minimum_voxels)[0]


def exact_overlaps(
    first: Sequence[View], second: Sequence[View], *, minimum_voxels: float = 0.0
) -> list[BoundingBox | None]:
    """`exact_overlap` of many pairs of views; much quicker than one by one."""
    step = 10_000
    return [
        box
        for start in range(0, len(first), step)
        for box in _overlaps(
            first[start : start + step], second[start : start + step], minimum_voxels
        )
    ]


def _candidates(
    lower: NDArray[np.float64], upper: NDArray[np.float64], minimum: NDArray[np.float64]
) -> Iterator[NDArray[np.intp]]:
    """Pairs whose intervals on one axis overlap; the axis with the fewest of them is taken."""
    sweeps = [_sweep(lower[:, k], upper[:, k] - minimum[k]) for k in range(3)]
    order, count = min(sweeps, key=lambda sweep: int(sweep[1].sum()))
    ends = np.cumsum(count)
    cuts = np.searchsorted(ends, np.arange(_CANDIDATES, ends[-1] + _CANDIDATES, _CANDIDATES)) + 1
    start = 0
    for stop in np.minimum(np.unique(cuts), len(order)).tolist():
        part = count[start:stop]
        first = np.repeat(np.arange(start, stop), part)
        offset = np.arange(len(first)) - np.repeat(np.cumsum(part) - part, part)
        yield np.column_stack([order[first], order[first + 1 + offset]])
        start = stop


def _sweep(
    lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Order of the intervals, and how many of those that follow begin before each one ends."""
    order = np.argsort(lower, kind="stable")
    stop = np.searchsorted(lower[order], upper[order], side="left")
    return order, np.maximum(stop - np.arange(len(order)) - 1, 0)


def _shared(
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    pairs: NDArray[np.intp],
    minimum: NDArray[np.float64],
) -> NDArray[np.bool_]:
    a, b = pairs.T
    extent = np.minimum(upper[a], upper[b]) - np.maximum(lower[a], lower[b])
    return np.asarray((extent > minimum).all(axis=1))


def _overlaps(
    first: Sequence[View], second: Sequence[View], minimum_voxels: float
) -> list[BoundingBox | None]:
    """Common volumes of pairs of views, all pairs at once."""
    if not first:
        return []
    corners = _overlap_corners(first, second)
    thick = _is_thick(corners, first, minimum_voxels) & _is_thick(corners, second, minimum_voxels)
    flat = _flat_boxes((*first, *second))
    boxes: list[BoundingBox | None] = []
    for points, keep, a, b in zip(corners, thick, first, second, strict=True):
        box, box_a, box_b = None, flat[id(a)], flat[id(b)]
        if keep and box_a is not None and box_b is not None:
            box = box_a & box_b  # free of the rounding of a round trip through voxels
        elif keep:
            box = BoundingBox(vector(np.nanmin(points, axis=0)), vector(np.nanmax(points, axis=0)))
        boxes.append(box or None)
    return boxes


def _flat_boxes(views: Iterable[View]) -> dict[int, BoundingBox | None]:
    """Box of each view (under its `id`) that lies along the axes; None for others."""
    distinct = {id(view): view for view in views}
    return {
        key: view_box(view) if view.view_to_world.is_axis_aligned() else None
        for key, view in distinct.items()
    }


def _overlap_corners(first: Sequence[View], second: Sequence[View]) -> NDArray[np.float64]:
    """Corners of common volumes in sample space, (n, 48, 3); NaN where an edge misses the volume.

    A corner of the intersection of two boxes is met by at least two faces of one of them, so it
    lies on an edge of that box, at an end of what the other box leaves of the edge.
    """
    edges = np.concatenate([_clipped_edges(first, second), _clipped_edges(second, first)], axis=1)
    return edges.reshape(len(first), -1, 3)


def _clipped_edges(views: Sequence[View], others: Sequence[View]) -> NDArray[np.float64]:
    """Ends of the part of each view's edges that lies in the other view, (n, 24, 3), in µm."""
    world = np.stack([v.view_to_world.apply(volume_corners(v.shape)) for v in views])
    ends = world[:, _EDGES]
    local = _to_voxels(ends.reshape(len(views), -1, 3), others).reshape(ends.shape)
    begin, along = local[:, :, 0], local[:, :, 1] - local[:, :, 0]
    lower, upper = -0.5, np.array([o.shape for o in others])[:, None, :] - 0.5
    parallel = np.abs(along) < _NEVER
    step = np.where(parallel, 1.0, along)
    near, far = (lower - begin) / step, (upper - begin) / step
    inside = (begin >= lower - _NEVER) & (begin <= upper + _NEVER)
    enter = np.where(parallel, np.where(inside, 0.0, np.inf), np.minimum(near, far)).max(axis=2)
    leave = np.where(parallel, 1.0, np.maximum(near, far)).min(axis=2)
    enter, leave = np.maximum(enter, 0.0), np.minimum(leave, 1.0)
    part = np.stack([enter, leave], axis=2)
    part[enter > leave] = np.nan
    start = ends[:, :, :1]
    clipped = start + part[..., None] * (ends[:, :, 1:] - start)
    return np.asarray(clipped.reshape(len(views), -1, 3))


def _to_voxels(points: NDArray[np.float64], views: Sequence[View]) -> NDArray[np.float64]:
    """Points (n, k, 3) in µm as voxel coordinates of one view each."""
    linear = np.array([v.view_to_world.linear for v in views])
    offset = np.array([v.view_to_world.offset for v in views])
    return np.asarray((points - offset[:, None]) @ np.linalg.inv(linear).transpose(0, 2, 1))


def _is_thick(
    corners: NDArray[np.float64], views: Sequence[View], minimum_voxels: float
) -> NDArray[np.bool_]:
    """Whether common volumes extend far enough along the axes of one view of each pair."""
    local = _to_voxels(corners, views)
    empty = np.isnan(local)
    highest = np.where(empty, -np.inf, local).max(axis=1)
    lowest = np.where(empty, np.inf, local).min(axis=1)
    needed = np.minimum(minimum_voxels, np.array([v.shape for v in views]))
    # a view that must share all of its few voxels does so up to rounding
    return np.asarray((highest - lowest > np.maximum(needed - 1e-6, 1e-6)).all(axis=1))


def _is_flat(a: Affine, b: Affine) -> bool:
    return a.is_axis_aligned() and b.is_axis_aligned()
