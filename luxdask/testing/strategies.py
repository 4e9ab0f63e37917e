"""Hypothesis strategies for shapes, boxes and transforms; needs the package hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from luxdask.model.geometry import Affine, Box, Shape, shape3

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def shapes(low: int = 1, high: int = 40) -> SearchStrategy[Shape]:
    """Shapes (z, y, x) with `low` to `high` voxels per axis."""
    side = st.integers(low, high)
    return st.tuples(side, side, side)


@st.composite
def boxes(draw: st.DrawFn, shape: Shape) -> Box:
    """Boxes inside a volume of this shape, at least one voxel large."""
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    stops = [draw(st.integers(a + 1, n)) for a, n in zip(starts, shape, strict=True)]
    return Box(shape3(starts), shape3(stops))


def translations(limit: float = 10.0) -> SearchStrategy[Affine]:
    """Pure shifts of up to `limit` per axis, whole ones among them."""
    part = st.one_of(
        st.integers(-int(limit), int(limit)).map(float),
        st.floats(-limit, limit, allow_subnormal=False),
    )
    return st.tuples(part, part, part).map(Affine.translation)


@st.composite
def near_rigid(
    draw: st.DrawFn, *, angle_deg: float = 20.0, shift: float = 10.0, stretch: float = 0.02
) -> Affine:
    """Rotations of up to `angle_deg` about any axis, with a shift and a little stretch and shear.

    Always invertible.
    """
    unit = st.floats(-1, 1, allow_subnormal=False)
    axis = np.array([draw(unit) for _ in range(3)])
    length = float(np.linalg.norm(axis))
    angle = np.radians(angle_deg) * draw(unit)
    turn = np.eye(3)
    if length > 1e-3:
        turn = Rotation.from_rotvec(axis / length * angle).as_matrix()
    bend = np.eye(3) + stretch * np.array([[draw(unit) for _ in range(3)] for _ in range(3)])
    return draw(translations(shift)) @ Affine.from_array(turn @ bend)


@st.composite
def chunk_shapes(draw: st.DrawFn, shape: Shape) -> Shape:
    """Chunk sizes of 1 voxel up to the whole volume per axis."""
    return shape3([draw(st.integers(1, n)) for n in shape])
