"""The metadata document of a fused image, in the form of a raw image's, so that it can be fed back.

Vectors have the file format's x, y, z (width, height, depth) order here.
"""

from __future__ import annotations

import json
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from luxdask.io.lux_metadata import read_metadata
from luxdask.model.output import joined
from luxdask.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.model.geometry import Grid, Vector
    from luxdask.model.output import Output
    from luxdask.model.view import View

READERS = 8
FORMAT_VERSION = "1.0.0"
_NAMESPACE = uuid.UUID("6c5c1c2e-6a34-5c0b-9f5d-2f3a1d0b7e11")
_IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def fused_metadata(output: Output, *, sources: Sequence[str] = ()) -> str:
    """JSON text of the metadata of an output image.

    Parameters
    ----------
    output
        The image: its grid and its inputs, whose metadata documents are read.
    sources
        What else made this image, beside the inputs' own sources and luxdask (for example a task).

    Returns
    -------
    The whole document. The same inputs always give the same text: `image_id` is a checksum of the
    rest, after the first acquisition time, so that a resumed run writes what a full one does.

    Raises
    ------
    MetadataError, ImageFileError
        Naming the input whose metadata cannot be read.
    """
    information = _information(output, _read_information(output.views), sources)
    content = json.dumps(information, sort_keys=True)
    stamp = _first_time_stamp(information["acquisition"])
    identity = str(uuid.uuid5(_NAMESPACE, content))
    information["image_id"] = f"{stamp}-{identity}" if stamp else identity
    return json.dumps({"processingInformation": information}, indent=2, allow_nan=False)


def acquisitions(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The acquisition entries of a metadata document; none, one and several are all in use."""
    entries = document.get("processingInformation", {}).get("acquisition") or []
    return [entries] if isinstance(entries, dict) else list(entries)


def _read_information(views: Sequence[View]) -> list[dict[str, Any]]:
    """`processingInformation` of the inputs; side by side, since each may lie on a slow share."""
    with ThreadPoolExecutor(min(READERS, len(views))) as pool:
        documents = pool.map(_document, views)
        return [
            {**document["processingInformation"], "acquisition": acquisitions(document)}
            for document in documents
        ]


def _document(view: View) -> dict[str, Any]:
    """The metadata of an input; of a foreign one, what its view knows."""
    if view.source.foreign is None:
        return read_metadata(view.source)
    lit = [{"objective": name} for name in view.illuminations]
    stage = {"type": "rotation", "start_deg": view.angle_deg}
    acquisition = {"illuminations": lit, "stage_positions": [stage] if view.angle_deg else []}
    return {
        "processingInformation": {
            "sources": [f"{view.source.foreign.format} {os.path.basename(view.source.path)}"],
            "acquisition": [{key: value for key, value in acquisition.items() if value}],
        }
    }


def _information(
    output: Output, inputs: list[dict[str, Any]], sources: Sequence[str]
) -> dict[str, Any]:
    acquisition = [entry for document in inputs for entry in document["acquisition"]]
    named = [source for document in inputs for source in document.get("sources") or ()]
    return {
        "version": FORMAT_VERSION,
        "sources": _distinct([*named, *sources, f"luxdask {__version__}"]),
        "contains_beads": any(bool(document.get("contains_beads")) for document in inputs),
        **_identity(output),
        "repetition": max((int(entry.get("repetition") or 0) for entry in acquisition), default=0),
        "stack_scan_ids": _scan_ids(inputs, acquisition),
        **_geometry(output.grid),
        "detection_directions": _directions(output.views),
        "acquisition": acquisition,
    }


def _identity(output: Output) -> dict[str, str]:
    names = {
        "time_point": str(output.time_point),
        "channel": output.channel,
        "channel_description": joined([v.channel_description for v in output.views]).strip("-"),
        "pm": output.pm or "",
        "stack": output.stack,
        "stack_description": joined([v.stack_description for v in output.views]).strip("-"),
        "objective": output.objective,
        "camera": output.camera,
    }
    optional = ("channel_description", "pm", "stack_description")
    return {key: name for key, name in names.items() if name or key not in optional}


def _geometry(grid: Grid) -> dict[str, Any]:
    """Sizes and the chain to sample space: the scaling with the voxel size comes first."""
    depth, height, width = grid.spacing_um
    nz, ny, nx = grid.shape
    scaling = [[width, 0.0, 0.0], [0.0, height, 0.0], [0.0, 0.0, depth]]
    return {
        "voxel_size_um": {"width": width, "height": height, "depth": depth},
        "image_size_vx": {"width": nx, "height": ny, "depth": nz},
        "affine_to_sample": [
            {"matrix": scaling, "translation": [0.0, 0.0, 0.0]},
            {"matrix": _IDENTITY, "translation": list(grid.origin_um[::-1])},
        ],
    }


def _directions(views: Sequence[View]) -> list[list[float]]:
    """Detection directions of all inputs; those equal to 1e-6 (float32 in the files) are one."""
    found: dict[Vector, list[float]] = {}
    for view in views:
        for z, y, x in view.detection_directions:
            key = (round(z, 6) + 0.0, round(y, 6) + 0.0, round(x, 6) + 0.0)
            found.setdefault(key, [x, y, z])
    return list(found.values())


def _scan_ids(inputs: list[dict[str, Any]], acquisition: list[dict[str, Any]]) -> list[str]:
    listed = [name for document in inputs for name in document.get("stack_scan_ids") or ()]
    single = [entry["stack_scan_id"] for entry in acquisition if entry.get("stack_scan_id")]
    return _distinct([*listed, *single])


def _first_time_stamp(acquisition: list[dict[str, Any]]) -> str:
    stamps = [str(stamp) for entry in acquisition for stamp in entry.get("time_stamps") or ()]
    return min(stamps, default="")


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(str(name) for name in names))
