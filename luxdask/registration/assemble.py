"""From links to the corrections of all views: one global optimisation per stage, then composed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from luxdask.model.corrections import Corrections, is_identity
from luxdask.model.geometry import Affine, vector
from luxdask.model.multi_transform import voxel_form
from luxdask.model.stages import StackAt, optics_of, stack_of, stack_views
from luxdask.registration.outliers import solve_with_removal
from luxdask.registration.solve import Edge, Solution

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luxdask.model.geometry import Vector
    from luxdask.model.links import Link, Model
    from luxdask.model.stages import Optics, StageRules
    from luxdask.model.view import View, ViewId

MODELS: tuple[Model, ...] = ("translation", "rigid", "affine")
EXACT_VX = 0.05
"""Links that agree better than this part of a voxel are as good as exact."""

NAMED = 20
"""Links of a stage that are named one by one before the rest is only counted."""


@dataclass(frozen=True)
class Assembled:
    """The outcome of all stages.

    Attributes
    ----------
    links
        All links with their residuals, costs and statuses.
    unlinked
        What kept its place from the metadata because nothing holds it, in words.
    """

    corrections: Corrections
    links: tuple[Link, ...]
    unlinked: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass
class _Ledger:
    """Gathers what the stages say."""

    judged: dict[int, Link] = field(default_factory=dict)
    unlinked: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Stage:
    """What all stages look at."""

    views: Mapping[ViewId, View]
    reference: ViewId
    rules: StageRules
    links: Sequence[tuple[int, Link]]
    ledger: _Ledger

    def of_kind(self, *kinds: str) -> list[tuple[int, Link]]:
        """Links of some kinds, with their numbers."""
        return [(n, link) for n, link in self.links if link.kind in kinds]


def assemble(
    views: Iterable[View],
    reference: ViewId,
    rules: StageRules,
    links: Sequence[Link],
    *,
    direct: Mapping[ViewId, Link] | None = None,
    threshold: float | None = None,
) -> Assembled:
    """Solve the stages one after the other and compose the corrections of the views.

    views : all views, with their metadata's transforms.
    links : of all stages, trusted or not.
    direct : links of single images to the reference image (or, reused, to another one), which
        stand above all others.
    threshold : cost above which tile pairs are removed; None removes none.
    """
    ledger = _Ledger(judged=dict(enumerate(links)))
    by_id = {view.id: view for view in views}
    stage = _Stage(by_id, reference, rules, list(enumerate(links)), ledger)
    optics = _solve_optics(stage)
    stacks = _solve_stacks(stage, Corrections(optics=optics), threshold)
    all_times = reference.time_point if rules.one_time_point else None
    within = Corrections(
        optics, stacks, all_times=all_times, different_channels=rules.different_channels
    )
    times = _solve_times(stage, within)
    batch = replace(within, times=times)
    return Assembled(
        replace(batch, direct=_singles(direct or {}, batch, by_id)),
        tuple(ledger.judged[n] for n in range(len(links))),
        tuple(ledger.unlinked),
        tuple(ledger.warnings),
    )


def _singles(
    direct: Mapping[ViewId, Link], batch: Corrections, by_id: Mapping[ViewId, View]
) -> dict[ViewId, Affine]:
    """Corrections of single images."""
    found = {}
    for view, link in direct.items():
        before = batch.of(by_id[link.fixed])
        whole = link.transform if is_identity(before) else before @ link.transform
        found[replace(view, pm=None)] = whole
    return found


def _solve(
    nodes: Mapping[Any, View],
    edges: Sequence[tuple[int, Edge[Any]]],
    reference: Any,
    ledger: _Ledger,
    threshold: float | None = None,
) -> Solution[Any]:
    """Corrections of the nodes; the judged links and warnings go to the ledger.

    nodes : each with a view that tells where it lies.
    """
    trusted = {edge.link.model for _, edge in edges if edge.link.is_trusted}
    model = max(trusted or {MODELS[0]}, key=MODELS.index)
    found = solve_with_removal(
        list(nodes),
        [edge for _, edge in edges],
        reference,
        model=model,
        threshold=threshold,
        positions={node: _middle_um(view) for node, view in nodes.items()},
        floor_um=EXACT_VX * min(min(view.spacing_um) for view in nodes.values()),
    )
    for (number, _), judged in zip(edges, found.links, strict=True):
        link = ledger.judged[number]
        ledger.judged[number] = replace(
            link,
            status=judged.status,
            reason=judged.reason,
            residual_um=judged.residual_um,
            cost=judged.cost,
        )
    ledger.warnings += _untrusted([ledger.judged[n] for n, _ in edges])
    ledger.warnings += found.warnings
    ledger.unlinked += [str(node) for node in found.unlinked if node != reference]
    return found


def _middle_um(view: View) -> Vector:
    middle = [(n - 1) / 2 for n in view.shape]
    return vector(view.view_to_world.apply(middle))


def _untrusted(links: Sequence[Link]) -> list[str]:
    """Links that were not used since their measurement cannot be trusted, with the reasons."""
    bad = [link for link in links if link.status not in ("ok", "removed")]
    lines = [f"not used: {link}: {link.status}: {link.reason}" for link in bad[:NAMED]]
    more = len(bad) - NAMED
    return [*lines, f"and {more} more pairs that could not be trusted"] if more > 0 else lines


def _solve_optics(stage: _Stage) -> dict[Optics, Affine]:
    """Objectives, channels and cameras, in voxels."""
    numbered = stage.of_kind("objective_camera")
    if not numbered:
        return {}
    home = _home_views(stage)
    edges = []
    for n, link in numbered:
        fixed, moving = optics_of(link.fixed), optics_of(link.moving)
        moved = _at_home(link, stage.views, home)
        edges.append((n, Edge(fixed, moving, moved)))
    reference = optics_of(stage.reference)
    ends = dict.fromkeys([reference, *(x for _, e in edges for x in (e.fixed, e.moving))])
    solved = _solve({node: home[node] for node in ends}, edges, reference, stage.ledger)
    linked = _anchored(solved, reference)
    return _for_all_channels(linked, home, reference)


def _anchored(solved: Solution[Optics], reference: Optics) -> dict[Optics, Affine]:
    """Corrections of linked optics; what is not linked to the reference has an anchor of its own.

    That is the one most like the reference: it stays where its metadata puts it.
    """

    def likeness(optics: Optics) -> tuple[object, ...]:
        return (*(a != b for a, b in zip(optics, reference, strict=True)), optics)

    found = {}
    for part in solved.components:
        back = solved.transforms[min(part, key=likeness)].inverse()
        found.update({node: back @ solved.transforms[node] for node in part})
    return {node: t for node, t in found.items() if node not in solved.unlinked}


def _home_views(stage: _Stage) -> dict[Optics, View]:
    """For each optics the view at the reference's stack and time point, or else the nearest."""
    home = stage.reference

    def distance(view: View) -> tuple[object, ...]:
        i = view.id
        return (i.stack != home.stack, i.time_point != home.time_point, i.pm != home.pm, i.sort_key)

    found: dict[Optics, View] = {}
    for view in sorted(stage.views.values(), key=distance):
        found.setdefault(optics_of(view.id), view)
    return found


def _at_home(link: Link, views: Mapping[ViewId, View], home: Mapping[Optics, View]) -> Link:
    """A link of some stack as it would be in the stack of the reference.

    The stage has carried the whole microscope from one to the other.
    """
    fixed, moving = home[optics_of(link.fixed)], home[optics_of(link.moving)]
    if (fixed.id, moving.id) == (link.fixed, link.moving) or fixed.id.stack != moving.id.stack:
        return link
    to_home = fixed.whole_to_world @ views[link.fixed].whole_to_world.inverse()
    return replace(
        link,
        transform=to_home @ link.transform @ to_home.inverse(),
        overlap=link.overlap.moved(to_home),
    )


def _for_all_channels(
    solved: Mapping[Optics, Affine], home: Mapping[Optics, View], reference: Optics
) -> dict[Optics, Affine]:
    """Corrections in voxels of all optics: measured ones, and composed ones for the rest.

    What was not measured takes the correction of its objective and camera, as found in another
    channel, and that of its channel, as found with the reference's objective and camera. Both are
    composed as the camera sees them: a colour that lies further right in the images of one
    objective does so in those of the opposing one too, which in sample space is the other way.
    """
    seen = {optics: _as_seen(home[optics], solved[optics]) for optics in solved}
    colours = {o.channel: seen[o] for o in seen if _lens(o) == _lens(reference)}
    lenses: dict[tuple[str, str], Affine] = {_lens(reference): Affine()}
    for optics in sorted(seen, key=lambda o: o.channel != reference.channel):
        alone = seen[optics] @ colours.get(optics.channel, Affine()).inverse()
        lenses.setdefault(_lens(optics), alone)
    found = {}
    for optics, view in home.items():
        transform = seen.get(optics)
        if transform is None:
            colour = colours.get(optics.channel, Affine())
            transform = lenses.get(_lens(optics), Affine()) @ colour
        if not is_identity(transform):
            size = Affine.scale(view.spacing_um)
            found[optics] = size.inverse() @ transform @ size
    return found


def _lens(optics: Optics) -> tuple[str, str]:
    return optics.objective, optics.camera


def _as_seen(view: View, correction: Affine) -> Affine:
    """A correction of sample space in µm along the axes of the image."""
    size = Affine.scale(view.spacing_um)
    return size @ voxel_form(view.whole_to_world, correction) @ size.inverse()


def _solve_stacks(
    stage: _Stage, optics: Corrections, threshold: float | None
) -> dict[StackAt, Affine]:
    """Tiles and rotations, each time point by itself."""
    numbered = stage.of_kind("tiles", "rotation")
    if not (numbered or stage.rules.tiles or stage.rules.rotations):
        return {}
    nodes: dict[int, dict[StackAt, View]] = defaultdict(dict)
    chosen = stack_views(stage.views.values(), stage.reference, stage.rules)
    for node, view in chosen.items():
        nodes[node.time_point][node] = view
    edges: dict[int, list[tuple[int, Edge[StackAt]]]] = defaultdict(list)
    for n, link in numbered:
        if {stack_of(link.fixed, stage.rules), stack_of(link.moving, stage.rules)} <= set(chosen):
            edges[link.fixed.time_point].append((n, _stack_edge(link, stage, optics)))
        else:
            stage.ledger.warnings.append(_not_for_all(link))
    found: dict[StackAt, Affine] = {}
    for t, members in nodes.items():
        anchor = _anchor(members, stack_of(stage.reference, stage.rules), t)
        found |= _solve(members, edges[t], anchor, stage.ledger, threshold).transforms
    return found


def _not_for_all(link: Link) -> str:
    return (
        f"not used: {link}: the stacks of the reference time point stand for all "
        "(registration.use_reference_time_point_for_all)"
    )


def _anchor(members: Iterable[StackAt], reference: StackAt, time_point: int) -> StackAt:
    here = reference._replace(time_point=time_point)
    return here if here in members else next(iter(members))


def _stack_edge(link: Link, stage: _Stage, optics: Corrections) -> Edge[StackAt]:
    """A link between stacks; images of other channels have been laid on the reference's first."""
    before = optics.of(stage.views[link.fixed]), optics.of(stage.views[link.moving])
    moved = _after(link, *before)
    return Edge(stack_of(link.fixed, stage.rules), stack_of(link.moving, stage.rules), moved)


def _after(link: Link, fixed: Affine, moving: Affine) -> Link:
    """The link between two views that corrections have moved already."""
    if is_identity(fixed) and is_identity(moving):
        return link
    return replace(
        link,
        transform=fixed @ link.transform @ moving.inverse(),
        overlap=link.overlap.moved(fixed),
    )


def _solve_times(stage: _Stage, within: Corrections) -> dict[int, Affine]:
    """Drift: each time point after its stacks have been aligned."""
    numbered = stage.of_kind("time_points")
    if not (numbered or stage.rules.time_points):
        return {}
    edges = []
    for n, link in numbered:
        before = within.of(stage.views[link.fixed]), within.of(stage.views[link.moving])
        edge = Edge(link.fixed.time_point, link.moving.time_point, _after(link, *before))
        edges.append((n, edge))
    home = stage.views[stage.reference]
    times = sorted({v.time_point for v in stage.views})
    reference = stage.reference.time_point
    solved = _solve(dict.fromkeys(times, home), edges, reference, stage.ledger)
    return _continued(solved, reference)


def _continued(solved: Solution[int], reference: int) -> dict[int, Affine]:
    """A part of the series that nothing holds goes on from the time point next to it.

    The sample was where it was before: a jump back to the place of the metadata would be worse.
    """
    found = dict(solved.transforms)
    held = next((set(part) for part in solved.components if reference in part), {reference})
    parts = [set(part) for part in solved.components if reference not in part]
    for part in sorted([*parts, *({t} for t in solved.unlinked if t != reference)], key=min):
        near = min(held, key=lambda t: min(abs(t - u) for u in part))
        first = min(part, key=lambda t: abs(t - near))
        move = found[near] @ found[first].inverse()
        found.update({t: move @ found[t] for t in part})
        held |= part
    return found
