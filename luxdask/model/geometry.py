"""Affine transforms, boxes and grids: plain immutable values, always in (z, y, x) order.

World means sample space in µm. Integer voxel coordinates are voxel centres, so a volume of shape
``n`` covers the half-open range [-0.5, n - 0.5) on each axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import atan2, degrees, hypot, prod
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


Vector = tuple[float, float, float]
Shape = tuple[int, int, int]

IDENTITY: tuple[Vector, Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def vector(values: ArrayLike) -> Vector:
    """Three floats from any sequence of three numbers."""
    z, y, x = np.asarray(values, dtype=np.float64).tolist()
    return (z, y, x)


def shape3(values: Sequence[int]) -> Shape:
    """Three ints from any sequence of three whole numbers."""
    z, y, x = (int(v) for v in values)
    return (z, y, x)


@dataclass(frozen=True, slots=True)
class Affine:
    """Affine transform of (z, y, x) points: ``p -> linear @ p + offset``.

    Name variables after their direction (``view_to_world``); ``a @ b`` applies ``b`` first.
    """

    linear: tuple[Vector, Vector, Vector] = IDENTITY
    offset: Vector = (0.0, 0.0, 0.0)

    @classmethod
    def from_array(cls, linear: ArrayLike, offset: ArrayLike = (0.0, 0.0, 0.0)) -> Affine:
        """Build from a 3×3 matrix and a translation, or from one 3×4 matrix."""
        m = np.asarray(linear, dtype=np.float64)
        if m.shape == (3, 4):
            m, offset = m[:, :3], m[:, 3]
        rows = cast("tuple[Vector, Vector, Vector]", tuple(vector(row) for row in m))
        return cls(rows, vector(offset))

    @classmethod
    def translation(cls, offset: ArrayLike) -> Affine:
        """Shift by `offset`."""
        return cls(IDENTITY, vector(offset))

    @classmethod
    def scale(cls, factors: ArrayLike, offset: ArrayLike = (0.0, 0.0, 0.0)) -> Affine:
        """Scale each axis, then shift by `offset`."""
        return cls.from_array(np.diag(np.asarray(factors, dtype=np.float64)), offset)

    def to_array(self) -> NDArray[np.float64]:
        """3×4 matrix, the translation in the last column."""
        return np.column_stack([np.array(self.linear), np.array(self.offset)])

    def __matmul__(self, other: Affine) -> Affine:
        a, b = np.array(self.linear), np.array(other.linear)
        return Affine.from_array(a @ b, a @ np.array(other.offset) + np.array(self.offset))

    def apply(self, points: ArrayLike) -> NDArray[np.float64]:
        """Transform points of shape (..., 3)."""
        rotated = np.asarray(points, dtype=np.float64) @ np.array(self.linear, dtype=np.float64).T
        return cast("NDArray[np.float64]", rotated + np.array(self.offset))

    def inverse(self) -> Affine:
        """Inverse transform; raises `numpy.linalg.LinAlgError` where there is none."""
        m = np.linalg.inv(np.array(self.linear))
        return Affine.from_array(m, -m @ np.array(self.offset))

    @property
    def is_invertible(self) -> bool:
        """Whether the volume of a voxel survives the transform."""
        m = np.array(self.linear)
        return bool(np.isfinite(m).all() and np.linalg.cond(m) < 1e12)

    @property
    def column_norms(self) -> Vector:
        """Length of each transformed axis vector: the voxel size of a voxel-to-µm transform."""
        return vector(np.linalg.norm(np.array(self.linear), axis=0))

    @property
    def rotation_deg(self) -> float:
        """Angle of the rotation nearest to the linear part, 0 ... 180; mirroring is left out."""
        u, _, vt = np.linalg.svd(np.array(self.linear))
        turn = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        skew = (turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1])
        # exact near 0, unlike the arc cosine of the trace alone
        return degrees(atan2(hypot(*skew), float(np.trace(turn)) - 1))

    def is_axis_aligned(self, tolerance: float = 1e-6) -> bool:
        """Whether axes map to axes (scaling, mirroring and swapping allowed)."""
        m = np.abs(np.array(self.linear))
        used = m > tolerance * m.max(axis=0, keepdims=True)
        return bool((used.sum(axis=0) == 1).all() and (used.sum(axis=1) == 1).all())


@dataclass(frozen=True, slots=True)
class Box:
    """A region of voxels, half-open: ``start <= index < stop``."""

    start: Shape
    stop: Shape

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> Box:
        """The whole of an array of this shape."""
        return cls((0, 0, 0), shape3(shape))

    @property
    def shape(self) -> Shape:
        """Number of voxels per axis, never negative."""
        return shape3([max(0, b - a) for a, b in zip(self.start, self.stop, strict=True)])

    @property
    def size(self) -> int:
        """Number of voxels."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into an array."""
        a, b = self.start, self.stop
        return (slice(a[0], b[0]), slice(a[1], b[1]), slice(a[2], b[2]))

    def __bool__(self) -> bool:
        return all(b > a for a, b in zip(self.start, self.stop, strict=True))

    def __or__(self, other: Box) -> Box:
        """The smallest box that holds both."""
        start = [min(a, b) for a, b in zip(self.start, other.start, strict=True)]
        stop = [max(a, b) for a, b in zip(self.stop, other.stop, strict=True)]
        return Box(shape3(start), shape3(stop))

    def __and__(self, other: Box) -> Box:
        start = [max(a, b) for a, b in zip(self.start, other.start, strict=True)]
        stop = [min(a, b) for a, b in zip(self.stop, other.stop, strict=True)]
        return Box(shape3(start), shape3(stop))

    def shift(self, offset: Sequence[int]) -> Box:
        """Moved by whole voxels."""
        start = [a + o for a, o in zip(self.start, offset, strict=True)]
        stop = [b + o for b, o in zip(self.stop, offset, strict=True)]
        return Box(shape3(start), shape3(stop))


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """An axis-aligned region of sample space in µm, bounded by voxel borders (not centres)."""

    lower: Vector
    upper: Vector

    @classmethod
    def of_volume(cls, shape: Shape, to_world: Affine) -> BoundingBox:
        """The smallest box around a transformed volume, voxel borders included."""
        corners = to_world.apply(volume_corners(shape))
        return cls(vector(corners.min(axis=0)), vector(corners.max(axis=0)))

    @property
    def corners(self) -> NDArray[np.float64]:
        """The eight corners, (8, 3) in µm."""
        return np.array(list(product(*zip(self.lower, self.upper, strict=True))), dtype=np.float64)

    def moved(self, by: Affine) -> BoundingBox:
        """The smallest box around this one after a transform."""
        corners = by.apply(self.corners)
        return BoundingBox(vector(corners.min(axis=0)), vector(corners.max(axis=0)))

    @property
    def extent_um(self) -> Vector:
        """Size per axis; negative where the box is empty."""
        return vector(np.subtract(self.upper, self.lower))

    def __bool__(self) -> bool:
        return all(e > 0 for e in self.extent_um)

    def __or__(self, other: BoundingBox) -> BoundingBox:
        return BoundingBox(
            vector(np.minimum(self.lower, other.lower)), vector(np.maximum(self.upper, other.upper))
        )

    def __and__(self, other: BoundingBox) -> BoundingBox:
        return BoundingBox(
            vector(np.maximum(self.lower, other.lower)), vector(np.minimum(self.upper, other.upper))
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """The voxel grid of an output image: axis-aligned in sample space.

    `shape` voxels of `spacing_um`, the centre of voxel (0, 0, 0) at `origin_um`.
    """

    shape: Shape
    spacing_um: Vector
    origin_um: Vector

    @property
    def to_world(self) -> Affine:
        """Transform from voxel index to sample space in µm."""
        return Affine.scale(self.spacing_um, self.origin_um)

    @property
    def bounding_box(self) -> BoundingBox:
        """Sample-space box bounded by the outer voxel borders."""
        return BoundingBox.of_volume(self.shape, self.to_world)

    def coordinates_um(self, axis: int) -> NDArray[np.float64]:
        """Voxel-centre positions along one axis."""
        index = np.arange(self.shape[axis], dtype=np.float64)
        return self.origin_um[axis] + self.spacing_um[axis] * index


def volume_corners(shape: Shape) -> NDArray[np.float64]:
    """The eight outer corners of a volume in voxel coordinates, (8, 3)."""
    return np.array(list(product(*((-0.5, n - 0.5) for n in shape))), dtype=np.float64)
