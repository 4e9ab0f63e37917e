"""What the metadata of a made-up microscope does not know: turned axes, cameras, colours, drift.

Everything follows from the seed; what is first (rotation, camera, colour, time point) is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from luxdask.model.geometry import Affine

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from luxdask.testing.spec import DemoSpec


def rotation_errors(spec: DemoSpec, middle_um: ArrayLike) -> tuple[Affine, ...]:
    """For each rotation: from where its metadata puts the sample to where that truly is."""
    if not (spec.rotation_error_deg or spec.rotation_error_um):
        return (Affine(),) * len(spec.rotations_deg)
    rng = np.random.default_rng([spec.seed, 14])
    others = [_rotation_error(spec, middle_um, rng) for _ in spec.rotations_deg[1:]]
    return (Affine(), *others)


def _rotation_error(spec: DemoSpec, middle_um: ArrayLike, rng: np.random.Generator) -> Affine:
    axis = rng.standard_normal(3)
    angle = rng.uniform(0.5, 1) * spec.rotation_error_deg
    shift = rng.uniform(-1, 1, 3) * spec.rotation_error_um
    return Affine.translation(shift) @ turn_about(axis, angle, middle_um)


def turn_about(axis: ArrayLike, angle_deg: float, centre: ArrayLike) -> Affine:
    """Rotation by an angle about an axis (z, y, x) through a point; right-handed in (z, y, x)."""
    direction = np.asarray(axis, dtype=np.float64)
    vector = direction / np.linalg.norm(direction) * np.radians(angle_deg)
    turn = Affine.from_array(Rotation.from_rotvec(vector).as_matrix())
    return Affine.translation(centre) @ turn @ Affine.translation(np.negative(centre))


def camera_tilts(spec: DemoSpec, count: int) -> list[float]:
    """Angle in degrees by which each camera is turned in its image plane; 0 for the first."""
    rng = np.random.default_rng([spec.seed, 15])
    tilts = rng.uniform(0.5, 1, count) * rng.choice([-1.0, 1.0], count) * spec.camera_tilt_deg
    tilts[0] = 0
    return [float(tilt) for tilt in tilts]


def in_plane(angle_deg: float) -> Affine:
    """Rotation about z that takes +x towards +y."""
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return Affine.from_array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])


def colour_error(spec: DemoSpec, colour: int) -> Affine:
    """What lies at a voxel of this colour lies, in the first colour, at this place; in voxels."""
    if colour == 0 or not spec.channel_error_um:
        return Affine()
    rng = np.random.default_rng([spec.seed, 16, colour])
    shift = rng.uniform(-1, 1, 3) * spec.channel_error_um
    return Affine.translation(shift / spec.spacing_um)


def drift(spec: DemoSpec, time_point: int) -> Affine:
    """How the sample has moved, from the place where it is now to that of time point 0."""
    direction = np.random.default_rng([spec.seed, 13]).standard_normal(3)
    step = direction / np.linalg.norm(direction) * spec.drift_um
    return Affine.translation(-step * time_point - _jump(spec, time_point))


def _jump(spec: DemoSpec, time_point: int) -> NDArray[np.float64]:
    if time_point == 0 or not spec.drift_random_um:
        return np.zeros(3)
    rng = np.random.default_rng([spec.seed, 17, time_point])
    return np.asarray(rng.uniform(-1, 1, 3) * spec.drift_random_um)
