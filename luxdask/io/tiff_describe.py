"""A first `tiffs.json` from what TIFF files say of themselves: ImageJ's and OME's metadata."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

from luxdask.errors import ExperimentNotFoundError
from luxdask.io.foreign_places import TIFF_ENDINGS, is_tiff_name
from luxdask.io.foreign_view import micrometres
from luxdask.io.tiff_table import dataset_name, open_tiff, tiff_table
from luxdask.io.walk import list_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tifffile

# Parts of file names that tell channel and time point, as in "tile3_ch1_t005.tif".
_CHANNEL = re.compile(r"(?:^|[_\-. ])(?:channel|ch|c)[_\-]?(\d+)(?=[_\-. ]|$)", re.IGNORECASE)
_TIME = re.compile(r"(?:^|[_\-. ])(?:timepoint|time|tp|t)[_\-]?(\d+)(?=[_\-. ]|$)", re.IGNORECASE)

Size = dict[str, float]


def describe_folder(folder: str, seen_from: str | None = None) -> tuple[dict[str, Any], list[str]]:
    """A document for all TIFF files of a folder, and notes on what is to be filled in.

    seen_from : the folder in which the document will lie.
    Channel and time point come from the file's axes, else from names with ``_ch1`` or ``_t005`` in
    them; the rest of the name is the stack. No pixel is read.
    Raises `ExperimentNotFoundError` where the folder holds no TIFF, `ImageFileError` and
    `MetadataError` naming a file that cannot be used.
    """
    names = [entry.name for entry in list_folder(folder) if is_tiff_name(entry.name)]
    if not names:
        raise ExperimentNotFoundError(f"{folder}: no TIFF files ({', '.join(TIFF_ENDINGS)}) in it")
    images, notes = [], []
    for name in names:
        image, said = describe_file(os.path.join(folder, name), name)
        images.append(image)
        notes += said
    if len(images) > 1 and len({tuple(image["position_um"]) for image in images}) == 1:
        notes.append("all images lie at one position; set position_um where they are tiles")
    place = os.path.relpath(folder, seen_from or folder)
    return {"version": "1.0.0", "folder": place, "images": images}, notes


def describe_file(path: str, name: str) -> tuple[dict[str, Any], list[str]]:
    """The entry of one file, and notes."""
    table = tiff_table(path, dataset_name(0, None))
    sizes = dict(zip(table.axes, table.file_shape, strict=True))
    with open_tiff(path) as file:
        ome = _ome(file)
        size = ome.get("voxel_size_um") or _imagej_size(file)
        more = len(file.series) - 1
    notes = [] if size else [f"{name}: the voxel size is not known; fill it in"]
    if more:
        notes.append(f"{name}: of {more + 1} series the first is used")
    stack, channel, time_point = _from_name(name)
    image = {
        "file": name,
        "stack": stack,
        "channels": _numbers(sizes.get("c", 1), channel, str),
        "time_points": _numbers(sizes.get("t", 1), time_point, int),
        "voxel_size_um": size,
        "position_um": ome.get("position_um", [0.0, 0.0, 0.0]),
    }
    if table.dtype.kind == "f":
        image["value_range"] = None
        notes.append(f"{name}: {table.dtype.name}; set value_range to what becomes 0 and 65535")
    return image, notes


def _numbers(count: int, given: str | None, kind: type) -> list[Any]:
    if count > 1 or given is None:
        return [kind(n) for n in range(count)]
    return [kind(int(given))]


def _from_name(name: str) -> tuple[str, str | None, str | None]:
    """Stack, channel and time point as a file name tells."""
    stem = re.sub(r"(\.ome)?\.[^.]+$", "", name, flags=re.IGNORECASE)
    channel, time = _CHANNEL.search(stem), _TIME.search(stem)
    rest = _TIME.sub("", _CHANNEL.sub("", stem)).strip("_-. ")
    return rest or "0", channel[1] if channel else None, time[1] if time else None


def _imagej_size(file: tifffile.TiffFile) -> Size | None:
    """Voxel size as ImageJ writes it."""
    told: Mapping[str, Any] = file.imagej_metadata or {}
    page = file.pages[0]
    tags = {key: _resolution(page, key) for key in ("XResolution", "YResolution")}
    if not all(tags.values()):
        return None
    unit = micrometres(str(told.get("unit", "")))
    if unit is None:
        return None
    x, y = (unit / value for value in tags.values() if value)
    depth = abs(float(told.get("spacing", 1.0))) * unit  # ImageJ leaves out a distance of 1
    return {"width": x, "height": y, "depth": depth} if min(x, y, depth) > 0 else None


def _resolution(page: Any, key: str) -> float | None:
    """Pixels per unit."""
    tag = page.tags.get(key)
    if tag is None or not tag.value[0] or not tag.value[1]:
        return None
    return float(tag.value[0] / tag.value[1])


def _ome(file: tifffile.TiffFile) -> dict[str, Any]:
    """Voxel size and position of the first image of OME's XML."""
    try:
        root = ET.fromstring(file.ome_metadata or "")
    except ET.ParseError:
        return {}
    pixels = root.find("{*}Image/{*}Pixels")
    if pixels is None:
        return {}
    found: dict[str, Any] = {}
    sizes = [_length(pixels, f"PhysicalSize{axis}") for axis in "XYZ"]
    if all(size is not None and size > 0 for size in sizes):
        found["voxel_size_um"] = dict(zip(("width", "height", "depth"), sizes, strict=True))
    plane = pixels.find("{*}Plane")
    if plane is not None:
        place = [_length(plane, f"Position{axis}") for axis in "XYZ"]
        if any(place):
            found["position_um"] = [value or 0.0 for value in place]
    return found


def _length(element: ET.Element, key: str) -> float | None:
    """A length in µm; OME's default unit is µm, and "reference frame" is none."""
    unit = micrometres(element.get(f"{key}Unit", "µm"))
    try:
        return float(element.get(key, "")) * (unit or 1.0)
    except ValueError:
        return None
