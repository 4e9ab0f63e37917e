"""From the volume to the image that a camera stores: sampling, blur, light, noise, rounding."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from luxdask.model.geometry import Affine, Shape, shape3
from luxdask.testing.layout import rotated_shape, stage_middle
from luxdask.testing.sampling import sample_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.testing.layout import Pose
    from luxdask.testing.spec import DemoSpec

_LATERAL_BLUR = 1 / 3
_SCATTER_VX = 5.0
_SCATTER_REACH_VX = 10
_SHADOW = 1.6
_READ_NOISE = 4.0


@dataclass(frozen=True, slots=True)
class Exposure:
    """What changes between images that see the same.

    `light` is +1 or -1 where the sample is lit from low or high x only, 0 for both sides.
    `noise_seed` is None where there is no noise.
    """

    brightness: float = 1.0
    light: int = 0
    noise_seed: tuple[int, ...] | None = None


def form_image(
    volume: NDArray[np.uint16], pose: Pose, view_to_volume: Affine, spec: DemoSpec
) -> NDArray[Any]:
    """What falls on the camera (Z, Y, X): an exact uint16 cut where nothing blurs, else float32.

    Sampled with the margin that the blur needs, blurred, and cut back.
    """
    sigma = spec.blur_um * np.array([1, _LATERAL_BLUR, _LATERAL_BLUR]) / pose.spacing_um
    margin = [ceil(4 * s) + (_SCATTER_REACH_VX if spec.scatter else 0) for s in sigma]
    larger = view_to_volume @ Affine.translation(np.negative(margin))
    shape = shape3([n + 2 * m for n, m in zip(pose.shape, margin, strict=True)])
    image = sample_volume(volume, larger, shape)
    if spec.blur_um:
        image = ndimage.gaussian_filter(image, sigma, output=np.float32)
    if spec.scatter:
        image = _scattered(image.astype(np.float32), pose, spec.scatter, margin[0])
    return image[tuple(slice(m, m + n) for m, n in zip(margin, pose.shape, strict=True))]


def expose(
    image: NDArray[Any], pose: Pose, exposure: Exposure, spec: DemoSpec, volume_shape: Shape
) -> NDArray[np.uint16]:
    """The image that the camera stores; the input is not changed."""
    gains = _gains(pose, exposure, spec, volume_shape)
    if image.dtype == np.uint16 and not gains and exposure.noise_seed is None:
        return image
    image = image.astype(np.float32)
    for gain in gains:
        image *= gain
    if exposure.noise_seed is not None:
        _add_noise(image, exposure.noise_seed)
    return np.asarray(np.rint(np.clip(image, 0, 65535)), dtype=np.uint16)


def _scattered(
    image: NDArray[np.float32], pose: Pose, strength: float, margin: int
) -> NDArray[np.float32]:
    """Mixed with a smeared copy, the more the further a plane lies from the objective."""
    depth = (np.arange(image.shape[0]) - margin) / max(pose.shape[0] - 1, 1)
    if pose.step * pose.detection_direction[0] < 0:
        depth = 1 - depth
    weight = (strength * np.clip(depth, 0, 1)).astype(np.float32)[:, None, None]
    smeared = ndimage.gaussian_filter(image, _SCATTER_VX, radius=_SCATTER_REACH_VX)
    return np.asarray(image + weight * (smeared - image))


def _gains(
    pose: Pose, exposure: Exposure, spec: DemoSpec, volume_shape: Shape
) -> list[NDArray[np.float32]]:
    gains = []
    if spec.flatfield:
        gains.append(_field_gain(pose.shape, spec.flatfield))
    if exposure.light:
        gains.append(_shadow(pose, exposure.light, volume_shape))
    if exposure.brightness != 1:
        gains.append(np.full(1, exposure.brightness, dtype=np.float32))
    return gains


def _field_gain(shape: Shape, loss: float) -> NDArray[np.float32]:
    """1 in the middle of the camera's field, ``1 - loss`` in its corners."""
    y, x = (np.linspace(-1, 1, n) for n in shape[1:])
    return (1 - loss * (y[:, None] ** 2 + x**2) / 2).astype(np.float32)


def _shadow(pose: Pose, light: int, volume_shape: Shape) -> NDArray[np.float32]:
    """Light that comes from one side in x and is used up on its way through the sample.

    The light keeps its direction when the stage turns, so x is that of the microscope frame.
    """
    columns = np.zeros((pose.shape[2], 3))
    columns[:, 2] = np.arange(pose.shape[2])
    from_middle = pose.stage.apply(columns)[:, 2] - stage_middle(pose.angle_deg)[2]
    width = rotated_shape(volume_shape, pose.spacing_um, pose.angle_deg)[2] * pose.spacing_um[2]
    way = np.clip(light * from_middle / width + 0.5, 0, 1)
    return np.asarray(np.exp(-_SHADOW * way), dtype=np.float32)


def _add_noise(image: NDArray[np.float32], seed: tuple[int, ...]) -> None:
    """Photon noise (normal approximation) and the camera's read noise, in place."""
    noise = np.random.default_rng(seed).standard_normal(image.shape, dtype=np.float32)
    noise *= np.sqrt(np.maximum(image, 0) + np.float32(_READ_NOISE**2))
    image += noise
