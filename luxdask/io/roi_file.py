"""Files of regions of interest (`rois.roi.json`): read and written."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from luxdask.errors import ConfigError
from luxdask.io.image_ids import PARTS, ImageIds, ImageLookup, image_ids
from luxdask.io.image_parts import ImageParts, StrictEntry, parts_of_name
from luxdask.io.json_file import write_json
from luxdask.io.jsonc import parse_jsonc
from luxdask.io.nearest_file import nearest_file
from luxdask.model.roi import Bounds, Roi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luxdask.model.experiment import Experiment

ROI_FILE = "rois.roi.json"
_VERSION = "1.0.0"

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class RoiEntry:
    """A region as it stands in a file.

    Attributes
    ----------
    image
        Parts of the identities of its images; parts that are not given do not matter.
    start, stop
        First voxel and one past the last (z, y, x); None for the border of the image.
    where
        File and entry, for messages.
    """

    label: str
    image: ImageIds
    start: Bounds
    stop: Bounds
    where: str = ""


def _named_image(value: Any) -> Any:
    """Parts of a name; an image that is not given is every image."""
    return {} if value is None else parts_of_name(value)


_Offset = Annotated[int, Field(ge=0, strict=True)] | None
_Size = Annotated[int, Field(ge=1, strict=True)] | None


class _Entry(StrictEntry):
    """One region, in the order of the file: width, height, depth."""

    label: str = Field(min_length=1)
    image: Annotated[ImageParts, BeforeValidator(_named_image)] = ImageParts()
    offset_vx: tuple[_Offset, _Offset, _Offset]
    size_vx: tuple[_Size, _Size, _Size]


def find_roi_file(experiment: Experiment, explicit: AnyPath | None = None) -> Path | None:
    """The file to use: the given one, else `rois.roi.json` nearest to the images.

    Looked for as landmark files are. None where there is none; raises `ConfigError` where the given
    path does not exist.
    """
    if explicit is None:
        return nearest_file(experiment, ROI_FILE)
    path = Path(explicit).expanduser()
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of regions of interest (.roi.json)")
    return path


def read_rois(path: AnyPath, experiment: Experiment) -> tuple[Roi, ...]:
    """The regions of a file with the images that they belong to.

    experiment : the images that there are, selected or not.

    Raises
    ------
    ConfigError
        Not readable, an unknown or missing key, not a whole number; it names file and entry.
    SelectionError
        A region of an image that does not exist; it lists what there is.
    """
    lookup = ImageLookup(experiment)
    return tuple(
        Roi(e.label, lookup.find_all(e.image, f"{e.where} ({e.label!r})"), e.start, e.stop, e.where)
        for e in read_entries(path)
    )


def read_entries(path: AnyPath) -> tuple[RoiEntry, ...]:
    """The regions of a file as they stand there.

    ``{"version": "1.0.0", "rois": [{"label": "A", "image": {"stack": "1-x03-y04", "channel": "0"},
    "offset_vx": [width, height, depth], "size_vx": [width, height, depth]}]}``, comments allowed.
    An offset of null is the image's border, a size of null reaches to the other one.
    """
    try:
        document = parse_jsonc(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise ConfigError(f"{path}: {error}") from error
    rois = document.get("rois") if isinstance(document, dict) else None
    if not isinstance(rois, list):
        raise ConfigError(f'{path}: not a file of regions; {{"rois": [...]}} is expected')
    unknown = sorted(document.keys() - {"version", "rois"})
    if unknown:
        raise ConfigError(f"{path}: {unknown[0]!r} is unknown; allowed are version and rois")
    version = str(document.get("version", _VERSION))
    if version.partition(".")[0] != _VERSION.partition(".")[0]:
        raise ConfigError(f"{path}: version {version} given; this version of luxdask reads 1.x")
    return tuple(_entry(item, f"{path}: region {n}") for n, item in enumerate(rois, 1))


def write_entries(path: AnyPath, entries: Iterable[RoiEntry]) -> None:
    """Write regions; raises `OutputError` where that fails."""
    write_json(path, {"version": _VERSION, "rois": [_as_json(entry) for entry in entries]})


def _entry(item: Any, where: str) -> RoiEntry:
    try:
        entry = _Entry.model_validate(item)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_problem(error)}") from error
    start = entry.offset_vx[::-1]
    sizes = entry.size_vx[::-1]
    stop = tuple(None if n is None else (a or 0) + n for a, n in zip(start, sizes, strict=True))
    ids = image_ids(entry.image.model_dump())
    return RoiEntry(entry.label.strip(), ids, start, (stop[0], stop[1], stop[2]), where)


def _as_json(entry: RoiEntry) -> dict[str, Any]:
    bounds = list(zip(entry.start, entry.stop, strict=True))[::-1]
    return {
        "label": entry.label,
        "image": {name: value for name, value in asdict(entry.image).items() if value is not None},
        "offset_vx": [start for start, _ in bounds],
        "size_vx": [None if stop is None else stop - (start or 0) for start, stop in bounds],
    }


def _problem(error: ValidationError) -> str:
    """The first complaint, with what is allowed."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        allowed = PARTS if first["loc"][0] == "image" else tuple(_Entry.model_fields)
        return f"{place!r} is unknown; allowed are {', '.join(allowed)}"
    if first["loc"][:1] in (("offset_vx",), ("size_vx",)):
        return (
            f"{first['loc'][0]}: [width, height, depth] is expected, three whole numbers of "
            "voxels (offsets from 0, sizes from 1) or null for the image's border"
        )
    return f"{place or 'this entry'}: {first['msg']}; given was {first['input']!r}"
