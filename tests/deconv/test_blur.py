"""Blurs against plain convolution in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.deconv.blur import gaussian_blur, sampled_blur
from luxdask.deconv.lattice import gaussian_lines
from luxdask.deconv.line_blur import passes
from luxdask.deconv.workspace import Workspace
from luxdask.errors import ConfigError

SHAPE = (23, 30, 41)
ANGLES = [(0, 0, 0), (0, 35, 0), (0, 0, 35), (35, 0, 0), (20, 35, 50), (-70, 15, 120)]


def volume(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32) ** 4


def blurred(blur, image, direction="forward", threads=1):
    out = np.full(image.shape, np.nan, dtype=np.float32)
    with Workspace(threads) as work:
        getattr(blur, direction)(image, out, work)
    return out


@pytest.mark.parametrize("angles", ANGLES)
@pytest.mark.parametrize("sigmas", [(4, 1.5, 1.5), (0.5, 0.7, 2)])
def test_a_gaussian_is_the_convolution_with_its_kernel(plain, sigmas, angles):
    blur = gaussian_blur(plain.covariance(sigmas, angles))
    image = volume()
    expected = plain.convolved(image, blur.kernel())
    np.testing.assert_allclose(blurred(blur, image), expected, rtol=1e-5)
    np.testing.assert_allclose(blurred(blur, image, threads=3), expected, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    sigmas=st.tuples(*[st.floats(0.2, 3)] * 3),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
)
def test_backward_is_the_adjoint_on_volumes_of_any_shape(plain, shape, sigmas, angles):
    blur = gaussian_blur(plain.covariance(sigmas, angles))
    image, other = volume(shape), volume(shape, 1)
    there = np.vdot(blurred(blur, image).astype(float), other)
    back = np.vdot(image.astype(float), blurred(blur, other, "backward"))
    assert there == pytest.approx(back, rel=1e-5)
    np.testing.assert_allclose(
        blurred(blur, image), plain.convolved(image, blur.kernel()), rtol=2e-3, atol=1e-6
    )


def test_threads_make_no_difference(plain):
    blur = gaussian_blur(plain.covariance((4, 1.5, 1.5), (20, 35, 50)))
    image = volume()
    assert np.array_equal(blurred(blur, image), blurred(blur, image, threads=4))


@pytest.mark.parametrize("nx", [1, 15, 16, 17, 63, 64, 65, 80, 131])
@pytest.mark.parametrize("angles", [(0, 0, 0), (20, 35, 50)])
def test_rows_of_any_length(plain, nx, angles):
    """Whole blocks of voxels, single registers of them, and what is left."""
    blur = gaussian_blur(plain.covariance((2, 1.5, 1.5), angles))
    image = volume((9, 8, nx))
    expected = plain.convolved(image, blur.kernel())
    np.testing.assert_allclose(blurred(blur, image), expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, 35, 50)])
def test_parts_of_arrays_are_used_where_they_are(plain, angles):
    """Each action gives the same on a part as on a copy of it, and nothing beside it changes."""
    blur = gaussian_blur(plain.covariance((2, 1.5, 1.5), angles))
    where = (slice(3, 21), slice(2, 29), slice(4, 37))
    with Workspace() as work:
        for action in range(4):
            arrays = [volume(seed=n) for n in range(4)]
            copies = [array[where].copy() for array in arrays]
            untouched = [array.copy() for array in arrays]
            for source, out, scale, estimate in ([a[where] for a in arrays], copies):
                if action == 0:
                    blur.backward(source, out, work)
                elif action == 1:
                    blur.add_backward(source, out, work)
                else:
                    ahead = estimate if action == 3 else None
                    blur.update(source, None, scale, out, ahead, 0.3, work)
            for array, copy, before in zip(arrays, copies, untouched, strict=True):
                assert np.array_equal(array[where], copy)
                array[where] = before[where]
                assert np.array_equal(array, before)


@pytest.mark.parametrize("shape", [(7, 5, 9), (6, 5, 8), (31, 4, 61)])
def test_a_measured_psf_of_any_shape(plain, shape):
    psf = volume(shape, 2)
    blur = sampled_blur(psf)
    image = volume()
    kernel = np.pad(psf.astype(float), [(0, 1 - n % 2) for n in shape])
    kernel /= kernel.sum()
    np.testing.assert_allclose(blur.kernel(), kernel, rtol=1e-6)
    np.testing.assert_allclose(blurred(blur, image), plain.convolved(image, kernel), rtol=1e-4)
    mirrored = kernel[::-1, ::-1, ::-1]
    expected = plain.convolved(image, mirrored)
    np.testing.assert_allclose(blurred(blur, image, "backward"), expected, rtol=1e-4)


def test_the_same_blur_serves_volumes_of_different_shapes(plain):
    blur = sampled_blur(volume((5, 5, 5), 2))
    for shape in (SHAPE, (8, 9, 10), SHAPE):
        expected = plain.convolved(volume(shape), blur.kernel())
        np.testing.assert_allclose(blurred(blur, volume(shape)), expected, rtol=1e-4)


def test_light_is_kept_where_it_stays_inside(plain):
    image = np.zeros((61, 61, 61), dtype=np.float32)
    image[30, 30, 30] = 1000
    for angles in ANGLES:
        blur = gaussian_blur(plain.covariance((3, 1.5, 1), angles))
        assert blurred(blur, image).sum() == pytest.approx(1000, rel=1e-5)
        assert blur.kernel().sum() == pytest.approx(1)


def test_images_that_cannot_be_written_to_are_read(plain):
    blur = gaussian_blur(np.eye(3))
    image = volume()
    expected = blurred(blur, image)
    image.flags.writeable = False
    assert np.array_equal(blurred(blur, image), expected)
    turned = np.ascontiguousarray(image.transpose(2, 1, 0)).transpose(2, 1, 0)
    assert np.array_equal(blurred(blur, turned), expected)


def test_parallel_axes_need_two_passes_over_memory_and_oblique_ones_a_few(plain):
    assert len(passes(gaussian_lines(plain.covariance((4, 1.5, 1.5))))) == 2
    assert len(passes(gaussian_lines(plain.covariance((4, 1.5, 1.5), (0, 35, 0))))) == 2
    for angles in ANGLES:
        assert len(passes(gaussian_lines(plain.covariance((4, 1.5, 1.5), angles)))) <= 4


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 3)),
        np.diag([1.0, 1, -1]),
        np.full((3, 3), np.nan),
        np.eye(2),
        np.triu(np.ones((3, 3))),
    ],
    ids=["zero", "negative", "nan", "two axes", "not symmetric"],
)
def test_what_is_no_covariance_is_refused(matrix):
    with pytest.raises(ConfigError, match="positive definite"):
        gaussian_blur(matrix)


@pytest.mark.parametrize("psf", [np.zeros((3, 3, 3)), np.full((3, 3, 3), np.inf), np.ones((3, 3))])
def test_what_is_no_psf_is_refused(psf):
    with pytest.raises(ConfigError, match="finite values, some of them above 0"):
        sampled_blur(psf)
