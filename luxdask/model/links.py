"""Pairs of views that can be aligned, and links: what measuring such a pair has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from luxdask.model.geometry import Affine, BoundingBox

if TYPE_CHECKING:
    from luxdask.model.view import ViewId

Kind = Literal["objective_camera", "rotation", "tiles", "time_points"]
Model = Literal["translation", "rigid", "affine"]
Source = Literal["content", "landmarks", "reused"]
Status = Literal[
    "ok",
    "no texture",
    "too little overlap",
    "ambiguous",
    "at the limit",
    "no match",
    "unreadable",
    "removed",
]

KINDS: tuple[Kind, ...] = ("objective_camera", "rotation", "tiles", "time_points")
"""What a pair is about, in the order in which it is done."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two views whose contents can be compared.

    `overlap` is the box in sample space that holds what both see, by the metadata.
    """

    kind: Kind
    fixed: ViewId
    moving: ViewId
    overlap: BoundingBox

    def __str__(self) -> str:
        return f"{self.kind}: {self.moving} -> {self.fixed}"


@dataclass(frozen=True, slots=True)
class Link:
    """A measured pair.

    Attributes
    ----------
    transform
        Sample space to sample space in µm: what lies at ``p`` in the moving view (by the metadata)
        lies at ``transform(p)`` in the fixed one.
    model
        Kind of `transform`.
    quality
        Normalised cross-correlation on the common volume, or how well landmarks fit; 0 ... 1.
    precision_um
        Standard deviation that is expected of the shift; the global optimisation weighs by it.
    overlap
        The common volume that was compared, in sample space.
    status, reason
        "ok", or why the link is not trusted, in a word and in a sentence.
    residual_um
        What the global optimisation leaves of this link (root mean square over its overlap); None
        before.
    cost
        The residual relative to what is usual among all links; None before the optimisation.
    """

    kind: Kind
    fixed: ViewId
    moving: ViewId
    transform: Affine
    model: Model = "translation"
    quality: float = 1.0
    precision_um: float = 1.0
    overlap: BoundingBox = field(default=BoundingBox((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), repr=False)
    source: Source = "content"
    status: Status = "ok"
    reason: str = ""
    residual_um: float | None = None
    cost: float | None = None

    @property
    def is_trusted(self) -> bool:
        """Whether the global optimisation may use it."""
        return self.status == "ok"

    def __str__(self) -> str:
        return f"{self.kind}: {self.moving} -> {self.fixed}"
