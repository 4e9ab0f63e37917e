"""Links that contradict the others: named, or removed until none is left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from luxdask.registration.least_squares import Fit
from luxdask.registration.network import Corrections
from luxdask.registration.robust import estimate_robust, without
from luxdask.registration.solve import Graph, Node, Solution

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from luxdask.model.geometry import Vector
    from luxdask.model.links import Link, Model
    from luxdask.registration.network import Network
    from luxdask.registration.solve import Edge

COST_LIMIT = 10.0
"""Cost above which a link is worth a warning, and the threshold that is recommended."""

_NAMED = 20

_ADVICE = (
    "Such pairs are probably wrong, or inaccurate. Run the task again with "
    "registration.tiles.remove_outliers.mode AutomaticWithCostThreshold and cost_threshold "
    f"{COST_LIMIT:g}, reusing these pairs (registration.reuse), so that they are left out."
)


def solve_with_removal(
    nodes: Sequence[Node],
    edges: Sequence[Edge[Node]],
    reference: Node,
    *,
    threshold: float | None,
    model: Model = "translation",
    positions: Mapping[Node, Vector] | None = None,
    floor_um: float = 0.05,
    prior_um: float = 1000.0,
) -> Solution[Node]:
    """Solve a graph and deal with links that contradict the others.

    Parameters
    ----------
    threshold
        Cost above which links are removed and the graph is solved again, until none is above. None
        removes nothing: contradicting links are named, and their influence is bounded.
    nodes, edges, reference, model, positions, floor_um, prior_um
        As in `luxdask.registration.solve.solve`.

    Returns
    -------
    Solution
        Removed links have the status "removed" and a reason. `warnings` names links of high cost or
        those removed, parts of the graph that a removal has cut off, links that nothing checks any
        more, and nodes without links.

    Notes
    -----
    Where links contradict each other one against one, the graph cannot tell which is right. When
    all links of a part go, it keeps its metadata position: that is off by no more than the stage,
    whereas a wrong link may be off by any distance.
    """
    graph = Graph.build(nodes, edges, reference, positions, floor_um)
    fit = Fit(model, prior_um)
    if threshold is None:
        return _keep_all(graph, fit, floor_um)
    return _remove(graph, fit, floor_um, threshold)


def _keep_all(graph: Graph[Node], fit: Fit, floor_um: float) -> Solution[Node]:
    estimate = estimate_robust(graph.network, fit, floor_um)
    cost = estimate.corrections.residual_um(graph.network) / estimate.usual_um
    solution = graph.solution(estimate.corrections, cost, fit.model)
    high = _costliest(solution.links, graph.network.usable & (cost > COST_LIMIT))
    warnings = (
        *_named(high, "contradicts the other pairs"),
        *_advice(high),
        *_loose(solution, graph),
    )
    return replace(solution, warnings=warnings)


def _remove(graph: Graph[Node], fit: Fit, floor_um: float, threshold: float) -> Solution[Node]:
    judged = _judge(graph.network, fit, floor_um, threshold)
    kept = replace(graph, network=without(graph.network, judged.removed))
    solution = kept.solution(judged.corrections, judged.cost, fit.model)
    links = tuple(
        _removed(link, threshold) if gone else link
        for link, gone in zip(solution.links, judged.removed.tolist(), strict=True)
    )
    solution = replace(solution, links=links)
    warnings = (
        *_named(_costliest(links, judged.removed), "was removed: it contradicts the other pairs"),
        *_cut_off(graph, kept, links),
        *_unchecked(graph, kept, links),
        *_loose(solution, graph),
    )
    return replace(solution, warnings=warnings)


@dataclass(frozen=True)
class _Judgement:
    corrections: Corrections
    cost: NDArray[np.float64]
    removed: NDArray[np.bool_]


def _judge(network: Network, fit: Fit, floor_um: float, threshold: float) -> _Judgement:
    """Remove what costs too much, first against robust solutions, then against the final one."""
    removed = np.zeros(len(network.usable), dtype=bool)
    worst = np.zeros(len(removed))  # the cost that a link was removed for
    final = False
    while True:
        rest = without(network, removed)
        corrections, cost = _solve_rest(rest, fit, floor_um, threshold)
        bad = rest.usable & (cost > threshold)
        back = removed & (cost <= threshold)
        if bad.any():
            worst = np.maximum(worst, np.where(bad, cost, 0.0))
            removed |= bad
        elif back.any() and not final:
            # removed for what others did that are gone now; once, or it might never end
            removed, final = removed & ~back, True
        else:
            return _Judgement(
                corrections, np.where(removed, np.maximum(cost, worst), cost), removed
            )


def _solve_rest(
    rest: Network, fit: Fit, floor_um: float, threshold: float
) -> tuple[Corrections, NDArray[np.float64]]:
    """Corrections and costs: by least squares unless a robust solution finds high costs already."""
    estimate = estimate_robust(rest, fit, floor_um)
    cost = estimate.corrections.residual_um(rest) / estimate.usual_um
    if (rest.usable & (cost > threshold)).any():
        return estimate.corrections, cost
    corrections = fit.minimise(rest, rest.weights, Corrections.none(rest.count))
    return corrections, corrections.residual_um(rest) / estimate.usual_um


def _removed(link: Link, threshold: float) -> Link:
    reason = f"its cost of {link.cost:.3g} is above the threshold of {threshold:g}"
    return replace(link, status="removed", reason=reason)


def _costliest(links: Sequence[Link], chosen: NDArray[np.bool_]) -> list[Link]:
    some = [links[i] for i in np.flatnonzero(chosen).tolist()]
    return sorted(some, key=lambda link: -(link.cost or 0.0))


def _named(links: Sequence[Link], what: str) -> list[str]:
    """One sentence per link, costliest first; a count in place of those beyond the first few."""
    named = [
        f"{link} {what} by {link.residual_um:.3g} µm (cost {link.cost:.3g}; about 1 is usual)."
        for link in links[:_NAMED]
    ]
    return [*named, *_more(len(links), "pairs")]


def _more(count: int, what: str) -> list[str]:
    return [f"… and {count - _NAMED} more such {what}."] if count > _NAMED else []


def _advice(links: Sequence[Link]) -> list[str]:
    return [_ADVICE] if any(link.kind == "tiles" for link in links) else []


def _cut_off(graph: Graph[Node], kept: Graph[Node], links: Sequence[Link]) -> list[str]:
    """Name the parts that hung together, with the reference or the largest part, only before."""
    _, before = graph.network.components(graph.network.usable)
    sentences = []
    home: set[int] = set()
    parts = kept.parts()
    for part in [parts[0], *sorted(parts[1:], key=len, reverse=True)]:
        label = int(before[part[0]])
        if label in home:
            sentences.append(_cut_off_part(kept, part, links))
        home.add(label)
    return [*sentences[:_NAMED], *_more(len(sentences), "parts")]


def _cut_off_part(graph: Graph[Node], part: NDArray[np.intp], links: Sequence[Link]) -> str:
    inside = np.zeros(graph.network.count, dtype=bool)
    inside[part] = True
    border = inside[graph.network.fixed] != inside[graph.network.moving]
    lost = [links[i] for i in np.flatnonzero(border).tolist() if links[i].status == "removed"]
    best = min(lost, key=lambda link: (-link.quality, link.cost or 0.0))
    return (
        f"{_list(graph.nodes[i] for i in part.tolist())}: all pairs with the rest were removed as "
        f"contradicting each other, so the metadata position is kept. The best of the removed "
        f"pairs is {best} (quality {best.quality:.2f}, {best.residual_um:.3g} µm off, cost "
        f"{best.cost:.3g}): check it, or set landmarks."
    )


def _unchecked(graph: Graph[Node], kept: Graph[Node], links: Sequence[Link]) -> list[str]:
    """Name the links that alone hold something after others that spoke against them are gone."""
    if graph.network.usable.sum() == kept.network.usable.sum():
        return []
    alone = np.flatnonzero(kept.network.bridges() & ~graph.network.bridges()).tolist()
    sentences = [
        f"{links[i]} alone holds one side of it since other pairs were removed, and nothing checks "
        f"it (quality {links[i].quality:.2f})."
        for i in alone[:_NAMED]
    ]
    return [*sentences, *_more(len(alone), "pairs")]


def _loose(solution: Solution[Node], graph: Graph[Node]) -> list[str]:
    """Name nodes, and groups of nodes, that no link ties to the reference."""
    if len(graph.nodes) < 2:
        return []
    sentences = []
    if solution.unlinked:
        sentences.append(
            f"No trusted pair holds {_list(solution.unlinked)}: the metadata position is kept."
        )
    reference = graph.nodes[graph.reference]
    groups = [group for group in solution.components if reference not in group]
    sentences += [
        f"{_list(group)}: linked with each other but not with the reference ({reference}), so "
        "their mean position is that of the metadata."
        for group in groups[:_NAMED]
    ]
    return [*sentences, *_more(len(groups), "groups")]


def _list(nodes: Iterable[object]) -> str:
    names = [str(node) for node in nodes]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
