"""Open OME-Zarr images of version 0.4 and 0.5 as views: attributes only, no voxel.

Source: https://ngff.openmicroscopy.org/0.4/ and https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

import itertools
import os
import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from luxdask.errors import ExperimentNotFoundError, MetadataError
from luxdask.io.foreign_places import is_url
from luxdask.io.foreign_view import Described, ForeignImages, make_view
from luxdask.io.grey_values import voxel_type
from luxdask.io.omezarr_levels import ZarrImage, zarr_image
from luxdask.io.omezarr_store import child_groups, open_attributes
from luxdask.model.view import Foreign, Source, View, ViewId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEEPEST = 3
MARK = "luxdask"
_NOT_IMAGES = {"labels", "OME"}


def open_omezarr(url: str) -> ForeignImages:
    """The images of an OME-Zarr: one, or all of a group (series, tiles, wells of a plate).

    Time points are counted from 0. A channel's name is its number, its label the description; in
    images that luxdask wrote, both are those of the microscope. A single image is stack 0, several
    are called after their place in the group.

    Raises
    ------
    ExperimentNotFoundError
        There is no image in the group.
    MetadataError
        The metadata of an image is missing, malformed or of another version.
    """
    found = list(_images_below(url, "", 0))
    if not found:
        raise ExperimentNotFoundError(
            f"{url}: no OME-Zarr image: no group with 'multiscales' in its attributes"
        )
    views: list[View] = []
    notes: list[str] = []
    for place in found:
        image = zarr_image(_join(url, place))
        views += _views(image, place or "0")
        notes += image.notes
    root = os.getcwd() if is_url(url) else os.path.dirname(url)
    return ForeignImages("ome-zarr", root, tuple(views), tuple(notes))


def open_side_by_side(folder: str, images: Sequence[str]) -> ForeignImages:
    """OME-Zarr images that lie in one folder; each is a stack called after its name."""
    opened = [open_named(path) for path in images]
    views = itertools.chain.from_iterable(found.views for found in opened)
    notes = itertools.chain.from_iterable(found.notes for found in opened)
    return ForeignImages("ome-zarr", folder, tuple(views), tuple(notes))


def open_named(path: str) -> ForeignImages:
    """An OME-Zarr whose stacks are called after its folder, so that several can be told apart."""
    found = open_omezarr(path)
    base = os.path.basename(path.rstrip("/"))
    name = base.removesuffix(".zarr").removesuffix(".ome") or base
    single = len({view.id.stack for view in found.views}) == 1
    views = (
        replace(view, id=replace(view.id, stack=name if single else f"{name}-{view.id.stack}"))
        for view in found.views
    )
    return found._replace(views=tuple(views))


def _join(url: str, place: str) -> str:
    return posixpath.join(url, place) if place else url


def _images_below(url: str, place: str, depth: int) -> Iterator[str]:
    """Places of image groups, relative to the outermost."""
    here = _join(url, place)
    attributes = open_attributes(here)
    if "multiscales" in attributes:
        yield place
        return
    if depth >= DEEPEST:
        return
    for name in child_groups(here):
        if name not in _NOT_IMAGES:
            yield from _images_below(url, posixpath.join(place, name), depth + 1)


def _views(image: ZarrImage, stack: str) -> Iterator[View]:
    """One view per time point and channel."""
    other = [n for n, axis in enumerate(image.axes) if axis not in "zyx"]
    for index in itertools.product(*(range(image.file_shape[n]) for n in other)):
        at = dict(zip((image.axes[n] for n in other), index, strict=True))
        extra = {axis: n for axis, n in at.items() if axis not in "tc"}
        if any(extra.values()):
            raise MetadataError(
                f"{image.url}: the axes {sorted(extra)} are longer than 1; luxdask knows the axes "
                "t, c, z, y and x"
            )
        time_point, channel, pm, label = _names(image.attributes, at.get("t", 0), at.get("c", 0))
        foreign = Foreign("ome-zarr", index, voxel_type(image.dtype, image.url))
        source = Source(image.url, image.dataset, foreign=foreign)
        identity = ViewId(time_point, channel, stack, "0", "0", pm)
        described = Described(channel=label, stack=image.name)
        yield make_view(identity, source, image.shape, image.view_to_world, described)


def _names(attributes: Mapping[str, Any], t: int, c: int) -> tuple[int, str, str | None, str]:
    """Time point, channel, PM id and description."""
    label = _label(attributes, c)
    mark = attributes.get(MARK)
    if isinstance(mark, dict) and {"time_points", "channels"} <= mark.keys():
        channel, _, pm = str(mark["channels"][c]).partition(" pm ")
        return int(mark["time_points"][t]), channel, pm or None, ""
    return t, str(c), None, label


def _label(attributes: Mapping[str, Any], c: int) -> str:
    omero = attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if isinstance(channels, list) and c < len(channels) and isinstance(channels[c], dict):
        label = str(channels[c].get("label") or "")
        return "" if label == str(c) else label
    return ""
