"""A graph of links as arrays, and corrections of all its nodes as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from luxdask.model.geometry import Vector
    from luxdask.model.links import Link

# Gauss points of a box: a mean over them is the mean over the whole box, for squares of anything
# that changes linearly, which residuals of affine transforms do
_LEAST_SHARE = 0.1
_LANDMARK_SHARE = 20.0
_GAUSS = np.array(list(product((-1.0, 1.0), repeat=3))) / np.sqrt(3.0)


@dataclass(frozen=True)
class Network:
    """Links between numbered nodes.

    Attributes
    ----------
    fixed, moving
        Node of either side, (links,).
    points, targets
        Where a link was measured and where it puts that, (links, 8, 3) in µm.
    sigma_um
        Expected standard deviation, (links,).
    quality
        Weight of a link beside its precision, (links,).
    share
        What a link's word counts for when links contradict each other, (links,): the volume on
        which it was measured, 1 for the usual one and more.
    usable
        Whether a link takes part, (links,).
    centres
        What the correction of a node turns about, (nodes, 3) in µm.
    """

    fixed: NDArray[np.intp]
    moving: NDArray[np.intp]
    points: NDArray[np.float64]
    targets: NDArray[np.float64]
    sigma_um: NDArray[np.float64]
    quality: NDArray[np.float64]
    share: NDArray[np.float64]
    usable: NDArray[np.bool_]
    centres: NDArray[np.float64]

    @property
    def count(self) -> int:
        """Number of nodes."""
        return len(self.centres)

    @cached_property
    def away(self) -> NDArray[np.float64]:
        """Targets less points."""
        return self.targets - self.points

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each link in a least-squares sum, 1/µm²; zero where it takes no part."""
        return np.where(self.usable, self.quality * self.share / self.sigma_um**2, 0.0)

    @property
    def lever_um(self) -> float:
        """Typical distance of what was measured from its centre; a unit for rotations."""
        if not self.usable.any():
            return 1.0
        spread = np.linalg.norm(np.ptp(self.points[self.usable], axis=1), axis=1)
        return float(max(np.median(spread) / 2, 1.0))

    def components(self, used: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
        """Number of connected components over some of the links, and the one of each node."""
        entries = (np.ones(used.sum()), (self.fixed[used], self.moving[used]))
        graph = coo_array(entries, (self.count, self.count)).tocsr()
        number, labels = connected_components(graph, directed=False)
        return int(number), labels

    def bridges(self) -> NDArray[np.bool_]:
        """Usable links without which a component falls apart: nothing checks them, (links,).

        Every link beside a spanning tree marks the way around through the tree with a random
        number; a tree link that no way passes, for which the marks cancel, is a bridge.
        """
        order, parent, tree = self._spanning_tree()
        others = self.usable.copy()
        others[tree[tree >= 0]] = False
        marks = np.random.default_rng(0).integers(1, 2**63, len(others), dtype=np.uint64)
        sums = np.zeros(self.count, dtype=np.uint64)
        for side in (self.fixed, self.moving):
            np.bitwise_xor.at(sums, side[others], marks[others])
        passed = sums.tolist()
        for node in order[::-1]:
            if parent[node] >= 0:
                passed[parent[node]] ^= passed[node]
        found = np.zeros(len(others), dtype=bool)
        found[
            [
                link
                for link, mark in zip(tree.tolist(), passed, strict=True)
                if link >= 0 and not mark
            ]
        ] = True
        return found

    def _spanning_tree(self) -> tuple[list[int], list[int], NDArray[np.intp]]:
        """Nodes from the roots outwards, the parent of each and the link to it; -1 for roots."""
        used = np.flatnonzero(self.usable & (self.fixed != self.moving))
        root = self.count
        _, labels = self.components(self.usable)
        first = np.unique(labels, return_index=True)[1]
        # later entries win where nodes share several links: it does not matter which one is taken
        ends = (self.fixed[used], self.moving[used])
        pairs = dict(zip(zip(*(e.tolist() for e in ends), strict=True), used.tolist(), strict=True))
        rows = np.concatenate([ends[0], np.full(len(first), root)])
        columns = np.concatenate([ends[1], first])
        graph = coo_array((np.ones(len(rows)), (rows, columns)), (root + 1, root + 1)).tocsr()
        order, parents = breadth_first_order(graph, root, directed=False)
        parent = [-1 if p in (root, -9999) else p for p in parents[:root].tolist()]
        tree = [
            -1 if p < 0 else pairs.get((n, p), pairs.get((p, n), -1)) for n, p in enumerate(parent)
        ]
        return [n for n in order.tolist() if n != root], parent, np.array(tree, dtype=np.intp)


@dataclass(frozen=True)
class Corrections:
    """``p -> linear @ (p - centre) + centre + shift`` of every node; (nodes, 3, 3), (nodes, 3).

    `is_shift` tells that every `linear` is the identity.
    """

    linear: NDArray[np.float64]
    shift: NDArray[np.float64]
    is_shift: bool = False

    @classmethod
    def none(cls, count: int) -> Corrections:
        """Every node stays where its metadata puts it."""
        return cls.of_shifts(np.zeros((count, 3)))

    @classmethod
    def of_shifts(cls, shift: NDArray[np.float64]) -> Corrections:
        """Shifts alone, (nodes, 3)."""
        return cls(np.broadcast_to(np.eye(3), (len(shift), 3, 3)), shift, is_shift=True)

    def apply(
        self, network: Network, node: NDArray[np.intp], points: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Points (links, k, 3), corrected as points of one node for each link."""
        centre = network.centres[node][:, None]
        turned = (points - centre) @ self.linear[node].transpose(0, 2, 1)
        return np.asarray(turned + centre + self.shift[node][:, None])

    def misfit(self, network: Network) -> NDArray[np.float64]:
        """Where the fixed side puts the points of a link, less the moving side; (links, 8, 3)."""
        if self.is_shift:
            shift = self.shift[network.fixed] - self.shift[network.moving]
            return network.away + shift[:, None]
        there = self.apply(network, network.fixed, network.targets)
        return there - self.apply(network, network.moving, network.points)

    def residual_um(self, network: Network) -> NDArray[np.float64]:
        """Root mean square of the misfit over the overlap of each link, (links,)."""
        misfit = self.misfit(network)
        return np.asarray(np.sqrt(np.einsum("lki,lki->l", misfit, misfit) / misfit.shape[1]))


def build_network(
    fixed: Sequence[int],
    moving: Sequence[int],
    links: Sequence[Link],
    centres: Mapping[int, Vector],
    count: int,
    floor_um: float,
) -> Network:
    """Arrays of links between nodes 0 ... count - 1.

    A link takes part when it is trusted and its numbers are finite. `centres` may leave out nodes:
    these turn about the middle of what was measured on them. No link counts as more precise than
    `floor_um`.
    """
    ends = np.array([fixed, moving], dtype=np.intp).reshape(2, len(links))
    points = _points(links)
    linear = np.array([link.transform.linear for link in links]).reshape(-1, 3, 3)
    offset = np.array([link.transform.offset for link in links]).reshape(-1, 1, 3)
    targets = points @ linear.transpose(0, 2, 1) + offset
    sigma = np.array([link.precision_um for link in links], dtype=np.float64)
    finite = np.isfinite(points + targets).all(axis=(1, 2)) & np.isfinite(sigma)
    usable = np.array([link.is_trusted for link in links], dtype=bool) & finite
    # what takes no part must not spread NaN by way of 0 * NaN
    points = np.where(finite[:, None, None], points, 0.0)
    targets = np.where(finite[:, None, None], targets, 0.0)
    quality = np.nan_to_num(np.array([link.quality for link in links], dtype=np.float64))
    return Network(
        ends[0],
        ends[1],
        points,
        targets,
        np.where(finite, np.maximum(sigma, floor_um), 1.0),
        np.clip(quality, 0.05, 1.0),
        _shares(links, usable),
        usable,
        _centres(ends, points, usable, centres, count),
    )


def _shares(links: Sequence[Link], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Volumes relative to the usual one, at most 1.

    A corner that four tiles share is easily spoiled for all of its pairs at once by a single thing
    that moved, and would outvote the long sides. Landmarks count in full wherever they are.
    """
    extents = np.array([link.overlap.extent_um for link in links]).reshape(-1, 3)
    volumes = np.maximum(extents, 0.0).prod(axis=1)
    content = np.array([link.source != "landmarks" for link in links], dtype=bool)
    usual = np.median(volumes[content & usable]) if (content & usable).any() else 0.0
    if usual == 0:
        return np.ones(len(links))
    shares = np.clip(volumes / usual, _LEAST_SHARE, 1.0)
    return np.where(content, shares, _LANDMARK_SHARE)


def _points(links: Sequence[Link]) -> NDArray[np.float64]:
    lower = np.array([link.overlap.lower for link in links]).reshape(-1, 3)
    upper = np.array([link.overlap.upper for link in links]).reshape(-1, 3)
    half = np.maximum(upper - lower, 0.0) / 2
    return np.asarray(((lower + upper) / 2)[:, None] + half[:, None] * _GAUSS)


def _centres(
    ends: NDArray[np.intp],
    points: NDArray[np.float64],
    usable: NDArray[np.bool_],
    known: Mapping[int, Vector],
    count: int,
) -> NDArray[np.float64]:
    """Given centres, else the mean of the middles of a node's links."""
    total, number = np.zeros((count, 3)), np.zeros((count, 1))
    for side in ends:
        np.add.at(total, side[usable], points[usable].mean(axis=1))
        np.add.at(number, side[usable], 1.0)
    centres = total / np.maximum(number, 1.0)
    if known:
        centres[list(known)] = list(known.values())
    return centres
