from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.image
import numpy as np
import pytest

import luxdask
from luxdask.errors import ConfigError, MetadataError, OutputError
from luxdask.report.canvas import length_text, round_length
from luxdask.report.colours import channel_colours, composite, display_range
from luxdask.report.layout import Block, place, words_width
from luxdask.report.mosaic import mosaics
from luxdask.report.overview import write_overview
from luxdask.testing.experiment_writer import small_experiment

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.model.experiment import Experiment


def test_the_picture_shows_the_image_in_the_colour_of_its_channel(
    tmp_path: Path, fused: tuple[Path, ...], opposed: Experiment
) -> None:
    path = write_overview(fused, tmp_path / "a.png", inputs=opposed.views)
    picture = matplotlib.image.imread(path)[..., :3]
    assert picture.shape[0] > 300
    assert picture.shape[1] > 500
    first, second = (np.array(c) / np.linalg.norm(c) for c in channel_colours(2))
    bright = picture[picture.sum(axis=2) > 0.8].astype(float)
    hue = bright / np.linalg.norm(bright, axis=1, keepdims=True)
    assert (hue @ first > 0.97).mean() > 0.005
    assert (hue @ second > 0.97).mean() > 0.005


def test_a_single_channel_is_grey(tmp_path: Path, fused: tuple[Path, ...]) -> None:
    picture = matplotlib.image.imread(write_overview(fused[:1], tmp_path / "a.png"))[..., :3]
    bright = picture[picture.min(axis=2) > 0.3]
    assert len(bright) > 10_000
    assert np.median(np.ptp(bright, axis=1)) < 0.02


def test_the_same_images_give_the_same_file(tmp_path: Path, fused: tuple[Path, ...]) -> None:
    one = write_overview(fused, tmp_path / "one.png").read_bytes()
    assert write_overview(fused, tmp_path / "two.png").read_bytes() == one


@pytest.mark.parametrize(
    "options",
    [
        {"rotations_deg": (0.0, 30.0), "tiles": (1, 1)},
        {"cameras": 2, "objectives": 2, "channels": 2, "single_sided": True},
        {"time_points": 8, "tiles": (1, 1), "shape": (6, 20, 30)},
        {"shape": (1, 20, 90)},
    ],
    ids=["rotated", "cameras", "times", "one-plane"],
)
def test_any_experiment_can_be_drawn(tmp_path: Path, options: dict[str, object]) -> None:
    small_experiment(tmp_path / "e", **options)
    views = luxdask.open_experiment(tmp_path / "e").views
    write_overview(views, tmp_path / "a.png")
    write_overview(views, tmp_path / "b.png", inputs=views)
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no images"):
        write_overview([], tmp_path / "a.png")


def test_an_image_without_metadata_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.lux.h5").write_bytes(b"nothing")
    with pytest.raises((MetadataError, OSError), match=r"x\.lux\.h5"):
        write_overview([tmp_path / "x.lux.h5"], tmp_path / "a.png")


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path, fused: tuple[Path, ...]) -> None:
    with pytest.raises(OutputError, match=r"nowhere.a\.png"):
        write_overview(fused, tmp_path / "nowhere" / "a.png")


def test_a_mirrored_camera_sees_the_tiles_in_reverse(opposed: Experiment) -> None:
    left, right = mosaics(opposed.views)
    assert [m.title for m in (left, right)] == [
        "objective left: 2 tiles",
        "objective right: 2 tiles",
    ]
    assert all(len(tile) == 2 for tile in left.tiles)
    x_of = [
        {t[0].id.tile: place[1] for t, place in zip(m.tiles, m.places, strict=True)}
        for m in (left, right)
    ]
    assert x_of[0]["x00-y00"] == x_of[1]["x01-y00"] == 0
    assert x_of[0]["x01-y00"] == x_of[1]["x00-y00"] > 0


def test_drawn_tiles_do_not_touch_and_many_are_cut(tmp_path: Path) -> None:
    small_experiment(tmp_path / "e", tiles=(3, 4), shape=(4, 60, 80))
    views = luxdask.open_experiment(tmp_path / "e").views
    (mosaic,) = mosaics(views)
    height, width = views[0].shape[1:]
    corners = np.array(mosaic.places)
    assert len(np.unique(corners[:, 0])) == 3
    assert len(np.unique(corners[:, 1])) == 4
    assert np.diff(np.unique(corners[:, 0])).min() > height
    assert np.diff(np.unique(corners[:, 1])).min() > width
    (few,) = mosaics(views, most_tiles=5)
    assert few.title == "objective left: 5 of 12 tiles"
    assert len(few.tiles) == 5


def test_blocks_and_their_words_do_not_overlap() -> None:
    blocks = [Block(ratio, "a rather long title") for ratio in (0.3, 1.0, 9.0, 2.0)]
    rects, right = place(blocks, 3, 1.0)
    assert [r.left for r in rects][3] == rects[0].left == 1.0
    assert rects[3].top > rects[0].top + rects[0].height
    for a, b in ((0, 1), (1, 2)):
        need = max(rects[a].width, words_width(blocks[a].words))
        assert rects[b].left > rects[a].left + need
    assert right >= max(r.left + r.width for r in rects)


@pytest.mark.parametrize(
    ("most", "expected", "text"),
    [(141, 100, "100 µm"), (99, 50, "50 µm"), (2300, 2000, "2 mm"), (0.7, 0.5, "0.5 µm")],
)
def test_scale_bars_have_round_lengths(most: float, expected: float, text: str) -> None:
    assert round_length(most) == pytest.approx(expected)
    assert length_text(round_length(most)) == text


def test_the_display_range_leaves_out_what_was_not_imaged() -> None:
    image = np.zeros((100, 100), np.float32)
    assert display_range(image) == (0.0, 1.0)
    image[:10] = np.linspace(100, 1100, 100)
    low, high = display_range(image)
    assert 100 < low < 200
    assert 1050 < high <= 1100


def test_channels_add_up() -> None:
    image = np.array([[0.0, 50.0, 200.0]], np.float32)
    picture = composite([image, image], [(0, 100), (0, 100)], [(1, 0, 0), (0, 1, 0)])
    np.testing.assert_allclose(picture[0], [[0, 0, 0], [0.5, 0.5, 0], [1, 1, 0]])
