"""Metadata of a made-up image, as the microscopes' software (Embedded 3.17) writes it today.

Everything in this module that goes into JSON is in the file format's order: x, y, z.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.testing.layout import AXIS_OFFSET_UM, rotation
from luxdask.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luxdask.model.view import ViewId
    from luxdask.testing.layout import Pose

MICROSCOPE = "MuVi-SPIM"
_SERIAL = "00000"
_EMBEDDED = "3.17.6-beta"
_BUNDLE = "5.2.2-alpha.5"
_CAMERA_PIXEL_UM = 6.5
_START = datetime(2026, 3, 2, 13, 44, 35, 125000, tzinfo=UTC)
_TIME_INTERVAL = timedelta(minutes=5)
_PLANE_INTERVAL = timedelta(microseconds=111000)
_LIGHTS = {"front": [1.0, 0.0, 0.0], "back": [-1.0, 0.0, 0.0]}
# Which way the sample moves in the camera's frame when a stage's position rises.
_STAGE_DIRECTIONS = {"x": [0.0, -1.0, 0.0], "y": [-1.0, 0.0, 0.0], "z": [0.0, 0.0, -1.0]}
_WAVELENGTHS_NM = (525.0, 605.0, 680.0, 460.0)


@dataclass(frozen=True, slots=True)
class Shot:
    """What one image was: who, where, and lit how."""

    id: ViewId
    pose: Pose
    lights: tuple[str, ...] = ("front", "back")
    channel_description: str = ""
    contains_beads: bool = False
    colour: int = 0


def image_metadata(shot: Shot) -> dict[str, Any]:
    """The whole JSON document of a raw image."""
    return {
        "processingInformation": _processing_information(shot),
        "metaData": _meta_data(shot),
        "cameraData": _camera_data(shot.pose),
        "imagingBranch": _imaging_branch(shot),
    }


def _processing_information(shot: Shot) -> dict[str, Any]:
    nz, ny, nx = shot.pose.shape
    z, y, x = shot.pose.spacing_um
    direction = np.array(rotation(shot.pose.angle_deg).linear) @ shot.pose.detection_direction
    return {
        "version": "1.0.0",
        "image_id": _image_id(shot),
        "sources": [f"luxdask {__version__} demo-data: synthetic, no microscope was involved"],
        **_identity(shot),
        "stack_scan_ids": [_scan_id(shot.id)],
        "voxel_size_um": {"width": x, "height": y, "depth": z},
        "image_size_vx": {"width": nx, "height": ny, "depth": nz},
        "affine_to_sample": affine_to_sample(shot.pose),
        "detection_directions": [_xyz(direction)],
        "acquisition": [_acquisition(shot)],
    }


def affine_to_sample(pose: Pose) -> list[dict[str, Any]]:
    """Centring, scaling with the stage position of the first plane, rotation; first applies first.

    Numbers have full double precision, so that tiles cut at whole voxels come back as such.
    """
    _, ny, nx = pose.shape
    turn = rotation(pose.angle_deg)
    scale = np.diag(np.multiply(pose.column_signs, pose.spacing_um)[::-1])
    return [
        _affine(np.eye(3), (-(nx - 1) / 2, -(ny - 1) / 2, 0.0)),
        _affine(scale, pose.position_um[::-1]),
        _affine(np.array(turn.linear)[::-1, ::-1], turn.offset[::-1]),
    ]


def _affine(matrix: np.typing.NDArray[np.float64], translation: Sequence[float]) -> dict[str, Any]:
    return {
        "matrix": [[float(v) for v in row] for row in matrix],
        "translation": [float(v) for v in translation],
    }


def _xyz(zyx: Sequence[float] | np.typing.NDArray[np.float64]) -> list[float]:
    return [float(v) for v in zyx][::-1]


def _identity(shot: Shot) -> dict[str, Any]:
    """The fields that name an image, the same in the derived and in the acquisition part."""
    view = shot.id
    fields = {
        "contains_beads": shot.contains_beads,
        "time_point": str(view.time_point),
        "channel": view.channel,
        "channel_description": shot.channel_description,
        "pm": view.pm,
        "stack": view.stack,
        "objective": view.objective,
        "camera": view.camera,
        "repetition": 0,
    }
    return {k: v for k, v in fields.items() if v not in (None, "")}


def _scan_id(view: ViewId) -> str:
    pm = "none" if view.pm is None else view.pm
    return f"oc:default_st:{view.stack}_ch:{view.channel}_tp:{view.time_point}_pm:{pm}"


def _image_id(shot: Shot) -> str:
    text = f"luxdask demo-data {shot.id} {shot.pose.position_um}"
    when = _iso(_time(shot.id), "milliseconds")
    return f"{when}-{uuid.uuid5(uuid.NAMESPACE_URL, text)}"


def _time(view: ViewId) -> datetime:
    return _START + view.time_point * _TIME_INTERVAL


def _iso(when: datetime, precision: str = "microseconds") -> str:
    return when.isoformat(timespec=precision).replace("+00:00", "Z")


def _acquisition(shot: Shot) -> dict[str, Any]:
    pose = shot.pose
    start = _time(shot.id)
    return {
        "image_id": _image_id(shot),
        "microscope_type": MICROSCOPE,
        "serial_number": _SERIAL,
        "lux_bundle_version": _BUNDLE,
        "embedded_version": _EMBEDDED,
        "edits": [],
        **_identity(shot),
        "stack_scan_id": _scan_id(shot.id),
        "number_planes": pose.shape[0],
        "stage_positions": _stage_positions(pose),
        "image_plane_vectors": _image_plane(pose),
        "refractive_index": 1.33,
        "detection": _detection(shot),
        "illuminations": [{"objective": o, "direction": _LIGHTS[o]} for o in shot.lights],
        "time_stamps": [_iso(start + k * _PLANE_INTERVAL) for k in range(pose.shape[0])],
    }


def _stage_positions(pose: Pose) -> list[dict[str, Any]]:
    """Stage "x" moves the sample along the camera's y, stage "y" along its x, as in real files."""
    z, y, x = pose.position_um
    end = z + pose.step * pose.spacing_um[0] * (pose.shape[0] - 1)
    ranges = {"x": (y, y), "y": (x, x), "z": (z, end)}
    stages = [
        {
            "type": "linear",
            "name": name,
            "start_um": first,
            "end_um": last,
            "movement": {"direction": _STAGE_DIRECTIONS[name], "offset_um": [0.0, 0.0, 0.0]},
        }
        for name, (first, last) in ranges.items()
    ]
    return [*stages, _rotation_stage(pose.angle_deg)]


def _rotation_stage(angle_deg: float) -> dict[str, Any]:
    return {
        "type": "rotation",
        "name": "r",
        "start_deg": float(angle_deg),
        "end_deg": float(angle_deg),
        "movement": {"direction": [0.0, -1.0, 0.0], "offset_um": _xyz(AXIS_OFFSET_UM)},
    }


def _image_plane(pose: Pose) -> dict[str, list[float]]:
    sign = -1.0 if pose.mirrored else 1.0
    return {"cam_left_to_right": [sign, 0.0, 0.0], "cam_top_to_bottom": [0.0, 1.0, 0.0]}


def _detection(shot: Shot) -> dict[str, Any]:
    _, ny, nx = shot.pose.shape
    _, y, x = shot.pose.spacing_um
    width, height = max(2048, nx), max(2048, ny)
    return {
        "wavelength_nm": _WAVELENGTHS_NM[shot.colour % len(_WAVELENGTHS_NM)],
        "numerical_aperture": 0.8,
        "magnification": _CAMERA_PIXEL_UM / x,
        "direction": _xyz(shot.pose.detection_direction),
        "cam_pixel_size_um": {"width": _CAMERA_PIXEL_UM, "height": _CAMERA_PIXEL_UM * y / x},
        "sensor_size_px": {"width": width, "height": height},
        "crop_offset_px": {
            "left": (width - nx) // 2,
            "top": (height - ny) // 2,
        },
        "crop_size_px": {"width": nx, "height": ny},
        "dichroic_id": None,
    }


def _meta_data(shot: Shot) -> dict[str, Any]:
    """A small part of the hardware's state, in the form of the real one."""
    stages = _stage_positions(shot.pose)
    return {
        "microscopeInfo": {
            "opticalConfiguration": "default",
            "scopeType": MICROSCOPE,
            "serialNumber": _SERIAL,
            "softwareVersion": _EMBEDDED,
            "timeStamp": f"{_time(shot.id):%Y-%m-%d %H:%M:%S}",
        },
        "objectives": [_objective(shot), *map(_light_objective, shot.lights)],
        "stack": {
            "biDirectionalReps": False,
            "description": "",
            "elements": [_stack_element(stage) for stage in stages],
            "n": shot.pose.shape[0],
            "ref": "z",
            "reps": 1,
            "stageSet": "live",
        },
        "timings": {"delayAfter_ms": 11, "delayBefore_ms": 0, "exposure_ms": 100},
        "triggers": [],
    }


def _objective(shot: Shot) -> dict[str, Any]:
    return {
        "direction": _xyz(shot.pose.detection_direction),
        "name": shot.id.objective,
        "properties": {"immersion": "water", "na": 0.8},
        "roles": ["detection"],
    }


def _light_objective(name: str) -> dict[str, Any]:
    return {
        "direction": _LIGHTS[name],
        "name": name,
        "properties": {"immersion": "water", "na": 0.2},
        "roles": ["illumination"],
    }


def _stack_element(stage: dict[str, Any]) -> dict[str, Any]:
    unit = "deg" if stage["type"] == "rotation" else "um"
    return {
        "canTile": stage["name"] in ("x", "y"),
        "end": stage[f"end_{unit}"],
        "instack": stage["name"] == "z",
        "name": stage["name"],
        "start": stage[f"start_{unit}"],
        "target": stage["name"],
    }


def _camera_data(pose: Pose) -> dict[str, Any]:
    _, ny, nx = pose.shape
    crop = {"height": ny, "left": 0, "top": 0, "width": nx}
    device = {"roi": crop, "shutter": "Global", "trigger_mode": "Level"}
    return {"device": device, "on_off_state": "On", "slit_size": 20}


def _imaging_branch(shot: Shot) -> dict[str, Any]:
    return {
        "camera": shot.id.camera,
        "detection": {"objectives": [shot.id.objective], "stages": ["*"]},
        "illumination": [{"lasers": ["*"], "objectives": [light]} for light in shot.lights],
        "image_plane_vectors": _image_plane(shot.pose),
    }
