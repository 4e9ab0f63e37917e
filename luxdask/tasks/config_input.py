"""Settings below `input`: which images, and what is done to them before anything else."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator

from luxdask.model.select import Reference, Selection, parse_time_range
from luxdask.model.value_range import check_value_range
from luxdask.tasks.config_base import (
    ADVANCED,
    BASIC,
    INTERMEDIATE,
    FilePath,
    Name,
    Settings,
    option,
    section,
)

_LIST_OF_NAMES = 'list of names such as ["0", "1"]; empty = all'
_DIGITS = re.compile(r"\d+", re.ASCII)


def _check_time(given: int | str) -> int | str:
    parse_time_range(given)
    return given


def _as_time(given: object) -> object:
    return int(given) if isinstance(given, str) and _DIGITS.fullmatch(given) else given


TimePoints = Annotated[int | str, BeforeValidator(_as_time), AfterValidator(_check_time)]


ValueRange = Annotated[tuple[float, float], AfterValidator(lambda r: check_value_range(*r))]


class SelectConfig(Settings):
    """Which images of the directory are processed."""

    time_points: tuple[TimePoints, ...] = option(
        (),
        BASIC,
        "Time points to process; empty means all.",
        allowed='list of numbers from 0 and ranges such as "0-9" or "0-9:2" (last one included)',
    )
    channels: tuple[Name, ...] = option(
        (), BASIC, "Channels to process; empty means all.", allowed=_LIST_OF_NAMES
    )
    stacks: tuple[Name, ...] = option(
        (),
        BASIC,
        "Stacks to process, by full name (1-x03-y04) or number (1); empty means all.",
        allowed='list of names such as ["1"] or ["1-x03-y04"]; empty = all',
    )
    tiles: tuple[Name, ...] = option(
        (),
        BASIC,
        "Tiles to process; empty means all.",
        allowed='list of names such as ["x03-y04"]; empty = all',
    )
    objectives: tuple[Name, ...] = option(
        (),
        BASIC,
        "Detection objectives to process; empty means all.",
        allowed='list of names such as ["left", "right"]; empty = all',
    )
    cameras: tuple[Name, ...] = option(
        (),
        BASIC,
        "Cameras to process; empty means all.",
        allowed='list of names such as ["left", "right"]; empty = all',
    )
    pms: tuple[Name | None, ...] = option(
        (),
        BASIC,
        "Photomanipulation ids to process; null or none stands for images without one; "
        "empty means all.",
        allowed='list of ids such as ["5"], with null or "none" for images without one; '
        "empty = all",
    )

    def to_selection(self) -> Selection:
        """The same as a plain value."""
        return Selection(**{name: getattr(self, name) for name in type(self).model_fields})


class ReferenceConfig(Settings):
    """The image that registration and automatic defaults start from."""

    time_point: int | None = option(
        None, BASIC, "Time point of the reference image; null means the first.", ge=0
    )
    channel: Name | None = option(
        None, BASIC, "Channel of the reference image; null means the first."
    )
    stack: Name | None = option(
        None, BASIC, "Stack of the reference image, by full name or number; null means the first."
    )
    objective: Name | None = option(
        None, BASIC, "Detection objective of the reference image; null means the first."
    )
    camera: Name | None = option(
        None, BASIC, "Camera of the reference image; null means the first."
    )
    pm: Name | None = option(
        None,
        BASIC,
        "Photomanipulation id of the reference image; none stands for images without one, null "
        "means those without one if there are any, else the first.",
    )

    def to_reference(self) -> Reference:
        """The same as a plain value."""
        return Reference(**{name: getattr(self, name) for name in type(self).model_fields})


class RoiConfig(Settings):
    """A region that stands for the whole input image."""

    label: Name | None = option(
        None, BASIC, "Label of the region of interest that crops the input images; null means none."
    )
    apply_to_all: bool = option(
        False, BASIC, "Whether one region, drawn in one image, crops all images."
    )
    file: FilePath | None = option(
        None,
        INTERMEDIATE,
        "Path of the file with the regions; null means the one beside the images.",
    )


class FlatfieldConfig(Settings):
    """Correction of intensity that falls off towards the border of the field of view."""

    enabled: bool = option(False, INTERMEDIATE, "Whether images are flatfield-corrected.")
    correction_images: tuple[FilePath, ...] = option(
        (),
        INTERMEDIATE,
        "Paths of images taken for the correction; empty means the sample images themselves.",
        allowed="list of paths",
    )
    method: Literal["mean", "robust"] = option(
        "mean",
        INTERMEDIATE,
        "What the layer is made of: mean is the mean projection of the correction images; robust "
        "is the light that many images with a sample in them have in common.",
    )
    smoothing_kernel_px: int = option(
        9,
        ADVANCED,
        "Width of the Gaussian kernel that smooths the mean projection, in pixels.",
        ge=1,
    )
    maximum_factor: float = option(
        3.0, INTERMEDIATE, "Largest factor a pixel is multiplied with.", ge=1
    )
    save_layers: bool = option(
        False,
        ADVANCED,
        "Whether mean projections and multiplication layers are saved as TIFF in the task folder.",
    )


_PIXEL_VALUES = 'number, path of a TIFF, or an object with one of these per camera {"left": …}'


class CameraPixelsConfig(Settings):
    """Correction of read offset and gain of each camera pixel."""

    enabled: bool = option(False, ADVANCED, "Whether offset and gain of camera pixels are undone.")
    offset: float | str | dict[str, float | str] = option(
        0.0, ADVANCED, "Read offset of the pixels in grey values.", allowed=_PIXEL_VALUES
    )
    gain: float | str | dict[str, float | str] = option(
        1.0, ADVANCED, "Gain of the pixels relative to 1.", allowed=_PIXEL_VALUES
    )
    hot_pixels: str | dict[str, str] | None = option(
        None,
        ADVANCED,
        "TIFF that is above zero where a pixel is hot: the median of its neighbours is taken; null "
        "means none.",
        allowed='path of a TIFF, or an object with one per camera {"left": …}; null = none',
    )


class MultiTransformConfig(Settings):
    """Additional transforms to sample space from a multi-transform file (MTF)."""

    enabled: bool = option(
        False, ADVANCED, "Whether the transforms of a multi-transform file are applied."
    )
    file: FilePath | None = option(
        None,
        ADVANCED,
        "Path of the multi-transform file, which rules out all others; null means "
        "transforms.mtf.json beside the images or beside the raw folder.",
    )


class MetadataConfig(Settings):
    """Changes of the images' metadata."""

    multi_transform: MultiTransformConfig = section(
        MultiTransformConfig, "Additional transforms from a multi-transform file."
    )


class InputConfig(Settings):
    """The images of a task."""

    experiment: FilePath | tuple[FilePath, ...] = option(
        "",
        BASIC,
        "Path of an experiment, its raw folder, a task folder, one main file, or a list of files; "
        "or of images of another format (OME-Zarr, BigDataViewer XML, tiffs.json).",
        allowed="path, or list of paths",
    )
    select: SelectConfig = section(SelectConfig, "Which images are processed.")
    reference: ReferenceConfig = section(ReferenceConfig, "The reference image.")
    roi: RoiConfig = section(RoiConfig, "Region of interest.")
    flatfield: FlatfieldConfig = section(FlatfieldConfig, "Flatfield correction.")
    camera_pixels: CameraPixelsConfig = section(CameraPixelsConfig, "Camera-pixel adjustment.")
    metadata: MetadataConfig = section(MetadataConfig, "Changes of the metadata.")
    landmarks_file: FilePath | None = option(
        None,
        INTERMEDIATE,
        "Path of the file with the landmarks (JSON or CSV), or of a folder of such files; null "
        "means landmarks.lmk.json beside the images.",
    )
    only_create_main_files: bool = option(
        False,
        INTERMEDIATE,
        "Whether nothing is processed and only main files that link to the input are written.",
    )
    value_range: ValueRange | None = option(
        None,
        INTERMEDIATE,
        "Stored values that become 0 and 65535, for images whose voxels are neither uint8 nor "
        "uint16; values beyond get the end they are beyond. null means that whole numbers are "
        "taken as they are, which floating point is not.",
        allowed="list of two numbers, the lower first, such as [0, 1]",
    )

    @property
    def paths(self) -> tuple[str, ...]:
        """The given paths; empty where no experiment is chosen yet."""
        if isinstance(self.experiment, tuple):
            return self.experiment
        return (self.experiment,) if self.experiment else ()
