"""A piece of a view as registration looks at it: grey values with their place in sample space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from luxdask.model.geometry import Affine, Vector


@dataclass(frozen=True)
class Patch:
    """Grey values on a regular grid, all of them real (outside of it nothing is known).

    Attributes
    ----------
    values
        (Z, Y, X) float32.
    to_world
        Voxel index (integers are centres) to sample space in µm; any rotation, mirroring or
        scaling. A patch that was averaged over bins has the transform of its bins.
    """

    values: NDArray[np.float32]
    to_world: Affine

    @property
    def spacing_um(self) -> Vector:
        """Voxel size along the patch's own axes."""
        return self.to_world.column_norms
