"""Regions of interest on views: crops, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from luxdask.errors import ConfigError, SelectionError
from luxdask.model.experiment import Experiment
from luxdask.model.geometry import Affine, Box
from luxdask.model.roi import Roi, apply_roi, box_text
from luxdask.model.view import Source, View, ViewId

NONE = (None, None, None)


def view(stack: str = "0", shape: tuple[int, int, int] = (10, 20, 30)) -> View:
    place = Affine.scale((-3.0, 0.5, 0.5), (90.0, 5.0, 7.0))
    image = ViewId(0, "0", stack, "left", "long")
    return View(image, Source(f"/e/raw/{stack}.lux.h5"), shape, (3.0, 0.5, 0.5), place)


def experiment(*views: View) -> Experiment:
    return Experiment("/e", "/e", "experiment", views or (view("0"), view("1")))


def roi(stack: str = "0", start=(2, 3, 4), stop=(8, 13, 24), label: str = "A") -> Roi:
    return Roi(label, frozenset({view(stack).id}), start, stop, f"f: region {stack}")


def test_a_cropped_view_lies_where_its_voxels_are() -> None:
    first, second = apply_roi(experiment(), [roi()], "A").views
    assert first.shape == (6, 10, 20)
    assert first.source.crop == Box((2, 3, 4), (8, 13, 24))
    np.testing.assert_allclose(
        first.view_to_world.apply((0, 0, 0)), view().view_to_world.apply((2, 3, 4))
    )
    np.testing.assert_allclose(first.whole_to_world.to_array(), view().view_to_world.to_array())
    assert first.source.key != view().source.key
    assert second == view("1")
    assert second.whole_to_world is second.view_to_world


def test_open_bounds_reach_to_the_border() -> None:
    open_box = roi(start=(None, 5, None), stop=(4, None, None))
    (first,) = apply_roi(experiment(view()), [open_box], "A").views
    assert first.source.crop == Box((0, 5, 0), (4, 20, 30))
    (whole,) = apply_roi(experiment(view()), [roi(start=NONE, stop=NONE)], "A").views
    assert whole == view()


def test_one_region_for_all_is_cut_at_borders_and_says_so() -> None:
    small = view("1", (10, 20, 16))
    done = apply_roi(experiment(view(), small), [roi()], "A", apply_to_all=True)
    assert [v.shape for v in done.views] == [(6, 10, 20), (6, 10, 12)]
    assert done.notes[0] == "region of interest 'A': 2 of 2 images cropped"
    assert "reaches over the border of tp:0 ch:0 st:1" in done.notes[1]


@pytest.mark.parametrize(
    ("regions", "label", "everywhere", "error", "says"),
    [
        ([roi()], "B", False, SelectionError, "no region of interest is called 'B'; there are: A"),
        ([], "B", False, SelectionError, "there are: none at all"),
        ([roi("7")], "A", False, SelectionError, "it was drawn in tp:0 ch:0 st:7"),
        ([roi(), roi()], "A", False, ConfigError, "two regions called 'A'"),
        ([roi(), roi("1", stop=NONE)], "A", True, ConfigError, "f: region 1: 2:,3:,4:"),
        ([roi(start=(40, 0, 0), stop=NONE)], "A", False, ConfigError, "holds no voxel"),
        ([roi(start=(5, 0, 0), stop=(5, 9, 9))], "A", False, ConfigError, "f: region 0"),
    ],
)
def test_what_cannot_be(regions, label, everywhere, error, says) -> None:
    with pytest.raises(error) as caught:
        apply_roi(experiment(), regions, label, apply_to_all=everywhere)
    assert says in str(caught.value)


def test_boxes_in_words() -> None:
    assert box_text((0, None, 3), (None, 7, 9)) == "0:,:7,3:9"
