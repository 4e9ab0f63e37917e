"""Outputs that take the grid of existing images."""

from __future__ import annotations

import numpy as np
import pytest

from luxdask.model.geometry import Affine, Grid
from luxdask.model.output import Output
from luxdask.model.same_grid import grid_of, on_same_grid
from luxdask.model.view import Source, View, ViewId

SPACING = (2.0, 1.0, 1.0)


def image(shape: tuple[int, int, int], origin: tuple[float, float, float], **more: object) -> View:
    to_world = more.get("to_world", Affine.scale(SPACING, origin))
    identity = ViewId(0, "0", "0", "left", "left")
    return View(identity, Source("/a"), shape, SPACING, to_world)  # type: ignore[arg-type]


def output(shape: tuple[int, int, int], origin: tuple[float, float, float]) -> Output:
    return Output("uni", Grid(shape, SPACING, origin), (image((9, 9, 9), (0, 0, 0)),))


@pytest.mark.parametrize(
    ("shape", "origin", "taken"),
    [
        ((20, 60, 70), (0.5, -0.4, 0.3), True),
        ((21, 59, 72), (-2.0, 3.0, 0.0), True),
        ((20, 60, 70), (0.0, 0.0, 17.0), False),
        ((20, 60, 99), (0.0, 0.0, 0.0), False),
    ],
)
def test_only_near_grids_are_taken(
    shape: tuple[int, int, int], origin: tuple[float, float, float], taken: bool
) -> None:
    there = image((20, 60, 70), (0.0, 0.0, 0.0))
    (found,), has_moved = on_same_grid([output(shape, origin)], [there])
    assert (found.grid == grid_of(there)) is taken
    assert has_moved is taken


def test_the_nearest_grid_is_taken_and_equal_ones_are_no_change() -> None:
    images = [image((20, 60, 70), (0.0, 0.0, x)) for x in (-6.0, 1.0, 8.0)]
    (found,), _ = on_same_grid([output((20, 60, 70), (0.0, 0.0, 2.0))], images)
    assert found.grid.origin_um[2] == 1.0
    again, has_moved = on_same_grid([found], images)
    assert again == (found,)
    assert not has_moved


def test_other_voxel_sizes_and_oblique_images_are_left_alone() -> None:
    wanted = output((20, 60, 70), (0.0, 0.0, 0.0))
    coarse = image((20, 60, 70), (0, 0, 0), to_world=Affine.scale((4.0, 2.0, 2.0)))
    turned = np.array([[2.0, 0, 0], [0, 0.8, 0.6], [0, -0.6, 0.8]])
    oblique = image((20, 60, 70), (0, 0, 0), to_world=Affine.from_array(turned))
    assert grid_of(oblique) is None
    assert on_same_grid([wanted], [coarse, oblique]) == ((wanted,), False)
