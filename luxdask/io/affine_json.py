"""One affine transform as files hold it: rows of a matrix and a translation, both in x, y, z order.

Used by multi-transform files, by the transforms that registration stores, and nowhere inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from luxdask.model.geometry import Affine

XYZ = tuple[float, float, float]


class AffineJson(BaseModel):
    """``p -> matrix @ p + translation`` for points (width, height, depth)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    matrix: tuple[XYZ, XYZ, XYZ]
    translation: XYZ
    label: str | None = Field(default=None, alias="type")  # some metadata have it; it says nothing

    def to_affine(self) -> Affine:
        """The same for (z, y, x) points."""
        # Reversing the axes of points reverses the rows and the columns of the matrix.
        return Affine.from_array(np.array(self.matrix)[::-1, ::-1], self.translation[::-1])


def affine_to_json(affine: Affine) -> dict[str, Any]:
    """A (z, y, x) transform as ``{"matrix": rows, "translation": vector}`` in x, y, z order."""
    return {
        "matrix": [list(row[::-1]) for row in affine.linear[::-1]],
        "translation": list(affine.offset[::-1]),
    }
