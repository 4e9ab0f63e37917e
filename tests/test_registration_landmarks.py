"""Landmarks from the file to the places of the views, as the guide's examples and notes have it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import luxdask
from luxdask.io.landmark_file import read_landmarks, write_landmarks
from luxdask.model.geometry import Affine, vector
from luxdask.model.landmarks import Landmark
from luxdask.model.view import ViewId
from luxdask.tasks.compile import select_inputs
from luxdask.tasks.registration import solve
from luxdask.tasks.registration_plan import plan_registration
from luxdask.testing import small_experiment
from luxdask.testing.alignment import position_errors
from luxdask.testing.spoil import spoil_overlaps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from luxdask.model.experiment import Experiment
    from luxdask.tasks.registration_result import Registration
    from luxdask.testing import Truth

ROOT = Path(__file__).parents[1]
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWX"
LANDMARKS = {"registration.landmarks.enabled": True}
TILES = {"registration.tiles.enabled": True}
TIMES = {"registration.time_points.enabled": True}
ONE_TIME = {"registration.use_reference_time_point_for_all": True}
CONTENT_OFF = {"registration.objective_camera.enabled": False}  # on where there are two objectives
OBJECTIVES = {
    "registration.objective_camera.enabled": True,
    "registration.objective_camera.different_objectives": True,
    "registration.objective_camera.different_cameras": True,
}
EXACT_VX = 0.02  # landmarks are set exactly; the optimiser holds everything weakly at its metadata
CLOSE_VX = 0.5  # contents of small images compared, at their corners
OFF_VX = 1.0  # further than any registration may leave it

LEFT, RIGHT = "left", "right"
A, B = "0-x00-y00", "0-x01-y00"


class Sample:
    """An experiment, structures in its sample, and where they appear in each image.

    true : where images lie in truth; changed where landmarks shall tell of more than contents do.
    """

    def __init__(
        self,
        truth: Truth,
        *,
        y: tuple[float, float] = (0.2, 0.8),
        x: tuple[float, float] = (0.2, 0.8),
    ) -> None:
        """y, x : where the structures lie, in parts of the sample."""
        self.truth = truth
        lower, upper = np.transpose([(0.15, 0.85), y, x])
        more = np.random.default_rng(8).uniform(0, 1, (len(LABELS) - 4, 3))
        tetrahedron = [(0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1)]
        part = lower + (upper - lower) * np.concatenate([tetrahedron, more])
        self.points_um = truth.volume_to_world.apply(part * (np.array(truth.shape) - 1))
        self.ids = [view.id for view in truth.views]

    @property
    def experiment(self) -> Experiment:
        return luxdask.open_experiment(self.truth.folder)

    def bent(self, bends: Mapping[ViewId, Affine]) -> Sample:
        """The sample with images whose voxels are distorted; files stay as they are."""
        views = tuple(
            replace(v, true_view_to_world=v.true_view_to_world @ bends.get(v.id, Affine()))
            for v in self.truth.views
        )
        other = Sample(replace(self.truth, views=views))
        other.points_um = self.points_um
        return other

    def marks(self, images: Iterable[ViewId], labels: str, prefix: str = "") -> list[Landmark]:
        return [self.mark(image, label, prefix) for image in images for label in labels]

    def mark(self, image: ViewId, label: str, prefix: str = "") -> Landmark:
        inside = self.truth.by_id[image].true_view_to_world.inverse()
        position = inside.apply(self.points_um[LABELS.index(label)])
        return Landmark(prefix + label, image, vector(position))

    def register(
        self, tmp_path: Path, marks: Iterable[Landmark], *values: dict[str, Any], **reference: Any
    ) -> Registration:
        settings = self.settings(tmp_path, marks, *values, **reference)
        return luxdask.register(self.experiment, settings)

    def settings(
        self, tmp_path: Path, marks: Iterable[Landmark], *values: dict[str, Any], **reference: Any
    ) -> dict[str, Any]:
        write_landmarks(tmp_path / "marks.lmk.json", marks)
        given = {f"input.reference.{key}": value for key, value in reference.items()}
        given |= (
            LANDMARKS | CONTENT_OFF | {"input.landmarks_file": str(tmp_path / "marks.lmk.json")}
        )
        return given | {key: value for some in values for key, value in some.items()}

    def errors(self, found: Registration) -> dict[ViewId, float]:
        """Largest distance of each view from its true place, in voxels, seen from the reference."""
        errors = position_errors(self.truth, found.transforms, found.reference)
        return {view: error.largest_vx for view, error in errors.items()}

    def worst(self, found: Registration, **parts: Any) -> float:
        """Of the views with these parts of an identity."""
        return max(e for view, e in self.errors(found).items() if _has(view, parts))

    def least(self, found: Registration, **parts: Any) -> float:
        return min(e for view, e in self.errors(found).items() if _has(view, parts))


def _has(view: ViewId, parts: Mapping[str, Any]) -> bool:
    return all(getattr(view, name) == value for name, value in parts.items())


def view_id(t: int = 0, channel: str = "0", stack: str = A, objective: str = LEFT) -> ViewId:
    return ViewId(t, channel, stack, objective, objective)


def turned(t: int = 0, channel: str = "0", objective: str = LEFT) -> ViewId:
    return view_id(t, channel, "1", objective)


def home(t: int = 0, channel: str = "0", objective: str = LEFT) -> ViewId:
    return view_id(t, channel, "0", objective)


def sources(found: Registration, *kinds: str) -> list[str]:
    return [link.source for link in found.links if link.kind in kinds]


ALL_OPTICS = [(c, o) for c in "01" for o in (LEFT, RIGHT)]


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Two tiles with stage errors; anisotropic voxels; everything else is wrong as well."""
    truth = small_experiment(
        tmp_path_factory.mktemp("tiled") / "e",
        shape=(30, 80, 108),
        spacing_um=(2.0, 1.0, 1.0),
        tiles=(1, 2),
        overlap=0.5,
        objectives=2,
        channels=2,
        time_points=2,
        stage_error_um=3.0,
        camera_error_um=2.0,
        camera_tilt_deg=1.0,
        channel_error_um=2.0,
        drift_um=3.0,
        sub_voxel=True,
    )
    assert len(truth.views) == 16
    return Sample(truth, x=(0.4, 0.6))


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Two stacks at right angles, the second off by a degree and some µm."""
    truth = small_experiment(
        tmp_path_factory.mktemp("rotated") / "e",
        shape=(70, 64, 70),
        tiles=(1, 1),
        rotations_deg=(0.0, 90.0),
        objectives=2,
        channels=2,
        time_points=2,
        rotation_error_deg=1.0,
        rotation_error_um=4.0,
        camera_error_um=2.0,
        camera_tilt_deg=1.0,
        channel_error_um=2.0,
        drift_um=3.0,
        sub_voxel=True,
    )
    assert len(truth.views) == 16
    return Sample(truth)


# Example 1: tiles whose contents gave too little


def test_example_1_tiles_by_landmarks(tiled: Sample, tmp_path: Path) -> None:
    marks = tiled.marks([view_id(), view_id(stack=B)], "ABC")
    found = tiled.register(tmp_path, marks, TILES)
    # the other time point has no landmarks: its tiles are compared by their contents
    assert sources(found, "tiles") == ["content", "landmarks"]
    for t in (0, 1):
        tile = found.transforms[view_id(t, stack=B)] @ found.transforms[view_id(t)].inverse()
        true = tiled.truth.by_id[view_id(stack=B)].correction
        np.testing.assert_allclose(tile.offset, true.offset, atol=EXACT_VX)
    assert tiled.worst(found, time_point=0, channel="0", objective=LEFT) < EXACT_VX
    # what the tiles tell holds for the other objective and channel too
    for view in tiled.ids:
        own = view_id(view.time_point, stack=view.stack)
        assert found.transforms[view] == found.transforms[own]


@pytest.mark.parametrize("fault", ["blank", "moved"])
def test_landmarks_for_one_bad_pair_of_tiles_contents_for_the_rest(
    tmp_path: Path, fault: Any
) -> None:
    truth = small_experiment(
        tmp_path / "e",
        shape=(32, 120, 140),
        tiles=(2, 2),
        overlap=0.3,
        stage_error_um=3.0,
        sub_voxel=True,
    )
    sample = Sample(truth, y=(0.05, 0.5), x=(0.42, 0.58))
    a, b = view_id(), view_id(stack=B)
    spoil_overlaps(truth, {(a, b): fault}, moved_um=10)
    without_outliers = {"registration.tiles.remove_outliers.mode": "AutomaticWithCostThreshold"}
    found = sample.register(tmp_path, sample.marks([a, b], "ABC"), TILES, without_outliers)
    by_landmarks = [link for link in found.links if link.source == "landmarks"]
    assert [(link.fixed, link.moving) for link in by_landmarks] == [(a, b)]
    assert "content" in sources(found, "tiles")
    assert max(sample.errors(found).values()) < CLOSE_VX


MAGNIFIED = Affine.from_array(
    np.eye(3) + np.array([[8, 3, 0], [-3, 9, 5], [0, -5, 7]]) * 1e-3, (0.3, -1.2, 0.7)
)


def test_four_landmarks_in_a_pair_of_tiles_make_all_tiles_affine(
    tiled: Sample, tmp_path: Path
) -> None:
    sample = tiled.bent({view_id(stack=B): MAGNIFIED})
    images = [view_id(), view_id(stack=B)]
    three = sample.register(tmp_path, sample.marks(images, "ABC"))
    four = sample.register(tmp_path, sample.marks(images, "ABCD"))
    assert [three.links[0].model, four.links[0].model] == ["translation", "affine"]
    stacks = list(three.corrections.stacks.values())
    assert all(s.linear == Affine().linear for s in stacks)
    # so small an image is held at its metadata's shape by more than a trace
    assert sample.errors(four)[images[1]] < 0.3
    assert sample.errors(three)[images[1]] > 3 * sample.errors(four)[images[1]]


# Example 2: channels and objectives, set in one tile, hold for all tiles


def test_example_2_colours_and_objectives_by_landmarks_tiles_by_content(
    tiled: Sample, tmp_path: Path
) -> None:
    images = [view_id(0, c, A, o) for c, o in ALL_OPTICS]
    found = tiled.register(tmp_path, tiled.marks(images, LABELS), TILES, TIMES, OBJECTIVES)
    assert sources(found, "objective_camera") == ["landmarks"] * 6
    assert set(sources(found, "tiles", "time_points")) == {"content"}
    assert len(tiled.errors(found)) == 16
    assert max(tiled.errors(found).values()) < 0.05
    assert found.warnings == ()
    assert found.unlinked == ()


def test_colours_by_landmarks_objectives_by_content(tiled: Sample, tmp_path: Path) -> None:
    """A colour lies where the camera sees it, also in the mirrored view that has no landmarks."""
    marks = tiled.marks([view_id(), view_id(channel="1")], LABELS)
    found = tiled.register(tmp_path, marks, OBJECTIVES)
    assert sorted(sources(found, "objective_camera")) == ["content", "landmarks"]
    at_home = {"time_point": 0, "stack": A}
    assert tiled.worst(found, **at_home, objective=LEFT) < EXACT_VX
    assert tiled.worst(found, **at_home, objective=RIGHT) < CLOSE_VX


def test_objectives_known_in_another_colour_hold_for_the_references(
    tiled: Sample, tmp_path: Path
) -> None:
    images = [view_id(), view_id(channel="1"), view_id(channel="1", objective=RIGHT)]
    marks = [*tiled.marks(images[:2], "ABCDE"), *tiled.marks(images[1:], "ABCDE", "right")]
    found = tiled.register(tmp_path, marks)
    assert tiled.worst(found, time_point=0, stack=A) < EXACT_VX


def test_landmarks_between_channels_stand_above_contents_of_different_channels(
    tiled: Sample, tmp_path: Path
) -> None:
    both = {"registration.tiles.register_channels": "RegisterDifferentChannels"}
    marks = tiled.marks([view_id(), view_id(channel="1")], LABELS)
    found = tiled.register(tmp_path, marks, TILES, both)
    assert {link.moving.channel for link in found.links if link.kind == "tiles"} == {"0"}
    assert any("landmarks align the channels" in warning for warning in found.warnings)
    assert tiled.worst(found, time_point=0, objective=LEFT) < EXACT_VX


def test_a_reference_of_another_colour_and_objective_keeps_its_place(
    tiled: Sample, tmp_path: Path
) -> None:
    images = [view_id(1, c, B, o) for c, o in ALL_OPTICS]
    where = {"time_point": 1, "channel": "1", "stack": B, "objective": RIGHT, "camera": RIGHT}
    found = tiled.register(tmp_path, tiled.marks(images, LABELS), TILES, **where)
    assert found.reference == images[-1]
    assert found.transforms[images[-1]] == Affine()
    assert tiled.worst(found, time_point=1, stack=B) < EXACT_VX
    assert tiled.worst(found, time_point=1) < CLOSE_VX


# Example 3: rotated views


def test_example_3_rotations_by_landmarks_objectives_by_content(
    rotated: Sample, tmp_path: Path
) -> None:
    both = [home(), turned()]
    found = rotated.register(tmp_path, rotated.marks(both, LABELS), OBJECTIVES)
    assert sources(found, "rotation") == ["landmarks"]
    assert sources(found, "objective_camera") == ["content"]
    assert rotated.worst(found, time_point=0, channel="0", objective=LEFT) < EXACT_VX
    assert rotated.worst(found, time_point=0, channel="0", objective=RIGHT) < CLOSE_VX
    # nothing tells of the colours; they follow with their own error
    for stack in "01":
        one, other = (view_id(0, c, stack) for c in "01")
        assert found.transforms[one] == found.transforms[other]


def test_examples_2_and_3_together(rotated: Sample, tmp_path: Path) -> None:
    in_one_stack = rotated.marks([home(0, c, o) for c, o in ALL_OPTICS], LABELS)
    across = rotated.marks([home(), turned()], LABELS, "across ")
    found = rotated.register(tmp_path, [*in_one_stack, *across])
    assert set(sources(found, "objective_camera", "rotation")) == {"landmarks"}
    assert rotated.worst(found, time_point=0) < EXACT_VX
    assert rotated.worst(found, time_point=0, stack="1", channel="1", objective=RIGHT) < EXACT_VX


def test_landmarks_by_way_of_other_images_replace_contents_too(
    rotated: Sample, tmp_path: Path
) -> None:
    """Left and right are tied by the other colour: their contents are not compared."""
    ring = [home(), home(channel="1"), home(0, "1", RIGHT), home(0, "0", RIGHT)]
    marks = [
        mark for n in range(3) for mark in rotated.marks(ring[n : n + 2], LABELS, f"step {n} ")
    ]
    found = rotated.register(tmp_path, marks, OBJECTIVES)
    assert sources(found, "objective_camera") == ["landmarks"] * 3
    assert rotated.worst(found, time_point=0, stack="0") < EXACT_VX


# Three or fewer pairs: a translation; more: affine, the more the better; never in one plane


@pytest.mark.parametrize("count", [1, 2, 3])
def test_up_to_three_landmarks_give_a_translation(
    rotated: Sample, tmp_path: Path, count: int
) -> None:
    marks = rotated.marks([home(), home(channel="1")], LABELS[:count])
    found = rotated.register(tmp_path, marks)
    assert [link.model for link in found.links] == ["translation"]
    assert rotated.worst(found, time_point=0, stack="0", objective=LEFT) < EXACT_VX


def test_more_landmarks_give_a_better_alignment(rotated: Sample, tmp_path: Path) -> None:
    """The best fit to landmarks that are not set exactly."""
    images = [home(), home(channel="1")]
    sample = rotated.bent({images[1]: MAGNIFIED})
    rng = np.random.default_rng(3)

    def error_um(count: int) -> float:
        marks = [
            replace(m, position_vx=vector(np.add(m.position_vx, rng.normal(0, 0.3, 3))))
            for m in sample.marks(images, LABELS[:count])
        ]
        found = sample.register(tmp_path, marks)
        assert found.links[0].model == "affine"
        # the metadata's place of the structures, as the image shows them
        view = sample.truth.by_id[images[1]]
        inside = view.true_view_to_world.inverse().apply(sample.points_um)
        placed = found.transforms[images[1]].apply(view.view_to_world.apply(inside))
        return float(np.sqrt(np.mean((placed - sample.points_um) ** 2)))

    def usual(count: int) -> float:
        return float(np.mean([error_um(count) for _ in range(8)]))

    assert usual(24) < 0.8 * usual(4)


def test_landmarks_in_one_plane_are_told_and_still_used(rotated: Sample, tmp_path: Path) -> None:
    flat = Sample(rotated.truth)
    flat.points_um = rotated.points_um.copy()
    flat.points_um[:, 1] = flat.points_um[:, 1].mean()
    found = flat.register(tmp_path, flat.marks([home(), turned()], "ABCDEF"))
    assert any("(nearly) in one plane" in warning for warning in found.warnings)
    assert found.links[0].model == "rigid"
    assert flat.worst(found, time_point=0, channel="0", objective=LEFT) < EXACT_VX


# Landmarks stick to the content of their image


def test_a_multi_transform_file_moves_landmarks_along(rotated: Sample, tmp_path: Path) -> None:
    turn = {"matrix": [[0.99, 0.05, 0], [-0.05, 0.99, 0], [0, 0, 1]], "translation": [2, 3, -4]}
    shift = {"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "translation": [30.0, 0, 5.0]}
    file = tmp_path / "own.mtf.json"
    file.write_text(json.dumps({"affines": [{"stacks": ["1"], "prepend": [turn]},
                                            {"stacks": ["1"], "append": [shift]}]}))  # fmt: skip
    mtf = {"input.metadata.multi_transform.enabled": True}
    mtf["input.metadata.multi_transform.file"] = str(file)  # type: ignore[assignment]
    marks = rotated.marks([home(), turned()], LABELS)
    found = rotated.register(tmp_path, marks, mtf)
    view = found.by_id[turned()]
    true = rotated.truth.by_id[turned()]
    assert np.abs(np.subtract(view.view_to_world.offset, true.view_to_world.offset)).max() > 5
    placed = found.transforms[turned()] @ view.view_to_world
    corners = np.array([(0, 0, 0), np.array(true.shape) - 1])
    np.testing.assert_allclose(
        placed.apply(corners), true.true_view_to_world.apply(corners), atol=0.1
    )


# Important notes


def test_batch_alignment_needs_landmarks_in_the_reference(rotated: Sample, tmp_path: Path) -> None:
    others = [home(channel="1"), home(0, "1", RIGHT)]
    found = rotated.register(tmp_path, rotated.marks(others, LABELS))
    told = [w for w in found.warnings if f"no landmarks tie the Reference ({home()})" in w]
    assert len(told) == 1
    again = rotated.register(tmp_path, rotated.marks(others, LABELS), channel="1")
    assert again.warnings == ()
    assert rotated.worst(again, time_point=0, stack="0", channel="1") < EXACT_VX


def test_landmarks_of_another_stack_stand_in_for_the_references(
    rotated: Sample, tmp_path: Path
) -> None:
    """Optics are the same in all stacks."""
    found = rotated.register(
        tmp_path, rotated.marks([turned(0, c, o) for c, o in ALL_OPTICS], LABELS)
    )
    assert rotated.worst(found, time_point=0, stack="0") < EXACT_VX


def test_optics_are_extended_to_all_time_points(rotated: Sample, tmp_path: Path) -> None:
    in_one_stack = rotated.marks([home(0, c, o) for c, o in ALL_OPTICS], LABELS)
    found = rotated.register(tmp_path, in_one_stack, time_point=0)
    for channel, objective in ALL_OPTICS:
        one, other = (found.transforms[home(t, channel, objective)] for t in (0, 1))
        np.testing.assert_allclose(one.to_array(), other.to_array(), atol=1e-9)
    # in their time point, everything lies right relative to its own reference
    later = found.transforms | {home(0): Affine()}
    drift = rotated.truth.by_id[home(1)].correction
    moved = {v: drift @ c for v, c in later.items() if v.time_point == 1 and v.stack == "0"}
    errors = position_errors(rotated.truth, moved, home(1))
    assert max(e.largest_vx for e in errors.values()) < EXACT_VX


@pytest.mark.parametrize("extended", [False, True])
def test_stacks_are_extended_to_all_time_points_on_demand(
    rotated: Sample, tmp_path: Path, extended: bool
) -> None:
    marks = rotated.marks([home(), turned()], LABELS)
    found = rotated.register(tmp_path, marks, ONE_TIME if extended else {})
    first, later = found.transforms[turned()], found.transforms[turned(1)]
    assert rotated.errors(found)[turned()] < EXACT_VX
    assert later == (first if extended else Affine())
    assert (found.unlinked == ()) is extended


def test_landmarks_in_one_image_stand_above_batch_alignment(
    rotated: Sample, tmp_path: Path
) -> None:
    odd = turned(0, "1", RIGHT)
    sample = rotated.bent({odd: Affine.translation((0.0, 6.0, -5.0))})
    batch = [
        *sample.marks([home(0, c, o) for c, o in ALL_OPTICS], LABELS),
        *sample.marks([turned()], LABELS),
    ]
    without = sample.register(tmp_path, batch)
    assert sample.errors(without)[odd] > 5
    found = sample.register(tmp_path, [*batch, *sample.marks([odd], LABELS)])
    assert found.direct[odd].source == "landmarks"
    assert sample.worst(found, time_point=0) < EXACT_VX
    # it alone is moved
    for view in sample.ids:
        assert (found.transforms[view] == without.transforms[view]) is (view != odd)


def test_an_image_with_landmarks_of_its_own_is_extended_like_the_stacks(
    rotated: Sample, tmp_path: Path
) -> None:
    odd = turned(0, "1", RIGHT)
    marks = rotated.marks([home(), odd], LABELS)
    alone = rotated.register(tmp_path, marks)
    extended = rotated.register(tmp_path, marks, ONE_TIME)
    assert rotated.errors(alone)[odd] < EXACT_VX
    assert alone.transforms[replace(odd, time_point=1)] == Affine()
    assert extended.transforms[replace(odd, time_point=1)] == extended.transforms[odd]


def test_an_image_of_another_time_point_stands_above_the_extended_ones(
    rotated: Sample, tmp_path: Path
) -> None:
    odd = turned(1, "1", RIGHT)
    marks = [
        *rotated.marks([home(0, c, o) for c, o in ALL_OPTICS], LABELS),
        *rotated.marks([turned(), odd], LABELS),
    ]
    found = rotated.register(tmp_path, marks, ONE_TIME)
    assert rotated.worst(found, time_point=0) < EXACT_VX
    assert rotated.errors(found)[odd] < EXACT_VX  # the drift that nothing else tells of included
    assert rotated.errors(found)[turned(1, "1", LEFT)] > OFF_VX


# Alignment of different time points


@pytest.mark.parametrize("extended", [False, True])
def test_time_points_by_landmarks(rotated: Sample, tmp_path: Path, extended: bool) -> None:
    marks = [
        *rotated.marks([home(0), home(1)], "ABC"),
        *rotated.marks([home(0, c, o) for c, o in ALL_OPTICS], LABELS, "optics "),
        *rotated.marks([home(0), turned(0)], LABELS, "stacks "),
    ]
    found = rotated.register(tmp_path, marks, ONE_TIME if extended else {})
    assert rotated.worst(found, time_point=0) < EXACT_VX
    assert rotated.worst(found, time_point=1, stack="0") < EXACT_VX
    if extended:
        assert rotated.worst(found) < EXACT_VX
    else:
        assert rotated.least(found, time_point=1, stack="1") > OFF_VX


def test_time_points_take_the_landmarks_of_the_reference(rotated: Sample, tmp_path: Path) -> None:
    """Those of another colour are not used, and that is said."""
    marks = rotated.marks([home(0, "1"), home(1, "1")], "ABC")
    found = rotated.register(tmp_path, marks)
    assert found.links == ()
    assert any("choose a Reference with objective left, channel 1" in w for w in found.warnings)
    again = rotated.register(tmp_path, marks, channel="1")
    assert rotated.worst(again, stack="0", channel="1", objective=LEFT) < EXACT_VX


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Five time points of a moving sample; what is seen at time point 3 moves by itself."""
    truth = small_experiment(
        tmp_path_factory.mktemp("series") / "e",
        shape=(30, 60, 60),
        tiles=(1, 1),
        time_points=5,
        drift_um=2.0,
        drift_random_um=2.0,
    )
    return Sample(truth)


def misleading(sample: Sample, *times: int) -> Sample:
    """Landmarks say that these time points lie elsewhere than their contents say."""
    jump = Affine.translation((0.0, 5.0, -4.0))
    return sample.bent({home(t): jump for t in times})


@pytest.mark.parametrize("marked", [(2, 3), (0, 3)], ids=["the one before", "the reference"])
def test_landmarks_for_one_time_point_contents_for_the_others(
    series: Sample, tmp_path: Path, marked: tuple[int, int]
) -> None:
    sample = misleading(series, 3, 4)
    found = sample.register(tmp_path, sample.marks([home(t) for t in marked], "ABC"), TIMES)
    assert sources(found, "time_points").count("landmarks") == 1
    steps = {(link.fixed.time_point, link.moving.time_point) for link in found.links}
    assert {(0, 1), (1, 2), (3, 4)} <= steps
    assert (marked == (2, 3)) or (2, 3) not in steps
    assert max(sample.errors(found).values()) < 0.1
    assert found.unlinked == ()


def test_landmarks_before_the_reference(series: Sample, tmp_path: Path) -> None:
    sample = misleading(series, 0, 1)
    marks = sample.marks([home(1), home(2)], "ABC")
    found = sample.register(tmp_path, marks, TIMES, time_point=4)
    steps = {(link.fixed.time_point, link.moving.time_point) for link in found.links}
    assert {(0, 1), (2, 3), (3, 4)} <= steps
    assert max(sample.errors(found).values()) < 0.1


# PM ids, other kinds of files


def test_other_pm_ids_follow(tmp_path: Path) -> None:
    truth = small_experiment(
        tmp_path / "e", shape=(16, 24, 40), pms=2, tiles=(1, 2), overlap=0.5, stage_error_um=3.0
    )
    sample = Sample(truth, x=(0.4, 0.6))
    images = [replace(view_id(stack=s), pm=pm) for pm in ("0", "1") for s in (A, B)]
    found = sample.register(tmp_path, sample.marks(images, "ABC"))
    assert [link.moving for link in found.links] == [images[1]]
    assert max(sample.errors(found).values()) < EXACT_VX
    assert any("follow the images of its id (0)" in warning for warning in found.warnings)


def write_table(path: Path, marks: Iterable[Landmark]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(["label", "stack", "channel", "objective", "time_point", "x", "y", "z"])
        for m in marks:
            i = m.image
            place = [repr(p).replace(".", ",") for p in m.position_vx[::-1]]
            table.writerow([m.label, i.stack, i.channel, i.objective, i.time_point, *place])


def write_points(folder: Path, marks: Iterable[Landmark]) -> None:
    """One file per image, as napari saves a points layer with the feature `label`."""
    folder.mkdir()
    for m in marks:
        i = m.image
        path = folder / f"tp-{i.time_point}_ch-{i.channel}_st-{i.stack}_obj-{i.objective}.csv"
        rows = (
            path.read_text().splitlines() if path.exists() else ["index,axis-0,axis-1,axis-2,label"]
        )
        rows.append(",".join(map(str, (len(rows) - 1.0, *m.position_vx, m.label))))
        path.write_text("\n".join(rows))


def test_tables_and_points_of_napari_give_the_same(rotated: Sample, tmp_path: Path) -> None:
    marks = [
        *rotated.marks([home(0, c, o) for c, o in ALL_OPTICS], LABELS),
        *rotated.marks([home(), turned()], LABELS, "across "),
    ]
    expected = rotated.register(tmp_path, marks).transforms
    write_table(tmp_path / "marks.csv", marks)
    write_points(tmp_path / "napari", marks)
    for name in ("marks.csv", "napari"):
        file = {"input.landmarks_file": str(tmp_path / name)}
        found = luxdask.register(rotated.experiment, LANDMARKS | CONTENT_OFF | file)
        assert found.transforms == expected


# Reuse


def run_task(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Run a task without fusion; returns the settings that reuse it."""
    experiment = luxdask.open_experiment(folder)
    given = {"fusion.enabled": False, "registration.enabled": True} | values
    result = luxdask.Task.new(experiment, values=given).run(experiment)
    assert result.registration is not None
    return CONTENT_OFF | {"registration.reuse.task_folder": str(result.registration.folder)}


def without_measuring(experiment: Experiment, values: dict[str, Any]) -> Registration:
    """All that is known already, with no stage of content registration switched on."""
    config = luxdask.Task.new(experiment, values={**values, "registration.enabled": True}).config
    planned = plan_registration(config, select_inputs(config, experiment), experiment)
    assert planned.jobs == ()
    return solve(planned, ())


def test_landmarks_of_an_earlier_task_hold_without_their_file(
    rotated: Sample, tmp_path: Path
) -> None:
    shutil.copytree(rotated.truth.folder, tmp_path / "e")
    experiment = luxdask.open_experiment(tmp_path / "e")
    odd = turned(0, "1", RIGHT)
    sample = rotated.bent({odd: Affine.translation((0.0, 6.0, -5.0))})
    marks = [
        *sample.marks([home(0, c, o) for c, o in ALL_OPTICS], LABELS),
        *sample.marks([turned(), odd], LABELS),
        *sample.marks([home(1)], LABELS),
    ]
    settings = sample.settings(tmp_path, marks)
    first = luxdask.register(experiment, settings)
    assert sample.worst(first, time_point=0) < EXACT_VX
    reused = run_task(tmp_path / "e", settings)
    reused_twice = run_task(tmp_path / "e", reused)
    for values in (reused, reused_twice):
        found = without_measuring(experiment, values)
        assert set(found.direct) == {odd}
        assert len(found.links) == len(first.links)
        for view, transform in first.transforms.items():
            again = found.transforms[view].to_array()
            np.testing.assert_allclose(again, transform.to_array(), atol=1e-6)
    # seen from another reference all lie to each other as before
    moved = without_measuring(experiment, reused | {"input.reference.stack": "1"})
    assert moved.reference == turned()
    assert sample.worst(moved, time_point=0) < EXACT_VX


def test_tiles_by_landmarks_hold_for_other_channels_on_demand(
    tiled: Sample, tmp_path: Path
) -> None:
    shutil.copytree(tiled.truth.folder, tmp_path / "e")
    experiment = luxdask.open_experiment(tmp_path / "e")
    marks = tiled.marks([view_id(), view_id(stack=B)], "ABC")
    settings = tiled.settings(tmp_path, marks, {"input.select.channels": ["0"]})
    reused = run_task(tmp_path / "e", settings) | {"input.select.channels": ["1"]}
    unmatched = {"registration.reuse.match_channel": False}
    found = without_measuring(experiment, reused | unmatched)
    assert len(found.links) == 1
    assert tiled.worst(found, time_point=0, objective=LEFT) < EXACT_VX


# What is planned


def test_the_plan_compares_no_contents_where_landmarks_are(tiled: Sample, tmp_path: Path) -> None:
    marks = tiled.marks([view_id(0, c, A, o) for c, o in ALL_OPTICS], LABELS)
    settings = tiled.settings(tmp_path, marks, TILES, OBJECTIVES)
    experiment = tiled.experiment
    task = luxdask.Task.new(experiment, values={**settings, "registration.enabled": True})
    planned = plan_registration(task.config, select_inputs(task.config, experiment), experiment)
    assert {pair.kind for pair in planned.pairs} == {"tiles"}
    assert {link.source for link in planned.known} == {"landmarks"}


def test_the_files_of_the_documentation_can_be_read(tiled: Sample, tmp_path: Path) -> None:
    page = (ROOT / "docs/registration.md").read_text(encoding="utf-8").replace("1-x03-y04", A)
    found = []
    for language, name in (("jsonc", "a.lmk.json"), ("text", "a.csv")):
        (example,) = (
            part
            for part in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
            if "label" in part
        )
        (tmp_path / name).write_text(example, encoding="utf-8")
        found.append(read_landmarks(tmp_path / name, tiled.experiment))
    assert found[0] == found[1]
    assert found[0] == (
        Landmark("A", view_id(), (41.0, 310.0, 512.5)),
        Landmark("A", view_id(channel="1"), (41.0, 309.2, 515.1)),
    )
