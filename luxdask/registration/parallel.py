"""Patches whose axes are parallel: as two arrays with equal voxels, and back to sample space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import Affine, BoundingBox, Box, Vector, vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.registration.patch import Patch

_TOLERANCE_VX = 0.02


@dataclass(frozen=True)
class Parallel:
    """Two arrays with equal voxels, the moving one mirrored and transposed as needed.

    Attributes
    ----------
    fixed, moving
        (Z, Y, X) float32; may be views of the patches' values.
    offset
        By the metadata, voxel ``x`` of `moving` lies at ``x + offset`` in `fixed`.
    fixed_to_world
        Voxel of `fixed` to sample space in µm.
    """

    fixed: NDArray[np.float32]
    moving: NDArray[np.float32]
    offset: Vector
    fixed_to_world: Affine

    @property
    def spacing_um(self) -> Vector:
        """Voxel size along the axes of the arrays."""
        return self.fixed_to_world.column_norms

    def transform(self, offset: Vector) -> Affine:
        """Moving to fixed in sample space, where the true offset is this one."""
        shift = np.array(self.fixed_to_world.linear) @ np.subtract(offset, self.offset)
        return Affine.translation(shift)

    def bounding_box(self, box: Box) -> BoundingBox:
        """Sample-space box around voxels of the fixed array."""
        corner = self.fixed_to_world @ Affine.translation(vector(box.start))
        return BoundingBox.of_volume(box.shape, corner)


def as_parallel(fixed: Patch, moving: Patch) -> Parallel | None:
    """None where axes are not parallel or voxels differ, by more than 0.02 voxel over the patch."""
    relative = fixed.to_world.inverse() @ moving.to_world
    linear = np.array(relative.linear)
    signs = np.rint(linear)
    error = np.abs(linear - signs) @ np.array(moving.values.shape)
    is_permutation = (np.abs(signs).sum(axis=0) == 1).all() and (
        np.abs(signs).sum(axis=1) == 1
    ).all()
    if not is_permutation or (error > _TOLERANCE_VX).any():
        return None
    return _aligned(fixed, moving, relative, signs)


def _aligned(fixed: Patch, moving: Patch, relative: Affine, signs: NDArray[np.float64]) -> Parallel:
    order = [int(np.flatnonzero(row)[0]) for row in signs]
    flipped = [axis for axis in range(3) if signs[axis, order[axis]] < 0]
    values = np.flip(np.transpose(moving.values, order), tuple(flipped))
    # the voxel of the moving patch that becomes (0, 0, 0)
    first = np.zeros(3)
    for axis in flipped:
        first[order[axis]] = moving.values.shape[order[axis]] - 1
    return Parallel(fixed.values, values, vector(relative.apply(first)), fixed.to_world)
