"""The multiplication layer of a flatfield correction, from the mean projection of its images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray


def kernel_sigma_px(size_px: int) -> float:
    """Standard deviation of a Gaussian that a kernel of this many pixels holds (9: 1.7)."""
    return 0.3 * ((size_px - 1) * 0.5 - 1) + 0.8


def smoothed(layer: NDArray[np.float64], size_px: int) -> NDArray[np.float64]:
    """Convolve with a Gaussian kernel of `size_px` x `size_px` pixels.

    An even size counts as the next odd one, 1 leaves the layer as it is. Beyond the border the
    nearest pixel is repeated.
    """
    radius = size_px // 2
    if radius == 0:
        return layer
    sigma = kernel_sigma_px(2 * radius + 1)
    result: NDArray[np.float64] = ndimage.gaussian_filter(
        layer, sigma, radius=radius, mode="nearest"
    )
    return result


def multiplication_layer(
    mean: NDArray[np.float64], size_px: int, maximum_factor: float
) -> NDArray[np.float64]:
    """Factors that make a mean projection flat at its maximum, from 1 to `maximum_factor`.

    mean : (Y, X), camera pixels already adjusted. Raises `ValueError` where nothing of it is above
    zero.
    """
    layer = smoothed(np.maximum(mean, 0.0), size_px)
    highest = float(layer.max())
    if not highest > 0:
        raise ValueError("the mean projection is zero everywhere")
    return 1.0 / np.maximum(layer / highest, 1.0 / maximum_factor)
