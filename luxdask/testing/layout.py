"""Where the made-up microscope puts its views: stage positions, mirroring, rotation, errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import ConfigError
from luxdask.model.geometry import Affine, Box, Shape, Vector, shape3, vector
from luxdask.testing.misalignment import camera_tilts, in_plane, rotation_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.testing.spec import DemoSpec

# The rotation axis is vertical (y) and passes through the negative of this point; values of a
# real microscope.
AXIS_OFFSET_UM: Vector = (107.15854123234332, 0.0, -1564.599179950995)
# The sample is never mounted exactly on the axis.
_MOUNTING_UM: Vector = (12.25, -5321.0, 37.5)
_EXACT = Affine()


@dataclass(frozen=True, slots=True)
class Pose:
    """One stack of planes as one camera takes it; channels and time points share poses.

    The microscope frame is sample space before the rotation stage is undone.

    Attributes
    ----------
    mirrored
        Whether the camera sees x reversed and looks along -z.
    step
        +1 or -1: planes follow rising or falling z.
    position_um
        Centre of the first plane in the microscope frame, as the stages report it.
    error_um
        What has to be added to `position_um` to get the true position.
    tilt_deg
        How far the camera is turned in its image plane, about its middle, from +x to +y.
    misplaced
        Where the sample shows up in sample space, from where it is by the metadata's rotation to
        where it truly is.
    """

    stack: str
    objective: str
    camera: str
    shape: Shape
    spacing_um: Vector
    angle_deg: float
    mirrored: bool
    step: int
    position_um: Vector
    error_um: Vector = (0.0, 0.0, 0.0)
    tilt_deg: float = 0.0
    misplaced: Affine = _EXACT

    @property
    def stage(self) -> Affine:
        """Voxel index to microscope frame, as the stages report it."""
        return self._stage_at(np.asarray(self.position_um), tilt_deg=0.0)

    @property
    def view_to_world(self) -> Affine:
        """What the metadata says."""
        return rotation(self.angle_deg) @ self.stage

    @property
    def true_view_to_world(self) -> Affine:
        """Where the image really was taken, without drift of the sample."""
        stage = self._stage_at(np.add(self.position_um, self.error_um), self.tilt_deg)
        return self.misplaced @ rotation(self.angle_deg) @ stage

    @property
    def detection_direction(self) -> Vector:
        """Unit vector in the microscope frame: left-to-right × top-to-bottom of the camera."""
        return (-1.0 if self.mirrored else 1.0, 0.0, 0.0)

    @property
    def column_signs(self) -> Vector:
        """Signs of the microscope axes (z, y, x) along the voxel axes."""
        return (float(self.step), 1.0, -1.0 if self.mirrored else 1.0)

    def _stage_at(self, position: NDArray[np.float64], tilt_deg: float) -> Affine:
        _, ny, nx = self.shape
        scale = Affine.scale(np.multiply(self.column_signs, self.spacing_um), position)
        if tilt_deg:
            scale = (
                Affine.translation(position)
                @ in_plane(tilt_deg)
                @ Affine.scale(np.multiply(self.column_signs, self.spacing_um))
            )
        return scale @ Affine.translation((0.0, -(ny - 1) / 2, -(nx - 1) / 2))


def rotation(angle_deg: float) -> Affine:
    """Microscope frame to sample space: undoes the rotation stage at this angle."""
    cos, sin = _cos_sin(angle_deg)
    linear = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    return Affine.from_array(linear, linear @ AXIS_OFFSET_UM - np.asarray(AXIS_OFFSET_UM))


def _cos_sin(angle_deg: float) -> tuple[float, float]:
    """Exact for quarter turns, so that these map voxels to voxels."""
    quarter, rest = divmod(angle_deg, 90)
    if rest == 0:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter) % 4]
    angle = math.radians(angle_deg)
    return math.cos(angle), math.sin(angle)


def volume_to_world(shape: Shape, spacing_um: Vector) -> Affine:
    """Where the volume lies in sample space: its middle near the rotation axis."""
    half = (np.asarray(shape) - 1) / 2 * spacing_um
    return Affine.scale(spacing_um, _middle_um() - half)


def _middle_um() -> NDArray[np.float64]:
    return np.subtract(_MOUNTING_UM, AXIS_OFFSET_UM)


def stage_middle(angle_deg: float) -> NDArray[np.float64]:
    """Middle of the sample in the microscope frame (z, y, x), µm, when the stage is turned."""
    return rotation(angle_deg).inverse().apply(_middle_um())


def plan_poses(shape: Shape, spec: DemoSpec) -> tuple[Pose, ...]:
    """All poses: rotations × tiles × objectives × cameras.

    Raises `ConfigError` where tiles would be too small.
    """
    errors = _errors(spec, "tile", len(spec.rotations_deg) * math.prod(spec.tiles))
    shifts = _sub_voxel_shifts(spec, len(errors))
    tiles = range(math.prod(spec.tiles))
    misplaced = [error for error in rotation_errors(spec, _middle_um()) for _ in tiles]
    camera_errors = _errors(spec, "camera", spec.objectives * spec.cameras)
    tilts = camera_tilts(spec, len(camera_errors))
    cameras = list(zip(_cameras(spec), camera_errors, tilts, strict=True))
    poses = []
    for (stack, angle, box, full), error, shift, turned in zip(
        _stacks(shape, spec), errors, shifts, misplaced, strict=True
    ):
        for (objective, camera), camera_error, tilt in cameras:
            poses.append(
                Pose(
                    stack=stack,
                    objective=objective,
                    camera=camera,
                    shape=box.shape,
                    spacing_um=spec.spacing_um,
                    angle_deg=angle,
                    mirrored=objective == "right",
                    step=-1 if spec.reverse_scan else 1,
                    position_um=_first_plane(box, full, angle, shift, spec),
                    error_um=vector(error + camera_error),
                    tilt_deg=tilt,
                    misplaced=turned,
                )
            )
    return tuple(poses)


def _stacks(shape: Shape, spec: DemoSpec) -> list[tuple[str, float, Box, Shape]]:
    """(stack name, angle, box of the tile, shape of the whole stack) of every tile."""
    found = []
    for number, angle in enumerate(spec.rotations_deg):
        full = rotated_shape(shape, spec.spacing_um, angle)
        for (row, column), box in _tile_boxes(full, spec):
            suffix = "" if spec.tiles == (1, 1) else f"-x{column:02d}-y{row:02d}"
            found.append((f"{number}{suffix}", angle, box, full))
    return found


def rotated_shape(shape: Shape, spacing_um: Vector, angle_deg: float) -> Shape:
    """Voxels that a stack needs to see the whole volume at this angle."""
    cos, sin = (abs(v) for v in _cos_sin(angle_deg))
    depth, height, width = np.multiply(shape, spacing_um)
    size = (cos * depth + sin * width, height, sin * depth + cos * width)
    # the volume itself must not gain a voxel by rounding
    return shape3([math.ceil(n - 1e-6) for n in np.divide(size, spacing_um)])


def _tile_boxes(shape: Shape, spec: DemoSpec) -> list[tuple[tuple[int, int], Box]]:
    rows, columns = (
        _cuts(n, k, spec.overlap, axis)
        for n, k, axis in zip(shape[1:], spec.tiles, "yx", strict=True)
    )
    return [
        ((i, j), Box((0, y0, x0), (shape[0], y1, x1)))
        for (i, (y0, y1)), (j, (x0, x1)) in product(enumerate(rows), enumerate(columns))
    ]


def _cuts(n: int, tiles: int, overlap: float, axis: str) -> list[tuple[int, int]]:
    """Equal ranges that cover 0 ... n and overlap by at least `overlap`."""
    if isinstance(overlap, int):
        size = math.ceil((n + (tiles - 1) * overlap) / tiles)
        too_wide = tiles > 1 and overlap >= size
    else:
        size = math.ceil(n / (tiles - (tiles - 1) * overlap))
        too_wide = False
    if too_wide or size < 2 or (tiles > 1 and size >= n):
        raise ConfigError(
            f"{tiles} tiles along {axis} with overlap {overlap} do not fit into {n} voxels: "
            "use fewer tiles, less overlap or a larger volume"
        )
    starts = [round(i * (n - size) / max(tiles - 1, 1)) for i in range(tiles)]
    return [(s, s + size) for s in starts]


def _cameras(spec: DemoSpec) -> list[tuple[str, str]]:
    objectives = ("left", "right")[: spec.objectives]
    if spec.cameras == 1:
        return [(o, o) for o in objectives]
    return list(product(objectives, ("short", "long")))


def _errors(spec: DemoSpec, kind: str, count: int) -> list[NDArray[np.float64]]:
    """Random offsets (z, y, x), the first of them 0."""
    size = spec.stage_error_um if kind == "tile" else spec.camera_error_um
    rng = np.random.default_rng([spec.seed, 10 if kind == "tile" else 11])
    offsets = rng.uniform(-size, size, (count, 3))
    offsets[0] = 0
    return list(offsets)


def _sub_voxel_shifts(spec: DemoSpec, count: int) -> list[NDArray[np.float64]]:
    shifts = np.random.default_rng([spec.seed, 12]).uniform(-0.5, 0.5, (count, 3))
    return list(shifts if spec.sub_voxel else np.zeros_like(shifts))


def _first_plane(
    box: Box, full: Shape, angle_deg: float, shift_vx: NDArray[np.float64], spec: DemoSpec
) -> Vector:
    """Centre of a tile's first plane in the microscope frame."""
    centre = (np.add(box.start, box.stop) - 1) / 2
    centre[0] = box.stop[0] - 1 if spec.reverse_scan else box.start[0]
    from_middle = centre + shift_vx - (np.asarray(full) - 1) / 2
    return vector(stage_middle(angle_deg) + from_middle * spec.spacing_um)
