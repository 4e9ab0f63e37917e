"""Deconvolution in a task: its settings as plain values, and hints where results may suffer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luxdask.deconv.measured import checked_psf, cleaned_psf
from luxdask.deconv.psf import FWHM_PER_SIGMA, GaussianPsf
from luxdask.errors import ConfigError
from luxdask.graph.deconvolution import measured_kernel, width_for, widths_um
from luxdask.graph.params import DeconvolutionParams, PsfFile
from luxdask.io.psf_file import read_stack
from luxdask.model.geometry import vector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from luxdask.deconv.psf import Psf
    from luxdask.graph.params import FusionParams, Width
    from luxdask.graph.planned import PlannedOutput
    from luxdask.model.geometry import Vector
    from luxdask.model.view import View
    from luxdask.tasks.config import TaskConfig
    from luxdask.tasks.config_fusion import DeconvolutionConfig

MANY_ITERATIONS = 20

_KEY = "fusion.deconvolution"


def deconvolution_params(config: DeconvolutionConfig) -> DeconvolutionParams | None:
    """How views are deconvolved; None where they are not.

    Raises `ConfigError` or `ImageFileError` where the file of a measured point-spread function
    cannot be used.
    """
    if not config.enabled:
        return None
    file = None if config.psf_file is None else _psf_file(config.psf_file, config.psf_spacing_um)
    return DeconvolutionParams(
        lateral_um=_width(config.psf_lateral_um),
        axial_um=_width(config.psf_axial_um),
        file=file,
        iterations=config.iterations,
        regularisation=config.regularisation,
        order=config.order,
        back_projector=config.back_projector,
        acceleration=config.acceleration,
        background=config.background,
    )


def _width(given: float | dict[str, float] | None) -> Width:
    return tuple(sorted(given.items())) if isinstance(given, dict) else given


def _psf_file(path: str, spacing_um: Vector | None) -> PsfFile:
    place = str(Path(path).expanduser().resolve())
    stack = read_stack(place)
    cleaned_psf(checked_psf(stack.values, place), place)
    spacing = spacing_um or stack.spacing_um
    if spacing is None:
        raise ConfigError(
            f"{path}: the file does not tell its voxel size; set {_KEY}.psf_spacing_um to it "
            "(z, y, x in µm)"
        )
    return PsfFile(place, stack.digest, spacing)


def check_objectives(params: FusionParams, views: Iterable[View]) -> None:
    """Raise `ConfigError` where a width is given for an objective that no image has."""
    given = params.deconvolution
    if given is None:
        return
    known = {view.id.objective for view in views}
    for name, width in (("psf_lateral_um", given.lateral_um), ("psf_axial_um", given.axial_um)):
        wrong = [o for o, _ in width if o not in known] if isinstance(width, tuple) else []
        if wrong:
            raise ConfigError(
                f"{_KEY}.{name}: no image has the objective {wrong[0]!r}; there are: "
                f"{', '.join(sorted(known))}"
            )


def deconvolution_notes(config: TaskConfig, outputs: Sequence[PlannedOutput]) -> tuple[str, ...]:
    """What point-spread functions are used where none was given, and where results may suffer."""
    if not any(p.params.deconvolution for p in outputs):
        return ()
    said = (*_by_optics(outputs), *_coarse(outputs), *_settings(config, outputs))
    return tuple(dict.fromkeys(said))


def _by_optics(outputs: Sequence[PlannedOutput]) -> Iterator[str]:
    """The widths that come from the metadata."""
    for planned in outputs:
        given = planned.params.deconvolution
        assert given is not None  # it is the same for all outputs of a task
        if given.file is not None:
            return
        for view in planned.output.views:
            if None in (
                width_for(w, view.id.objective) for w in (given.lateral_um, given.axial_um)
            ):
                lateral, axial = widths_um(view, given)
                yield (
                    f"deconvolution: the point-spread function of objective {view.id.objective} is "
                    f"{lateral:.3g} µm wide and {axial:.3g} µm long, by numerical aperture "
                    f"{view.optics.numerical_aperture:g} and wavelength "
                    f"{view.optics.wavelength_nm:g} nm of the metadata"
                )


def _coarse(outputs: Sequence[PlannedOutput]) -> Iterator[str]:
    """Where output voxels are too large for the point-spread function."""
    for planned in outputs:
        spacing_um = planned.output.grid.spacing_um
        for psf in dict.fromkeys(planned.psfs):
            width = np.array(fwhm_vx(psf, spacing_um))
            if width.min() < 2:
                axis = int(width.argmin())
                yield (
                    f"deconvolution: along {'zyx'[axis]} an output voxel is {spacing_um[axis]:.3g} "
                    f"µm, the point-spread function {width[axis] * spacing_um[axis]:.3g} µm: fewer "
                    "than two voxels, so little can be gained there (three are better)"
                )


def fwhm_vx(psf: Psf, spacing_um: Vector) -> Vector:
    """Full width at half maximum along the axes of the grid, as that of a Gaussian as wide."""
    if isinstance(psf, GaussianPsf):
        return psf.fwhm_vx(spacing_um)
    kernel = measured_kernel(psf, spacing_um)
    widths = []
    for axis in range(3):
        along = kernel.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
        at = np.arange(along.size) - along.size // 2
        widths.append(FWHM_PER_SIGMA * np.sqrt((along * at**2).sum()))
    return vector(widths)


def _settings(config: TaskConfig, outputs: Sequence[PlannedOutput]) -> Iterator[str]:
    sampling = config.output.sampling
    if max(sampling.width, sampling.height, sampling.depth) > 1:
        yield (
            "deconvolution: output.sampling is above 1, so images are averaged before they are "
            "deconvolved; leave it at 1 for the best result"
        )
    several = any(len(p.output.views) > 1 for p in outputs)
    moved = config.registration.enabled or config.input.metadata.multi_transform.enabled
    if several and not moved:
        yield (
            "deconvolution: several views are deconvolved together, but nothing is registered; "
            "they must fit to a fraction of the point-spread function (registration.enabled)"
        )
    if config.fusion.deconvolution.iterations > MANY_ITERATIONS:
        yield (
            f"deconvolution: {config.fusion.deconvolution.iterations} iterations sharpen noise as "
            f"well; 5 to {MANY_ITERATIONS} are usual"
        )
