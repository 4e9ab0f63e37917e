"""Landmarks: points that someone has marked in images; equal labels mean the same structure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from luxdask.errors import ConfigError
from luxdask.model.geometry import Vector, vector
from luxdask.model.view import ViewId, natural_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from luxdask.model.view import View

MOST_LABELS_LISTED = 10


@dataclass(frozen=True, slots=True)
class Landmark:
    """A labelled point of an image.

    Attributes
    ----------
    label
        What it marks; the same label in another image marks the same structure there.
    position_vx
        Full-resolution voxel coordinates (z, y, x), integers are voxel centres.
    """

    label: str
    image: ViewId
    position_vx: Vector

    def __str__(self) -> str:
        return f"{self.label!r} in {self.image}"


class Matched(NamedTuple):
    """A structure that is marked in two images."""

    label: str
    fixed: Landmark
    moving: Landmark


ImagePair = tuple[ViewId, ViewId]
PairsOf = Callable[[Sequence[ViewId]], Iterable[ImagePair]]


def every_pair(images: Sequence[ViewId]) -> Iterable[ImagePair]:
    """Each image with each later one."""
    return combinations(images, 2)


def corresponding(
    landmarks: Iterable[Landmark], pairs_of: PairsOf = every_pair
) -> dict[ImagePair, tuple[Matched, ...]]:
    """Pairs of images with the landmarks that both have.

    Only images that share a label are looked at, so that thousands of images cost no more than
    their landmarks.

    Parameters
    ----------
    landmarks
        At most one of each label per image.
    pairs_of
        Which of the images that share a label (sorted) form pairs, each (fixed, moving); all by
        default.

    Returns
    -------
    dict
        Under (fixed, moving) what both have, labels in natural order.

    Raises
    ------
    ConfigError
        A label is set twice in one image.
    """
    of_image = landmarks_by_image(landmarks)
    found: dict[ImagePair, tuple[Matched, ...]] = {}
    for images in _images_by_label(of_image).values():
        for fixed, moving in pairs_of(images):
            if (fixed, moving) not in found:
                found[fixed, moving] = _shared(of_image[fixed], of_image[moving])
    return found


def landmarks_by_image(landmarks: Iterable[Landmark]) -> dict[ViewId, dict[str, Landmark]]:
    """Landmarks under image and label; raises `ConfigError` for a label twice in one image."""
    found: dict[ViewId, dict[str, Landmark]] = defaultdict(dict)
    for landmark in landmarks:
        other = found[landmark.image].setdefault(landmark.label, landmark)
        if other is not landmark:
            raise ConfigError(
                f"the landmark {landmark} is set twice, at {other.position_vx} and at "
                f"{landmark.position_vx} (z, y, x); remove or rename one of them"
            )
    return dict(found)


def _images_by_label(
    of_image: Mapping[ViewId, Mapping[str, Landmark]],
) -> dict[str, list[ViewId]]:
    images: dict[str, list[ViewId]] = defaultdict(list)
    for image in sorted(of_image, key=lambda i: i.sort_key):
        for label in of_image[image]:
            images[label].append(image)
    return {label: images[label] for label in sorted(images, key=natural_key)}


def _shared(fixed: Mapping[str, Landmark], moving: Mapping[str, Landmark]) -> tuple[Matched, ...]:
    labels = sorted(fixed.keys() & moving.keys(), key=natural_key)
    return tuple(Matched(label, fixed[label], moving[label]) for label in labels)


def without_partner(landmarks: Sequence[Landmark]) -> tuple[Landmark, ...]:
    """Landmarks whose label no other image has."""
    images: dict[str, set[ViewId]] = defaultdict(set)
    for landmark in landmarks:
        images[landmark.label].add(landmark.image)
    return tuple(mark for mark in landmarks if len(images[mark.label]) == 1)


def landmark_notes(landmarks: Sequence[Landmark], views: Mapping[ViewId, View]) -> tuple[str, ...]:
    """What is worth telling: landmarks outside of their image, labels without a partner."""
    outside = [mark for mark in landmarks if mark.image in views and _is_outside(mark, views)]
    notes = [
        f"landmark {mark}: {vector(mark.position_vx)} lies outside of the image of "
        f"{views[mark.image].shape} voxels (z, y, x)"
        for mark in outside[:MOST_LABELS_LISTED]
    ]
    if len(outside) > MOST_LABELS_LISTED:
        notes.append(f"{len(outside) - MOST_LABELS_LISTED} more landmarks lie outside")
    alone = without_partner(landmarks)
    if alone:
        listed = ", ".join(map(str, alone[:MOST_LABELS_LISTED]))
        more = len(alone) - MOST_LABELS_LISTED
        listed += f" and {more} more" if more > 0 else ""
        notes.append(f"landmarks whose label no other image has, not used: {listed}")
    return tuple(notes)


def _is_outside(landmark: Landmark, views: Mapping[ViewId, View]) -> bool:
    shape = views[landmark.image].shape
    return not all(-0.5 <= p < n - 0.5 for p, n in zip(landmark.position_vx, shape, strict=True))


def landmarks_from_points(
    points_zyx: ArrayLike, labels: Sequence[object], view_id: ViewId
) -> tuple[Landmark, ...]:
    """Landmarks from the data of a napari points layer, or any other list of points.

    Parameters
    ----------
    points_zyx
        (n, 3) positions in voxels of the full-resolution image: `layer.data` of a layer that has
        the scale of the image's layer.
    labels
        n names, such as a column of `layer.features`; numbers become text.
    view_id
        The image that the points were set in.

    Raises
    ------
    ConfigError
        Other shapes, positions that are not finite, an empty label, or a label twice.
    """
    points = np.asarray(points_zyx, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) != len(labels):
        raise ConfigError(
            f"landmarks of {view_id}: points of shape {points.shape} and {len(labels)} labels "
            "given; needed are points of shape (n, 3) in the order z, y, x, and n labels"
        )
    if not np.isfinite(points).all():
        raise ConfigError(f"landmarks of {view_id}: a position is not a finite number")
    names = [str(label).strip() for label in labels]
    if "" in names:
        raise ConfigError(f"landmarks of {view_id}: point {names.index('')} has an empty label")
    found = tuple(
        Landmark(name, view_id, vector(point)) for name, point in zip(names, points, strict=True)
    )
    landmarks_by_image(found)
    return found
