"""One input image (a view): who it is, where its voxels lie, and how it lies in sample space."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luxdask.model.geometry import Affine, Shape, Vector

_TILE = re.compile(r"^(?P<stack>.*?)-(?P<tile>x\d+-y\d+)$")
_NUMBER = re.compile(r"(\d+)")


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which "2" comes before "10"."""
    parts = _NUMBER.split(name)
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p)


@dataclass(frozen=True, slots=True)
class ViewId:
    """Identity of an image, as its metadata gives it (never from file names).

    `stack` is the full name, with the tile suffix where there is one ("1-x03-y04").
    """

    time_point: int
    channel: str
    stack: str
    objective: str
    camera: str
    pm: str | None = None

    @property
    def stack_number(self) -> str:
        """The stack without its tile suffix ("1" of "1-x03-y04")."""
        match = _TILE.match(self.stack)
        return match["stack"] if match else self.stack

    @property
    def tile(self) -> str:
        """The tile suffix ("x03-y04" of "1-x03-y04"), empty where there is none."""
        match = _TILE.match(self.stack)
        return match["tile"] if match else ""

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Natural order: time point, channel, stack, objective, camera, PM id."""
        names = (self.channel, self.stack, self.objective, self.camera, self.pm or "")
        return (self.time_point, *(natural_key(n) for n in names))

    def __str__(self) -> str:
        text = (
            f"tp:{self.time_point} ch:{self.channel} st:{self.stack} "
            f"obj:{self.objective} cam:{self.camera}"
        )
        return text if self.pm is None else f"{text} pm:{self.pm}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the voxels of a view lie: a dataset (full-resolution level) in an HDF5 file.

    `path` is absolute. `dataset` is the path inside the file; pyramid levels lie beside it and are
    called ``<dataset>_<w>_<h>_<d>``. `sidecar` is the JSON file with the metadata, if there is one;
    otherwise the metadata lies in the file, in the dataset `metadata`.
    """

    path: str
    dataset: str = "Data"
    metadata: str = "metadata"
    sidecar: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A 3-D input image with its transform to sample space.

    Attributes
    ----------
    shape
        Number of voxels (z, y, x).
    spacing_um
        Voxel size (z, y, x) in µm.
    view_to_world
        Transform from voxel index (integers are centres) to sample space in µm.
    detection_directions
        Unit vectors (z, y, x) in sample space; several for fused images.
    illuminations
        Names of the illumination objectives that lit this image, sorted.
    angle_deg
        Rotation of the stage in degrees, 0 where there is no rotation stage.
    """

    id: ViewId
    source: Source
    shape: Shape
    spacing_um: Vector
    view_to_world: Affine
    detection_directions: tuple[Vector, ...] = ()
    illuminations: tuple[str, ...] = ()
    angle_deg: float = 0.0
    channel_description: str = ""
    stack_description: str = ""
    microscope: str = ""
    sources: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"{self.id} ({self.source.path})"
