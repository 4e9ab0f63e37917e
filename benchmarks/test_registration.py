"""The comparisons of registration run, on small data; `make bench` runs the real sizes."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import elastix_pair
import peer_registration as peer
import registration

from luxdask.model.geometry import Affine
from luxdask.testing.alignment import true_link
from luxdask.testing.misalignment import turn_about

TILE = (16, 96, 96)


def test_tiles_have_the_given_size_and_errors_that_are_scored(tmp_path: Path) -> None:
    truth = peer.write_tiles(tmp_path, TILE)
    assert {view.shape for view in truth.views} == {TILE}
    exact = {view.id: view.correction.to_array() for view in truth.views}
    assert peer.score(truth, exact) == {"rms_vx": 0, "worst_vx": 0}
    metadata = {view.id: np.eye(3, 4) for view in truth.views}
    assert peer.score(truth, metadata)["rms_vx"] > 0.5


@pytest.mark.skipif(
    find_spec("multiview_stitcher") is None, reason="multiview-stitcher is not installed"
)
def test_the_peer_finds_tiles(tmp_path: Path) -> None:
    truth = peer.write_tiles(tmp_path, TILE)
    row = peer.run_multiview_stitcher(tmp_path / "peer", truth, binning=1)
    metadata = peer.score(truth, {view.id: np.eye(3, 4) for view in truth.views})
    assert row["rms_vx"] < metadata["rms_vx"]
    assert row["seconds"] > 0
    json.dumps(row)


def test_luxdask_finds_tiles(tmp_path: Path) -> None:
    truth = peer.write_tiles(tmp_path, TILE)
    row = registration.run_luxdask(tmp_path / "experiment", truth)
    assert row["rms_vx"] < 0.2
    assert row["seconds"] > 0
    json.dumps(row)


@pytest.mark.parametrize("case", elastix_pair.CASES)
def test_luxdask_finds_rigid_pairs(tmp_path: Path, case: str) -> None:
    truth = elastix_pair.make_pair(tmp_path / "experiment", case, shape=(64, 96, 96))
    row = elastix_pair.run_luxdask(tmp_path, truth)
    assert row["worst_vx"] < 0.5
    assert row["angle_deg"] < 0.2


@pytest.mark.skipif(shutil.which("elastix") is None, reason="elastix is not installed")
@pytest.mark.parametrize("case", elastix_pair.CASES)
def test_elastix_finds_rigid_pairs(tmp_path: Path, case: str) -> None:
    truth = elastix_pair.make_pair(tmp_path / "experiment", case, shape=(64, 96, 96))
    row = elastix_pair.run_elastix(tmp_path / "elastix", truth)
    assert row["worst_vx"] < 0.5
    assert row["angle_deg"] < 0.2


def test_a_transform_of_elastix_is_read_in_our_order() -> None:
    text = "(CenterOfRotationPoint 3 2 1)\n(TransformParameters 0.1 -0.2 0.3 5 6 7)\n"
    about_x, about_y, about_z = (
        turn_about(axis, np.degrees(angle), (0, 0, 0))
        for axis, angle in (((0, 0, 1), -0.1), ((0, 1, 0), 0.2), ((1, 0, 0), -0.3))
    )
    centre = Affine.translation((1, 2, 3))
    turn = centre @ about_z @ about_x @ about_y @ centre.inverse()
    expected = Affine.translation((7, 6, 5)) @ turn
    assert np.allclose(elastix_pair.read_euler(text).to_array(), expected.to_array())


def test_a_pair_is_scored_by_its_link(tmp_path: Path) -> None:
    truth = elastix_pair.make_pair(tmp_path / "experiment", "rotated", shape=(16, 24, 24))
    fixed, moving = (view.id for view in truth.views)
    exact = true_link(truth, fixed, moving)
    assert elastix_pair._score(truth, exact)["worst_vx"] < 1e-3
    off = Affine.translation((3, 0, 0)) @ exact
    assert elastix_pair._score(truth, off)["middle_vx"] == pytest.approx(3, abs=1e-3)
