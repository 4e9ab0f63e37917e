"""Regions of interest: boxes of voxels that stand for whole input images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError, SelectionError
from luxdask.model.geometry import Affine, Box, shape3
from luxdask.model.view import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.model.experiment import Experiment
    from luxdask.model.geometry import Shape
    from luxdask.model.view import View, ViewId

Bounds = tuple[int | None, int | None, int | None]
_MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class Roi:
    """A box of an image that someone has drawn.

    Attributes
    ----------
    label
        Its name; boxes of one label in several images belong together.
    images
        The images it was drawn in.
    start, stop
        First voxel and one past the last (z, y, x) of the full resolution; None for the border of
        the image.
    where
        File and entry, for messages.
    """

    label: str
    images: frozenset[ViewId]
    start: Bounds
    stop: Bounds
    where: str = ""

    def box(self, shape: Shape) -> Box:
        """The voxels of an image of this shape that it holds; what lies outside is cut off."""
        start = [0 if a is None else a for a in self.start]
        stop = [n if b is None else b for b, n in zip(self.stop, shape, strict=True)]
        return Box(shape3(start), shape3(stop)) & Box.of_shape(shape)

    def __str__(self) -> str:
        return box_text(self.start, self.stop)


def box_text(start: Bounds, stop: Bounds) -> str:
    """A box as ``z0:z1,y0:y1,x0:x1``, without the numbers that are the image's borders."""
    parts = zip(start, stop, strict=True)
    return ",".join(f"{'' if a is None else a}:{'' if b is None else b}" for a, b in parts)


def apply_roi(
    experiment: Experiment, rois: Sequence[Roi], label: str, *, apply_to_all: bool = False
) -> Experiment:
    """The experiment with its images cropped, as if the region were all there is.

    Images without a region of this label stay whole, unless one region is applied to all of them.
    `notes` says how many images were cropped, and where a box reached over the border.

    Raises
    ------
    SelectionError
        No region has this label, or none of the images has one; it lists what there is.
    ConfigError
        Two regions of the label in one image, regions that differ where one is to be applied to
        all, or a box outside of its image.
    """
    named = [roi for roi in rois if roi.label == label]
    if not named:
        raise SelectionError(
            f"input.roi.label: no region of interest is called {label!r}; there are: "
            f"{_listed(roi.label for roi in rois)}"
        )
    of_view = _for_all(experiment, named) if apply_to_all else _by_image(experiment, named)
    views = [
        cropped(view, of_view[view.id]) if view.id in of_view else view for view in experiment.views
    ]
    notes = [
        f"region of interest {label!r}: {len(of_view)} of {len(views)} images cropped",
        *_cut_off(experiment, of_view),
    ]
    return replace(experiment, views=tuple(views), notes=(*experiment.notes, *notes))


def cropped(view: View, roi: Roi) -> View:
    """The view of which the region is all there is; raises `ConfigError` where that is nothing."""
    box = roi.box(view.shape)
    if not box:
        raise ConfigError(
            f"{roi.where}: the region {roi.label!r} ({roi}, in z, y, x) holds no voxel of "
            f"{view.id}, whose size is {view.shape}"
        )
    if box == Box.of_shape(view.shape):
        return view
    return replace(
        view,
        shape=box.shape,
        view_to_world=view.view_to_world @ Affine.translation(box.start),
        source=replace(view.source, crop=box),
    )


def _for_all(experiment: Experiment, named: Sequence[Roi]) -> dict[ViewId, Roi]:
    first = named[0]
    other = next((roi for roi in named if (roi.start, roi.stop) != (first.start, first.stop)), None)
    if other is not None:
        raise ConfigError(
            f"input.roi.apply_to_all: the regions called {first.label!r} differ ({first.where}: "
            f"{first}; {other.where}: {other}), but one region is applied to all images. Remove "
            "all but one, give it a label of its own, or switch apply_to_all off"
        )
    return {view.id: first for view in experiment.views}


def _by_image(experiment: Experiment, named: Sequence[Roi]) -> dict[ViewId, Roi]:
    found: dict[ViewId, Roi] = {}
    chosen = {view.id for view in experiment.views}
    for roi in named:
        for image in roi.images & chosen:
            if image in found:
                raise ConfigError(
                    f"{roi.where}: the image {image} has two regions called {roi.label!r}, the "
                    f"other one in {found[image].where}; remove or rename one of them"
                )
            found[image] = roi
    if not found:
        images = _listed(str(image) for roi in named for image in roi.images)
        raise SelectionError(
            f"input.roi.label: none of the selected images has a region called "
            f"{named[0].label!r}; it was drawn in {images}. Select these images, or set "
            "input.roi.apply_to_all"
        )
    return found


def _cut_off(experiment: Experiment, of_view: dict[ViewId, Roi]) -> list[str]:
    """Which regions reach over the border of their image."""
    over = [
        view.id
        for view in experiment.views
        if view.id in of_view and _reaches_over(of_view[view.id], view.shape)
    ]
    if not over:
        return []
    more = f" and {len(over) - 1} more images" if len(over) > 1 else ""
    return [f"region of interest: it reaches over the border of {over[0]}{more} and is cut there"]


def _reaches_over(roi: Roi, shape: Shape) -> bool:
    return any(b is not None and b > n for b, n in zip(roi.stop, shape, strict=True))


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(set(names), key=natural_key)
    more = f" and {len(ordered) - _MOST_LISTED} more" if len(ordered) > _MOST_LISTED else ""
    return (", ".join(ordered[:_MOST_LISTED]) or "none at all") + more
