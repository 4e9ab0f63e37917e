"""Landmarks before contents: pairs that need not be compared, since landmarks stand for them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from luxdask.model.stages import optics_of, stack_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from luxdask.model.links import Link, Pair
    from luxdask.model.stages import StageRules
    from luxdask.model.view import ViewId

Nodes = tuple[str, frozenset[object]]


def without_landmarks(
    pairs: Sequence[Pair], links: Sequence[Link], rules: StageRules, reference: ViewId
) -> tuple[Pair, ...]:
    """Content pairs that no landmarks stand for.

    Left out are pairs of what `links` (by landmarks) connect: directly, for tiles; also by way of
    others for optics and rotations, whose contents may be too different to be compared. Of a time
    series, also the step into a time point that landmarks place, and what bridges that step.
    """
    taken = {nodes_of(link, rules) for link in links}
    groups = _groups(taken)
    steps = [_times(link) for link in links if link.kind == "time_points"]

    def is_told(pair: Pair) -> bool:
        nodes = nodes_of(pair, rules)
        if pair.kind == "time_points":
            return nodes in taken or _contradicts(_times(pair), steps, reference.time_point)
        if pair.kind == "tiles":
            return nodes in taken
        one, two = (groups.get((nodes[0], node)) for node in nodes[1])
        return one is not None and one == two

    return tuple(p for p in pairs if not is_told(p))


def channels_are_tied(links: Iterable[Link], channels: Sequence[str]) -> bool:
    """Whether links (by landmarks) between channels of one stack connect several, and all."""
    edges = {
        ("channels", frozenset[object]((link.fixed.channel, link.moving.channel)))
        for link in links
        if link.kind == "objective_camera"
    }
    groups = _groups(edges)
    parts = {groups.get(("channels", channel)) for channel in channels}
    return len(channels) > 1 and len(parts) == 1 and None not in parts


def nodes_of(pair: Pair | Link, rules: StageRules) -> Nodes:
    """What a pair connects, whichever way round: the graph, and two of its nodes."""
    if pair.kind == "objective_camera":
        return pair.kind, frozenset((optics_of(pair.fixed), optics_of(pair.moving)))
    if pair.kind == "time_points":
        return pair.kind, frozenset(_times(pair))
    return "stacks", frozenset((stack_of(pair.fixed, rules), stack_of(pair.moving, rules)))


def _groups(edges: Collection[Nodes]) -> dict[tuple[str, object], int]:
    """For each node of a graph the number of its connected part."""
    neighbours: dict[tuple[str, object], set[tuple[str, object]]] = defaultdict(set)
    for graph, nodes in edges:
        for node in nodes:
            neighbours[graph, node] |= {(graph, other) for other in nodes}
    found: dict[tuple[str, object], int] = {}
    for graph, nodes in edges:
        waiting = [(graph, node) for node in nodes]
        number = len(found)
        while waiting:
            node = waiting.pop()
            if node not in found:
                found[node] = number
                waiting += neighbours[node]
    return found


def _times(pair: Pair | Link) -> tuple[int, int]:
    one, two = sorted((pair.fixed.time_point, pair.moving.time_point))
    return one, two


def _contradicts(pair: tuple[int, int], steps: Iterable[tuple[int, int]], reference: int) -> bool:
    """Whether contents across a step with landmarks, or into where they lead, would be compared.

    Landmarks were set since contents could not be compared there; they must not be outvoted.
    """
    low, high = pair
    return any(
        (low <= a and b <= high) or _leads_into(pair, _far_end((a, b), reference), reference)
        for a, b in steps
    )


def _far_end(times: tuple[int, int], reference: int) -> int:
    """The time point that the landmarks place: the other end is nearer to the reference."""
    return max(times, key=lambda t: (abs(t - reference), t))


def _leads_into(pair: tuple[int, int], placed: int, reference: int) -> bool:
    """Whether a pair is the way from the reference's side to a time point."""
    near, far = pair if placed > reference else pair[::-1]
    return far == placed and abs(near - reference) < abs(placed - reference)
