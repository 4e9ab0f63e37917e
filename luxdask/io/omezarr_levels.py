"""What the attributes of an OME-Zarr image say: axes, place in space, and which levels serve.

Vectors are in (z, y, x) order, whatever the order of the axes in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from luxdask.errors import ImageFileError, MetadataError
from luxdask.io.foreign_view import micrometres
from luxdask.io.omezarr_store import open_attributes, open_level, state_of
from luxdask.model.geometry import Affine, Shape, shape3
from luxdask.model.levels import FULL, level_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_SPACE = ("z", "y", "x")
_PLACED = 0.1
"""Part of a voxel by which a level may lie off the means that it stands for."""


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Axis(_Lenient):
    """One axis of the arrays."""

    name: str
    type: str | None = None
    unit: str | None = None


class Transformation(_Lenient):
    """Scale or translation of all axes."""

    type: Literal["scale", "translation", "identity"]
    scale: tuple[float, ...] | None = None
    translation: tuple[float, ...] | None = None


def _none_as_empty(value: Any) -> Any:
    return () if value is None else value


Chain = Annotated[tuple[Transformation, ...], BeforeValidator(_none_as_empty)]


class Dataset(_Lenient):
    """One level."""

    path: str
    coordinateTransformations: Chain = ()


class Multiscale(_Lenient):
    """An image with its levels."""

    axes: tuple[Axis, ...] = Field(min_length=2, max_length=5)
    datasets: tuple[Dataset, ...] = Field(min_length=1)
    name: str | None = None
    type: str | None = None
    coordinateTransformations: Chain = ()


@dataclass(frozen=True)
class ZarrImage:
    """An OME-Zarr image as far as opening needs it.

    `axes` and `file_shape` are in the file's order, `shape` is (z, y, x). `levels` are the paths of
    the levels that hold means of the full resolution, under their factors (z, y, x).
    """

    url: str
    name: str
    dataset: str
    axes: str
    file_shape: tuple[int, ...]
    shape: Shape
    dtype: np.dtype[Any]
    view_to_world: Affine
    levels: Mapping[Shape, str]
    attributes: Mapping[str, Any]
    notes: tuple[str, ...]


def zarr_image(url: str) -> ZarrImage:
    """The image of a group with `multiscales`.

    Raises `MetadataError` naming the group and the key that is wrong, `ImageFileError` naming a
    missing array.
    """
    return _image(url, state_of(url))


@lru_cache(maxsize=4096)
def _image(url: str, state: tuple[int, ...]) -> ZarrImage:
    attributes = open_attributes(url)
    scales, notes = _checked(attributes.get("multiscales"), url)
    axes = _axes(scales, url)
    full = open_level(url, scales.datasets[0].path)
    if len(full.shape) != len(axes) or 0 in full.shape:
        raise MetadataError(
            f"{url}: the array {scales.datasets[0].path!r} of shape {full.shape} does not have the "
            f"axes {', '.join(axes)}"
        )
    units = [_unit(axis, notes, url) for axis in scales.axes if axis.name in _SPACE]
    spacing, origin = _placed(scales, 0, url)
    whole = _spatial(full.shape, axes, fill=1)
    to_um = _spatial(units, "".join(a for a in axes if a in _SPACE), fill=1.0)
    scale, offset = np.multiply(spacing, to_um), np.multiply(origin, to_um)
    return ZarrImage(
        url=url,
        name=scales.name or "",
        dataset=scales.datasets[0].path,
        axes=axes,
        file_shape=tuple(int(n) for n in full.shape),
        shape=shape3(whole),
        dtype=np.dtype(full.dtype),
        view_to_world=Affine.scale(scale, offset),
        levels=MappingProxyType(_levels(scales, url, shape3(whole), notes)),
        attributes=MappingProxyType(attributes),
        notes=tuple(f"{url}: {note}" for note in notes),
    )


def _checked(given: Any, url: str) -> tuple[Multiscale, list[str]]:
    if not isinstance(given, list) or not given:
        raise MetadataError(f"{url}: no OME-Zarr image: 'multiscales' is missing or empty")
    version = str(given[0].get("version", "")) if isinstance(given[0], dict) else ""
    try:
        scales = Multiscale.model_validate(given[0])
    except ValidationError as error:
        listed = "; ".join(
            f"{'.'.join(map(str, p['loc']))}: {p['msg']}"
            for p in error.errors(include_url=False, include_input=False)[:5]
        )
        written = f" (version {version})" if version else ""
        raise MetadataError(
            f"{url}: 'multiscales'{written} is not that of OME-Zarr 0.4 or 0.5, the versions that "
            f"luxdask reads: {listed}"
        ) from error
    more = [f"of {len(given)} multiscale images in one group the first is used"]
    return scales, more if len(given) > 1 else []


def _axes(scales: Multiscale, url: str) -> str:
    """One letter per axis, in the file's order."""
    letters = ""
    for axis in scales.axes:
        letter = {"time": "t", "channel": "c"}.get(axis.type or "", axis.name)
        if len(letter) != 1 or letter in letters:
            raise MetadataError(
                f"{url}: the axes {[a.name for a in scales.axes]} are not understood; luxdask "
                "knows t, c, z, y and x"
            )
        letters += letter
    if not {"y", "x"} <= set(letters):
        raise MetadataError(f"{url}: no axes y and x among {list(letters)}")
    return letters


def _unit(axis: Axis, notes: list[str], url: str) -> float:
    if axis.unit is None:
        said = "axes have no unit; voxel sizes are taken as µm"
        if said not in notes:
            notes.append(said)
        return 1.0
    um = micrometres(axis.unit)
    if um is None:
        raise MetadataError(f"{url}: axis {axis.name!r} has the unit {axis.unit!r}, not a length")
    return um


def _placed(
    scales: Multiscale, level: int, url: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Voxel size and place of the first voxel of a level (z, y, x), in the file's units."""
    own = scales.datasets[level].coordinateTransformations
    chain = (*own, *scales.coordinateTransformations)
    if not any(step.type == "scale" for step in chain):
        raise MetadataError(
            f"{url}: level {scales.datasets[level].path!r} has no scale in its "
            "'coordinateTransformations', so its voxel size is not known"
        )
    scale, origin = np.ones(len(scales.axes)), np.zeros(len(scales.axes))
    for step in chain:
        vector = np.array(step.scale if step.type == "scale" else step.translation or ())
        if step.type == "identity":
            continue
        if vector.shape != scale.shape:
            raise MetadataError(
                f"{url}: a {step.type} of level {scales.datasets[level].path!r} needs "
                f"{len(scale)} numbers, one per axis; it has {vector.tolist()}"
            )
        if step.type == "scale":
            scale, origin = scale * vector, origin * vector
        else:
            origin = origin + vector
    axes = _axes(scales, url)
    return np.array(_spatial(scale, axes, 1.0)), np.array(_spatial(origin, axes, 0.0))


def _spatial(values: Sequence[Any] | NDArray[Any], axes: str, fill: Any) -> tuple[Any, ...]:
    """The entries of z, y and x; a plane has no z."""
    by_axis = dict(zip(axes, values, strict=True))
    return tuple(by_axis.get(axis, fill) for axis in _SPACE)


def _levels(scales: Multiscale, url: str, shape: Shape, notes: list[str]) -> dict[Shape, str]:
    """Levels whose voxels are means of whole voxels of the full resolution."""
    found = {FULL: scales.datasets[0].path}
    full = _placed(scales, 0, url)
    averages = "mean" in (scales.type or "").lower() or "average" in (scales.type or "").lower()
    for number, dataset in enumerate(scales.datasets[1:], start=1):
        factor = _factor(full, _placed(scales, number, url), shape, averages)
        if factor is not None and factor not in found and _is_there(scales, url, dataset, factor):
            found[factor] = dataset.path
    if len(found) < len(scales.datasets):
        notes.append(
            f"of {len(scales.datasets) - 1} pyramid levels {len(found) - 1} are used: of the "
            "others the file does not say that they are means of whole voxels"
        )
    return dict(sorted(found.items(), key=lambda item: (int(np.prod(item[0])), item[0])))


def _factor(
    full: tuple[NDArray[np.float64], NDArray[np.float64]],
    level: tuple[NDArray[np.float64], NDArray[np.float64]],
    shape: Shape,
    averages: bool,
) -> Shape | None:
    """Voxels per voxel of a level, or None where they are not whole or lie elsewhere.

    The mean of f voxels lies (f - 1) / 2 voxels behind the first. Many writers give levels no
    place; then the image must say that its levels are means.
    """
    ratio = level[0] / full[0]
    factor = np.maximum(np.rint(ratio), 1)
    drift = np.abs(ratio / factor - 1) * shape
    shift = (level[1] - full[1]) / full[0]
    is_placed = bool((np.abs(shift - (factor - 1) / 2) < _PLACED).all())
    is_unplaced = averages and bool((np.abs(shift) < 1e-6).all())
    if (drift > _PLACED).any() or not (is_placed or is_unplaced):
        return None
    return shape3(factor.astype(int).tolist())


def _is_there(scales: Multiscale, url: str, dataset: Dataset, factor: Shape) -> bool:
    """Whether a level exists and is large enough; a missing one is no reason to fail."""
    axes = _axes(scales, url)
    try:
        level = open_level(url, dataset.path)
        full = open_level(url, scales.datasets[0].path)
    except ImageFileError:
        return False
    if len(level.shape) != len(axes) or level.dtype != full.dtype:
        return False
    needed = level_shape(shape3(_spatial(full.shape, axes, 1)), factor)
    return all(n >= m for n, m in zip(_spatial(level.shape, axes, 1), needed, strict=True))
