"""Corrections of all nodes of a network that fit its links best, by sparse least squares.

The unknowns of a node are those of its correction C. A link with the measured transform T says
``C_fixed(T(p)) = C_moving(p)`` for the points p of its overlap; the weighted squares of what is
left are minimised. A prior, far weaker than any link, holds every node at its metadata position:
it fixes what no link tells, so the mean shift of each connected component is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu
from scipy.spatial.transform import Rotation

from luxdask.registration.network import Corrections

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csc_array

    from luxdask.model.links import Model
    from luxdask.registration.network import Network

DEFORMATION = 0.05
"""Stretch or shear that an affine correction may have beside a rotation, one standard deviation."""

_DAMPING = 1e-4  # of what a link holds; more would end the steps before exact links are met
_STEPS = 50
_SETTLED_UM = 1e-4
_PRIOR_LEAST = 1e-11  # of the heaviest link: below, the equations are singular in double precision


@dataclass(frozen=True)
class Fit:
    """A kind of correction, and how far nodes may lie from their metadata position (in µm)."""

    model: Model = "translation"
    prior_um: float = 1000.0

    def step(
        self, network: Network, weights: NDArray[np.float64], start: Corrections
    ) -> Corrections:
        """One step to the minimum: all the way for translations."""
        heaviest = float(weights.max(initial=0.0))
        prior = max(self.prior_um**-2, _PRIOR_LEAST * heaviest)
        if self.model == "translation":
            return _step_translation(network, weights, prior)
        if self.model == "rigid":
            return _step_rigid(network, weights, prior, start)
        return _step_affine(network, weights, prior, start)

    def minimise(
        self, network: Network, weights: NDArray[np.float64], start: Corrections
    ) -> Corrections:
        """Steps until no residual changes any more."""
        if not weights.any():
            return start
        if self.model == "translation":
            return self.step(network, weights, start)
        current, residual = start, start.residual_um(network)
        for _ in range(_STEPS):
            current = self.step(network, weights, current)
            before, residual = residual, current.residual_um(network)
            # corrections themselves may go on creeping where only the prior holds them
            if np.abs(residual - before).max() < _SETTLED_UM:
                break
        return current


def _step_translation(network: Network, weights: NDArray[np.float64], prior: float) -> Corrections:
    """Exact: a sparse linear system with one unknown per node, the same for all three axes."""
    one = np.ones((len(weights), 1, 1))
    away = network.away.mean(axis=1, keepdims=True)
    found = _solve(network, weights, one, one, away, np.full(1, prior), np.zeros(()))
    return Corrections.of_shifts(found[:, 0])


def _step_affine(
    network: Network, weights: NDArray[np.float64], prior: float, start: Corrections
) -> Corrections:
    """Linear in the deviation from the nearest rotation, towards which it is weakly held.

    Without that hold, shrinking everything would be the cheapest way to make residuals small.
    """
    lever = network.lever_um
    rigid = Corrections(_nearest_rotation(start.linear), start.shift)

    def basis(node: NDArray[np.intp], points: NDArray[np.float64]) -> NDArray[np.float64]:
        local = (points - network.centres[node][:, None]) / lever
        return np.concatenate([np.ones_like(local[..., :1]), local], axis=2)

    fixed = basis(network.fixed, network.targets)
    moving = basis(network.moving, network.points)
    stiff = (DEFORMATION * lever) ** -2
    priors = np.array([prior, stiff, stiff, stiff])
    held = np.zeros((network.count, 4, 3))
    held[:, 0] = start.shift
    found = _solve(network, weights, fixed, moving, rigid.misfit(network), priors, held)
    linear = rigid.linear + found[:, 1:].transpose(0, 2, 1) / lever
    return Corrections(linear, start.shift + found[:, 0])


def _step_rigid(
    network: Network, weights: NDArray[np.float64], prior: float, start: Corrections
) -> Corrections:
    """A Gauss-Newton step over small rotations (as lengths at the lever) and shifts."""
    lever = network.lever_um

    def basis(node: NDArray[np.intp], points: NDArray[np.float64]) -> NDArray[np.float64]:
        arm = (points - network.centres[node][:, None]) @ start.linear[node].transpose(0, 2, 1)
        rows = np.concatenate([np.broadcast_to(np.eye(3), (*arm.shape, 3)), _turn(arm / lever)], 3)
        return rows.reshape(len(node), -1, 6)

    fixed = basis(network.fixed, network.targets)
    moving = basis(network.moving, network.points)
    misfit = start.misfit(network).reshape(len(weights), -1, 1)
    angles = Rotation.from_matrix(start.linear).as_rotvec() * lever
    held = np.concatenate([start.shift, angles], axis=1)[..., None]
    # the points of a link are averaged, three rows each
    # undamped, all nodes of a component turn together by far more than small rotations, as next to
    # nothing holds them
    damping = _DAMPING * float(np.median(weights[weights > 0]))
    priors = np.full(6, prior)
    found = _solve(network, 3 * weights, fixed, moving, misfit, priors, held, damping)[..., 0]
    rotation = Rotation.from_rotvec(found[:, 3:] / lever).as_matrix()
    return Corrections(rotation @ start.linear, start.shift + found[:, :3])


def _turn(arm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices M with ``M @ w = cross(w, arm)``, (..., 3, 3)."""
    z, y, x = np.moveaxis(arm, -1, 0)
    zero = np.zeros_like(z)
    rows = [[zero, x, -y], [-x, zero, z], [y, -z, zero]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _nearest_rotation(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    u, _, vh = np.linalg.svd(linear)
    u[..., -1] *= np.linalg.det(u @ vh)[..., None]
    return np.asarray(u @ vh)


def _solve(
    network: Network,
    weights: NDArray[np.float64],
    fixed: NDArray[np.float64],
    moving: NDArray[np.float64],
    misfit: NDArray[np.float64],
    priors: NDArray[np.float64],
    held: NDArray[np.float64],
    damping: float = 0.0,
) -> NDArray[np.float64]:
    """Least squares of ``misfit + fixed @ x_fixed - moving @ x_moving`` over all links.

    fixed, moving : (links, rows, unknowns of a node). misfit : (links, rows, right-hand sides).
    priors : (unknowns,), weights of ``held + x``. damping : weight of x itself.
    Returns x as (nodes, unknowns, sides).
    """
    used = np.flatnonzero(weights)
    ends = (network.fixed[used], network.moving[used])
    scaled = (weights[used] / misfit.shape[1])[:, None, None]
    sides = (fixed[used], -moving[used])
    weighted = [(scaled * side).transpose(0, 2, 1) for side in sides]
    unknowns = len(priors)
    blocks = [(ends[i], ends[j], weighted[i] @ sides[j]) for i in range(2) for j in range(2)]
    matrix = _assemble(blocks, network.count, priors + damping)
    right = np.zeros((network.count, unknowns, misfit.shape[2]))
    for end, side in zip(ends, weighted, strict=True):
        np.subtract.at(right, end, side @ misfit[used])
    right -= priors[:, None] * held
    factors = splu(
        matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    found = factors.solve(right.reshape(network.count * unknowns, -1))
    return np.asarray(found.reshape(right.shape))


Block = tuple["NDArray[np.intp]", "NDArray[np.intp]", "NDArray[np.float64]"]


def _assemble(blocks: list[Block], count: int, priors: NDArray[np.float64]) -> csc_array:
    """Sum small blocks (links, unknowns, unknowns) into one sparse matrix."""
    unknowns = len(priors)
    size = count * unknowns
    inner = np.arange(unknowns)
    rows, columns, values = [np.arange(size)], [np.arange(size)], [np.tile(priors, count)]
    for row, column, block in blocks:
        grid = np.zeros_like(block, dtype=np.intp)
        rows.append((grid + (row[:, None] * unknowns + inner)[:, :, None]).ravel())
        columns.append((grid + (column[:, None] * unknowns + inner)[:, None, :]).ravel())
        values.append(block.ravel())
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return cast("csc_array", coo_array(entries, (size, size)).tocsc())
