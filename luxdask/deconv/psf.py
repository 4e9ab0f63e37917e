"""The point-spread function of a view in sample space, and how it looks in output voxels.

It is known either as a Gaussian of two widths, laid along the detection axis, or as a measured
stack. Both become a `Blur` on the output grid (`luxdask.deconv.blur`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import ConfigError
from luxdask.model.geometry import Vector, vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.view import View

Matrix = tuple[Vector, Vector, Vector]

FWHM_PER_SIGMA = 2 * sqrt(2 * log(2))
"""Full width at half maximum of a Gaussian over its standard deviation."""

WATER = 1.33
"""Refractive index where the metadata does not tell one."""


@dataclass(frozen=True, slots=True)
class GaussianPsf:
    """A Gaussian point-spread function: its covariance in sample space (z, y, x), in µm²."""

    covariance_um2: Matrix

    def covariance_vx(self, spacing_um: Vector) -> NDArray[np.float64]:
        """Covariance in voxels of a grid along the axes of sample space, (3, 3)."""
        covariance: NDArray[np.float64] = np.array(self.covariance_um2)
        return covariance / np.outer(spacing_um, spacing_um)

    def fwhm_vx(self, spacing_um: Vector) -> Vector:
        """Full width at half maximum along the three axes of the grid, through the middle."""
        precision = np.linalg.inv(self.covariance_vx(spacing_um))
        return vector(FWHM_PER_SIGMA / np.sqrt(np.diag(precision)))


@dataclass(frozen=True, slots=True)
class MeasuredPsf:
    """A point-spread function in a file.

    Attributes
    ----------
    path, digest
        The file, and a checksum of its voxels: a run must not go on with another one.
    spacing_um
        Voxel size (z, y, x) of the file; z is the detection axis.
    axes
        Unit vectors in sample space along which the file's z, y and x lie.
    """

    path: str
    digest: str
    spacing_um: Vector
    axes: Matrix


Psf = GaussianPsf | MeasuredPsf


def gaussian_psf(view: View, lateral_um: float, axial_um: float) -> GaussianPsf:
    """The Gaussian of a view: full widths at half maximum across and along its detection axis."""
    axis = np.array(detection_axis(view))
    along, across = axial_um / FWHM_PER_SIGMA, lateral_um / FWHM_PER_SIGMA
    turned = np.outer(axis, axis)
    z, y, x = across**2 * (np.eye(3) - turned) + along**2 * turned
    return GaussianPsf((vector(z), vector(y), vector(x)))


def detection_axis(view: View) -> Vector:
    """Unit vector in sample space along which the view's objective looks.

    That of the metadata, which turns with registration; where there is none or several (images
    fused from several views), the normal of the image plane.
    """
    if len(view.detection_directions) == 1:
        return view.detection_directions[0]
    _, y, x = np.array(view.view_to_world.linear).T
    normal = np.cross(x, y)
    return vector(normal / np.linalg.norm(normal))


def file_axes(view: View) -> Matrix:
    """Where the z, y and x of a measured stack lie: as those of the view, made orthogonal.

    z is the detection axis, pointing as the planes of the view follow each other.
    """
    z_step, y_step, x_step = np.array(view.view_to_world.linear).T
    z = np.array(detection_axis(view))
    z = z if z @ z_step >= 0 else -z
    y = y_step - (y_step @ z) * z
    y /= np.linalg.norm(y)
    x = np.cross(z, y)
    x = x if x @ x_step >= 0 else -x
    return vector(z), vector(y), vector(x)


def optical_widths_um(view: View) -> tuple[float, float]:
    """Lateral and axial width (full width at half maximum) that the view's optics have in theory.

    Raises `ConfigError` where the metadata does not tell numerical aperture and wavelength.
    Across: that of the Airy disk, 0.51 wavelengths over the aperture. Along: that of the
    diffraction pattern on the axis, 0.88 wavelengths over ``n - sqrt(n² - NA²)``; a thin light
    sheet makes it shorter.
    """
    optics = view.optics
    wavelength_um, aperture = optics.wavelength_nm / 1000, optics.numerical_aperture
    index = optics.refractive_index or WATER
    if wavelength_um <= 0 or not 0 < aperture < index:
        raise ConfigError(
            "fusion.deconvolution: the width of the point-spread function is unknown; the metadata "
            f"of {view.id} gives numerical aperture {aperture:g} and wavelength "
            f"{optics.wavelength_nm:g} nm. Set fusion.deconvolution.psf_lateral_um and "
            "psf_axial_um (full widths at half maximum in µm; `luxdask psf estimate` measures them "
            "in an image), or fusion.deconvolution.psf_file"
        )
    lateral = 0.51 * wavelength_um / aperture
    axial = 0.88 * wavelength_um / (index - sqrt(index**2 - aperture**2))
    return lateral, axial
