"""One input image (a view): who it is, where its voxels lie, and how it lies in sample space."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luxdask.model.geometry import Affine, Box, Shape, Vector

_TILE = re.compile(r"^(?P<stack>.*?)-(?P<tile>x\d+-y\d+)$")
_NUMBER = re.compile(r"(\d+)")


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which "2" comes before "10"."""
    parts = _NUMBER.split(name)
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p)


def stack_and_tile(stack: str) -> tuple[str, str]:
    """Number and tile of a full stack name; the tile is empty where there is none."""
    match = _TILE.match(stack)
    return (match["stack"], match["tile"]) if match else (stack, "")


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
        return stack_and_tile(self.stack)[0]

    @property
    def tile(self) -> str:
        """The tile suffix ("x03-y04" of "1-x03-y04"), empty where there is none."""
        return stack_and_tile(self.stack)[1]

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
class Foreign:
    """What reading an image of another format needs to know beside its place.

    Attributes
    ----------
    format
        "ome-zarr", "bdv" or "tiff".
    index
        Index on the axes that lie before z, y, x in the file.
    voxel_type
        Type of the stored voxels, as numpy calls it.
    value_range
        Stored values that become 0 and 65535; None where values are taken as they are.
    """

    format: str
    index: tuple[int, ...] = ()
    voxel_type: str = "uint16"
    value_range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Correction:
    """What is done to each voxel as it is read: minus an offset, times a factor, by pixel.

    `path` is a TIFF with the layers of the image's pixels; `digest` stands for all that they are
    made of, wherever they lie.
    """

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where the voxels of a view lie: a dataset (full-resolution level) in an HDF5 file.

    `path` is absolute. `dataset` is the path inside the file; pyramid levels lie beside it and are
    called ``<dataset>_<w>_<h>_<d>``. `sidecar` is the JSON file with the metadata, if there is one;
    otherwise the metadata lies in the file, in the dataset `metadata`. `foreign` is None for images
    of Luxendo's form; for others it says how `path` and `dataset` are to be read. `correction` is
    what camera pixels and field of view have done to the voxels, None where they are taken as
    they are. `crop` is the region that counts as the whole image, None where all of it does.
    """

    path: str
    dataset: str = "Data"
    metadata: str = "metadata"
    sidecar: str | None = None
    foreign: Foreign | None = None
    correction: Correction | None = None
    crop: Box | None = None

    @property
    def inside(self) -> str:
        """Text that is different for different voxels of one file."""
        corrected = self.correction and f"corrected {self.correction.digest}"
        parts = (self.dataset, self.foreign, corrected, self.crop)
        return " ".join(str(part) for part in parts if part is not None)

    @property
    def key(self) -> str:
        """Text that is different for different voxels."""
        return f"{self.path}\n{self.inside}"


@dataclass(frozen=True, slots=True)
class Optics:
    """The detection optics by the metadata; 0 where it does not tell."""

    numerical_aperture: float = 0.0
    wavelength_nm: float = 0.0
    refractive_index: float = 0.0


@dataclass(frozen=True, slots=True)
class CameraFrame:
    """Which pixels of the camera an image shows, by the metadata; 0 where it does not tell.

    Sizes and offsets are (rows, columns).
    """

    magnification: float = 0.0
    sensor_px: tuple[int, int] = (0, 0)
    crop_offset_px: tuple[int, int] = (0, 0)
    crop_size_px: tuple[int, int] = (0, 0)

    @property
    def is_known(self) -> bool:
        """Whether the metadata tells size and crop."""
        return min(*self.sensor_px, *self.crop_size_px) > 0

    @property
    def is_full(self) -> bool:
        """Whether the whole sensor was taken."""
        return self.is_known and self.crop_size_px == self.sensor_px


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
    optics
        Numerical aperture, wavelength and refractive index of detection.
    camera_frame
        Which pixels of the camera the image shows, and the magnification.
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
    optics: Optics = Optics()
    camera_frame: CameraFrame = CameraFrame()

    @property
    def whole_to_world(self) -> Affine:
        """The transform of voxels of the whole image, which a region of interest has cropped.

        Landmarks, and corrections that are kept in voxels, count from there.
        """
        crop = self.source.crop
        if crop is None:
            return self.view_to_world
        given = self.view_to_world
        return given @ type(given).translation([-start for start in crop.start])

    def __str__(self) -> str:
        return f"{self.id} ({self.source.path})"
