"""Registrations of objectives, channels and cameras that are handed on to other experiments."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given

from luxdask.io import open_experiment
from luxdask.io.mtf import read_mtf
from luxdask.io.static_transforms import StaticTransform, static_document, write_static
from luxdask.model.geometry import Affine, volume_corners
from luxdask.model.multi_transform import apply_mtf, voxel_form
from luxdask.testing import small_experiment
from luxdask.testing.strategies import near_rigid

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.testing import Truth


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    """Two tiles at two angles, whose second objective and cameras are off by some µm."""
    return small_experiment(
        tmp_path / "exp",
        shape=(10, 24, 30),
        rotations_deg=(0, 70),
        objectives=2,
        cameras=2,
        channels=2,
        time_points=2,
        camera_error_um=8.0,
        spacing_um=(2.0, 0.7, 0.5),
        seed=5,
    )


def test_one_stack_gives_what_is_right_for_all(truth: Truth, tmp_path: Path) -> None:
    """Known truth: the error of a camera is measured in one stack and undone in all of them."""
    opened = open_experiment(truth.folder)
    reference = opened.views[0].id
    at_reference = [
        v for v in opened.views
        if (v.id.stack, v.id.time_point) == (reference.stack, reference.time_point)
    ]  # fmt: skip
    entries = [
        StaticTransform(
            v.id.objective,
            v.id.channel,
            v.id.camera,
            voxel_form(v.view_to_world, truth.by_id[v.id].correction),
        )
        for v in at_reference
    ]
    path = tmp_path / "reuse_static_regis.mtf.json"
    write_static(path, entries)
    # the first camera has no error, in either channel
    assert len(json.loads(path.read_text())["affines"]) == len(entries) - 2
    done = apply_mtf(opened, read_mtf(path))
    shifts = []
    for view in done.views:
        corners = volume_corners(view.shape)
        found = view.view_to_world.apply(corners)
        np.testing.assert_allclose(
            found, truth.by_id[view.id].true_view_to_world.apply(corners), atol=1e-8
        )
        before = opened.by_id[view.id].view_to_world.apply(corners)
        shifts.append(np.abs(found - before).max())
    assert max(shifts) > 4  # µm: there was something to find


@given(view_to_world=near_rigid(angle_deg=180, shift=5000), correction=near_rigid(shift=50))
def test_voxel_form_does_what_the_correction_does(
    view_to_world: Affine, correction: Affine
) -> None:
    scaled = view_to_world @ Affine.scale((5.0, 0.5, 0.4))
    corners = volume_corners((100, 2048, 2048))
    found = (scaled @ voxel_form(scaled, correction)).apply(corners)
    np.testing.assert_allclose(found, (correction @ scaled).apply(corners), atol=1e-7)


def test_a_correction_of_sample_space_would_be_wrong_for_a_turned_stack(truth: Truth) -> None:
    """Why the file holds `prepend` and not `append`."""
    one = next(v for v in truth.views if np.abs(v.correction.offset).max() > 1)
    turned = next(v for v in truth.views if v.id == replace(one.id, stack="1-x00-y00"))
    right = turned.view_to_world @ voxel_form(one.view_to_world, one.correction)
    wrong = one.correction @ turned.view_to_world
    middle = (5.0, 12.0, 15.0)
    expected = turned.true_view_to_world.apply(middle)
    np.testing.assert_allclose(right.apply(middle), expected, atol=1e-9)
    assert np.linalg.norm(wrong.apply(middle) - expected) > 1


def test_what_is_written() -> None:
    prepend = Affine.from_array([[1, 2, 3], [4, 5, 6], [7, 8, 10]], (11, 12, 13))  # z, y, x
    entries = [
        StaticTransform("left", "0", "long", Affine()),
        StaticTransform("right", "GFP", "long", prepend),
    ]
    assert static_document(entries) == {
        "affines": [
            {
                "time_points": [],
                "channels": ["GFP"],
                "stacks": [],
                "objectives": ["right"],
                "cameras": ["long"],
                "prepend": [
                    {
                        "matrix": [[10.0, 8.0, 7.0], [6.0, 5.0, 4.0], [3.0, 2.0, 1.0]],
                        "translation": [13.0, 12.0, 11.0],
                    }
                ],
                "replace_by": [],
                "append": [],
            }
        ]
    }
