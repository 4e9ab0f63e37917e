"""Open what a microscope or the processing left on disk: metadata only, never a voxel."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from luxdask.errors import ExperimentNotFoundError
from luxdask.io.bdv_document import is_bdv_xml
from luxdask.io.foreign import foreign_in, open_foreign
from luxdask.io.foreign_places import is_url, local_path
from luxdask.io.foreign_view import notes_on_types
from luxdask.io.lux_metadata import read_view
from luxdask.io.metadata_text import UnreadableMetadataError
from luxdask.io.nested import holds_nested_images, is_flat, nested_sources
from luxdask.io.open_notes import missing_sidecars, missing_time_points, without_duplicates
from luxdask.io.walk import flat_source, list_folder, names_of, walk_images
from luxdask.model.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.io.foreign_view import ForeignImages
    from luxdask.model.view import Source, View

AnyPath = str | os.PathLike[str]
# Sidecars often lie on network file systems, where many requests at a time are faster.
READING_THREADS = 16
_WHAT_TO_GIVE = (
    "Give an experiment folder (with 'raw' in it), its 'raw' folder, a task folder in 'processed', "
    "a main file or .lux.h5 images; or an OME-Zarr image, a BigDataViewer .xml file, TIFF stacks "
    "or a tiffs.json."
)


@dataclass(frozen=True, slots=True)
class _Found:
    """Images by their place, before their metadata is read; `views` are those of other formats."""

    kind: str
    root: str
    sources: tuple[Source, ...]
    notes: tuple[str, ...]
    views: tuple[View, ...] = ()


def open_experiment(path: AnyPath | Sequence[AnyPath]) -> Experiment:
    """Open images by their metadata; no voxel is read.

    Parameters
    ----------
    path
        An experiment folder, its `raw` folder, a stack folder in it, a task folder or any other
        folder with ``.lux.h5`` images, one image, one main (nested) file, or a list of files. Also
        an OME-Zarr image or group (folder or URL), a BigDataViewer XML file, a ``tiffs.json``, a
        TIFF stack, or a folder with one of these.

    Returns
    -------
    Experiment
        Its views sorted by identity. Identities come from the metadata (the ``.json`` sidecar, or
        the image itself where there is none), never from names. `notes` says what was passed over:
        incomplete files, duplicates, dead links, missing time points.

    Raises
    ------
    ExperimentNotFoundError
        There is no such path, or it holds no images.
    MetadataError
        The metadata of an image is missing or malformed; the message names the file.
    ImageFileError
        An image without sidecar cannot be read as HDF5.
    """
    if isinstance(path, (str, os.PathLike)):
        where = absolute(path)
        found = _find(where)
    else:
        files = [absolute(one) for one in path]
        where = _common_folder(files)
        found = _find_files(files, where)
    if not found.sources and not found.views:
        listed = "".join(f"\n  {note}" for note in found.notes)
        raise ExperimentNotFoundError(f"{where}: no usable images.{listed} {_WHAT_TO_GIVE}")
    views, notes = _read_views(found.sources, found.views)
    return Experiment(where, found.root, found.kind, views, (*found.notes, *notes))


def absolute(path: AnyPath) -> str:
    """An absolute path; URLs are left as they are."""
    text = local_path(os.fspath(path))
    return text if is_url(text) else os.path.abspath(os.path.expanduser(text))


def _find(path: str) -> _Found:
    foreign = open_foreign(path)
    if foreign is not None:
        return _of_foreign(foreign)
    if os.path.isdir(path):
        return _find_in_folder(path)
    if not os.path.lexists(path):
        raise ExperimentNotFoundError(f"{path}: no such file or folder. {_WHAT_TO_GIVE}")
    sources, notes, is_main = _sources_of_file(path)
    kind = "main" if is_main else "files"
    return _Found(kind, _root(Path(path).parent), tuple(sources), tuple(notes))


def _find_files(files: list[str], folder: str) -> _Found:
    if not files:
        raise ExperimentNotFoundError(f"An empty list of files was given. {_WHAT_TO_GIVE}")
    sources: list[Source] = []
    notes: list[str] = []
    views: list[View] = []
    for file in dict.fromkeys(files):
        foreign = open_foreign(file, one_of_several=len(files) > 1)
        if foreign is not None:
            views += foreign.views
            notes += foreign.notes
            continue
        more, said, _ = _sources_of_file(file)
        sources += more
        notes += said
    return _Found("files", _root(Path(folder)), tuple(sources), tuple(notes), tuple(views))


def _of_foreign(found: ForeignImages) -> _Found:
    return _Found(found.kind, _root(Path(found.root)), (), found.notes, found.views)


def _sources_of_file(path: str) -> tuple[list[Source], list[str], bool]:
    """Images of one file, notes, and whether it is a nested file."""
    if not os.path.isfile(path):
        raise ExperimentNotFoundError(f"{path}: not a regular file, or it does not exist")
    name = os.path.basename(path).lower()
    if name.endswith(".part"):
        raise ExperimentNotFoundError(
            f"{path}: the microscope did not finish this file (.part). Give complete images."
        )
    described = os.path.splitext(path)[0] + ".xml"
    if name.endswith(".h5") and is_bdv_xml(described):
        raise ExperimentNotFoundError(
            f"{path}: voxels of BigDataViewer without their places; open {described}"
        )
    if not name.endswith(".h5") or name.endswith("bdv.h5"):
        raise ExperimentNotFoundError(f"{path}: not a .lux.h5 file. {_WHAT_TO_GIVE}")
    source = flat_source(path)
    if source.sidecar is not None or is_flat(path):
        return [source], [], False
    return (*nested_sources(path), True)


def _common_folder(files: list[str]) -> str:
    try:
        return os.path.commonpath([os.path.dirname(file) for file in files])
    except ValueError:  # no file at all, or several drives of Windows
        return os.path.dirname(files[0]) if files else os.getcwd()


def _find_in_folder(folder: str) -> _Found:
    raw = os.path.join(folder, "raw")
    base = raw if os.path.isdir(raw) else folder
    walk = walk_images(base)
    direct = [s for s in walk.sources if os.path.dirname(s.path) == base]
    if os.path.basename(base) == "processed":
        walk.sources = direct  # each task folder in it is to be opened for itself
    if not walk.sources:
        foreign = foreign_in(folder)
        if foreign is not None:
            return _of_foreign(foreign)
        raise _nothing_found(folder, base, walk.notes)
    is_task = base == folder and bool(direct)
    kind = "task" if is_task and not _is_stack_of_raw(Path(base)) else "experiment"
    return _Found(kind, _root(Path(base)), tuple(walk.sources), tuple(walk.notes))


def _root(folder: Path) -> str:
    """The experiment that a folder of images belongs to; the folder itself where there is none."""
    if folder.name == "raw":
        return str(folder.parent)
    if _is_stack_of_raw(folder) or folder.parent.name == "processed":
        return str(folder.parent.parent)
    return str(folder)


def _is_stack_of_raw(folder: Path) -> bool:
    return folder.parent.name == "raw" and folder.name.lower().startswith("stack")


def _nothing_found(folder: str, base: str, notes: Iterable[str]) -> ExperimentNotFoundError:
    listed = "".join(f"\n  {note}" for note in notes)
    return ExperimentNotFoundError(
        f"{folder}: no images of a Luxendo experiment. Looked for *.lux.h5 and Cam_*_00000.h5 in "
        f"{base} and below; there was: {names_of(list_folder(base))}.{listed} {_hint(folder)}"
    )


def _hint(folder: str) -> str:
    """What to open instead."""
    folders = [entry for entry in list_folder(folder) if entry.is_dir()]
    experiments = [e for e in folders if os.path.isdir(os.path.join(e.path, "raw"))]
    if experiments:
        return f"It holds experiments; open one of them: {names_of(experiments)}."
    if os.path.basename(folder) == "processed" and folders:
        return f"It holds task folders; open one of them: {names_of(folders)}."
    if any(entry.name == "processed" for entry in folders):
        return "Its 'raw' folder is empty or missing; open a task folder in 'processed' instead."
    return _WHAT_TO_GIVE


def _read_views(
    sources: Sequence[Source], foreign: Sequence[View]
) -> tuple[tuple[View, ...], list[str]]:
    """Views sorted by identity, and notes."""
    with ThreadPoolExecutor(max(1, min(READING_THREADS, len(sources)))) as pool:
        read = list(pool.map(_read, sources))
    notes = [note for _, said in read for note in said]
    own = [view for view, _ in read if view is not None]
    views, duplicates = without_duplicates([*own, *foreign])
    if not views:
        raise ExperimentNotFoundError(
            f"{sources[0].path}: a nested file; open it by its own path, not its folder"
        )
    views.sort(key=lambda view: view.id.sort_key)
    notes += [*missing_sidecars(sources), *duplicates, *missing_time_points(views)]
    notes += notes_on_types(views)
    return tuple(views), notes


def _read(source: Source) -> tuple[View | None, tuple[str, ...]]:
    """One view; nested files among the images of a folder are only noted."""
    try:
        return read_view(source)
    except UnreadableMetadataError:
        if source.sidecar is not None or not holds_nested_images(source.path):
            raise
        return None, (f"{source.path}: a nested file, not used; open it by its own path",)
