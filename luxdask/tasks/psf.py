"""Point-spread functions to look at: those that a task would use, and one measured in an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luxdask.deconv.estimate import PsfEstimate, estimate_psf
from luxdask.errors import ConfigError
from luxdask.graph.deconvolution import psf_blur
from luxdask.io import open_experiment
from luxdask.io.psf_file import read_stack
from luxdask.io.reader import reader_for
from luxdask.model.geometry import Box, shape3
from luxdask.report.psf import PsfPicture
from luxdask.tasks.deconvolution import fwhm_vx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from luxdask.deconv.psf import Psf
    from luxdask.graph.planned import PlannedOutput
    from luxdask.model.geometry import Vector
    from luxdask.model.view import View
    from luxdask.tasks.task import Task

MOST_READ = 1 << 27
"""Voxels of an image that are looked at: its middle part, where it has more."""

STACKS = (".tif", ".tiff", ".npy")


def preview_psfs(task: Task) -> list[PsfPicture]:
    """The point-spread functions of a task on its output voxels, each with the views that share it.

    Views lie where the metadata puts them. Raises `ConfigError` where the task writes no image.
    """
    wanted = task.replace({"fusion.deconvolution.enabled": True, "registration.enabled": False})
    plan = wanted.compile(wanted.open_experiment())
    found: dict[tuple[Psf, Vector], list[View]] = {}
    for planned in plan.outputs:
        for psf, view in zip(planned.psfs, planned.output.views, strict=True):
            found.setdefault((psf, _spacing(planned)), []).append(view)
    if not found:
        raise ConfigError("fusion.enabled is off: a task without images has no output voxels")
    return [_picture(psf, spacing, views) for (psf, spacing), views in found.items()]


def _spacing(planned: PlannedOutput) -> Vector:
    return planned.output.grid.spacing_um


def _picture(psf: Psf, spacing_um: Vector, views: list[View]) -> PsfPicture:
    width = np.array(fwhm_vx(psf, spacing_um)) * spacing_um
    shown = " x ".join(f"{w:.3g}" for w in width)
    voxel = " x ".join(f"{s:.3g}" for s in spacing_um)
    words = f"{_names(views)}: {shown} µm wide at half maximum (z, y, x), voxels of {voxel} µm"
    return PsfPicture(words, psf_blur(psf, spacing_um).kernel(), spacing_um)


def _names(views: list[View]) -> str:
    """What tells the views of a point-spread function from others, in few words."""
    objectives = sorted({v.id.objective for v in views})
    angles = sorted({v.angle_deg for v in views})
    channels = sorted({v.id.channel for v in views})
    angle = f" at {', '.join(f'{a:g}' for a in angles[:4])}°" if any(angles) else ""
    count = "1 view" if len(views) == 1 else f"{len(views)} views"
    return f"{', '.join(objectives)}{angle}, channel {', '.join(channels[:4])} ({count})"


def estimate_in(path: str, spacing_um: Vector | None = None) -> PsfEstimate:
    """Measure the point-spread function in an image: a TIFF or NumPy stack, or a `.lux.h5` image.

    spacing_um : voxel size (z, y, x), where the file does not tell it or is wrong.
    Raises `ConfigError` where it is unknown, the path holds several images, or no spots are found.
    """
    if Path(path).suffix.lower() in STACKS:
        stack = read_stack(path)
        values, told = _middle(stack.values), stack.spacing_um
    else:
        values, told = _read_only_image(path)
    spacing = spacing_um or told
    if spacing is None:
        raise ConfigError(f"{path}: the file does not tell its voxel size; give --voxel-size z,y,x")
    return estimate_psf(values, spacing)


def _read_only_image(path: str) -> tuple[NDArray[np.uint16], Vector]:
    views = open_experiment(path).views
    if len(views) != 1:
        names = "".join(f"\n  {v.source.path}" for v in views[:10])
        raise ConfigError(f"{path}: holds {len(views)} images; give the file of one:{names}")
    view = views[0]
    box = Box.of_shape(view.shape)
    for part in _halvings(box):
        if part.size <= MOST_READ:
            box = part
            break
    out = np.empty(box.shape, dtype=np.uint16)
    reader_for(view.source).read_into(view.source, box, out)
    return out, view.spacing_um


def _middle(values: NDArray[np.generic]) -> NDArray[np.generic]:
    if values.ndim != 3:
        return values
    box = next(b for b in _halvings(Box.of_shape(values.shape)) if b.size <= MOST_READ)
    return values[box.slices]


def _halvings(box: Box) -> Iterator[Box]:
    """A box, and its middle parts of ever shorter longest sides."""
    while True:
        yield box
        start, stop = list(box.start), list(box.stop)
        axis = int(np.argmax(box.shape))
        quarter = max(1, box.shape[axis] // 4)
        start[axis], stop[axis] = start[axis] + quarter, stop[axis] - quarter
        box = Box(shape3(start), shape3(stop))


def estimate_picture(estimate: PsfEstimate) -> list[PsfPicture]:
    """The mean of the spots, and the Gaussian of the estimated widths beside it."""
    mean = np.maximum(estimate.mean, 0)
    shown = (
        f"{estimate.lateral_um:.3g} µm across, {estimate.axial_um:.3g} µm along z "
        "(full widths at half maximum)"
    )
    return [
        PsfPicture(f"mean of {len(estimate.spots)} spots", mean, estimate.spacing_um),
        PsfPicture(f"Gaussian: {shown}", _gaussian(estimate), estimate.spacing_um),
    ]


def _gaussian(estimate: PsfEstimate) -> NDArray[np.float64]:
    widths = (estimate.axial_um, estimate.lateral_um, estimate.lateral_um)
    shape, spacing = estimate.mean.shape, estimate.spacing_um
    z, y, x = (
        np.exp(-4 * np.log(2) * ((np.arange(n) - n // 2) * s / w) ** 2)
        for n, s, w in zip(shape, spacing, widths, strict=True)
    )
    return np.asarray(z[:, None, None] * y[:, None] * x)
