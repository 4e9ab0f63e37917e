"""Global optimisation: one correction for each node of a graph from all its links."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from luxdask.errors import SelectionError
from luxdask.model.geometry import Affine
from luxdask.registration.least_squares import Fit
from luxdask.registration.network import Corrections, Network, build_network
from luxdask.registration.robust import estimate_robust

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from luxdask.model.geometry import Vector
    from luxdask.model.links import Link, Model

Node = TypeVar("Node", bound="Hashable")


@dataclass(frozen=True, slots=True)
class Edge(Generic[Node]):
    """A link between two nodes of a graph; nodes are whatever moves as one."""

    fixed: Node
    moving: Node
    link: Link


@dataclass(frozen=True)
class Solution(Generic[Node]):
    """What the global optimisation found.

    Attributes
    ----------
    transforms
        The correction of every node, sample space to sample space in µm; identity for the reference
        and for nodes without links.
    links
        The links in the given order, with `residual_um` and `cost`.
    components
        Nodes that links hold together, the reference's first.
    unlinked
        Nodes that no trusted link holds.
    warnings
        Sentences for the user.
    """

    transforms: dict[Node, Affine]
    links: tuple[Link, ...]
    components: tuple[tuple[Node, ...], ...]
    unlinked: tuple[Node, ...]
    warnings: tuple[str, ...] = ()


def solve(
    nodes: Sequence[Node],
    edges: Sequence[Edge[Node]],
    reference: Node,
    *,
    model: Model = "translation",
    positions: Mapping[Node, Vector] | None = None,
    floor_um: float = 0.05,
    prior_um: float = 1000.0,
    robust: bool = False,
) -> Solution[Node]:
    """Correct all nodes so that their links fit best.

    Parameters
    ----------
    nodes, edges, reference
        The graph. The reference's correction is identity in the end; a connected component without
        it keeps its metadata position on average. Only trusted links count, all are judged.
    model
        Kind of the corrections. Rotations in links are left to the residual by "translation";
        links that only shift say "no relative rotation" to "rigid" and "affine".
    positions
        Centres of the nodes in sample space in µm, for rotations to turn about; by default the
        middle of what was measured on them.
    floor_um
        No link counts as more precise than this, and no residual below is unusual.
    prior_um
        Expected error of the metadata positions, which hold what no link does.
    robust
        Bound the influence of links that contradict the others, rather than weigh all links by
        their precision and quality alone.

    Returns
    -------
    Solution
        `residual_um` of a link is against these transforms. `cost` is its residual against a
        robust solution, relative to the usual residual along one axis: about 1 is usual.

    Raises
    ------
    SelectionError
        The reference or an end of an edge is not among the nodes.
    """
    graph = Graph.build(nodes, edges, reference, positions, floor_um)
    fit = Fit(model, prior_um)
    estimate = estimate_robust(graph.network, fit, floor_um)
    corrections = estimate.corrections
    if not robust:
        network = graph.network
        corrections = fit.minimise(network, network.weights, Corrections.none(network.count))
    cost = estimate.corrections.residual_um(graph.network) / estimate.usual_um
    return graph.solution(corrections, cost, model)


@dataclass(frozen=True)
class Graph(Generic[Node]):
    """Nodes and links with their numbers in a network."""

    nodes: tuple[Node, ...]
    edges: Sequence[Edge[Node]]
    reference: int
    network: Network

    @classmethod
    def build(
        cls,
        nodes: Sequence[Node],
        edges: Sequence[Edge[Node]],
        reference: Node,
        positions: Mapping[Node, Vector] | None,
        floor_um: float,
    ) -> Graph[Node]:
        """Number the nodes; raises `SelectionError` where an edge or the reference misses one."""
        unique = tuple(dict.fromkeys(nodes))
        number = {node: i for i, node in enumerate(unique)}
        for node in (reference, *(n for e in edges for n in (e.fixed, e.moving))):
            if node not in number:
                raise SelectionError(
                    f"Registration: {node} is linked or chosen as the reference, but is not among "
                    f"the {len(unique)} images to register. Choose one of these as the reference: "
                    f"{', '.join(str(n) for n in unique[:5])}{' …' if len(unique) > 5 else ''}"
                )
        network = build_network(
            [number[e.fixed] for e in edges],
            [number[e.moving] for e in edges],
            [e.link for e in edges],
            {number[n]: p for n, p in (positions or {}).items() if n in number},
            len(unique),
            floor_um,
        )
        return cls(unique, edges, number[reference], network)

    def parts(self) -> list[NDArray[np.intp]]:
        """Node numbers of each connected component, the reference's first."""
        _, labels = self.network.components(self.network.usable)
        members: dict[int, list[int]] = defaultdict(list)
        members[int(labels[self.reference])] = []
        for i, label in enumerate(labels.tolist()):
            members[label].append(i)
        return [np.array(m, dtype=np.intp) for m in members.values()]

    def solution(
        self,
        corrections: Corrections,
        cost: NDArray[np.float64],
        model: Model,
        warnings: tuple[str, ...] = (),
    ) -> Solution[Node]:
        """Corrections and costs in terms of the given nodes and links."""
        parts = self.parts()
        residual = corrections.residual_um(self.network).tolist()
        judged = zip(self.edges, residual, cost.tolist(), strict=True)
        linked = [p for p in parts if len(p) > 1]
        return Solution(
            dict(zip(self.nodes, self._transforms(corrections, parts, model), strict=True)),
            tuple(replace(e.link, residual_um=r, cost=c) for e, r, c in judged),
            tuple(tuple(self.nodes[i] for i in p.tolist()) for p in linked),
            tuple(self.nodes[i] for i in sorted(int(p[0]) for p in parts if len(p) == 1)),
            warnings,
        )

    def _transforms(
        self, corrections: Corrections, parts: list[NDArray[np.intp]], model: Model
    ) -> list[Affine]:
        """Corrections as transforms, relative to the reference or to the mean."""
        linear, centres = corrections.linear, self.network.centres
        offset = corrections.shift + centres - np.einsum("nij,nj->ni", linear, centres)
        matrices = np.concatenate([linear, offset[..., None]], axis=2)
        for part in parts:
            if self.reference in part:
                gauge = matrices[self.reference].copy()
            elif model == "affine":
                gauge = matrices[part].mean(axis=0)  # what shrinks all alike is no deformation
            else:
                continue  # the prior has centred it
            back = np.linalg.inv(gauge[:, :3])
            matrices[part] = back @ matrices[part]
            matrices[part, :, 3] -= back @ gauge[:, 3]
        matrices[self.reference] = np.eye(3, 4)
        return [Affine.from_array(m) for m in matrices]
