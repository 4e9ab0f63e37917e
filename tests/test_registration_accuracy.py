"""Registration against the truth: real volumes, imaged by a microscope whose stages are wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

import luxdask
from luxdask.tasks.registration import measure
from luxdask.testing import DemoSpec, write_experiment
from luxdask.testing.alignment import link_errors, position_errors
from luxdask.testing.spoil import FAULTS, neighbouring_tiles, spoil_overlaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.links import Link
    from luxdask.model.view import ViewId
    from luxdask.tasks.registration_result import Registration
    from luxdask.testing import Truth
    from luxdask.testing.spoil import Fault, Neighbours

DATA = Path(__file__).parents[2] / "shared" / "data" / "real"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs real volumes in {DATA}")


def real_volume(name: str, box: tuple[slice, ...] = (slice(None),)) -> NDArray[np.uint16]:
    volume = tifffile.imread(DATA / name)[box]
    if volume.dtype != np.uint16:
        scaled = (volume - volume.min()) / np.ptp(volume) * 4000 + 100
        volume = scaled.astype(np.uint16)
    return np.ascontiguousarray(volume)


def registered(
    folder: Path,
    volume: NDArray[np.uint16],
    values: dict[str, Any] | None = None,
    **spec: Any,
) -> tuple[Truth, Registration]:
    options = {"sub_voxel": True, "noise": True, **spec}
    truth = write_experiment(folder, volume, DemoSpec(**options))
    return truth, luxdask.register(luxdask.open_experiment(folder), values)


def errors_vx(truth: Truth, found: Registration) -> NDArray[np.float64]:
    errors = position_errors(truth, found.transforms)
    return np.array([e.largest_vx for e in errors.values()])


@pytest.mark.parametrize(
    ("name", "spacing_um", "seed"),
    [
        # 26 planes of 5 µm: the stage errors are three of them
        ("brain_signal.tif", (5.0, 2.0, 2.0), 1),
        ("brain_signal.tif", (5.0, 2.0, 2.0), 2),
        ("tribolium_lightsheet.tif", (1.0, 1.0, 1.0), 1),
        ("cells3d_nuclei.tif", (2.0, 2.0, 2.0), 3),
        ("neuron.tif", (2.0, 2.0, 2.0), 4),
    ],
)
def test_tiles_come_to_their_true_places(
    tmp_path: Path, name: str, spacing_um: tuple[float, float, float], seed: int
) -> None:
    truth, found = registered(
        tmp_path,
        real_volume(name),
        spacing_um=spacing_um,
        tiles=(3, 3),
        overlap=0.15,
        stage_error_um=15.0,
        seed=seed,
    )
    errors = errors_vx(truth, found)
    assert np.median(errors) < 0.05
    assert errors.max() < 0.2
    assert found.unlinked == ()


def test_overlaps_too_thin_to_tell_a_turn_are_shifted(tmp_path: Path) -> None:
    truth, found = registered(
        tmp_path,
        real_volume("cells3d_nuclei.tif"),
        {"registration.tiles": True, "registration.transform_model": "rigid"},
        spacing_um=(2.0, 2.0, 2.0),
        tiles=(3, 3),
        overlap=0.15,
        stage_error_um=15.0,
        seed=3,
    )
    thin = [link for link in found.links if link.is_trusted and link.model == "translation"]
    assert thin
    assert all(link.reason.startswith("a shift only") for link in thin)
    assert errors_vx(truth, found).max() < 0.2


def test_no_stage_error_means_no_correction(tmp_path: Path) -> None:
    truth, found = registered(
        tmp_path, real_volume("tribolium_lightsheet.tif"), tiles=(2, 2), overlap=0.2
    )
    assert errors_vx(truth, found).max() < 0.1
    assert max(np.abs(t.offset).max() for t in found.transforms.values()) < 0.1


def test_the_maximum_translation_is_a_bound(tmp_path: Path) -> None:
    volume = real_volume("brain_signal.tif", np.s_[:, 200:600, 100:500])
    _, free = registered(
        tmp_path, volume, spacing_um=(5.0, 2.0, 2.0), tiles=(1, 2), overlap=0.2, stage_error_um=12.0
    )
    (link,) = free.links
    length = float(np.linalg.norm(link.transform.offset))
    assert link.is_trusted
    assert length > 4
    experiment = luxdask.open_experiment(tmp_path)
    key = "registration.tiles.maximum_translation_um"
    (wide,) = luxdask.register(experiment, {key: length + 5}).links
    assert wide.is_trusted
    assert np.allclose(wide.transform.offset, link.transform.offset, atol=0.1)
    bounded = luxdask.register(experiment, {key: length / 2})
    assert [link.status for link in bounded.links] == ["at the limit"]
    assert all(np.linalg.norm(t.offset) == 0 for t in bounded.transforms.values())


def spread_out(pairs: tuple[Neighbours, ...], count: int, seed: int) -> dict[Neighbours, Fault]:
    """Faults of which no two meet at a tile, and none at a corner of the grid.

    A tile whose links are wrong one and all cannot be placed by anybody.
    """
    sides = Counter(tile for pair in pairs for tile in pair)
    taken: set[ViewId] = set()
    chosen = []
    for n in np.random.default_rng(seed).permutation(len(pairs)):
        pair = pairs[n]
        if taken.isdisjoint(pair) and min(sides[tile] for tile in pair) > 2:
            chosen.append(pair)
            taken.update(pair)
    assert len(chosen) >= count
    return {pair: FAULTS[k % len(FAULTS)] for k, pair in enumerate(chosen[:count])}


@pytest.mark.parametrize("seed", [2, 3])
def test_wrong_links_are_found_among_a_hundred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    known: list[Link] = []  # the same pairs are measured once, as by a run that goes on
    monkeypatch.setattr(
        "luxdask.tasks.register.measure", partial(measure, done=known, keep=known.append)
    )
    volume = real_volume("brain_signal.tif", np.s_[:, 200:1100, 60:560])
    spec = DemoSpec(tiles=(9, 6), overlap=0.2, stage_error_um=5.0, sub_voxel=True, noise=True)
    truth = write_experiment(tmp_path, volume, replace(spec, seed=seed))
    neighbours = neighbouring_tiles(truth)
    assert len(neighbours) == 93
    spoil_overlaps(truth, spread_out(neighbours, 15, seed), seed=seed)
    experiment = luxdask.open_experiment(tmp_path)

    plain = luxdask.register(experiment)
    wrong = [
        link
        for link, error in zip(plain.links, link_errors(truth, plain.links), strict=True)
        if link.is_trusted and error > 1
    ]
    assert wrong, "the spoiled overlaps fooled nobody: this test shows nothing"
    for link in wrong:
        assert link.cost is not None
        assert link.cost > 10
        assert any(warning.startswith(str(link)) for warning in plain.warnings)

    mode = "registration.tiles.remove_outliers.mode"
    cleaned = luxdask.register(experiment, {mode: "AutomaticWithCostThreshold"})
    removed = {(x.fixed, x.moving) for x in cleaned.links if x.status == "removed"}
    assert {(x.fixed, x.moving) for x in wrong} <= removed
    assert errors_vx(truth, cleaned).max() < 0.3
    assert cleaned.unlinked == ()


def test_twenty_time_points_with_drift(tmp_path: Path) -> None:
    truth, found = registered(
        tmp_path,
        real_volume("tribolium_lightsheet.tif", np.s_[20:70, 60:190, 60:190]),
        {"registration.time_points": True},
        time_points=20,
        drift_um=1.0,
        bleaching=0.01,
    )
    assert len(found.transforms) == 20
    moved = [np.linalg.norm(t.offset) for t in found.transforms.values()]
    assert max(moved) == pytest.approx(19, abs=0.5)
    reference = position_errors(truth, found.transforms, found.reference)
    assert max(e.largest_vx for e in reference.values()) < 0.2


def test_opposing_objectives_are_laid_on_each_other(tmp_path: Path) -> None:
    truth, found = registered(
        tmp_path,
        real_volume("brain_signal.tif", np.s_[:, 300:700, 100:500]),
        spacing_um=(5.0, 2.0, 2.0),
        objectives=2,
        camera_error_um=8.0,
        blur_um=3.0,
        scatter=0.5,
        seed=3,
    )
    errors = position_errors(truth, found.transforms, found.reference)
    assert max(e.largest_vx for e in errors.values()) < 0.1


@pytest.mark.parametrize("seed", [1, 2])
def test_rotated_views_with_a_wrong_axis(tmp_path: Path, seed: int) -> None:
    truth, found = registered(
        tmp_path,
        real_volume("mesospim_cortex_nuclei.tif"),
        rotations_deg=(0.0, 90.0, 180.0, 270.0),
        rotation_error_deg=3.0,
        rotation_error_um=20.0,
        blur_um=3.0,
        seed=seed,
    )
    errors = position_errors(truth, found.transforms, found.reference)
    assert max(e.angle_deg for e in errors.values()) < 0.1
    assert max(e.largest_vx for e in errors.values()) < 0.5
