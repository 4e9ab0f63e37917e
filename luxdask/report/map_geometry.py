"""Where views stand on paper: their outlines, their nodes, and how far they are moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import volume_corners
from luxdask.report.registration_stage import middle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from luxdask.model.geometry import Affine
    from luxdask.model.view import View
    from luxdask.report.registration_stage import Stage


@dataclass(frozen=True, slots=True)
class Plane:
    """Projection of sample space on paper: unit vectors (z, y, x) to the right and downwards."""

    right: NDArray[np.float64]
    down: NDArray[np.float64]

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (..., 3) to (..., 2), to the right and down."""
        return np.stack([points @ self.right, points @ self.down], axis=-1)


@dataclass(frozen=True, slots=True)
class Placed:
    """What is drawn of each view, in µm on paper: outlines (n, 2), its node and its move (2)."""

    before: list[NDArray[np.float64]]
    after: list[NDArray[np.float64]]
    nodes: NDArray[np.float64]
    moves: NDArray[np.float64]

    @property
    def size_um(self) -> float:
        """Usual shorter side of a view."""
        return float(np.median([np.ptp(o, axis=0).min() for o in self.after]))


def plane_of(stage: Stage, views: Sequence[View]) -> Plane:
    """From above for turned and opposing views, otherwise as the camera sees them."""
    if stage.kind in ("rotation", "objective_camera"):
        return Plane(np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0]))
    axes = np.array(views[0].view_to_world.linear) / np.array(views[0].view_to_world.column_norms)
    rows, columns = _positive(axes[:, 1]), _positive(axes[:, 2])
    swap = abs(rows[2]) > abs(columns[2]) + 1e-6
    return Plane(rows, columns) if swap else Plane(columns, rows)


def place_views(stage: Stage, views: Sequence[View], plane: Plane) -> Placed:
    """Outlines, nodes and moves of views on paper."""
    turned = stage.kind in ("rotation", "objective_camera")
    corrections = [stage.correction(v) for v in views]
    before = [_outline(v.view_to_world, v, plane) for v in views]
    after = [
        _outline(c @ v.view_to_world, v, plane) for c, v in zip(corrections, views, strict=True)
    ]
    centres = np.array([c.apply(middle(v)) for c, v in zip(corrections, views, strict=True)])
    old = plane(np.array([middle(v) for v in views]))
    anchors = [_towards_objective(v, plane) if turned else np.zeros(2) for v in views]
    size = float(np.median([np.ptp(o, axis=0).min() for o in after]))
    nodes = _apart((old if turned else plane(centres)) + np.array(anchors), 0.2 * size)
    return Placed(before, after, nodes, plane(centres) - old)


def _positive(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vector turned so that its largest part is positive: sample axes keep their sense."""
    return np.asarray(axis * np.sign(axis[np.argmax(np.abs(axis))]))


def _outline(to_world: Affine, view: View, plane: Plane) -> NDArray[np.float64]:
    return _hull(plane(to_world.apply(volume_corners(view.shape))))


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convex hull (n, 2) of a few points (Andrew's monotone chain)."""
    ordered = sorted({(round(x, 6), round(y, 6)) for x, y in points.tolist()})
    halves = [_chain(ordered)[:-1], _chain(ordered[::-1])[:-1]]
    return np.array(halves[0] + halves[1])


def _chain(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    chain: list[tuple[float, float]] = []
    for x, y in points:
        while len(chain) > 1:
            (x0, y0), (x1, y1) = chain[-2:]
            if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 1e-9:
                break
            chain.pop()
        chain.append((x, y))
    return chain


def _towards_objective(view: View, plane: Plane) -> NDArray[np.float64]:
    """From the middle of a view to the side that its objective looks from, a part of the way."""
    own = np.array(view.view_to_world.linear)[:, 0]
    direction = np.array(view.detection_directions[0]) if view.detection_directions else own
    depth = view.shape[0] * np.linalg.norm(own)
    unit = direction / np.linalg.norm(direction)
    return np.asarray(-0.36 * depth * plane(unit))


def _apart(nodes: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Nodes that coincide are put on a ring of this radius."""
    clusters: list[list[int]] = []
    for n, node in enumerate(nodes):
        firsts = nodes[[members[0] for members in clusters]]
        near = np.flatnonzero(np.linalg.norm(firsts - node, axis=1) < radius / 4)
        if near.size:
            clusters[near[0]].append(n)
        else:
            clusters.append([n])
    spread = nodes.copy()
    for members in clusters:
        if len(members) > 1:
            angles = np.arange(len(members)) * 2 * np.pi / len(members)
            spread[members] += radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return spread
