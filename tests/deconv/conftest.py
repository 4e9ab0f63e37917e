"""What the tests of deconvolution need: covariances, and the same computed plainly in float64."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import convolve
from scipy.signal import fftconvolve
from scipy.spatial.transform import Rotation


def covariance(sigmas, angles=(0, 0, 0)):
    """Of a Gaussian with these widths in voxels, turned about z, y and x in degrees."""
    turn = Rotation.from_euler("zyx", angles, degrees=True).as_matrix()
    return turn @ np.diag(np.square(np.array(sigmas, dtype=float))) @ turn.T


def convolved(image, kernel):
    """With zeros beyond the image; a kernel may be larger than it."""
    full = fftconvolve(np.asarray(image, dtype=float), kernel, "full")
    middle = tuple(
        slice(k // 2, k // 2 + n) for k, n in zip(kernel.shape, image.shape, strict=True)
    )
    return full[middle]


def reference(views, iterations, order="joint", regularisation=0.0, momentum=lambda n: 0.0):
    """Richardson-Lucy on whole volumes in float64, written without any of luxdask's functions."""
    kernels = [view.blur.kernel() for view in views]
    images = [np.asarray(view.image, dtype=float) for view in views]
    weights = [
        np.ones_like(i) if v.weight is None else np.asarray(v.weight, dtype=float)
        for v, i in zip(views, images, strict=True)
    ]

    def back(n, image):
        return convolved(image, kernels[n][::-1, ::-1, ::-1])

    seen_by = [back(n, w) for n, w in enumerate(weights)]
    total, strongest = np.sum(seen_by, axis=0), np.max(seen_by, axis=0)
    seen = total >= 1e-3
    start = np.sum(
        [back(n, w * i) for n, (w, i) in enumerate(zip(weights, images, strict=True))], 0
    )
    new = ahead = np.where(seen, start / np.maximum(total, 1e-3), 0)
    subsets = [range(len(views))] if order == "joint" else [[n] for n in range(len(views))]
    scale = np.where(seen, 1 / np.maximum(total if order == "joint" else strongest, 1e-3), 0)
    for iteration in range(iterations):
        former = new
        for n, subset in enumerate(subsets):
            missed = [
                back(
                    v,
                    weights[v] * (images[v] / np.maximum(convolved(ahead, kernels[v]), 1e-12) - 1),
                )
                for v in subset
            ]
            if regularisation and n == len(subsets) - 1:
                ahead = ahead * damping(ahead, regularisation)
            new = ahead = ahead * np.maximum(1 + np.sum(missed, axis=0) * scale, 0)
        ahead = np.maximum(new + momentum(iteration) * (new - former), 0)
    return np.where(np.sum(weights, axis=0) > 0, new, 0)


def damping(x, strength):
    """One voxel at a time would be plainer still: slopes forwards, their divergence backwards."""
    slopes = np.zeros((3, *x.shape))
    slopes[0, :-1] = x[1:] - x[:-1]
    slopes[1, :, :-1] = x[:, 1:] - x[:, :-1]
    slopes[2, :, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
    unit = slopes / np.sqrt((slopes**2).sum(axis=0) + (0.01 * x) ** 2 + 1e-24)
    divergence = sum(convolve(u, _backwards(n), mode="constant") for n, u in enumerate(unit))
    return 1 / np.maximum(1 - strength * divergence, 0.5)


def _backwards(axis):
    return np.array([0.0, 1.0, -1.0]).reshape([3 if n == axis else 1 for n in range(3)])


@pytest.fixture(scope="session")
def plain():
    return SimpleNamespace(
        covariance=covariance, convolved=convolved, reference=reference, damping=damping
    )
