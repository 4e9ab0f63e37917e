"""Which of the other formats lies at a place: OME-Zarr, BigDataViewer, TIFF."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from luxdask.errors import ExperimentNotFoundError
from luxdask.io.bdv_document import is_bdv_xml
from luxdask.io.foreign_places import TIFFS_JSON, is_tiff_name, is_url, is_zarr
from luxdask.io.tiff_document import is_document
from luxdask.io.walk import list_folder

if TYPE_CHECKING:
    from luxdask.io.foreign_view import ForeignImages


def open_foreign(path: str, *, one_of_several: bool = False) -> ForeignImages | None:
    """The images of a URL, file or Zarr folder of another format; None for anything else.

    The modules that read a format are loaded when one is opened. One of several OME-Zarr images has
    stacks called after it.
    """
    name = path.lower()
    if is_url(path) or (os.path.isdir(path) and is_zarr(path)):
        from luxdask.io.omezarr_input import open_named, open_omezarr

        return open_named(path) if one_of_several else open_omezarr(path)
    if not os.path.isfile(path):
        return None
    if name.endswith(".xml") and is_bdv_xml(path):
        from luxdask.io.bdv_input import open_bdv

        return open_bdv(path)
    if name.endswith(TIFFS_JSON) or (name.endswith(".json") and is_document(path)):
        from luxdask.io.tiff_input import open_tiffs

        return open_tiffs(path)
    if is_tiff_name(os.path.basename(path)):
        from luxdask.io.tiff_input import open_tiff_file

        return open_tiff_file(path)
    return None


def foreign_in(folder: str) -> ForeignImages | None:
    """The images of another format in a folder without Luxendo images; None where there are none.

    In this order: the files that a `tiffs.json` lists, one BigDataViewer XML file, OME-Zarr images
    side by side. Raises `ExperimentNotFoundError` saying what to do about several XML files, or
    TIFF files that nothing tells of.
    """
    document = os.path.join(folder, TIFFS_JSON)
    if os.path.isfile(document):
        return open_foreign(document)
    entries = list_folder(folder)
    files = [entry.path for entry in entries if entry.is_file()]
    described = [path for path in files if path.lower().endswith(".xml") and is_bdv_xml(path)]
    if len(described) > 1:
        names = ", ".join(os.path.basename(path) for path in described[:5])
        raise ExperimentNotFoundError(
            f"{folder}: several BigDataViewer files; open one of them: {names}"
        )
    if described:
        return open_foreign(described[0])
    zarrs = [entry.path for entry in entries if entry.is_dir() and is_zarr(entry.path)]
    if zarrs:
        from luxdask.io.omezarr_input import open_side_by_side

        return open_side_by_side(folder, zarrs)
    if any(is_tiff_name(os.path.basename(path)) for path in files):
        raise ExperimentNotFoundError(
            f"{folder}: TIFF files, but no {TIFFS_JSON} that says how they lie. "
            f"`luxdask tiffs {folder} -o {document}` writes a first one"
        )
    return None
