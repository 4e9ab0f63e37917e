"""The metadata JSON of Luxendo images: what of it we need, checked, as a `View`.

Only here (and in the writers) do vectors have the file format's x, y, z order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from luxdask.errors import MetadataError
from luxdask.io.metadata_text import UnreadableMetadataError, first_readable, plain_text
from luxdask.model.geometry import Affine, Shape, Vector, vector
from luxdask.model.view import CameraFrame, Optics, View, ViewId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luxdask.model.view import Source


def _none_as_empty(value: Any) -> Any:
    return () if value is None else value


def _one_as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _only_object(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


def _vectors(value: Any) -> Any:
    """One bare vector, or null, where a list of vectors belongs."""
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (list, tuple)):
        return [value]
    return _none_as_empty(value)


XYZ = tuple[float, float, float]
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class _Lenient(BaseModel):
    """Foreign JSON: unknown keys are passed over, numbers may be written as text and vice versa."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", coerce_numbers_to_str=True, allow_inf_nan=False
    )


class VoxelSize(_Lenient):
    """Voxel size in µm."""

    width: float
    height: float
    depth: float


class ImageSize(_Lenient):
    """Number of voxels."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    depth: int = Field(gt=0)


class AffineEntry(_Lenient):
    """One step of the chain from voxel index to sample space: ``p -> matrix @ p + translation``."""

    matrix: tuple[XYZ, XYZ, XYZ]
    translation: XYZ


class StagePosition(_Lenient):
    """A stage; of interest is the rotation stage."""

    type: Text = ""
    start_deg: float | None = None


class Illumination(_Lenient):
    """An illumination path that was on."""

    objective: Text = ""


def _unknown_as_zero(value: Any) -> Any:
    """Only what may be a real figure is one; a task that needs no more is not held up by it."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if isfinite(number) and number > 0 else 0.0


Known = Annotated[float, BeforeValidator(_unknown_as_zero)]


class PixelCount(_Lenient):
    """Size of a sensor or a part of it; 0 means unknown."""

    width: Known = 0.0
    height: Known = 0.0


class PixelPlace(_Lenient):
    """Where a part of a sensor begins."""

    left: Known = 0.0
    top: Known = 0.0


class Detection(_Lenient):
    """The detection optics and the camera; 0 means unknown."""

    wavelength_nm: Known = 0.0
    numerical_aperture: Known = 0.0
    magnification: Known = 0.0
    sensor_size_px: Annotated[PixelCount, BeforeValidator(_only_object)] = PixelCount()
    crop_offset_px: Annotated[PixelPlace, BeforeValidator(_only_object)] = PixelPlace()
    crop_size_px: Annotated[PixelCount, BeforeValidator(_only_object)] = PixelCount()


class Acquisition(_Lenient):
    """How one of the contributing raw images was taken."""

    microscope_type: Text = ""
    channel_description: Text = ""
    stack_description: Text = ""
    stage_positions: Annotated[tuple[StagePosition, ...], BeforeValidator(_none_as_empty)] = ()
    illuminations: Annotated[tuple[Illumination, ...], BeforeValidator(_none_as_empty)] = ()
    refractive_index: Known = 0.0
    detection: Annotated[Detection, BeforeValidator(_only_object)] = Detection()


class ProcessingInformation(_Lenient):
    """The part of the metadata that the vendor specifies; optional keys have defaults."""

    time_point: int = Field(ge=0)
    channel: str
    stack: str
    objective: str
    camera: str
    pm: str | None = None
    channel_description: Text = ""
    stack_description: Text = ""
    voxel_size_um: VoxelSize | None = None
    image_size_vx: ImageSize
    affine_to_sample: Annotated[
        tuple[AffineEntry, ...], BeforeValidator(_one_as_list), Field(min_length=1)
    ]
    detection_directions: Annotated[tuple[XYZ, ...], BeforeValidator(_vectors)] = ()
    sources: Annotated[tuple[str, ...], BeforeValidator(_none_as_empty)] = ()
    acquisition: Annotated[
        tuple[Acquisition, ...],
        BeforeValidator(_none_as_empty),
        BeforeValidator(_one_as_list),
    ] = ()


class _Document(_Lenient):
    processingInformation: ProcessingInformation


def parse_metadata(text: Any, where: str) -> ProcessingInformation:
    """Check the metadata of an image.

    Parameters
    ----------
    text
        The JSON: str, bytes, an array as h5py returns it, or the document as a dict.
    where
        File (and dataset) for messages.

    Raises
    ------
    MetadataError
        Naming `where`, the key, and what is wrong with it.
    """
    try:
        if isinstance(text, Mapping):
            return _Document.model_validate(text).processingInformation
        return _Document.model_validate_json(plain_text(text)).processingInformation
    except ValidationError as error:
        raise _explained(error, where) from error


def _explained(error: ValidationError, where: str) -> MetadataError:
    problems = error.errors(include_url=False, include_input=False)
    first = problems[0]
    if first["type"] == "json_invalid":
        return UnreadableMetadataError(f"{where}: not valid JSON ({first['msg']}).")
    if len(first["loc"]) <= 1:
        return UnreadableMetadataError(
            f"{where}: no 'processingInformation', so this is not the metadata of a Luxendo image."
        )
    listed = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:5])
    return MetadataError(f"{where}: metadata is malformed: {listed}.")


def read_information(source: Source) -> tuple[ProcessingInformation, tuple[str, ...]]:
    """Checked metadata of an image (sidecar first) and notes about what was coped with."""
    return first_readable(source, parse_metadata)


def read_metadata(source: Source) -> dict[str, Any]:
    """The whole metadata document of an image, unknown parts included, to be copied onwards.

    Raises `MetadataError` where neither the sidecar nor the image holds it.
    """

    def parse(text: str, where: str) -> dict[str, Any]:
        parse_metadata(text, where)
        document: dict[str, Any] = json.loads(text)
        return document

    return first_readable(source, parse)[0]


def read_view(source: Source) -> tuple[View, tuple[str, ...]]:
    """The view that an image is, from its metadata alone, and notes."""
    information, notes = read_information(source)
    return view_from_metadata(information, source), notes


def view_from_metadata(information: ProcessingInformation, source: Source) -> View:
    """Build a view.

    Raises `MetadataError` naming the image where its transform is not invertible.
    """
    view_to_world = compose_affines(information.affine_to_sample)
    if not view_to_world.is_invertible:
        raise MetadataError(
            f"{source.sidecar or source.path}: affine transform in 'affine_to_sample' is invalid "
            f"(not invertible). Rows of its matrix (z, y, x): {view_to_world.linear}"
        )
    acquisition = information.acquisition
    first = acquisition[0] if acquisition else Acquisition()
    return View(
        id=view_id(information),
        source=source,
        shape=_shape(information.image_size_vx),
        spacing_um=_spacing_um(information.voxel_size_um, view_to_world),
        view_to_world=view_to_world,
        detection_directions=_unit_vectors(information.detection_directions),
        illuminations=_illuminations(acquisition),
        angle_deg=_angle_deg(acquisition),
        channel_description=information.channel_description or first.channel_description,
        stack_description=information.stack_description or first.stack_description,
        microscope=first.microscope_type,
        sources=information.sources,
        optics=_optics(acquisition),
        camera_frame=_camera_frame(acquisition),
    )


def view_id(information: ProcessingInformation) -> ViewId:
    """Identity as the metadata gives it; "none" counts as no photomanipulation."""
    pm = information.pm
    return ViewId(
        time_point=information.time_point,
        channel=information.channel,
        stack=information.stack,
        objective=information.objective,
        camera=information.camera,
        pm=None if pm is None or pm.lower() in ("", "none") else pm,
    )


def compose_affines(entries: Iterable[AffineEntry]) -> Affine:
    """One (z, y, x) transform from a chain in x, y, z order whose first entry is applied first."""
    linear, offset = np.eye(3), np.zeros(3)
    for entry in entries:
        step = np.array(entry.matrix)
        linear, offset = step @ linear, step @ offset + entry.translation
    # Reversing the axes of points reverses the rows and the columns of the matrix.
    return Affine.from_array(linear[::-1, ::-1], offset[::-1])


def _shape(size: ImageSize) -> Shape:
    return (size.depth, size.height, size.width)


def _spacing_um(size: VoxelSize | None, view_to_world: Affine) -> Vector:
    """Stated voxel size, or the lengths of the transformed voxel axes where it is missing or 0."""
    if size is not None and min(size.depth, size.height, size.width) > 0:
        return (size.depth, size.height, size.width)
    return view_to_world.column_norms


def _unit_vectors(directions: tuple[XYZ, ...]) -> tuple[Vector, ...]:
    units = []
    for direction in directions:
        length = float(np.linalg.norm(direction))
        if length > 0:
            units.append(vector(np.array(direction[::-1]) / length))
    return tuple(units)


def _illuminations(acquisition: tuple[Acquisition, ...]) -> tuple[str, ...]:
    names = {lit.objective for entry in acquisition for lit in entry.illuminations}
    return tuple(sorted(names - {""}))


def _angle_deg(acquisition: tuple[Acquisition, ...]) -> float:
    """Angle of the rotation stage; images fused from several angles have none, that is 0."""
    angles = {
        stage.start_deg
        for entry in acquisition
        for stage in entry.stage_positions
        if stage.type.lower() == "rotation" and stage.start_deg is not None
    }
    return (angles.pop() + 0.0) if len(angles) == 1 else 0.0


def _optics(acquisition: tuple[Acquisition, ...]) -> Optics:
    """The optics that all contributing images share; unknown where they differ."""
    found = {
        Optics(d.numerical_aperture, d.wavelength_nm, entry.refractive_index)
        for entry in acquisition
        for d in [entry.detection]
    }
    return found.pop() if len(found) == 1 else Optics()


def _camera_frame(acquisition: tuple[Acquisition, ...]) -> CameraFrame:
    """The part of the sensor that all contributing images share; unknown where they differ."""
    found = {
        CameraFrame(
            d.magnification,
            (round(d.sensor_size_px.height), round(d.sensor_size_px.width)),
            (round(d.crop_offset_px.top), round(d.crop_offset_px.left)),
            (round(d.crop_size_px.height), round(d.crop_size_px.width)),
        )
        for d in (entry.detection for entry in acquisition)
    }
    return found.pop() if len(found) == 1 else CameraFrame()
