"""Compiles the kernels that most tests need: python tests/kernels.py images | registration.

On a fresh clone numba's cache is empty, and tests that run side by side would compile the same
kernels at the same time.
"""

from __future__ import annotations

import sys
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import luxdask
from luxdask.testing import small_experiment

if TYPE_CHECKING:
    from luxdask.model.experiment import Experiment


def images(experiment: Experiment) -> None:
    deconvolution = {
        "fusion.deconvolution.enabled": True,
        "fusion.deconvolution.psf_lateral_um": 3.0,
        "fusion.deconvolution.psf_axial_um": 5.0,
        "fusion.deconvolution.iterations": 2,
        "fusion.deconvolution.regularisation": 0.01,
    }
    for values in ({"fusion.image_quality_weighting.enabled": True}, deconvolution):
        luxdask.Task.new(experiment, values=values).run()


def registration(experiment: Experiment) -> None:
    luxdask.register(experiment, {"registration.transform_model": "rigid"})


PARTS = {part.__name__: part for part in (images, registration)}


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        small_experiment(folder, shape=(32, 64, 96), overlap=0.5, stage_error_um=2.0, noise=True)
        PARTS[sys.argv[1]](luxdask.open_experiment(folder))
