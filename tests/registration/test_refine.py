from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from luxdask.model.geometry import Affine
from luxdask.registration.match import MatchParams
from luxdask.registration.patch import Patch
from luxdask.registration.refine import LEAST_CONTRAST, refine, scales_um
from luxdask.registration.texture import noise_of, texture_of
from luxdask.registration.verdict import common_box
from luxdask.testing.phantoms import phantom

SHAPE = (48, 90, 100)


def two_views(linear: np.typing.NDArray[np.float64], shift: list[float]) -> tuple[Patch, Patch]:
    """A phantom, and what a view sees of it whose metadata hides this transform."""
    volume = phantom("band-limited", SHAPE, seed=3).astype(np.float32)
    middle = (np.array(SHAPE) - 1) / 2
    truth = Affine.from_array(linear, middle + shift - linear @ middle)
    seen = ndimage.affine_transform(volume, linear, truth.offset, order=5, mode="reflect")
    rng = np.random.default_rng(4)
    noise = 0.05 * volume.std()
    fixed = volume + rng.normal(0, noise, SHAPE)
    moving = seen + rng.normal(0, noise, SHAPE)
    return Patch(fixed.astype(np.float32), Affine()), Patch(moving.astype(np.float32), Affine())


def largest_error(
    found: Affine, linear: np.typing.NDArray[np.float64], shift: list[float]
) -> float:
    middle = (np.array(SHAPE) - 1) / 2
    corners = common_box(*two_views(np.eye(3), [0, 0, 0]), Affine()).corners
    truth = (corners - middle) @ linear.T + middle + shift
    return float(np.linalg.norm(found.apply(corners) - truth, axis=1).max())


def random_linear(model: str, rng: np.random.Generator) -> np.typing.NDArray[np.float64]:
    if model == "translation":
        return np.eye(3)
    turn = Rotation.from_euler("xyz", rng.uniform(-1, 1, 3), degrees=True).as_matrix()
    if model == "rigid":
        return turn
    bend = np.eye(3) + np.diag(rng.uniform(-0.02, 0.02, 3))
    bend[np.triu_indices(3, 1)] = rng.uniform(-0.01, 0.01, 3)
    return turn @ bend


@pytest.mark.parametrize("model", ["translation", "rigid", "affine"])
@pytest.mark.parametrize("seed", [1, 2])
def test_known_transform(model: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    linear, shift = random_linear(model, rng), rng.uniform(-1.5, 1.5, 3).tolist()
    found = refine(*two_views(linear, shift), Affine(), MatchParams(model))
    assert found.status == "ok", found.reason
    assert largest_error(found.transform, linear, shift) < 0.1
    assert found.quality > 0.9


def test_voxel_sizes_may_differ() -> None:
    fixed, moving = two_views(np.eye(3), [0.4, -0.7, 1.2])
    every_other = Patch(np.ascontiguousarray(moving.values[:, ::2]), Affine.scale((1.0, 2.0, 1.0)))
    found = refine(fixed, every_other, Affine(), MatchParams("rigid"))
    assert found.status == "ok", found.reason
    assert largest_error(found.transform, np.eye(3), [0.4, -0.7, 1.2]) < 0.1


def test_brightness_and_background_do_not_matter() -> None:
    shift = [0.3, 0.6, -0.4]
    fixed, moving = two_views(np.eye(3), shift)
    depth = np.linspace(1, 0.4, SHAPE[0], dtype=np.float32)[:, None, None]
    darker = Patch(moving.values * depth + 50, moving.to_world)
    found = refine(fixed, darker, Affine(), MatchParams("rigid"))
    assert largest_error(found.transform, np.eye(3), shift) < 0.1


def test_content_that_one_view_lacks() -> None:
    shift = [0.3, 0.6, -0.4]
    fixed, moving = two_views(np.eye(3), shift)
    other = phantom("band-limited", SHAPE, seed=9).astype(np.float32)
    mixed = moving.values.copy()
    mixed[:, :30, :50] = other[:, :30, :50]
    found = refine(fixed, Patch(mixed, moving.to_world), Affine(), MatchParams("rigid"))
    assert found.status == "ok", found.reason
    assert largest_error(found.transform, np.eye(3), shift) < 0.15


def test_without_fine_alignment() -> None:
    shift = [0.3, 0.6, -0.4]
    views = two_views(np.eye(3), shift)
    found = refine(*views, Affine(), MatchParams("rigid", fine_alignment=False))
    assert largest_error(found.transform, np.eye(3), shift) < 0.5
    assert found.precision_um >= 0.02  # of the scale, which is two voxels


def test_scales() -> None:
    fixed, moving = two_views(np.eye(3), [0, 0, 0])
    assert scales_um(fixed, moving, 5.0) == [4.0, 2.0, 1.0]
    assert scales_um(fixed, moving, 0.5) == [1.0]


def test_no_overlap() -> None:
    fixed, moving = two_views(np.eye(3), [0, 0, 0])
    found = refine(fixed, moving, Affine.translation((0, 500, 0)), MatchParams("rigid"))
    assert found.status == "too little overlap"


def test_noise_is_measured_and_is_no_texture() -> None:
    noise = np.random.default_rng(1).normal(100, 5, (40, 60, 60)).astype(np.float32)
    assert noise_of(noise) == pytest.approx(5, rel=0.02)
    for scale in (1.0, 2.0, 4.0):
        assert texture_of(Patch(noise, Affine()), scale).contrast < LEAST_CONTRAST


def test_texture_lies_where_the_patch_does() -> None:
    point = np.zeros((40, 44, 48), dtype=np.float32)
    point[20:22, 20:22, 24:26] = 1000
    texture = texture_of(Patch(point, Affine.scale((2.0, 1.0, 1.0), (5.0, 0.0, 0.0))), 2.0)
    blob = np.clip(texture.values, 0, None).astype(np.float64)
    blob[blob < 0.5 * blob.max()] = 0
    middle = ndimage.center_of_mass(blob)
    assert np.allclose(texture.to_world.apply(middle), (2 * 20.5 + 5, 20.5, 24.5), atol=0.1)
