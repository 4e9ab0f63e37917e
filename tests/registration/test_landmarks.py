"""Two stacks x two objectives x two channels x two time points, all a little out of place."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from time import process_time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from luxdask.errors import ConfigError
from luxdask.model.geometry import Affine
from luxdask.model.landmarks import Landmark
from luxdask.model.view import Source, View, ViewId
from luxdask.registration.landmarks import LandmarkPlan, landmark_links
from luxdask.testing import TrueView, model_view, small_experiment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from luxdask.model.links import Link
    from luxdask.testing import Truth

REFERENCE = ViewId(0, "0", "0", "left", "left")


def view_id(t: int = 0, channel: str = "0", stack: str = "0", objective: str = "left") -> ViewId:
    return ViewId(t, channel, stack, objective, objective)


class Sample:
    """An experiment, structures in its sample, and where they appear in each image."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.true = {view.id: _bent(view) for view in truth.views}
        self.views = tuple(model_view(truth, view) for view in truth.views)
        extent = np.array(truth.shape) * 0.6
        points = np.random.default_rng(4).uniform(0.2, 0.8, (12, 3)) * extent
        self.points_um = truth.volume_to_world.apply(points + 0.2 * extent)

    def marks(self, images: Iterable[ViewId], labels: str) -> list[Landmark]:
        return [self.mark(image, label) for image in images for label in labels]

    def mark(self, image: ViewId, label: str) -> Landmark:
        point = self.points_um["ABCDEFGHIJKL".index(label)]
        z, y, x = self.true[image].true_view_to_world.inverse().apply(point).tolist()
        return Landmark(label, image, (z, y, x))

    def expected(self, link: Link) -> Affine:
        fixed, moving = self.true[link.fixed].correction, self.true[link.moving].correction
        return fixed.inverse() @ moving

    def error_um(self, link: Link) -> float:
        ours, true = link.transform.apply(self.points_um), self.expected(link).apply(self.points_um)
        return float(np.abs(ours - true).max())


def _bent(view: TrueView) -> TrueView:
    """Colours differ by their own magnification and turn, as lenses make them."""
    bend = Affine()
    if view.id.channel == "1":
        bend = Affine.from_array(np.eye(3) + np.array([[8, 3, 0], [-3, 9, 5], [0, -5, 7]]) * 1e-3)
    return replace(view, true_view_to_world=view.true_view_to_world @ bend)


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return _make(tmp_path_factory.mktemp("rotated"), rotations_deg=(0.0, 90.0), tiles=(1, 1))


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return _make(tmp_path_factory.mktemp("tiled"), tiles=(1, 2), overlap=0.8)


def _make(folder: Path, **options: object) -> Sample:
    truth = small_experiment(
        folder,
        shape=(20, 24, 28),
        objectives=2,
        channels=2,
        time_points=2,
        stage_error_um=4.0,
        camera_error_um=3.0,
        drift_um=2.0,
        **options,
    )
    assert len(truth.views) == 16
    return Sample(truth)


def ends(links: Iterable[Link]) -> list[tuple[ViewId, ViewId]]:
    return [(link.fixed, link.moving) for link in links]


def test_example_1_tiles_by_landmarks(tiled: Sample) -> None:
    a, b = (view_id(stack=s) for s in ("0-x00-y00", "0-x01-y00"))
    plan = landmark_links(tiled.views, tiled.marks([b, a], "ABC"), a)
    assert ends(plan.links) == [(a, b)]
    (link,) = plan.of_kind("tiles")
    assert (link.model, plan.tile_model) == ("translation", "translation")
    assert link.source == "landmarks"
    assert link.is_trusted
    assert link.quality == pytest.approx(1)
    assert link.precision_um == pytest.approx(0.5 / np.sqrt(3))
    assert tiled.error_um(link) < 1e-9
    assert plan.direct == {}
    assert plan.unused == ()
    assert plan.notes == ()
    inside = tiled.views[0].view_to_world.apply(tiled.mark(a, "B").position_vx)
    assert np.all(np.array(link.overlap.lower) < inside + 9)
    assert np.all(np.array(link.overlap.upper) > inside - 9)


def test_tiles_with_four_landmarks_may_be_affine(tiled: Sample) -> None:
    a, b = (view_id(stack=s) for s in ("0-x00-y00", "0-x01-y00"))
    plan = landmark_links(tiled.views, tiled.marks([a, b], "ABCDEF"), a)
    assert plan.tile_model == "affine"
    assert tiled.error_um(plan.links[0]) < 1e-8


def test_a_plan_without_tiles_asks_for_translations(rotated: Sample) -> None:
    plan = landmark_links(rotated.views, [], REFERENCE)
    assert plan == LandmarkPlan(REFERENCE)
    assert plan.tile_model == "translation"


def test_example_2_optics_by_landmarks_in_one_stack(rotated: Sample) -> None:
    images = [view_id(0, c, "0", o) for c in "01" for o in ("left", "right")]
    plan = landmark_links(rotated.views, rotated.marks(images, "ABCDEFG"), REFERENCE)
    assert {link.kind for link in plan.links} == {"objective_camera"}
    assert len(plan.links) == 6
    assert [link.fixed for link in plan.links].count(REFERENCE) == 3
    assert all(link.model == "affine" for link in plan.links)
    assert max(map(rotated.error_um, plan.links)) < 1e-8
    assert plan.direct == {}
    assert plan.notes == ()


def test_a_magnification_needs_four_landmarks(rotated: Sample) -> None:
    images = [REFERENCE, view_id(channel="1")]
    (three,) = landmark_links(rotated.views, rotated.marks(images, "ABC"), REFERENCE).links
    assert three.model == "translation"
    assert 0.02 < rotated.error_um(three) < 1
    assert 0.9 < three.quality < 1
    assert three.precision_um == pytest.approx(0.5 / np.sqrt(3))


def test_example_3_rotations_by_landmarks_of_one_objective(rotated: Sample) -> None:
    turned = view_id(stack="1")
    plan = landmark_links(rotated.views, rotated.marks([turned, REFERENCE], "AB"), REFERENCE)
    assert ends(plan.of_kind("rotation")) == [(REFERENCE, turned)] == ends(plan.links)
    assert rotated.error_um(plan.links[0]) < 1e-9


def test_examples_2_and_3_together(rotated: Sample) -> None:
    images = [view_id(0, c, "0", o) for c in "01" for o in ("left", "right")]
    images.append(view_id(stack="1"))
    plan = landmark_links(rotated.views, rotated.marks(images, "ABCDEFG"), REFERENCE)
    assert len(plan.of_kind("objective_camera")) == 6
    assert ends(plan.of_kind("rotation")) == [(REFERENCE, view_id(stack="1"))]
    # stack 1 differs from the other colours in two things, which says nothing new
    assert len(plan.links) == 7
    assert plan.direct == {}
    assert plan.notes == ()


def test_optics_in_another_stack_stand_in_where_the_reference_has_none(rotated: Sample) -> None:
    here = [view_id(0, c, "1", "left") for c in "01"]
    later = [view_id(1, c, "0", "left") for c in "01"]
    marks = rotated.marks([*later, *here], "ABCDE")
    plan = landmark_links(rotated.views, marks, REFERENCE)
    # the same time point is nearer than the same stack: optics may drift, stacks share them
    assert ends(plan.of_kind("objective_camera")) == [tuple(here)]
    assert rotated.error_um(plan.links[0]) < 1e-8
    assert any(unused.images == tuple(later) for unused in plan.unused)
    with_reference = [*marks, *rotated.marks([REFERENCE, view_id(channel="1")], "FGHIJ")]
    plan = landmark_links(rotated.views, with_reference, REFERENCE)
    assert ends(plan.of_kind("objective_camera")) == [(REFERENCE, view_id(channel="1"))]
    reasons = [unused.reason for unused in plan.unused if unused.images == tuple(here)]
    assert "have landmarks in stack 0 at time point 0" in reasons[0]


def test_stacks_and_times_of_other_optics_are_not_used_but_told(rotated: Sample) -> None:
    images = [view_id(objective="right"), view_id(stack="1", objective="right")]
    times = [view_id(channel="1"), view_id(1, channel="1")]
    marks = [*rotated.marks(images, "ABC"), *rotated.marks(times, "DEF")]
    plan = landmark_links(rotated.views, marks, REFERENCE)
    assert plan.links == ()
    assert [unused.images for unused in plan.unused] == [tuple(images), tuple(times)]
    assert "choose a Reference with objective right, channel 0, camera right" in plan.notes[0]
    assert "choose a Reference with objective left, channel 1, camera left" in plan.notes[1]
    plan = landmark_links(rotated.views, marks, images[0])
    assert ends(plan.of_kind("rotation")) == [tuple(images)]


def test_landmarks_shared_with_the_reference_stand_above_batch_alignment(rotated: Sample) -> None:
    odd = view_id(1, "1", "1", "right")
    images = [REFERENCE, view_id(channel="1"), odd]
    plan = landmark_links(rotated.views, rotated.marks(images, "ABCDEFG"), REFERENCE)
    assert ends(plan.links) == [(REFERENCE, view_id(channel="1"))]
    assert list(plan.direct) == [odd]
    assert (plan.direct[odd].fixed, plan.direct[odd].moving) == (REFERENCE, odd)
    assert plan.direct[odd].kind == "time_points"
    assert rotated.error_um(plan.direct[odd]) < 1e-8
    assert plan.unused == ()


@pytest.mark.parametrize(
    ("moving", "kind"),
    [
        (view_id(0, "1", "1"), "rotation"),
        (view_id(1, "1", "0", "right"), "time_points"),
    ],
)
def test_a_direct_link_is_of_the_last_stage_it_concerns(
    rotated: Sample, moving: ViewId, kind: str
) -> None:
    plan = landmark_links(rotated.views, rotated.marks([REFERENCE, moving], "AB"), REFERENCE)
    assert [(v, link.kind) for v, link in plan.direct.items()] == [(moving, kind)]


def test_time_points_are_tied_to_the_one_before_and_to_the_reference(tmp_path: Path) -> None:
    truth = small_experiment(tmp_path, shape=(12, 16, 20), time_points=5, tiles=(1, 1), drift_um=2)
    sample = Sample(truth)
    ids = [view_id(t) for t in range(5)]
    marks = [*sample.marks(ids, "A"), *sample.marks([ids[1], ids[3]], "B")]
    plan = landmark_links(sample.views, marks, ids[2])
    expected = [(2, 0), (0, 1), (2, 1), (2, 3), (1, 3), (2, 4), (3, 4)]
    assert len(plan.links) == len(expected)
    assert set(ends(plan.of_kind("time_points"))) == {(ids[a], ids[b]) for a, b in expected}
    assert max(map(sample.error_um, plan.links)) < 1e-9
    # all labels of a pair count, whichever of them made it a pair
    both = next(link for link in plan.links if (link.fixed, link.moving) == (ids[1], ids[3]))
    assert both.precision_um == pytest.approx(0.5 / np.sqrt(2))


def test_a_label_in_thousands_of_time_points_does_not_pair_all_with_all() -> None:
    def seconds(n: int) -> float:
        views = [
            View(view_id(t), Source("a"), (9, 9, 9), (1.0, 1.0, 1.0), Affine()) for t in range(n)
        ]
        marks = [Landmark("A", view.id, (1.0, 2.0, 3.0)) for view in views]
        start = process_time()
        plan = landmark_links(views, marks, views[0].id)
        assert len(plan.links) == 2 * n - 3
        return process_time() - start

    few = min(seconds(100) for _ in range(3))
    assert seconds(800) < 8 * 4 * few


def test_images_without_an_alignable_partner_are_told(rotated: Sample) -> None:
    a, b = view_id(stack="1"), view_id(1, "1", "0", "right")
    plan = landmark_links(rotated.views, rotated.marks([a, b], "ABC"), REFERENCE)
    assert plan.links == ()
    assert plan.unused[0].images == (a, b)
    told = "differ in objective, channel or camera and stack and time point at once"
    assert told in plan.unused[0].reason
    assert str(plan.unused[0]) in plan.notes


def test_all_landmarks_in_all_images_say_it_all(rotated: Sample) -> None:
    ids = [view.id for view in rotated.views]
    plan = landmark_links(rotated.views, rotated.marks(ids, "ABCDEFG"), REFERENCE)
    placed = {link.moving for link in plan.links} | set(plan.direct)
    assert placed == set(ids) - {REFERENCE}
    assert max(map(rotated.error_um, [*plan.links, *plan.direct.values()])) < 1e-7
    assert len(plan.unused) > 10  # they would only repeat what the used ones tell
    assert plan.notes == ()


def test_labels_without_a_partner_are_told(rotated: Sample) -> None:
    marks = [*rotated.marks([REFERENCE], "AB"), *rotated.marks([view_id(stack="1")], "BC")]
    plan = landmark_links(rotated.views, marks, REFERENCE)
    assert len(plan.links) == 1
    assert len(plan.notes) == 1
    assert "'A' in tp:0" in plan.notes[0]
    assert "'C' in tp:0" in plan.notes[0]


def test_images_that_are_not_selected_are_told(rotated: Sample) -> None:
    gone = view_id(1)
    views = [view for view in rotated.views if view.id != gone]
    images = [REFERENCE, view_id(stack="1"), gone]
    plan = landmark_links(views, rotated.marks(images, "AB"), REFERENCE)
    assert len(plan.links) == 1
    assert [(u.images, u.reason) for u in plan.unused] == [
        ((gone,), "the image is not among the selected ones")
    ]


def test_other_pm_ids_follow_the_references() -> None:
    ids = [replace(view_id(stack=s), pm=pm) for pm in ("0", "1") for s in "01"]
    views = [View(i, Source("a"), (9, 9, 9), (1.0, 1.0, 1.0), Affine()) for i in ids]
    marks = [Landmark("A", i, (1.0, 2.0, 3.0)) for i in ids]
    plan = landmark_links(views, marks, ids[0])
    assert ends(plan.links) == [(ids[0], ids[1])]
    assert plan.unused[0].images == tuple(ids[2:])
    assert "of its id (0)" in plan.unused[0].reason


def test_landmarks_move_with_what_was_done_to_the_metadata(rotated: Sample) -> None:
    """A multi-transform file changes `view_to_world`; the landmarks stay on the content."""
    turned = view_id(stack="1")
    moved = Affine.translation((3.0, -2.0, 7.0))
    views = [
        replace(v, view_to_world=moved @ v.view_to_world) if v.id == turned else v
        for v in rotated.views
    ]
    marks = rotated.marks([REFERENCE, turned], "ABC")
    (before,) = landmark_links(rotated.views, marks, REFERENCE).links
    (after,) = landmark_links(views, marks, REFERENCE).links
    np.testing.assert_allclose(
        (after.transform @ moved).to_array(), before.transform.to_array(), atol=1e-9
    )


def test_notes_of_a_fit_name_the_pair(tiled: Sample) -> None:
    a, b = (view_id(stack=s) for s in ("0-x00-y00", "0-x01-y00"))
    marks = tiled.marks([a, b], "ABCDE")
    flat = [replace(m, position_vx=(6.0, *m.position_vx[1:])) for m in marks]
    plan = landmark_links(tiled.views, flat, a)
    assert plan.tile_model == "rigid"
    assert plan.notes[0].startswith(f"tiles: {b} -> {a}: the 5 landmarks lie (nearly) in one plane")
    assert plan.links[0].reason in plan.notes[0]
    assert plan.links[0].is_trusted


def test_a_wrong_label_is_named_with_its_pair(rotated: Sample) -> None:
    turned = view_id(stack="1")
    marks = rotated.marks([REFERENCE, turned], "ABCDEF")
    wrong = [
        replace(m, position_vx=(m.position_vx[0] + 30, *m.position_vx[1:]))
        if (m.image, m.label) == (turned, "D")
        else m
        for m in marks
    ]
    plan = landmark_links(rotated.views, wrong, REFERENCE)
    told = [note for note in plan.notes if "landmark 'D' contradicts the others" in note]
    assert told
    assert told[0].startswith(f"rotation: {turned} -> {REFERENCE}")


def test_an_affine_transform_from_a_corner_of_the_overlap_is_told() -> None:
    ids = [view_id(), view_id(channel="1")]
    views = [View(i, Source("a"), (90, 900, 900), (1.0, 1.0, 1.0), Affine()) for i in ids]
    points = np.random.default_rng(0).uniform(0, 1, (6, 3)) * (80.0, 800.0, 60.0)
    marks = [
        Landmark(str(k), i, (float(z), float(y), float(x)))
        for i in ids
        for k, (z, y, x) in enumerate(points)
    ]
    plan = landmark_links(views, marks, REFERENCE)
    assert len(plan.notes) == 1
    assert "x: " in plan.notes[0]
    assert "of 900 µm" in plan.notes[0]
    assert "y: " not in plan.notes[0]
    assert landmark_links(views, marks[:3] + marks[6:9], REFERENCE).notes == ()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([view_id(channel="1"), view_id(objective="right")], "objectives, channels and cameras"),
        ([view_id(stack="1"), view_id(stack="2")], "rotated stacks"),
    ],
)
def test_a_reference_without_landmarks_is_told(images: list[ViewId], words: str) -> None:
    views = [
        View(i, Source("a"), (9, 9, 9), (1.0, 1.0, 1.0), Affine(), angle_deg=45.0 * n)
        for n, i in enumerate([REFERENCE, *images])
    ]
    marks = [Landmark("A", i, (1.0, 2.0, 3.0)) for i in images]
    plan = landmark_links(views, marks, REFERENCE)
    assert len(plan.links) == 1
    assert len(plan.notes) == 1
    assert f"tie the Reference ({REFERENCE}) to the other {words}" in plan.notes[0]


def test_poor_landmarks_count_less(tiled: Sample) -> None:
    a, b = (view_id(stack=s) for s in ("0-x00-y00", "0-x01-y00"))
    rng = np.random.default_rng(1)
    marks = [
        Landmark(m.label, m.image, tuple((np.array(m.position_vx) + rng.normal(0, 2, 3)).tolist()))
        for m in tiled.marks([a, b], "ABC")
    ]
    (link,) = landmark_links(tiled.views, marks, a).links
    assert link.quality < 0.5
    assert link.precision_um > 1.0


def test_the_same_label_twice_in_one_image_is_an_error(rotated: Sample) -> None:
    marks = rotated.marks([REFERENCE, REFERENCE], "A")
    with pytest.raises(ConfigError, match=r"'A' in tp:0 .* is set twice"):
        landmark_links(rotated.views, marks, REFERENCE)


def test_many_tiles_with_landmarks_between_neighbours() -> None:
    ids = [view_id(stack=f"0-x{i:03d}-y{j:03d}") for i in range(40) for j in range(40)]
    views = [View(i, Source("a"), (9, 9, 9), (1.0, 1.0, 1.0), Affine()) for i in ids]
    marks = [
        Landmark(f"{n}", image, (1.0, 2.0, 3.0))
        for n, pair in enumerate(pairwise(ids))
        for image in pair
    ]
    plan = landmark_links(views, marks, ids[0])
    assert len(plan.links) == len(ids) - 1
    assert plan.notes == ()
