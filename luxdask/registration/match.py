"""What is asked of the measurement of a pair of patches, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luxdask.model.geometry import Affine, BoundingBox
    from luxdask.model.links import Model, Status


@dataclass(frozen=True, slots=True)
class MatchParams:
    """How a pair is measured.

    Attributes
    ----------
    model
        Kind of transform that is looked for.
    maximum_translation_um
        Bound on the length of the shift: nothing beyond it is looked at. None: as far as the
        patches reach.
    maximum_rotation_deg
        How far the directions of the views may be wrong, per axis.
    fine_alignment
        False: stop before the last step, at the full resolution of the patches.
    background
        Grey value that is subtracted first (less becomes 0).
    """

    model: Model = "translation"
    maximum_translation_um: float | None = None
    maximum_rotation_deg: float = 0.0
    fine_alignment: bool = True
    background: float = 0.0


@dataclass(frozen=True, slots=True)
class Match:
    """How the moving patch lies on the fixed one.

    Attributes
    ----------
    transform
        Sample space to sample space in µm: what lies at ``p`` in the moving view (by the metadata)
        lies at ``transform(p)`` in the fixed one.
    quality
        Normalised cross-correlation on the true common volume, 0 ... 1.
    precision_um
        Expected standard deviation of the shift.
    overlap
        The compared volume, in sample space.
    status, reason
        "ok", or why the result is not to be trusted, in a word and in a sentence for the user.
    """

    transform: Affine
    model: Model
    quality: float
    precision_um: float
    overlap: BoundingBox
    status: Status = "ok"
    reason: str = ""
