"""What landmarks say about the views: links for batch alignment, and direct ones to the reference.

Batch alignment extends what landmarks of a few images tell to all images. It takes apart images
that differ in one thing only: the optics (objective, channel, camera) of one stack and time point,
the stack, or the time point.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.bounding_box import view_box
from luxdask.model.geometry import BoundingBox, vector
from luxdask.model.landmarks import corresponding, landmark_notes
from luxdask.model.links import KINDS, Link
from luxdask.model.stages import optics_of, stack_kind
from luxdask.registration.landmark_fit import PARAMETERS, LandmarkFit, fit_landmarks
from luxdask.registration.landmark_pairs import (
    Unused,
    differences,
    pairs_of_interest,
    sort_out,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luxdask.model.landmarks import ImagePair, Landmark, Matched
    from luxdask.model.links import Kind, Model
    from luxdask.model.view import View, ViewId

# An affine transform from landmarks on a smaller part of the overlap is a guess for the rest.
_SMALL_PART = 0.2


@dataclass(frozen=True)
class LandmarkPlan:
    """How landmarks align the views.

    Attributes
    ----------
    links
        Measured pairs for batch alignment, the fixed view being the one nearer to the reference.
    direct
        Views that differ from the reference in more than one thing and share landmarks with it:
        the link to the reference, which stands above all batch alignment for this view.
    unused
        Pairs and images whose landmarks have no effect, with reasons.
    notes
        All that the user should know, in sentences; of `unused` the images without any link.
    """

    reference: ViewId
    links: tuple[Link, ...] = ()
    direct: Mapping[ViewId, Link] = field(default_factory=dict)
    unused: tuple[Unused, ...] = ()
    notes: tuple[str, ...] = ()

    def of_kind(self, kind: Kind) -> tuple[Link, ...]:
        """Links of one stage."""
        return tuple(link for link in self.links if link.kind == kind)

    def model(self, kind: Kind) -> Model:
        """The freest transform among the links of a stage; a translation where there are none."""
        models: list[Model] = [link.model for link in self.of_kind(kind)]
        return max(models, key=lambda m: PARAMETERS[m], default="translation")

    @property
    def tile_model(self) -> Model:
        """What the global optimisation of tiles may find, as far as landmarks are concerned.

        A translation unless some pair of tiles has more than three pairs of landmarks.
        """
        return self.model("tiles")


def landmark_links(
    views: Iterable[View], landmarks: Sequence[Landmark], reference: ViewId
) -> LandmarkPlan:
    """Links from the landmarks that the views have in common; linear in the landmarks.

    Pairs of optics count in the reference's stack and time point; others stand in for pairs that
    have no landmarks there. Pairs of stacks and of time points count for the reference's optics.
    A time point is compared with the one before it (of those with the same label) and with the
    reference's. Images of other PM ids than the reference's follow those of its id, so that their
    own landmarks are not used.

    Parameters
    ----------
    views
        The selected views; landmarks move with their `whole_to_world`.
    landmarks
        At most one of each label per image; raises `ConfigError` otherwise.
    reference
        The image that keeps its place.
    """
    by_id = {view.id: view for view in views}
    usable = [m for m in landmarks if m.image in by_id and m.image.pm == reference.pm]
    matches = corresponding(usable, partial(pairs_of_interest, reference=reference))
    sorted_out = sort_out(matches, reference)
    fits = {pair: _fit(matches[pair], by_id) for pair in sorted_out.used}
    links = {pair: _link(pair, fits[pair], matches[pair], by_id) for pair in sorted_out.used}
    order = sorted(links, key=lambda p: (KINDS.index(links[p].kind), *(v.sort_key for v in p)))
    batch = tuple(links[p] for p in order if p not in sorted_out.direct)
    direct = {p[1]: links[p] for p in order if p in sorted_out.direct}
    linked = {view for pair in links for view in pair}
    told = linked.union(*(pair.images for pair in sorted_out.unused))
    unused = (*sorted_out.unused, *_without_effect(landmarks, by_id, reference, told))
    notes = (
        *landmark_notes(landmarks, by_id),
        *_unused_notes(unused, linked),
        *(f"{links[p]}: {note}" for p in order for note in fits[p].notes),
        *(note for p in order for note in _small_spread(links[p], matches[p], by_id)),
        *_unconnected(batch, reference),
    )
    return LandmarkPlan(reference, batch, direct, unused, notes)


def _fit(matched: Sequence[Matched], by_id: Mapping[ViewId, View]) -> LandmarkFit:
    fixed, moving = by_id[matched[0].fixed.image], by_id[matched[0].moving.image]
    return fit_landmarks(
        fixed.whole_to_world.apply([m.fixed.position_vx for m in matched]),
        moving.whole_to_world.apply([m.moving.position_vx for m in matched]),
        labels=[m.label for m in matched],
        accuracy_um=_voxel_um(fixed, moving),
    )


def _voxel_um(*views: View) -> float:
    """How exactly a landmark can be set."""
    return max(max(view.spacing_um) for view in views)


def _link(
    pair: ImagePair, fit: LandmarkFit, matched: Sequence[Matched], by_id: Mapping[ViewId, View]
) -> Link:
    fixed, moving = (by_id[view] for view in pair)
    voxel = _voxel_um(fixed, moving)
    return Link(
        kind=_kind(fixed, moving),
        fixed=fixed.id,
        moving=moving.id,
        transform=fit.transform,
        model=fit.model,
        quality=1 / (1 + (fit.rms_um / voxel) ** 2),
        precision_um=max(fit.spread_um, voxel / 2) / float(np.sqrt(len(matched))),
        overlap=_grown_box(matched, moving, voxel),
        source="landmarks",
        reason="; ".join(fit.notes),
    )


def _kind(fixed: View, moving: View) -> Kind:
    """The stage that a pair belongs to; of several things that differ, the last to be aligned."""
    if fixed.id.time_point != moving.id.time_point:
        return "time_points"
    if fixed.id.stack != moving.id.stack:
        return stack_kind(fixed, moving)
    return "objective_camera"


def _grown_box(matched: Sequence[Matched], moving: View, voxel_um: float) -> BoundingBox:
    """Box around the landmarks of the moving image, a voxel or a tenth larger on each side."""
    points = moving.whole_to_world.apply([m.moving.position_vx for m in matched])
    margin = np.maximum(voxel_um, np.ptp(points, axis=0) / 10)
    return BoundingBox(vector(points.min(axis=0) - margin), vector(points.max(axis=0) + margin))


def _small_spread(
    link: Link, matched: Sequence[Matched], by_id: Mapping[ViewId, View]
) -> list[str]:
    """A note where an affine transform is carried far beyond its landmarks."""
    if link.model != "affine":
        return []
    common = view_box(by_id[link.fixed]) & view_box(by_id[link.moving])
    points = by_id[link.moving].whole_to_world.apply([m.moving.position_vx for m in matched])
    spread = np.ptp(points, axis=0)
    narrow = [
        f"{axis}: {s:.3g} of {c:.3g} µm"
        for axis, s, c in zip("zyx", spread, common.extent_um, strict=True)
        if 0 < s < _SMALL_PART * c
    ]
    if not narrow:
        return []
    return [
        f"{link}: the landmarks cover a small part of what both images see ({', '.join(narrow)}), "
        "so that the affine transform is uncertain elsewhere; set landmarks farther apart, or only "
        "three for a translation"
    ]


def _without_effect(
    landmarks: Sequence[Landmark],
    by_id: Mapping[ViewId, View],
    reference: ViewId,
    told: set[ViewId],
) -> list[Unused]:
    """Images with landmarks that no link holds, together with those of the same reason.

    told : images with links, or with pairs that were left out for a reason of their own.
    Labels that are set in one image only are told of elsewhere.
    """
    usable = [m for m in landmarks if m.image in by_id and m.image.pm == reference.pm]
    near, all_partners = _partners(usable), _partners(landmarks)
    reasons: dict[str, list[ViewId]] = defaultdict(list)
    for image in dict.fromkeys(mark.image for mark in landmarks):
        if image not in by_id:
            reasons["the image is not among the selected ones"].append(image)
        elif image.pm != reference.pm:
            reasons[_other_pm_reason(reference)].append(image)
        elif image in all_partners and image not in told:
            reasons[_no_pair_reason(image, near.get(image), reference)].append(image)
    return [Unused(tuple(found), reason) for reason, found in reasons.items()]


def _partners(landmarks: Iterable[Landmark]) -> dict[ViewId, ViewId]:
    """For each image that shares a label some other image with this label."""
    first: dict[str, ViewId] = {}
    found: dict[ViewId, ViewId] = {}
    for mark in landmarks:
        other = first.setdefault(mark.label, mark.image)
        if other != mark.image:
            found.setdefault(mark.image, other)
            found.setdefault(other, mark.image)
    return found


def _other_pm_reason(reference: ViewId) -> str:
    return (
        "images of other PM ids than the Reference's follow the images of its id "
        f"({reference.pm or 'none'}); set the landmarks in those"
    )


def _no_pair_reason(image: ViewId, partner: ViewId | None, reference: ViewId) -> str:
    if partner is None:
        return "no selected image of the Reference's PM id shares a label with it"
    return (
        f"images that share its labels differ in {' and '.join(differences(image, partner))} at "
        f"once; set the landmarks in the Reference ({reference}) as well, or in images that differ "
        "in one of these only"
    )


def _unused_notes(unused: Iterable[Unused], linked: set[ViewId]) -> list[str]:
    """One note per reason; that a pair of images is not used matters where one has no other."""
    reasons: dict[str, dict[ViewId, None]] = defaultdict(dict)
    for one in unused:
        reasons[one.reason].update(dict.fromkeys(v for v in one.images if v not in linked))
    return [str(Unused(tuple(images), reason)) for reason, images in reasons.items() if images]


def _unconnected(links: Sequence[Link], reference: ViewId) -> list[str]:
    """Notes on batch alignments that the reference has no part in."""
    groups = {
        "objective_camera": ("objectives, channels and cameras", optics_of),
        "rotation": ("rotated stacks", lambda view: view.stack),
    }
    notes = []
    for kind, (words, node) in groups.items():
        ends = [{node(link.fixed), node(link.moving)} for link in links if link.kind == kind]
        if ends and not any(node(reference) in both for both in ends):
            notes.append(
                f"no landmarks tie the Reference ({reference}) to the other {words}, so that these "
                "are aligned with each other, not with it; set landmarks in the Reference as well"
            )
    return notes
