"""Deconvolution against a plain float64 reference and against known truth."""

from __future__ import annotations

import sys
import tracemalloc
from types import ModuleType

import numpy as np
import pytest

from luxdask.array.backend import is_device
from luxdask.deconv.blur import gaussian_blur, sampled_blur
from luxdask.deconv.halo import halo_vx
from luxdask.deconv.memory import peak_bytes
from luxdask.deconv.richardson_lucy import View, richardson_lucy
from luxdask.deconv.total_variation import damping, damping_expression
from luxdask.deconv.workspace import Workspace
from luxdask.errors import ConfigError

SIGMAS = (3, 1.2, 1.2)
ANGLES = [(0, 0, 0), (0, 90, 0), (20, 35, 50)]


def sample(shape=(26, 30, 36), seed=0, ground=3.0):
    """Bright spots and a bright block over dim ground."""
    rng = np.random.default_rng(seed)
    truth = np.full(shape, ground, dtype=np.float32)
    truth[tuple(rng.integers(0, n, 60) for n in shape)] = 3000
    truth[shape[0] // 3 : shape[0] // 2, shape[1] // 3 : shape[1] // 2, shape[2] // 2 :] += 200
    return truth


def seen(truth, blur, seed=None):
    image = np.empty_like(truth)
    blur.forward(truth, image)
    return image if seed is None else np.random.default_rng(seed).poisson(image).astype(np.float32)


def shares(n_views, shape, seed=0):
    """Weights that add up to 1 where something is covered; each view covers a part."""
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    ramps = [
        np.clip(6 * (0.8 - x), 0, 1),
        np.clip(6 * (x - 0.3), 0, 1),
        np.clip(5 * (y - 0.2), 0, 1),
    ]
    weights = np.array([ramps[n % 3] * (0.5 + 0.5 * (z > 0.1 * n)) for n in range(n_views)])
    weights[:, :, : shape[1] // 4, -6:] = 0
    return (weights / np.maximum(weights.sum(axis=0), 1e-6)).astype(np.float32)


def make_views(plain, n_views, *, partial=True, truth=None, noise=True, sampled=False):
    truth = sample() if truth is None else truth
    weights = shares(n_views, truth.shape) if partial else [None] * n_views
    views = []
    for n in range(n_views):
        blur = gaussian_blur(plain.covariance(SIGMAS, ANGLES[n]))
        blur = sampled_blur(blur.kernel()) if sampled else blur
        views.append(View(seen(truth, blur, n if noise else None), weights[n], blur))
    return views


def difference(found, expected):
    """Largest difference, relative to the local value (or to the ground, where that is less)."""
    assert found.dtype == np.float32
    return float((np.abs(found - expected) / np.maximum(expected, 0.1)).max())


OPTIONS = [
    pytest.param({}, id="plain"),
    pytest.param({"order": "ordered_subsets"}, id="ordered subsets"),
    pytest.param({"regularisation": 0.01}, id="total variation"),
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("n_views", [1, 2, 3])
@pytest.mark.parametrize("partial", [False, True])
def test_equals_the_plain_reference(plain, n_views, partial, options):
    views = make_views(plain, n_views, partial=partial)
    expected = plain.reference(views, 8, **options)
    assert difference(richardson_lucy(views, iterations=8, **options), expected) < 1e-3
    threaded = richardson_lucy(views, iterations=8, threads=2, **options)
    assert difference(threaded, expected) < 1e-3


@pytest.mark.parametrize("options", OPTIONS)
def test_acceleration_and_measured_psfs_equal_the_plain_reference(plain, options):
    views = make_views(plain, 2, sampled=True)
    expected = plain.reference(views, 6, **options, momentum=lambda n: n / (n + 3))
    found = richardson_lucy(views, iterations=6, acceleration=True, **options)
    assert difference(found, expected) < 1e-3
    fused = make_views(plain, 2)
    expected = plain.reference(fused, 6, **options, momentum=lambda n: n / (n + 3))
    found = richardson_lucy(fused, iterations=6, acceleration=True, **options)
    assert difference(found, expected) < 1e-3


def test_both_kinds_of_blur_do_the_same_with_every_option(plain):
    for options in ({}, {"back_projector": "wiener_butterworth"}, {"acceleration": True}):
        lines = richardson_lucy(make_views(plain, 2, noise=False), iterations=2, **options)
        arrays = richardson_lucy(
            make_views(plain, 2, noise=False, sampled=True), iterations=2, **options
        )
        assert difference(lines, arrays) < 1e-3


def test_nothing_that_was_given_is_changed(plain):
    views = make_views(plain, 2)
    before = [(v.image.copy(), v.weight.copy()) for v in views]
    richardson_lucy(views, iterations=1, acceleration=True, regularisation=0.01)
    for view, (image, weight) in zip(views, before, strict=True):
        assert np.array_equal(view.image, image)
        assert np.array_equal(view.weight, weight)


def test_light_is_kept(plain):
    truth = np.zeros((48, 48, 48), dtype=np.float32)
    truth[20:28, 20:28, 20:28] = 100
    for n_views in (1, 2):
        views = make_views(plain, n_views, partial=False, truth=truth)
        total = np.mean([view.image.sum() for view in views])
        found = richardson_lucy(views)
        assert found.sum() == pytest.approx(total, rel=1e-3)
        assert found.min() >= 0


def test_nothing_is_where_no_view_covers(plain):
    views = make_views(plain, 2)
    found = richardson_lucy(views, iterations=2)
    uncovered = sum(view.weight for view in views) == 0
    assert uncovered.any()
    assert (found[uncovered] == 0).all()
    assert (found[~uncovered] > 0).mean() > 0.99
    empty = [View(v.image, np.zeros_like(v.image), v.blur) for v in views]
    assert (richardson_lucy(empty, iterations=2) == 0).all()


def test_an_image_of_nothing_stays_nothing(plain):
    for options in ({}, {"acceleration": True, "regularisation": 0.01}):
        views = [View(np.zeros((9, 9, 9), np.float32), None, gaussian_blur(np.eye(3)))] * 2
        assert (richardson_lucy(views, **options) == 0).all()


def padded(image, width, weight=1.0):
    """With a border that no view covers, and what is in there of no matter."""
    wide = [(w, w) for w in width]
    weights = np.broadcast_to(np.asarray(weight, dtype=np.float32), image.shape)
    return np.pad(image, wide, constant_values=7), np.pad(weights, wide)


def test_light_beyond_the_border_is_unknown_not_dark(plain):
    blur = gaussian_blur(plain.covariance((2, 1.5, 1.5), (0, 35, 0)))
    image = np.full((20, 24, 30), 100, dtype=np.float32)  # evenly bright, also at its border
    width = blur.radius_vx
    views = [View(*padded(image, width), blur)]
    inner = tuple(slice(w, -w) for w in width)
    for options in ({}, {"order": "ordered_subsets"}, {"back_projector": "wiener_butterworth"}):
        assert richardson_lucy(views, **options)[inner] == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("order", ["joint", "ordered_subsets"])
def test_no_border_between_places_with_one_view_and_with_two(plain, order):
    image = np.full((24, 24, 50), 100, dtype=np.float32)
    ramp = np.clip((np.arange(50, dtype=np.float32) - 20) / 8, 0, 1) / 2
    blurs = [gaussian_blur(plain.covariance(SIGMAS, angles)) for angles in ANGLES[:2]]
    width = (10, 10, 10)
    views = [
        View(*padded(image, width, share), blur)
        for share, blur in zip((1 - ramp, ramp), blurs, strict=True)
    ]
    found = richardson_lucy(views, order=order)[10:-10, 10:-10, 10:-10]
    assert found == pytest.approx(100, rel=0.01)


def correlation(found, truth):
    inner = (slice(6, -6),) * 3
    return float(np.corrcoef(found[inner].ravel(), truth[inner].ravel())[0, 1])


def test_closer_to_the_truth_with_iterations_and_with_views(plain):
    truth = sample((48, 48, 48), ground=5)
    views = make_views(plain, 3, partial=False, truth=truth)
    images = [correlation(view.image, truth) for view in views]
    rising = [correlation(richardson_lucy(views[:1], iterations=n), truth) for n in (1, 3, 10)]
    assert rising[0] < rising[1] < rising[2]
    assert rising[2] > images[0] * 1.1
    single = max(correlation(richardson_lucy([view]), truth) for view in views)
    two, three = (correlation(richardson_lucy(views[:n]), truth) for n in (2, 3))
    average = correlation(np.mean([view.image for view in views], axis=0), truth)
    assert max(single, average) < two < three


def test_options_reach_the_same_truth_in_fewer_iterations(plain):
    truth = sample((48, 48, 48), ground=5)
    views = make_views(plain, 3, partial=False, truth=truth)

    def reached(iterations, **options):
        return correlation(richardson_lucy(views, iterations=iterations, **options), truth)

    assert reached(4, order="ordered_subsets") == pytest.approx(reached(12), rel=0.01)
    assert reached(10, acceleration=True) > reached(15)
    assert reached(3, back_projector="wiener_butterworth") > reached(5)


def test_total_variation_damps_noise(plain):
    truth = np.full((32, 32, 32), 30, dtype=np.float32)
    views = make_views(plain, 1, partial=False, truth=truth)
    inner = (slice(8, -8),) * 3
    rough = richardson_lucy(views, iterations=20)[inner].std()
    assert richardson_lucy(views, iterations=20, regularisation=0.01)[inner].std() < 0.6 * rough


def test_damping_is_that_of_the_formula(plain):
    estimate = sample((9, 10, 31))
    found = np.empty_like(estimate)
    with Workspace(2) as work:
        damping(estimate, 0.05, found, work)
    np.testing.assert_allclose(found, plain.damping(estimate.astype(float), 0.05), rtol=1e-5)
    expression = damping_expression(estimate.astype(float), 0.05)
    np.testing.assert_allclose(expression, plain.damping(estimate.astype(float), 0.05), rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_chunks_with_a_halo_equal_the_whole(plain, seed):
    rng = np.random.default_rng(seed)
    truth = np.ones((70, 66, 72), dtype=np.float32)
    truth[tuple(rng.integers(0, n, 150) for n in truth.shape)] = 600
    blur = gaussian_blur(
        plain.covariance((2, 0.8, 0.8), [(0, 0, 0), (0, 35, 0), (15, 35, 50)][seed])
    )
    image = seen(truth, blur, seed)
    iterations = int(rng.choice([5, 10, 30]))
    whole = richardson_lucy([View(image, None, blur)], iterations=iterations)
    local = np.maximum(whole, seen(whole, blur))
    halo = halo_vx([blur], iterations)
    start = [int(rng.integers(0, n // 2)) for n in truth.shape]
    stop = [int(s + rng.integers(6, n // 3)) for s, n in zip(start, truth.shape, strict=True)]
    outer = tuple(slice(max(0, a - h), b + h) for a, b, h in zip(start, stop, halo, strict=True))
    part = np.ascontiguousarray(image[outer])
    found = richardson_lucy([View(part, None, blur)], iterations=iterations)
    inner = tuple(
        slice(a - o.start, b - o.start) for a, b, o in zip(start, stop, outer, strict=True)
    )
    core = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    assert (np.abs(found[inner] - whole[core]) / local[core]).max() < 0.005


def test_the_halo_grows_with_width_and_iterations():
    narrow, wide = gaussian_blur(np.eye(3)), gaussian_blur(np.diag([16.0, 1, 1]))
    assert halo_vx([narrow], 10) == (9, 9, 9)
    assert halo_vx([narrow, wide], 10) == (36, 9, 9)
    for more in (
        halo_vx([wide], 30),
        halo_vx([wide], 10, acceleration=True),
        halo_vx([wide, narrow], 10, order="ordered_subsets"),
        halo_vx([wide], 10, back_projector="wiener_butterworth"),
    ):
        assert more[0] > 36


@pytest.mark.parametrize("n_views", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"order": "ordered_subsets"},
        {"acceleration": True, "regularisation": 0.01},
        {"back_projector": "wiener_butterworth"},
    ],
)
@pytest.mark.parametrize("sampled", [False, True])
def test_memory_is_known_before(plain, n_views, weighted, options, sampled):
    shape = (70, 90, 130)
    blur = gaussian_blur(plain.covariance((2, 1, 1), (0, 35, 0)))
    blurs = [sampled_blur(blur.kernel()) if sampled else blur] * n_views
    richardson_lucy([View(np.ones((4, 4, 4), np.float32), None, blur)], iterations=1, **options)
    tracemalloc.start()
    try:
        views = [
            View(np.ones(shape, np.float32), np.ones(shape, np.float32) if weighted else None, b)
            for b in blurs
        ]
        richardson_lucy(views, iterations=2, **options)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    known = peak_bytes(shape, blurs, weighted=weighted, **options)
    assert used <= known < 1.6 * used


@pytest.mark.parametrize(
    ("views", "options", "message"),
    [
        ([], {}, "no view"),
        ([(3, 3, 3), (3, 3, 4)], {}, "the same"),
        ([(3, 3)], {}, "the same"),
        ([(3, 3, 3)], {"order": "random"}, "ordered_subsets"),
        ([(3, 3, 3)], {"back_projector": "none"}, "wiener_butterworth"),
        ([(3, 3, 3)], {"iterations": 0}, "at least 1 iteration"),
        ([(3, 3, 3)], {"regularisation": 1.0}, "below 0.2"),
    ],
)
def test_what_cannot_be_done_is_refused(views, options, message):
    given = [View(np.ones(shape, np.float32), None, gaussian_blur(np.eye(3))) for shape in views]
    with pytest.raises(ConfigError, match=message):
        richardson_lucy(given, **options)


class _DeviceArray(np.ndarray):
    """Numpy's arrays under cupy's name."""


_DeviceArray.__module__ = "cupy"


class _Cupy(ModuleType):
    """Numpy's functions under cupy's name: they take and give arrays of the device only."""

    def __getattr__(self, name):
        value = getattr(np, name)
        if isinstance(value, ModuleType):
            inner = _Cupy(f"cupy.{name}")
            inner.__dict__.update({n: _on_device(getattr(value, n)) for n in ("rfftn", "irfftn")})
            return inner
        return value if isinstance(value, type) or not callable(value) else _on_device(value)


def _on_device(function):
    def call(*arguments, **options):
        if function is not np.asarray:
            assert all(isinstance(a, _DeviceArray) for a in arguments if isinstance(a, np.ndarray))
        out = function(*arguments, **options)
        return out.view(_DeviceArray) if isinstance(out, np.ndarray) else out

    return call


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"order": "ordered_subsets"},
        {"acceleration": True, "regularisation": 0.01},
        {"back_projector": "wiener_butterworth"},
    ],
)
def test_the_same_on_a_gpu_with_numpy_standing_in(plain, monkeypatch, options):
    monkeypatch.setitem(sys.modules, "cupy", _Cupy("cupy"))
    views = make_views(plain, 2, noise=False)
    there = [View(v.image.view(_DeviceArray), v.weight.view(_DeviceArray), v.blur) for v in views]
    found = richardson_lucy(there, iterations=3, **options)
    assert is_device(found)
    expected = richardson_lucy(views, iterations=3, **options)
    assert difference(np.asarray(found), expected) < 1e-3
