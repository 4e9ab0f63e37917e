"""Prints what the kernels make of small samples: python tests/kernels.py images | registration.

On a fresh clone numba's cache is empty, and tests that run side by side would compile the same
kernels at the same time; this fills it before they begin.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import luxdask
from luxdask.io.lux_reader import read_box
from luxdask.model.geometry import Affine, Box
from luxdask.registration.match import MatchParams
from luxdask.registration.measure import match
from luxdask.registration.patch import Patch
from luxdask.testing import small_experiment
from luxdask.testing.phantoms import nuclei

SHAPE = (32, 64, 96)
DECONVOLUTION = {
    "fusion.deconvolution.enabled": True,
    "fusion.deconvolution.psf_lateral_um": 3.0,
    "fusion.deconvolution.psf_axial_um": 5.0,
    "fusion.deconvolution.iterations": 3,
    "fusion.deconvolution.regularisation": 0.01,
}


def images() -> None:
    """Oblique views, fused and deconvolved."""
    with TemporaryDirectory() as folder:
        small_experiment(folder, shape=SHAPE, overlap=0.5, rotations_deg=(0.0, 30.0), noise=True)
        for values in ({"fusion.image_quality_weighting.enabled": True}, DECONVOLUTION):
            print(digest(luxdask.open_experiment(folder), values))


def digest(experiment: Any, values: dict[str, Any]) -> str:
    """Of the first image of a task."""
    result = luxdask.Task.new(experiment, values=values | {"output.formats": ["lux"]}).run()
    (view, *_) = luxdask.open_experiment(result.folder).views
    voxels = read_box(view.source.path, "Data", Box.of_shape(view.shape))
    return f"{voxels.mean():.3f} {sha256(voxels.tobytes()).hexdigest()}"


def registration() -> None:
    """Two views of a sample, each with noise of its own."""
    sample, rng = nuclei((36, 84, 84), seed=5), np.random.default_rng(1)
    views = [sample[a : a + 32, a : a + 80, a : a + 80] for a in (0, 3)]
    noisy = [(v + rng.normal(0, 20, v.shape)).astype(np.float32) for v in views]
    fixed, moving = (Patch(v, Affine()) for v in noisy)
    for model in ("translation", "rigid"):
        found = match(fixed, moving, MatchParams(model=model))
        print(found.status, found.model, found.transform, found.quality)


PARTS = {part.__name__: part for part in (images, registration)}


if __name__ == "__main__":
    PARTS[sys.argv[1]]()
