"""The JSON form of links and corrections, in the file format's x, y, z order."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from luxdask.errors import MetadataError
from luxdask.io.affine_json import XYZ, AffineJson, affine_to_json
from luxdask.model.geometry import BoundingBox, Vector, vector
from luxdask.model.links import Kind, Link, Model, Source, Status
from luxdask.model.registrations import Correction
from luxdask.model.view import ViewId
from luxdask.version import __version__

_VERSION = "1.0.0"
_SPACE = "sample_um"
_ID_PARTS = ("time_point", "channel", "stack", "objective", "camera", "pm")

_Text = Annotated[str, BeforeValidator(lambda v: str(v) if type(v) is int else v)]
_Infinite = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=True)


class _Lenient(BaseModel):
    """Later versions may add keys."""

    model_config = _Infinite


class _Ids(_Lenient):
    time_point: int
    channel: _Text
    stack: _Text
    objective: _Text
    camera: _Text
    pm: _Text | None = None

    def to_id(self) -> ViewId:
        return ViewId(**{part: getattr(self, part) for part in _ID_PARTS})


class _Parts(_Lenient):
    time_point: int | None = None
    channel: _Text | None = None
    stack: _Text | None = None
    objective: _Text | None = None
    camera: _Text | None = None
    pm: _Text | None = None


class _Overlap(_Lenient):
    lower: XYZ
    upper: XYZ


class _Method(_Lenient):
    source: Source


class _Pair(_Lenient):
    role: Literal["pair"]
    kind: Kind
    moving: _Ids
    fixed: _Ids
    affine: AffineJson
    space: Literal["sample_um"]
    model: Model
    method: _Method
    quality: float
    precision_um: float
    overlap_um: _Overlap
    status: Status
    reason: str
    residual_um: float | None
    cost: float | None

    def to_link(self) -> Link:
        return Link(
            kind=self.kind,
            fixed=self.fixed.to_id(),
            moving=self.moving.to_id(),
            transform=self.affine.to_affine(),
            model=self.model,
            quality=self.quality,
            precision_um=self.precision_um,
            overlap=BoundingBox(
                vector(self.overlap_um.lower[::-1]), vector(self.overlap_um.upper[::-1])
            ),
            source=self.method.source,
            status=self.status,
            reason=self.reason,
            residual_um=self.residual_um,
            cost=self.cost,
        )


class _Global(_Lenient):
    role: Literal["global"]
    kind: Kind | Literal["all"]
    moving: _Parts
    affine: AffineJson
    space: Literal["sample_um"]

    def to_correction(self) -> Correction:
        parts = {part: getattr(self.moving, part) for part in _ID_PARTS}
        kind = None if self.kind == "all" else self.kind
        return Correction(self.affine.to_affine(), kind, **parts)


class _Role(_Lenient):
    role: Literal["pair", "global"]


def link_document(link: Link) -> dict[str, Any]:
    """A link as JSON values; numbers that JSON does not know (inf, nan) are texts."""
    lower, upper = link.overlap.lower, link.overlap.upper
    return {
        "version": _VERSION,
        "role": "pair",
        "kind": link.kind,
        "moving": _ids(link.moving),
        "fixed": _ids(link.fixed),
        "affine": affine_to_json(link.transform),
        "space": _SPACE,
        "model": link.model,
        "method": {"source": link.source},
        "quality": _number(link.quality),
        "precision_um": _number(link.precision_um),
        "overlap_um": {"lower": _numbers(lower), "upper": _numbers(upper)},
        "status": link.status,
        "reason": link.reason,
        "residual_um": _number(link.residual_um),
        "cost": _number(link.cost),
        "sources": [f"luxdask {__version__}"],
    }


def correction_document(correction: Correction) -> dict[str, Any]:
    """A correction as JSON values; `moving` holds the parts of the identity that are given."""
    return {
        "version": _VERSION,
        "role": "global",
        "kind": correction.kind or "all",
        "moving": correction.parts,
        "fixed": None,
        "affine": affine_to_json(correction.transform),
        "space": _SPACE,
        "sources": [f"luxdask {__version__}"],
    }


def parse_document(text: str | bytes, where: str) -> Link | Correction:
    """The link (role "pair") or correction (role "global") in a JSON text.

    Raises `MetadataError` naming `where` and what is wrong with it.
    """
    try:
        if _Role.model_validate_json(text).role == "pair":
            return _Pair.model_validate_json(text).to_link()
        return _Global.model_validate_json(text).to_correction()
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)[:3]
        listed = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems)
        raise MetadataError(
            f"{where}: not a registration transform of luxdask: {listed}"
        ) from error


def _ids(view: ViewId) -> dict[str, Any]:
    return {part: getattr(view, part) for part in _ID_PARTS}


def _number(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return None if value is None else float(value)
    return str(float(value))


def _numbers(values: Vector) -> list[float | str | None]:
    return [_number(value) for value in values[::-1]]
