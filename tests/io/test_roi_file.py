"""Files of regions, and shapes that napari has saved."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from luxdask.errors import ConfigError, SelectionError
from luxdask.io.image_ids import ImageIds
from luxdask.io.roi_file import (
    RoiEntry,
    find_roi_file,
    read_entries,
    read_rois,
    write_entries,
)
from luxdask.io.roi_shapes import read_shapes_box
from luxdask.model.experiment import Experiment
from luxdask.model.geometry import Affine
from luxdask.model.view import Source, View, ViewId

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = {"label": "A", "offset_vx": [1, 2, 3], "size_vx": [10, 20, 30]}


def experiment(root: Path) -> Experiment:
    def view(stack: str, channel: str, pm: str | None = None) -> View:
        source = Source(str(root / "raw" / f"{stack}_{channel}" / "a.lux.h5"))
        image = ViewId(0, channel, stack, "left", "long", pm)
        return View(image, source, (40, 50, 60), (1.0, 1.0, 1.0), Affine())

    views = (view("1-x00-y00", "0"), view("1-x01-y00", "0"), view("1-x00-y00", "1", "5"))
    return Experiment(str(root), str(root), "experiment", views)


def write(path: Path, *rois: object, **more: object) -> Path:
    path.write_text(json.dumps({"rois": rois, **more}))
    return path


def test_order_of_axes_and_images(tmp_path: Path) -> None:
    entries = [
        ENTRY | {"image": {"stack": "1-x00-y00"}},
        ENTRY | {"image": "ch-0_st-1"},
        ENTRY | {"image": {"pm": "none", "tile": "x00-y00"}, "label": 7},
        {"label": "open", "offset_vx": [None, 2, 0], "size_vx": [4, None, None]},
    ]
    one, two, three, four = read_rois(write(tmp_path / "r.json", *entries), experiment(tmp_path))
    assert (one.start, one.stop) == ((3, 2, 1), (33, 22, 11))
    assert sorted((i.stack, i.channel) for i in one.images) == [
        ("1-x00-y00", "0"),
        ("1-x00-y00", "1"),
    ]
    assert {i.stack for i in two.images} == {"1-x00-y00", "1-x01-y00"}
    assert {i.channel for i in two.images} == {"0"}
    assert three.label == "7"
    assert [(i.stack, i.pm) for i in three.images] == [("1-x00-y00", None)]
    assert (four.start, four.stop) == ((0, 2, None), (None, None, 4))
    assert len(four.images) == 3


def test_written_regions_come_back(tmp_path: Path) -> None:
    given = (
        RoiEntry("A", ImageIds(stack="1", pm="5"), (0, 1, 2), (3, 4, 5)),
        RoiEntry("B", ImageIds(), (None, 1, None), (7, None, None)),
    )
    path = tmp_path / "rois.roi.json"
    write_entries(path, given)
    found = read_entries(path)
    assert [(e.label, e.image, e.start, e.stop) for e in found] == [
        (e.label, e.image, e.start, e.stop) for e in given
    ]
    assert json.loads(path.read_text())["rois"][0]["size_vx"] == [3, 3, 3]


def test_nearest_file_counts(tmp_path: Path) -> None:
    opened = experiment(tmp_path)
    assert find_roi_file(opened) is None
    above = write(tmp_path / "rois.roi.json", ENTRY)
    assert find_roi_file(opened) == above
    (tmp_path / "raw").mkdir()
    beside = write(tmp_path / "raw" / "rois.roi.json", ENTRY)
    assert find_roi_file(opened) == beside
    assert find_roi_file(opened, above) == above
    with pytest.raises(ConfigError, match="no such file of regions"):
        find_roi_file(opened, tmp_path / "none.roi.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1"),
        ("[]", '{"rois": [...]} is expected'),
        ('{"rois": [], "roi": 1}', "'roi' is unknown"),
        ('{"rois": [], "version": "2.0"}', "version 2.0"),
        (json.dumps({"rois": [ENTRY, ENTRY | {"size_vx": [0, 1, 1]}]}), "region 2: size_vx"),
        (json.dumps({"rois": [ENTRY | {"offset_vx": [1.5, 0, 0]}]}), "three whole numbers"),
        (json.dumps({"rois": [ENTRY | {"offset_vx": [-1, 0, 0]}]}), "three whole numbers"),
        (json.dumps({"rois": [ENTRY | {"boxes": 1}]}), "'boxes' is unknown; allowed are label"),
        (json.dumps({"rois": [ENTRY | {"image": {"colour": 1}}]}), "allowed are time_point"),
        (json.dumps({"rois": [ENTRY | {"image": "nothing"}]}), "names no image"),
        (json.dumps({"rois": [{"label": "A"}]}), "offset_vx"),
    ],
)
def test_malformed_files_are_named_with_their_entry(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "r.roi.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_entries(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_an_image_that_does_not_exist(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", ENTRY | {"image": {"stack": "9"}})
    with pytest.raises(SelectionError, match="there are: 1-x00-y00, 1-x01-y00"):
        read_rois(path, experiment(tmp_path))


HEAD = "index,shape-type,vertex-index,axis-0,axis-1,axis-2\n"


def rectangle(z: float, y: tuple[float, float], x: tuple[float, float], index: int = 0) -> str:
    corners = [(y[0], x[0]), (y[0], x[1]), (y[1], x[1]), (y[1], x[0])]
    return "".join(f"{index},rectangle,{n},{z},{a},{b}\n" for n, (a, b) in enumerate(corners))


def test_shapes_of_napari(tmp_path: Path) -> None:
    path = tmp_path / "shapes.csv"
    path.write_text(HEAD + rectangle(4, (9.5, 20.5), (-3, 12)))
    assert read_shapes_box(path) == ((None, 10, 0), (None, 21, 13))
    path.write_text(HEAD + rectangle(4, (9.5, 20.5), (3, 12)) + rectangle(8, (5, 6), (7, 8), 1))
    assert read_shapes_box(path) == ((4, 5, 3), (9, 21, 13))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "are expected, there are: none"),
        ("index,axis-0,axis-1\n0,1,2\n", "there are: index, axis-0, axis-1"),
        (HEAD, "holds no shapes"),
        (HEAD + "0,rectangle,0,1,2\n", "line 2"),
        (HEAD + "0,rectangle,0,1,2,nan\n", "line 2"),
        (HEAD + "0,rectangle,0,1,2,3\n", "no extent"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "shapes.csv"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_shapes_box(path)
    assert says in str(caught.value)
