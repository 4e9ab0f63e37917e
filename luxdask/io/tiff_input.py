"""Open TIFF stacks as views, by a `tiffs.json` or by what a single file says of itself."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import MetadataError
from luxdask.io.foreign_places import TIFFS_JSON
from luxdask.io.foreign_view import Described, ForeignImages, make_view
from luxdask.io.grey_values import voxel_type
from luxdask.io.tiff_describe import describe_file
from luxdask.io.tiff_document import TiffImage, read_document
from luxdask.io.tiff_table import TiffTable, dataset_name, tiff_table
from luxdask.model.geometry import Affine, Vector, vector
from luxdask.model.view import Foreign, Source, View, ViewId

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READERS = 16


def open_tiffs(path: str) -> ForeignImages:
    """The images that a `tiffs.json` lists.

    Raises
    ------
    MetadataError
        The document is malformed, an image lacks its voxel size, or it names another number of
        channels or time points than the file has.
    ImageFileError
        A file is missing, damaged or no TIFF.
    """
    document = read_document(path)
    folder = os.path.join(os.path.dirname(path), os.path.expanduser(document.folder))
    return _opened(path, os.path.normpath(folder), document.images)


def open_tiff_file(path: str) -> ForeignImages:
    """One TIFF file: by the `tiffs.json` beside it where it is listed, else by what it says."""
    beside = os.path.join(os.path.dirname(path), TIFFS_JSON)
    if os.path.isfile(beside):
        listed = open_tiffs(beside)
        views = tuple(view for view in listed.views if view.source.path == path)
        if views:
            return listed._replace(views=views)
    folder, name = os.path.split(path)
    image, notes = describe_file(path, name)
    found = _opened(path, folder, [TiffImage.model_validate(image)])
    return found._replace(notes=tuple(notes))


def _opened(where: str, folder: str, images: Sequence[TiffImage]) -> ForeignImages:
    with ThreadPoolExecutor(min(READERS, len(images))) as pool:
        read = pool.map(lambda image: list(_views(where, folder, image)), images)
        views = tuple(itertools.chain.from_iterable(read))
    return ForeignImages("tiff", os.path.dirname(where), views, ())


def _views(where: str, folder: str, image: TiffImage) -> Iterator[View]:
    """One view per time point and channel of a file."""
    path = os.path.normpath(os.path.join(folder, image.file))
    dataset = dataset_name(image.series, image.axes)
    table = tiff_table(path, dataset)
    _check_count(where, image, table, "t", "time_points", len(image.time_points))
    _check_count(where, image, table, "c", "channels", len(image.channels))
    transform, spacing = _view_to_world(where, image)
    described = Described(
        spacing_um=spacing,
        angle_deg=image.angle_deg,
        illuminations=tuple(sorted(set(image.illuminations))),
        directions=_units(where, image),
    )
    name = voxel_type(table.dtype, path)
    for t, time_point in enumerate(image.time_points):
        for c, channel in enumerate(image.channels):
            at = {"t": t, "c": c}
            index = tuple(at[axis] for axis in table.axes if axis != "z")
            foreign = Foreign("tiff", index, name, image.value_range)
            source = Source(path, dataset, foreign=foreign)
            identity = ViewId(
                time_point, channel, image.stack, image.objective, image.camera, image.pm
            )
            yield make_view(identity, source, table.shape, transform, described)


def _check_count(
    where: str, image: TiffImage, table: TiffTable, axis: str, key: str, given: int
) -> None:
    has = table.file_shape[table.axes.index(axis)] if axis in table.axes else 1
    if has != given:
        raise MetadataError(
            f"{where}: {image.file!r} holds {has} {key.replace('_', ' ')}, but {key!r} names "
            f'{given}; name each of them, or say what the planes are, as in "axes": "ZYX"'
        )


def _view_to_world(where: str, image: TiffImage) -> tuple[Affine, Vector | None]:
    """Transform to sample space, and the voxel size where it is stated."""
    size = image.voxel_size_um
    stated = None if size is None else vector((size.depth, size.height, size.width))
    if image.affine_to_sample:
        whole = Affine()
        for step in image.affine_to_sample:  # the first one is applied first
            whole = step.to_affine() @ whole
        return whole, stated
    if stated is None:
        raise MetadataError(
            f"{where}: the voxel size of {image.file!r} is not known. Write it into "
            f'{TIFFS_JSON} as "voxel_size_um": {{"width": 1, "height": 1, "depth": 2}} '
            "(`luxdask tiffs FOLDER` makes such a file)"
        )
    return Affine.scale(stated, image.position_um[::-1]), stated


def _units(where: str, image: TiffImage) -> tuple[Vector, ...]:
    lengths = [float(np.linalg.norm(d)) for d in image.detection_directions]
    if not all(lengths):
        raise MetadataError(f"{where}: {image.file!r}: a detection direction has no length")
    return tuple(
        vector(np.array(d[::-1]) / n)
        for d, n in zip(image.detection_directions, lengths, strict=True)
    )
