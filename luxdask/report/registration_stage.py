"""What one stage of the registration has found, as the pictures and their words need it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import Affine
from luxdask.model.links import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from luxdask.model.links import Kind, Link
    from luxdask.model.view import View, ViewId

SOLVED_TOGETHER: tuple[frozenset[Kind], ...] = (
    frozenset({"objective_camera"}),
    frozenset({"rotation", "tiles"}),
    frozenset({"time_points"}),
)
"""Kinds of links that hold views in place together."""

TITLES: dict[Kind, str] = {
    "objective_camera": "Registration of objectives and cameras",
    "rotation": "Registration of rotations",
    "tiles": "Registration of tiles",
    "time_points": "Registration of time points",
}


@dataclass(frozen=True)
class Stage:
    """Views and links of one kind.

    Attributes
    ----------
    views
        Those that the stage aligns, in natural order.
    links
        The links of this kind between them.
    holding
        All links that hold these views in place: of this kind and of those solved with it.
    corrections
        Sample space to sample space in µm; a view that is missing keeps its metadata position.
    """

    kind: Kind | None
    views: tuple[View, ...]
    links: tuple[Link, ...]
    holding: tuple[Link, ...]
    corrections: Mapping[ViewId, Affine]

    @property
    def title(self) -> str:
        """The name of the stage in words."""
        return "Registration" if self.kind is None else TITLES[self.kind]

    @cached_property
    def voxel_um(self) -> float:
        """Usual lateral voxel size."""
        return float(np.median([np.mean(v.spacing_um[1:]) for v in self.views]))

    def correction(self, view: View) -> Affine:
        """Sample space by the metadata to where the view truly lies."""
        return self.corrections.get(view.id, Affine())

    @cached_property
    def displacements_um(self) -> NDArray[np.float64]:
        """How far the middle of each view is moved (z, y, x): (views, 3)."""
        return np.array([_displacement(v, self.correction(v)) for v in self.views])

    @cached_property
    def groups(self) -> tuple[frozenset[ViewId], ...]:
        """Views that trusted links hold together, the biggest group first."""
        return _connected([v.id for v in self.views], [k for k in self.holding if k.is_trusted])

    @property
    def unlinked(self) -> frozenset[ViewId]:
        """Views without any trusted link."""
        return frozenset(i for g in self.groups if len(g) == 1 for i in g)

    @property
    def trusted(self) -> list[Link]:
        """Links that were used."""
        return [link for link in self.links if link.is_trusted]

    @property
    def untrusted(self) -> list[Link]:
        """Links that were not used, those that rarely mean harm last."""
        failed = [link for link in self.links if not link.is_trusted]
        return sorted(failed, key=lambda k: k.status in ("no texture", "too little overlap"))

    @property
    def reasons(self) -> dict[str, int]:
        """How many links were not used, by status."""
        return dict(Counter(link.status for link in self.untrusted))

    @cached_property
    def names(self) -> dict[ViewId, str]:
        """Short names: only what tells these views from each other."""
        return _short_names(self.views, angles=self.kind == "rotation")

    def name(self, link: Link) -> str:
        """Both views of a link in short."""
        ends = (link.moving, link.fixed)
        return " → ".join(self.names.get(end, str(end)) for end in ends)


def residual_um(link: Link) -> float:
    """Residual of a link, NaN where there is none."""
    value = link.residual_um
    return value if value is not None and isfinite(value) else float("nan")


def stages_of(links: Sequence[Link]) -> tuple[Kind, ...]:
    """The stages that have links, in the order in which they are done."""
    present = {link.kind for link in links}
    return tuple(kind for kind in KINDS if kind in present)


def stage_of(
    kind: Kind | None,
    views: Sequence[View],
    links: Sequence[Link],
    corrections: Mapping[ViewId, Affine],
) -> Stage:
    """Choose what belongs to a stage; without a kind, all views of the first time point."""
    together = next((s for s in SOLVED_TOGETHER if kind in s), ())
    own = tuple(link for link in links if link.kind == kind)
    holding = tuple(link for link in links if link.kind in together)
    chosen = tuple(sorted(_members(kind, views, own) or views, key=lambda v: v.id.sort_key))
    return Stage(kind, chosen, own, holding, corrections)


def choose_links(links: Sequence[Link], kind: Kind) -> list[tuple[str, Link]]:
    """Links whose overlaps are worth a look, each with a word that says why.

    The worst, the median and the best trusted one, and one that is not trusted although both views
    have content; fewer where there are few links.
    """
    own = [link for link in links if link.kind == kind]
    solved = [k for k in own if k.is_trusted and isfinite(residual_um(k))]
    ranked = sorted(solved, key=residual_um, reverse=True)
    places = {"worst": 0, "median": len(ranked) // 2, "best": len(ranked) - 1}
    chosen = {n: word for word, n in reversed(places.items()) if ranked}
    found = [(chosen[n] if ranked[1:] else "only link", ranked[n]) for n in sorted(chosen)]
    failed = [k for k in own if k.status in ("removed", "no match", "ambiguous", "at the limit")]
    return found + [(k.status, k) for k in sorted(failed, key=lambda k: -k.quality)[:1]]


def middle(view: View) -> NDArray[np.float64]:
    """Centre (z, y, x) of a view in sample space by its metadata."""
    return view.view_to_world.apply((np.array(view.shape) - 1) / 2)


def _displacement(view: View, correction: Affine) -> NDArray[np.float64]:
    centre = middle(view)
    return np.asarray(correction.apply(centre) - centre)


def _members(kind: Kind | None, views: Sequence[View], links: Sequence[Link]) -> list[View]:
    """Views like the linked ones: of their channels and cameras, and at their time points."""
    if not links:
        first = min(v.id.time_point for v in views)
        return [v for v in views if v.id.time_point == first]
    ends = {end for link in links for end in (link.fixed, link.moving)}
    if kind == "objective_camera":
        return [v for v in views if v.id in ends]
    cameras = {(e.channel, e.objective, e.camera, e.pm) for e in ends}
    times = (
        {e.time_point for e in ends} if kind != "time_points" else {v.id.time_point for v in views}
    )
    stacks = {e.stack for e in ends} if kind == "time_points" else {v.id.stack for v in views}
    return [
        v
        for v in views
        if (v.id.channel, v.id.objective, v.id.camera, v.id.pm) in cameras
        and v.id.time_point in times
        and v.id.stack in stacks
    ]


def _connected(ids: Sequence[ViewId], links: Sequence[Link]) -> tuple[frozenset[ViewId], ...]:
    root = {i: i for i in ids}

    def find(i: ViewId) -> ViewId:
        while root[i] != i:
            root[i] = i = root[root[i]]
        return i

    for link in links:
        if link.fixed in root and link.moving in root:
            root[find(link.moving)] = find(link.fixed)
    groups: dict[ViewId, list[ViewId]] = {}
    for i in ids:
        groups.setdefault(find(i), []).append(i)
    return tuple(frozenset(g) for g in sorted(groups.values(), key=len, reverse=True))


def _short_names(views: Sequence[View], *, angles: bool) -> dict[ViewId, str]:
    ids = [v.id for v in views]
    one_stack = len({i.stack_number for i in ids}) == 1
    degrees = {v.id: f"({v.angle_deg:g}°)" if angles else "" for v in views}
    parts: dict[str, Callable[[ViewId], str]] = {
        "time_point": lambda i: f"t{i.time_point}",
        "channel": lambda i: f"ch {i.channel}",
        "stack": lambda i: (i.tile if one_stack else "") or i.stack,
        "objective": lambda i: i.objective,
        "camera": lambda i: "" if i.camera == i.objective else f"cam {i.camera}",
        "pm": lambda i: f"pm {i.pm}",
    }
    varying = [name for name in parts if len({getattr(i, name) for i in ids}) > 1]
    names = {}
    for i in ids:
        words = [parts[name](i) for name in varying or ["stack"]]
        names[i] = " ".join(w for w in (*words, degrees[i]) if w)
    return names
