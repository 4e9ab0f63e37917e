from itertools import pairwise
from time import process_time

import numpy as np
import pytest

from luxdask.errors import ConfigError
from luxdask.model.geometry import Affine
from luxdask.model.landmarks import (
    Landmark,
    corresponding,
    landmark_notes,
    landmarks_from_points,
    without_partner,
)
from luxdask.model.view import Source, View, ViewId

TILES = [ViewId(0, "0", f"0-x{i:02d}-y00", "left", "left") for i in range(4)]


def mark(label: str, image: ViewId, z: float = 0.0) -> Landmark:
    return Landmark(label, image, (z, 1.0, 2.0))


def test_images_with_equal_labels_form_pairs() -> None:
    a, b, c, d = TILES
    marks = [mark("10", b), mark("A", a), mark("2", b), mark("A", b), mark("10", a), mark("2", a)]
    marks += [mark("B", b), mark("B", c), mark("alone", d)]
    found = corresponding(marks)
    assert set(found) == {(a, b), (b, c)}
    assert [m.label for m in found[a, b]] == ["2", "10", "A"]
    assert all((m.fixed.image, m.moving.image) == (a, b) for m in found[a, b])
    assert [str(m) for m in without_partner(marks)] == [f"'alone' in {d}"]


def test_only_the_pairs_asked_for_are_made() -> None:
    marks = [mark(label, image) for image in TILES for label in "AB"]
    found = corresponding(marks, lambda images: [(images[-1], images[0])])
    assert list(found) == [(TILES[3], TILES[0])]
    assert [m.label for m in found[TILES[3], TILES[0]]] == ["A", "B"]


def test_the_same_label_twice_in_one_image_is_an_error_with_both_places() -> None:
    marks = [mark("A", TILES[0], 3.0), mark("A", TILES[1]), mark("A", TILES[0], 5.0)]
    with pytest.raises(ConfigError, match=r"'A' in tp:0 .*3\.0.*5\.0"):
        corresponding(marks)


def test_many_tiles_with_labels_of_their_own_are_quick() -> None:
    images = [ViewId(0, "0", f"0-x{i:05d}-y00", "left", "left") for i in range(8_000)]
    marks = [
        mark(f"{i}-{k}", image)
        for i, pair in enumerate(pairwise(images))
        for k in range(3)
        for image in pair
    ]

    def seconds(some: list[Landmark]) -> float:
        start = process_time()
        assert len(corresponding(some)) >= 1000
        return process_time() - start

    few = min(seconds(marks[: len(marks) // 8]) for _ in range(3))
    assert seconds(marks) < 8 * 4 * few


def test_points_of_a_napari_layer() -> None:
    points = np.array([[1, 2, 3.5], [4, 5, 6]])
    found = landmarks_from_points(points, [1, " B "], TILES[0])
    assert found == (
        Landmark("1", TILES[0], (1.0, 2.0, 3.5)),
        Landmark("B", TILES[0], (4.0, 5.0, 6.0)),
    )
    assert landmarks_from_points(np.zeros((0, 3)), [], TILES[0]) == ()


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        ([[1, 2]], ["A"], r"shape \(1, 2\) and 1 labels"),
        ([[1, 2, 3]], ["A", "B"], r"shape \(1, 3\) and 2 labels"),
        ([[1, 2, np.nan]], ["A"], "not a finite number"),
        ([[1, 2, 3]], [" "], "point 0 has an empty label"),
        ([[1, 2, 3], [4, 5, 6]], ["A", "A"], "set twice"),
    ],
)
def test_points_that_cannot_be_landmarks(points: object, labels: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        landmarks_from_points(points, labels, TILES[0])  # type: ignore[arg-type]


def test_notes_name_landmarks_outside_and_labels_without_partner() -> None:
    views = {i: View(i, Source("a"), (4, 8, 8), (1.0, 1.0, 1.0), Affine()) for i in TILES}
    inside = [Landmark("A", TILES[0], (-0.5, 7.4, 0.0)), Landmark("A", TILES[1], (3.4, 0.0, 0.0))]
    assert landmark_notes(inside, views) == ()
    outside = Landmark("B", TILES[0], (3.5, 0.0, 0.0))
    notes = landmark_notes([*inside, outside], views)
    assert len(notes) == 2
    assert "'B' in tp:0" in notes[0]
    assert "outside of the image of (4, 8, 8) voxels" in notes[0]
    assert "no other image has" in notes[1]
    many = [Landmark(f"L{i}", TILES[0], (9.0, 0.0, 0.0)) for i in range(30)]
    notes = landmark_notes(many, views)
    assert len(notes) == 12
    assert notes[10] == "20 more landmarks lie outside"
    assert notes[11].endswith("and 20 more")
