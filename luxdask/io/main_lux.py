"""The nested main file: one `.lux.h5` with links to all images and their levels and metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from luxdask.io.chunk_table import open_h5
from luxdask.io.links import relative_link
from luxdask.io.lux_metadata import read_metadata
from luxdask.io.names import safe_name
from luxdask.io.replace_file import replacing
from luxdask.io.stored_levels import level_source, stored_levels
from luxdask.model.levels import level_name

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from luxdask.model.view import View, ViewId


def write_main_lux(
    path: str | os.PathLike[str], views: Sequence[View], prefix: str = "proc"
) -> None:
    """Write a nested file that links to images that exist, with every level they have.

    Its groups are ``timepoint_<t>/channel_<c>[_pm_<id>]_cam_<k>/<prefix>_stack_<s>_obj_<o>``; a
    second image of the same identity gets ``_2`` at the end. Nothing is copied but the metadata of
    images that keep it in a sidecar only.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    ImageFileError
        Naming the image that cannot be read.
    """
    main = Path(path)
    with replacing(main) as temporary, h5py.File(temporary, "w") as file:
        for view in sorted(views, key=lambda v: v.id.sort_key):
            _add_view(file, main, view, prefix)


def _add_view(file: h5py.File, main: Path, view: View, prefix: str) -> None:
    name, n = _group_name(view.id, prefix), 1
    while (unique := name if n == 1 else f"{name}_{n}") in file:
        n += 1
    group = file.create_group(unique)
    for factor in stored_levels(view.source):
        target, dataset = level_source(view.source, factor)
        group[level_name(factor)] = relative_link(main, target, dataset)
    _add_metadata(group, main, view)


def _group_name(identity: ViewId, prefix: str) -> str:
    pm = "" if identity.pm is None else f"_pm_{safe_name(identity.pm)}"
    return (
        f"timepoint_{identity.time_point}"
        f"/channel_{safe_name(identity.channel)}{pm}_cam_{safe_name(identity.camera)}"
        f"/{prefix}_stack_{safe_name(identity.stack)}_obj_{safe_name(identity.objective)}"
    )


def _add_metadata(group: h5py.Group, main: Path, view: View) -> None:
    source = view.source
    with open_h5(source.path) as image:
        is_inside = image.get(source.metadata) is not None
    if is_inside:
        group["metadata"] = relative_link(main, source.path, source.metadata)
    else:
        text = json.dumps(read_metadata(source))
        group.create_dataset("metadata", data=text, dtype=h5py.string_dtype("utf-8"))
