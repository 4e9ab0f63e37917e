"""The voxel size that a TIFF file tells, where it says that it means µm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tifffile

if TYPE_CHECKING:
    from luxdask.model.geometry import Vector

_MICROMETRES = {"um", "µm", "μm", "micron", "microns", "micrometer", "micrometre", "\\u00b5m"}


def tiff_spacing_um(tiff: tifffile.TiffFile) -> Vector | None:
    """Voxel size in µm (z, y, x) by OME or ImageJ metadata; None where it is not told."""
    if tiff.is_ome and tiff.ome_metadata:
        return _ome_spacing(tiff.ome_metadata)
    ij = tiff.imagej_metadata or {}
    if str(ij.get("unit", "")).lower() not in _MICROMETRES:
        return None
    tags = tiff.pages.first.tags
    per_um = [tags[n].value if n in tags else (1, 1) for n in ("YResolution", "XResolution")]
    y, x = (b / a if a and b else 1.0 for a, b in per_um)
    return (float(ij.get("spacing", 1.0)) or 1.0, float(y), float(x))


def _ome_spacing(text: str) -> Vector | None:
    pixels = tifffile.xml2dict(text)["OME"]["Image"]
    pixels = (pixels[0] if isinstance(pixels, list) else pixels)["Pixels"]
    sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
    if not all(sizes) or any(unit.lower() not in _MICROMETRES for unit in units):
        return None
    z, y, x = (float(size) for size in sizes)
    return (z, y, x)
