"""Deconvolution in tasks: what is refused, what is noted, and what the preview shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from luxdask.errors import ConfigError
from luxdask.tasks.config import parse_config, set_values
from luxdask.tasks.psf import estimate_in, preview_psfs
from luxdask.testing import DemoSpec, small_experiment, write_experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from luxdask.tasks import Task
    from luxdask.testing import Truth

ON = {"fusion__deconvolution__enabled": True}
WIDTHS = {
    "fusion__deconvolution__psf_lateral_um": 3.0,
    "fusion__deconvolution__psf_axial_um": 8.0,
}
GIVEN = {**ON, **WIDTHS}


@pytest.fixture
def small(tmp_path: Path) -> Truth:
    return small_experiment(tmp_path / "small", objectives=2)


@pytest.fixture
def notes(make_task: Callable[..., Task]) -> Callable[..., str]:
    def noted(truth: Truth, **values: Any) -> str:
        task = make_task(truth, **values)
        plan = task.compile(task.open_experiment())
        return "\n".join(n for n in plan.notes if n.startswith("deconvolution"))

    return noted


def test_widths_by_the_metadata_are_told(small: Truth, notes: Callable[..., str]) -> None:
    said = notes(small, **ON)
    assert "objective left is 0.335 µm wide and 1.73 µm long" in said
    assert "numerical aperture 0.8 and wavelength 525 nm" in said
    assert "numerical aperture" not in notes(small, **GIVEN)


def test_one_width_per_objective(small: Truth, make_task: Callable[..., Task]) -> None:
    widths = {"left": 3.0, "right": 4.0}
    task = make_task(small, **{**GIVEN, "fusion__deconvolution__psf_lateral_um": widths})
    plan = task.compile(task.open_experiment())
    lateral = {
        view.id.objective: psf.fwhm_vx((1.0, 1.0, 1.0))[2]
        for planned in plan.outputs
        for view, psf in zip(planned.output.views, planned.psfs, strict=True)
    }
    assert lateral == pytest.approx(widths)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"psf_lateral_um": {"up": 2.0}},
            "no image has the objective 'up'; there are: left",
        ),
        ({"psf_file": "/no/such/psf.tif"}, "no such file"),
    ],
)
def test_what_cannot_be_is_refused(
    small: Truth, make_task: Callable[..., Task], values: dict[str, Any], words: str
) -> None:
    given = {f"fusion__deconvolution__{key}": value for key, value in values.items()}
    task = make_task(small, **{**GIVEN, **given})
    with pytest.raises(ConfigError, match=words):
        task.compile(task.open_experiment())


def test_a_file_without_voxel_size(
    small: Truth, make_task: Callable[..., Task], tmp_path: Path
) -> None:
    psf = np.zeros((9, 9, 9))
    psf[3:6, 3:6, 3:6] = 1
    np.save(tmp_path / "psf.npy", psf)
    given = {**ON, "fusion__deconvolution__psf_file": str(tmp_path / "psf.npy")}
    task = make_task(small, **given)
    with pytest.raises(ConfigError, match=r"set fusion\.deconvolution\.psf_spacing_um"):
        task.compile(task.open_experiment())
    task = make_task(small, fusion__deconvolution__psf_spacing_um=[2, 1, 1], **given)
    plan = task.compile(task.open_experiment())
    assert {type(p).__name__ for o in plan.outputs for p in o.psfs} == {"MeasuredPsf"}


@pytest.mark.parametrize(
    "given",
    [{"psf_lateral_um": 0}, {"psf_lateral_um": {"left": -1}}, {"psf_axial_um": "wide"},
     {"iterations": 0}, {"regularisation": 1}, {"order": "random"}, {"psf_spacing_um": [1, 1]},
     {"psf_spacing_um": [0, 1, 1]}, {"background": -1}],
)  # fmt: skip
def test_impossible_settings(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"fusion.deconvolution.{next(iter(given))}"):
        parse_config({"fusion": {"deconvolution": given}})


def test_settings_from_the_command_line() -> None:
    config = set_values(
        parse_config({}),
        {
            "fusion.deconvolution": "true",
            "fusion.deconvolution.psf_lateral_um": '{"left": 0.5}',
            "fusion.deconvolution.psf_axial_um": "2.5",
            "fusion.deconvolution.psf_spacing_um": "[0.5, 0.1, 0.1]",
        },
    ).fusion.deconvolution
    assert config.enabled
    assert config.psf_lateral_um == {"left": 0.5}
    assert config.psf_axial_um == 2.5
    assert config.psf_spacing_um == (0.5, 0.1, 0.1)


def test_hints(small: Truth, notes: Callable[..., str]) -> None:
    assert "fewer than two voxels" not in notes(small, **GIVEN)
    narrow = {**GIVEN, "fusion__deconvolution__psf_lateral_um": 1.2}
    told = "along y an output voxel is 1 µm, the point-spread function 1.2 µm"
    assert told in notes(small, **narrow)
    assert "output.sampling is above 1" in notes(small, output__sampling=2, **GIVEN)
    assert "30 iterations" in notes(small, fusion__deconvolution__iterations=30, **GIVEN)
    assert "nothing is registered" in notes(small, **GIVEN)
    assert "nothing is registered" not in notes(small, registration__enabled=True, **GIVEN)
    assert notes(small) == ""


def test_memory_is_known_and_refused(small: Truth, make_task: Callable[..., Task]) -> None:
    task = make_task(small, compute__memory_limit="20 MB", **GIVEN)
    with pytest.raises(ConfigError, match=r"one chunk needs up to .* MB"):
        task.compile(task.open_experiment())


def test_preview_shows_each_direction_once(tmp_path: Path, make_task: Callable[..., Task]) -> None:
    truth = write_experiment(
        tmp_path / "e",
        np.full((20, 30, 40), 100, np.uint16),
        DemoSpec(objectives=2, rotations_deg=(0.0, 40.0)),
    )
    pictures = preview_psfs(make_task(truth, **WIDTHS))  # works while it is off
    assert len(pictures) == 2
    assert [p.words.partition(":")[0] for p in pictures] == [
        "left, right, channel 0 (2 views)",
        "left, right at 40°, channel 0 (2 views)",
    ]
    assert all(p.psf.sum() == pytest.approx(1) for p in pictures)


def test_estimate_in_an_image_of_an_experiment(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    z, y, x = np.indices((17, 17, 17)) - 8
    spot = 900 * np.exp(-(z**2) / (2 * 2.0**2) - (y**2 + x**2) / (2 * 1.2**2))
    volume = rng.poisson(100, (40, 100, 100)).astype(np.uint16)
    for a, b in ((20, 20), (20, 70), (70, 20), (70, 70)):
        volume[10:27, a : a + 17, b : b + 17] += spot.astype(np.uint16)
    spec = DemoSpec(spacing_um=(1.0, 0.5, 0.5))
    truth = write_experiment(tmp_path / "e", volume, spec)
    found = estimate_in(str(truth.folder))
    assert found.lateral_um == pytest.approx(1.2 * 2.355 * 0.5, rel=0.05)
    assert found.axial_um == pytest.approx(2.0 * 2.355 * 1.0, rel=0.05)
    np.save(tmp_path / "a.npy", volume)
    with pytest.raises(ConfigError, match="give --voxel-size"):
        estimate_in(str(tmp_path / "a.npy"))
    assert estimate_in(str(tmp_path / "a.npy"), (1.0, 0.5, 0.5)).axial_um == found.axial_um
    several = small_experiment(tmp_path / "several")
    with pytest.raises(ConfigError, match="holds 2 images; give the file of one"):
        estimate_in(several.folder)
