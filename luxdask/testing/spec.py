"""All options of a made experiment, checked as soon as they are given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from luxdask.model.geometry import Vector

_NON_NEGATIVE = (
    "stage_error_um",
    "camera_error_um",
    "camera_tilt_deg",
    "channel_error_um",
    "rotation_error_deg",
    "rotation_error_um",
    "blur_um",
    "drift_um",
    "drift_random_um",
)
_FRACTIONS = ("scatter", "flatfield", "bleaching")


@dataclass(frozen=True, slots=True)
class DemoSpec:
    """How a volume is imaged by the made-up microscope.

    Attributes
    ----------
    spacing_um
        Voxel size (z, y, x) of the volume and of every view.
    tiles
        Rows (y) and columns (x) of the tile grid of every stack.
    overlap
        Of neighbouring tiles: whole voxels (int) or a fraction of the tile's size (float). At least
        this much; the outer tiles end exactly at the border of the volume.
    objectives
        1 ("left") or 2 ("left" and the opposing "right": mirrored in x, looking along -z).
    cameras
        1 (named as its objective) or 2 ("short", "long") per objective.
    rotations_deg
        Angles of the rotation stage about the vertical axis; each is a stack of its own.
    channels
        Number of colours; a (C, Z, Y, X) volume has one each, a (Z, Y, X) volume serves for all.
    channel_descriptions
        Appended to the folder names of the channels ("GFP"); may be shorter than `channels`.
    time_points
        Number of time points.
    pms
        Number of photomanipulation ids ("0", "1", ...); 0 writes none.
    single_sided
        Lit from one side at a time: colour c becomes the channels 2c (from low x) and 2c + 1
        (from high x), each getting darker away from its light.
    stage_error_um
        Largest difference per axis between the true position of a tile and its metadata. It is the
        same for all channels, cameras and time points of a tile, 0 for the first tile.
    camera_error_um
        Likewise for a camera, the same for all tiles; 0 for the first camera.
    camera_tilt_deg
        Every camera but the first is turned in its image plane about its middle: by half of this
        angle at least and by this at most, either way.
    channel_error_um
        Largest difference per axis of the camera between the places where a colour and the first
        one show the same thing (colours focus differently); both sides of a colour share it.
    rotation_error_deg
        Every rotation but the first is wrong by half of this angle at least and by this at most:
        the stack is turned about a random axis through the middle of the sample.
    rotation_error_um
        Largest displacement of the sample per axis that a rotation brings with it (the axis of the
        stage is not where the metadata says), different for every rotation, 0 for the first.
    sub_voxel
        Put tiles at positions between voxels; the metadata knows them exactly.
    noise
        Add photon noise (one count = one photon) and 4 counts of read noise.
    blur_um
        Standard deviation of the blur along the detection direction; a third of it laterally.
    scatter
        0 ... 1: how much of the light is smeared on the side far from the objective.
    flatfield
        0 ... 1: loss of intensity in the corners of the camera's field.
    drift_um
        The sample moves by this much per time point, in a fixed random direction.
    drift_random_um
        Largest movement per axis besides, at random for every time point but the first.
    bleaching
        Fraction of the intensity lost per time point.
    reverse_scan
        Take the planes in the order of falling z.
    seed
        Everything random follows from it.
    """

    spacing_um: Vector = (1.0, 1.0, 1.0)
    tiles: tuple[int, int] = (1, 1)
    overlap: float = 0.15
    objectives: int = 1
    cameras: int = 1
    rotations_deg: tuple[float, ...] = (0.0,)
    channels: int = 1
    channel_descriptions: tuple[str, ...] = ()
    time_points: int = 1
    pms: int = 0
    single_sided: bool = False
    stage_error_um: float = 0.0
    camera_error_um: float = 0.0
    camera_tilt_deg: float = 0.0
    channel_error_um: float = 0.0
    rotation_error_deg: float = 0.0
    rotation_error_um: float = 0.0
    sub_voxel: bool = False
    noise: bool = False
    blur_um: float = 0.0
    scatter: float = 0.0
    flatfield: float = 0.0
    drift_um: float = 0.0
    drift_random_um: float = 0.0
    bleaching: float = 0.0
    reverse_scan: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        _check_counts(self)
        _check_overlap(self.overlap)
        _check_amounts(self)

    @property
    def sides(self) -> int:
        """Number of channels that a colour takes."""
        return 2 if self.single_sided else 1

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels as in the metadata."""
        return tuple(str(c) for c in range(self.channels * self.sides))

    @property
    def pm_names(self) -> tuple[str | None, ...]:
        """Photomanipulation ids; (None,) where there are none."""
        return tuple(str(p) for p in range(self.pms)) or (None,)

    @property
    def time_names(self) -> tuple[int, ...]:
        """The time points."""
        return tuple(range(self.time_points))

    def description(self, channel: str) -> str:
        """Description of a channel, empty where none was given."""
        colour = int(channel) // self.sides
        return self.channel_descriptions[colour] if colour < len(self.channel_descriptions) else ""


def _check_counts(spec: DemoSpec) -> None:
    for name, highest in (("objectives", 2), ("cameras", 2)):
        if getattr(spec, name) not in range(1, highest + 1):
            raise ConfigError(f"{name}: {getattr(spec, name)} given, allowed are 1 or {highest}")
    counts = {"channels": spec.channels, "time points": spec.time_points}
    counts |= {"rows of tiles": spec.tiles[0], "columns of tiles": spec.tiles[1]}
    for label, value in counts.items():
        if value < 1:
            raise ConfigError(f"{label}: {value} given, at least 1 is needed")
    if not 0 <= spec.pms <= 1000:
        raise ConfigError(f"pms: {spec.pms} given, allowed are 0 (no PM ids) to 1000")
    if not spec.rotations_deg:
        raise ConfigError("rotations: none given; give at least one angle, for example 0")
    if spec.seed < 0:
        raise ConfigError(f"seed: {spec.seed} given, allowed are 0 and larger")


def _check_overlap(overlap: float) -> None:
    if isinstance(overlap, int):
        if overlap < 0:
            raise ConfigError(f"overlap: {overlap} voxels given, allowed are 0 and more")
    elif not 0 <= overlap <= 0.9:
        raise ConfigError(f"overlap: {overlap:.0%} of a tile given, allowed are 0 % to 90 %")


def _check_amounts(spec: DemoSpec) -> None:
    for name in _NON_NEGATIVE:
        if not 0 <= getattr(spec, name) < math.inf:
            raise ConfigError(f"{name}: {getattr(spec, name)} given, allowed are 0 and more")
    for name in _FRACTIONS:
        if not 0 <= getattr(spec, name) <= 1:
            raise ConfigError(f"{name}: {getattr(spec, name)} given, allowed are 0 to 1")
    if not all(0 < s < math.inf for s in spec.spacing_um):
        raise ConfigError(f"voxel size: {spec.spacing_um} µm given, it must be larger than 0")
    if not all(map(math.isfinite, spec.rotations_deg)):
        raise ConfigError(f"rotations: {spec.rotations_deg} given, angles in degrees are needed")
