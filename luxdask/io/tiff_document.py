"""`tiffs.json`: what TIFF files do not say of themselves, written by a person or `luxdask tiffs`.

Vectors are in x, y, z (width, height, depth) order here, as in the metadata of Luxendo images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from luxdask.errors import ConfigError, ImageFileError, MetadataError
from luxdask.io.affine_json import XYZ, AffineJson
from luxdask.io.jsonc import parse_jsonc
from luxdask.model.value_range import check_value_range


def _as_name(given: object) -> object:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


Name = Annotated[str, BeforeValidator(_as_name), Field(min_length=1)]
Range = Annotated[tuple[float, float], AfterValidator(lambda pair: check_value_range(*pair))]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VoxelSize(_Strict):
    """Voxel size in µm."""

    width: float = Field(gt=0)
    height: float = Field(gt=0)
    depth: float = Field(gt=0)


class TiffImage(_Strict):
    """One TIFF file (or one of its series) as images of an experiment.

    `channels` and `time_points` name what the file holds of each; `axes` (slowest first) says what
    its planes are where the file itself is wrong. The first voxel's centre lies at
    `position_um`; `affine_to_sample` takes the place of voxel size and position where it is given.
    """

    file: str = Field(min_length=1)
    series: int = Field(default=0, ge=0)
    axes: str | None = Field(default=None, pattern="^[TCZ]*YX$")
    time_points: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    channels: tuple[Name, ...] = Field(default=("0",), min_length=1)
    stack: Name = "0"
    objective: Name = "0"
    camera: Name = "0"
    pm: Name | None = None
    voxel_size_um: VoxelSize | None = None
    position_um: XYZ = (0.0, 0.0, 0.0)
    affine_to_sample: tuple[AffineJson, ...] = ()
    detection_directions: tuple[XYZ, ...] = ()
    illuminations: tuple[str, ...] = ()
    angle_deg: float = 0.0
    value_range: Range | None = None


class TiffDocument(_Strict):
    """All images; `folder` is where the files lie, counted from the document."""

    version: Literal["1.0.0"] = "1.0.0"
    folder: str = "."
    images: tuple[TiffImage, ...] = Field(min_length=1)


def read_document(path: str) -> TiffDocument:
    """Read a `tiffs.json`; comments are allowed.

    Raises `MetadataError` naming the file, the image and what is wrong, `ImageFileError` where the
    file cannot be read.
    """
    try:
        return TiffDocument.model_validate(parse_jsonc(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ImageFileError(f"{path}: {error.strerror or error}") from error
    except (ConfigError, UnicodeDecodeError) as error:
        raise MetadataError(f"{path}: {error}") from error
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        listed = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:5])
        raise MetadataError(
            f"{path}: not a list of TIFF images as docs/foreign.md describes it: {listed}"
        ) from error


def is_document(path: str) -> bool:
    """Whether a JSON file is meant to list TIFF images; it need not be a correct one."""
    try:
        return '"images"' in Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
