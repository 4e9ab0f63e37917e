from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from scipy.spatial.transform import Rotation

from luxdask.model.geometry import Affine, BoundingBox
from luxdask.registration.match import Match, MatchParams
from luxdask.registration.patch import Patch
from luxdask.registration.search import match_rigid
from luxdask.registration.verdict import common_box
from luxdask.testing import DemoSpec
from luxdask.testing.layout import plan_poses, volume_to_world
from luxdask.testing.optics import Exposure, expose, form_image
from luxdask.testing.phantoms import phantom

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def take_views(volume: NDArray[np.uint16], spec: DemoSpec) -> list[tuple[Patch, Affine]]:
    """Each view as the metadata places it, and the correction that registration should find."""
    to_volume = volume_to_world(volume.shape, spec.spacing_um).inverse()
    out = []
    for n, pose in enumerate(plan_poses(volume.shape, spec)):
        light = form_image(volume, pose, to_volume @ pose.true_view_to_world, spec)
        exposure = Exposure(noise_seed=(spec.seed, n) if spec.noise else None)
        image = expose(light, pose, exposure, spec, volume.shape)
        patch = Patch(image.astype(np.float32), pose.view_to_world)
        out.append((patch, pose.true_view_to_world @ pose.view_to_world.inverse()))
    return out


def misplace(
    patch: Patch, rng: np.random.Generator, *, turn_deg: float, shift_um: float
) -> tuple[Patch, Affine]:
    """The patch with wrong metadata, and the correction."""
    middle = patch.to_world.apply((np.array(patch.values.shape) - 1) / 2)
    turn = Rotation.from_euler("xyz", rng.uniform(-turn_deg, turn_deg, 3), degrees=True)
    shift = rng.uniform(-shift_um, shift_um, 3)
    linear = turn.as_matrix()
    correction = Affine.from_array(linear, middle + shift - linear @ middle)
    return Patch(patch.values, correction.inverse() @ patch.to_world), correction


def error_um(found: Match, truth: Affine, fixed: Patch, moving: Patch) -> float:
    """Largest error at a corner of the common volume."""
    corners = common_box(fixed, moving, truth).corners
    away = found.transform.apply(truth.inverse().apply(corners)) - corners
    return float(np.linalg.norm(away, axis=1).max())


def real_volume(folder: Path, name: str) -> NDArray[np.uint16]:
    return np.asarray(np.rint(tifffile.imread(folder / name)), dtype=np.uint16)


def at_origin(values: NDArray[np.generic], **moved: float) -> Patch:
    offset = [moved.get(axis, 0.0) for axis in "zyx"]
    return Patch(np.ascontiguousarray(values, dtype=np.float32), Affine.translation(offset))


@pytest.mark.parametrize(
    ("name", "spacing", "shift_um"),
    [
        ("tribolium_lightsheet.tif", (1.0, 1.0, 1.0), 20.0),
        ("mesospim_cortex_nuclei.tif", (5.0, 5.26, 5.26), 60.0),
    ],
)
def test_views_around_the_sample(
    real_data: Path, name: str, spacing: tuple[float, float, float], shift_um: float
) -> None:
    volume = real_volume(real_data, name)
    if volume.shape[1] > 128:
        volume = volume[:, 64:192, 64:192]
    blur = 3 * spacing[0]
    spec = DemoSpec(spacing_um=spacing, rotations_deg=(0, 90, 180, 270), blur_um=blur, noise=True)
    (fixed, _), *others = take_views(np.ascontiguousarray(volume), spec)
    rng = np.random.default_rng(7)
    params = MatchParams("rigid", maximum_translation_um=2 * shift_um, maximum_rotation_deg=5)
    for patch, _ in others:
        moving, truth = misplace(patch, rng, turn_deg=3, shift_um=shift_um)
        found = match_rigid(fixed, moving, params)
        assert found.status == "ok", found.reason
        assert error_um(found, truth, fixed, moving) < 0.3 * spacing[0]
        assert (found.transform @ truth.inverse()).rotation_deg < 0.1
        assert found.quality > 0.7
        linear = np.array(found.transform.linear)
        assert np.allclose(linear @ linear.T, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("scatter", [0.0, 0.5])
def test_opposing_objectives(real_data: Path, scatter: float) -> None:
    volume = real_volume(real_data, "mesospim_cortex_nuclei.tif")
    spec = DemoSpec(
        spacing_um=(5.0, 5.26, 5.26),
        objectives=2,
        camera_error_um=40,
        blur_um=15,
        scatter=scatter,
        noise=True,
        sub_voxel=True,
    )
    (fixed, fixed_c), (moving, moving_c) = take_views(volume, spec)
    found = match_rigid(fixed, moving, MatchParams("rigid"))
    assert found.status == "ok", found.reason
    assert error_um(found, fixed_c.inverse() @ moving_c, fixed, moving) < 0.1 * 5


def test_different_content_does_not_match(real_data: Path) -> None:
    volume = real_volume(real_data, "cells3d_nuclei.tif")
    halves = at_origin(volume[:, :120, :200]), at_origin(volume[:, 136:, :200])
    found = match_rigid(*halves, MatchParams("rigid", maximum_rotation_deg=5))
    assert found.status != "ok"


def waves(period: float) -> NDArray[np.float64]:
    z, y, x = np.meshgrid(*map(np.arange, (50, 70, 70)), indexing="ij")
    return 500 + 300 * np.sin(z * period) * np.sin(y * period) * np.sin(x * period)


def noisy(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    return values + np.random.default_rng(seed).normal(0, 5, values.shape)


SLOPE = np.add.outer(10.0 * np.arange(50), np.add.outer(np.arange(70), 2.0 * np.arange(70)))
PLAIN = np.full((50, 70, 70), 100.0)


@pytest.mark.parametrize(
    ("fixed", "moving", "status"),
    [
        pytest.param(noisy(PLAIN, 1), noisy(PLAIN, 2), "no texture", id="noise"),
        pytest.param(PLAIN, PLAIN, "no texture", id="constant"),
        pytest.param(noisy(SLOPE, 1), noisy(SLOPE, 2), "no texture", id="slope"),
        pytest.param(noisy(waves(0.4), 1), noisy(waves(0.4), 2), "ambiguous", id="repeated"),
        pytest.param(PLAIN[:2], PLAIN[:2], "too little overlap", id="thin"),
    ],
)
def test_nothing_to_align(
    fixed: NDArray[np.float64], moving: NDArray[np.float64], status: str
) -> None:
    found = match_rigid(at_origin(fixed), at_origin(moving), MatchParams("rigid"))
    assert found.status == status
    assert found.reason


def test_apart() -> None:
    texture = phantom("band-limited", (30, 60, 60), seed=1)
    found = match_rigid(at_origin(texture), at_origin(texture, y=500.0), MatchParams("rigid"))
    assert found.status == "too little overlap"
    assert "no volume in common" in found.reason


def test_beyond_the_limit() -> None:
    texture = phantom("nuclei", (40, 90, 90), seed=1)
    params = MatchParams("rigid", maximum_translation_um=5)
    found = match_rigid(at_origin(texture), at_origin(texture, y=9.0), params)
    assert found.status in {"at the limit", "no match"}
    near = match_rigid(at_origin(texture), at_origin(texture, y=4.0), params)
    assert near.status == "ok", near.reason
    assert np.allclose(near.transform.offset, (0, -4, 0), atol=0.02)
    assert isinstance(near.overlap, BoundingBox)
