"""BigDataViewer: an XML file and an HDF5 file that only links to the images."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import h5py
import numpy as np

from luxdask.errors import OutputError
from luxdask.io.bdv_xml import spim_data
from luxdask.io.chunk_table import open_h5
from luxdask.io.links import relative_link
from luxdask.io.replace_file import replacing
from luxdask.io.stored_levels import level_source, stored_levels
from luxdask.io.view_setups import ViewSetup, view_setups

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from luxdask.model.geometry import Shape
    from luxdask.model.view import View

BLOCK = 64


def write_bdv(folder: Path, stem: str, views: Sequence[View]) -> tuple[Path, Path]:
    """Write ``<stem>_bdv.h5`` and ``<stem>_bdv.xml`` for images that exist.

    The HDF5 file holds links, with paths relative to `folder`. Every image keeps its full transform
    to sample space. Voxels above 32767 are read right by BigDataViewer from version 10.4.6 on.

    Parameters
    ----------
    folder
        Where to write.
    stem
        First part of the file names, see `luxdask.io.names.main_stem`.
    views
        Images of any time points, channels, PM ids (like extra channels), stacks, objectives and
        cameras. Sizes and levels may differ. Missing combinations are noted in the XML file.

    Returns
    -------
    The paths of the HDF5 and of the XML file.

    Raises
    ------
    OutputError
        Where there is no image, or a file cannot be written.
    ImageFileError
        Naming the image that cannot be read.
    """
    if not views:
        raise OutputError(f"{folder / stem}_bdv.xml: there is no image to link to")
    setups = view_setups(views)
    h5_path, xml_path = folder / f"{stem}_bdv.h5", folder / f"{stem}_bdv.xml"
    with replacing(h5_path) as temporary, h5py.File(temporary, "w") as file:
        for index, setup in enumerate(setups):
            _link_setup(file, h5_path, index, setup)
    tree = ET.ElementTree(spim_data(h5_path.name, setups))
    ET.indent(tree)
    with replacing(xml_path) as temporary:
        tree.write(temporary, encoding="UTF-8", xml_declaration=True)
    return h5_path, xml_path


def _link_setup(file: h5py.File, path: Path, index: int, setup: ViewSetup) -> None:
    """Levels of a setup, as far as all its time points have them."""
    found = [set(stored_levels(view.source)) for view in setup.views.values()]
    levels = [f for f in stored_levels(setup.first.source) if all(f in some for some in found)]
    blocks, dtype = _storage(setup.first, levels)
    group = file.create_group(f"s{index:02d}")
    group["resolutions"] = np.array([f[::-1] for f in levels], dtype=np.float64)
    group["subdivisions"] = np.array([b[::-1] for b in blocks], dtype=np.int32)
    # Without it BigDataViewer takes the voxels for int16 and fails at values above 32767.
    group.attrs["dataType"] = np.bytes_(dtype)
    for time_point, view in setup.views.items():
        for n, factor in enumerate(levels):
            link = relative_link(path, *level_source(view.source, factor))
            file[f"t{time_point:05d}/s{index:02d}/{n}/cells"] = link


def _storage(view: View, levels: Sequence[Shape]) -> tuple[list[tuple[int, ...]], str]:
    """Chunk size (z, y, x) of each level, and the type of the voxels."""
    blocks = []
    dtype = "uint16"
    for factor in levels:
        path, dataset = level_source(view.source, factor)
        with open_h5(path) as file:
            data = file[dataset]
            blocks.append(data.chunks or tuple(min(BLOCK, n) for n in data.shape))
            dtype = data.dtype.name
    return blocks, dtype
