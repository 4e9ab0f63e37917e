"""Gaussians of views: direction, widths, and their look in output voxels."""

import numpy as np
import pytest

from luxdask.deconv.psf import (
    FWHM_PER_SIGMA,
    detection_axis,
    file_axes,
    gaussian_psf,
    optical_widths_um,
)
from luxdask.errors import ConfigError
from luxdask.model.geometry import Affine, vector
from luxdask.model.view import Optics, Source, View, ViewId

IDENTITY = ViewId(0, "0", "0", "left", "left")


UPRIGHT = np.eye(3)


def view(linear=UPRIGHT, directions=(), **optics):
    to_world = Affine.from_array(linear)
    return View(IDENTITY, Source("/a"), (4, 4, 4), to_world.column_norms, to_world,
                tuple(directions), optics=Optics(**optics))  # fmt: skip


def turn_y(degrees):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def test_along_the_axes_widths_are_as_given():
    psf = gaussian_psf(view(), 2.0, 6.0)
    spacing = (1.5, 0.5, 0.25)
    expected = np.diag([(6 / 1.5) ** 2, (2 / 0.5) ** 2, (2 / 0.25) ** 2]) / FWHM_PER_SIGMA**2
    assert psf.covariance_vx(spacing) == pytest.approx(expected)
    assert psf.fwhm_vx(spacing) == pytest.approx((4, 4, 8))


@pytest.mark.parametrize("degrees", [0, 30, 90, 135, 180])
def test_a_turned_view_has_a_turned_psf(degrees):
    turn = turn_y(degrees)
    axis = vector(turn[:, 0])
    for given in (view(turn), view(turn, [axis]), view(directions=[axis])):
        covariance = gaussian_psf(given, 2.0, 6.0).covariance_vx((1, 1, 1))
        upright = gaussian_psf(view(), 2.0, 6.0).covariance_vx((1, 1, 1))
        assert covariance == pytest.approx(turn @ upright @ turn.T)


def test_opposing_views_share_a_psf():
    one, other = view(directions=[(1, 0, 0)]), view(directions=[(-1, 0, 0)])
    assert gaussian_psf(one, 1, 4) == gaussian_psf(other, 1, 4)


def test_a_skewed_scan_looks_along_the_normal_of_its_planes():
    skewed = np.array([[1.0, 0, 0], [0.6, 0.5, 0], [0, 0, 0.5]])
    assert np.abs(detection_axis(view(skewed))) == pytest.approx([1, 0, 0])


def test_fused_images_look_along_their_planes():
    several = view(directions=[(1, 0, 0), (0, 0, 1)])
    assert np.abs(detection_axis(several)) == pytest.approx([1, 0, 0])


@pytest.mark.parametrize("mirrored", [np.diag([1, 1, -1]), np.diag([-1, 1, 1]), np.eye(3)])
def test_a_measured_stack_lies_as_the_view(mirrored):
    turn = turn_y(25) @ mirrored @ np.diag([2, 0.5, 0.5])
    z, y, x = np.array(file_axes(view(turn)))
    for axis, column in zip((z, y, x), turn.T, strict=True):
        assert axis @ column == pytest.approx(np.linalg.norm(column))
    opposite = view(turn, [vector(-turn[:, 0] / np.linalg.norm(turn[:, 0]))])
    assert np.array(file_axes(opposite)) == pytest.approx(np.array([z, y, x]))


def test_widths_by_optics():
    lateral, axial = optical_widths_um(view(numerical_aperture=0.8, wavelength_nm=525))
    assert lateral == pytest.approx(0.51 * 0.525 / 0.8)
    assert axial == pytest.approx(0.88 * 0.525 / (1.33 - np.sqrt(1.33**2 - 0.8**2)))
    oil = view(numerical_aperture=0.8, wavelength_nm=525, refractive_index=1.52)
    assert optical_widths_um(oil)[1] > axial


@pytest.mark.parametrize(
    "optics",
    [{}, {"numerical_aperture": 0.5}, {"wavelength_nm": 500},
     {"numerical_aperture": 1.4, "wavelength_nm": 500}],
)  # fmt: skip
def test_unknown_optics_say_what_to_set(optics):
    said = r"psf_lateral_um and psf_axial_um.*psf estimate.*psf_file"
    with pytest.raises(ConfigError, match=said):
        optical_widths_um(view(**optics))
