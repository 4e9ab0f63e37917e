"""Fused blocks against a plain numpy reference in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from luxdask.fusion.fuse import Quality, Window, empty_windows, fuse_windows
from luxdask.model.geometry import Affine
from luxdask.testing.strategies import near_rigid, shapes

moderate = settings(max_examples=40, deadline=None)
MARGIN = 2
BLOCK = (7, 9, 40)


def noise(shape, seed=0, high=65536):
    return np.random.default_rng(seed).integers(0, high, shape, dtype=np.uint16)


def windows_of(volumes, out_to_view, width=(0.0, 0.0, 0.0), quality=None):
    """Whole volumes as windows, their border repeated as far as any interpolation reaches."""
    padded = [np.pad(v, MARGIN, mode="edge") for v in volumes]
    pool, parts = empty_windows([p.shape for p in padded])
    windows = []
    for n, (part, voxels) in enumerate(zip(parts, padded, strict=True)):
        part[...] = voxels
        upper = tuple(s - 0.5 for s in volumes[n].shape)
        map_ = None if quality is None else quality[n]
        start = (-MARGIN,) * 3
        windows.append(Window(part, out_to_view[n], (-0.5,) * 3, upper, width, map_, start))
    return windows, pool


def fuse(volumes, out_to_view, shape=BLOCK, width=(0.0, 0.0, 0.0), quality=None, **options):
    windows, pool = windows_of(volumes, out_to_view, width, quality)
    blend = max(width) > 0
    return fuse_windows(windows, pool, shape, blend=blend, **options)


def positions(out_to_view, shape):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return np.moveaxis(out_to_view.apply(grid), -1, 0)


def covered(at, shape):
    limits = [(a >= -0.5 - 1e-6) & (a <= n - 0.5 + 1e-6) for a, n in zip(at, shape, strict=True)]
    return np.logical_and.reduce(limits)


def blending_weight(at, shape, width):
    """Smooth step of the distance to the border over the width, per axis; product of the axes."""
    weight = np.ones(at.shape[1:])
    for a, n, w in zip(at, shape, width, strict=True):
        if w > 0:
            t = np.clip(np.minimum(a + 0.5, n - 0.5 - a) / w, 1e-3, 1)
            weight *= t * t * (3 - 2 * t)
    return weight


def quality_weight(quality, shape):
    at = positions(quality.out_to_cell, shape)
    return ndimage.map_coordinates(quality.weights.astype(float), at, order=1, mode="nearest")


def reference(volumes, out_to_view, shape=BLOCK, width=(0.0, 0.0, 0.0), quality=None):
    total, weights = np.zeros(shape), np.zeros(shape)
    for n, (volume, transform) in enumerate(zip(volumes, out_to_view, strict=True)):
        at = positions(transform, shape)
        value = ndimage.map_coordinates(volume.astype(float), at, order=1, mode="nearest")
        weight = covered(at, volume.shape) * blending_weight(at, volume.shape, width)
        if quality is not None:
            weight = weight * quality_weight(quality[n], shape)
        total += weight * value
        weights += weight
    return np.where(weights > 0, total / np.maximum(weights, 1e-300), 0)


def difference(found, expected):
    return np.abs(found.astype(float) - np.clip(np.floor(expected + 0.5), 0, 65535)).max()


@st.composite
def scenes(draw, most=4):
    """Some volumes of noise, laid over the block in all ways."""
    n = draw(st.integers(1, most))
    volumes = [noise(draw(shapes(2, 14)), seed) for seed in range(n)]
    return volumes, [draw(near_rigid(angle_deg=180, shift=12, stretch=0.05)) for _ in range(n)]


widths = st.tuples(*[st.floats(0.5, 8)] * 3)


@moderate
@given(scenes())
def test_plain_mean(scene):
    assert difference(fuse(*scene), reference(*scene)) <= 1


@moderate
@given(scenes(), widths)
def test_blending(scene, width):
    assert difference(fuse(*scene, width=width), reference(*scene, width=width)) <= 1


@moderate
@given(scenes(), st.data())
def test_quality_weights(scene, data):
    volumes, transforms = scene
    quality = []
    for seed in range(len(volumes)):
        rng = np.random.default_rng(seed + 100)
        weights = rng.uniform(0.01, 100, data.draw(shapes(1, 4))).astype(np.float32)
        out_to_cell = Affine.scale([0.2, 0.15, 0.1], rng.uniform(-1, 1, 3))
        quality.append(Quality(weights, out_to_cell))
    found = fuse(volumes, transforms, quality=quality, width=(3, 3, 3))
    assert difference(found, reference(volumes, transforms, (7, 9, 40), (3, 3, 3), quality)) <= 1


@moderate
@given(scenes(), widths, st.randoms(use_true_random=False))
def test_order_of_views_does_not_matter(scene, width, random):
    views = list(zip(*scene, strict=True))
    first = fuse(*scene, width=width).astype(int)
    random.shuffle(views)
    again = fuse([v for v, _ in views], [t for _, t in views], width=width)
    assert np.abs(first - again).max() <= 1


@moderate
@given(scenes(), widths, st.tuples(*[st.integers(0, 5)] * 3))
def test_a_part_of_a_block_is_the_same_to_the_last_bit(scene, width, corner):
    whole = fuse(*scene, width=width)
    part = tuple(n - c for n, c in zip(BLOCK, corner, strict=True))
    cut = whole[tuple(slice(c, None) for c in corner)]
    assert np.array_equal(fuse(*scene, part, width, corner=corner), cut)


@moderate
@given(near_rigid(angle_deg=180, shift=6), widths)
def test_one_view_is_not_weighted(out_to_view, width):
    volumes = [noise((8, 10, 30))]
    plain = fuse(volumes, [out_to_view])
    half = [Quality(np.full((1, 1, 1), 1e-6, np.float32), Affine())]
    assert np.array_equal(plain, fuse(volumes, [out_to_view], width=width, quality=half))


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("mirror", [(1, 1, 1), (1, 1, -1), (-1, 1, -1), (1, -1, 1), (-1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_whole_voxel_shifts_swaps_and_mirrors_are_exact(interpolation, mirror, order):
    volume = noise((8, 9, 10))
    linear = np.diag(mirror)[list(order)].astype(float)
    corner = linear @ (np.array((6, 6, 6)) - 1)
    offset = np.where(corner < 0, -corner, 0) + 1
    out_to_view = Affine.from_array(linear, offset)
    at = np.rint(positions(out_to_view, (6, 6, 6))).astype(int)
    found = fuse([volume], [out_to_view], (6, 6, 6), interpolation=interpolation)
    assert np.array_equal(found, volume[tuple(at)])


def test_equal_views_stay_exact_however_they_are_weighted():
    volume = noise((10, 12, 50))
    views = [volume[:8, :9, :35], volume[2:, 3:, 10:], volume]
    maps = [Affine.translation((0, 0, 0)), Affine.translation((-2, -3, -10)), Affine()]
    quality = [Quality(noise((2, 2, 2), s).astype(np.float32) + 1, Affine()) for s in range(3)]
    for width in ((0, 0, 0), (2, 3, 9)):
        assert difference(fuse(views, maps, volume.shape, width, quality), volume) == 0


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("sign", [1, -1])
def test_outer_half_voxels_repeat_the_border_and_outside_is_black(interpolation, sign):
    volume = noise((3, 3, 6), high=60000) + 1
    offset = -1.75 if sign > 0 else 6.75
    out_to_view = Affine.from_array(np.diag([1, 1, sign * 0.25]), (1, 1, offset))
    (row,) = fuse([volume], [out_to_view], (1, 1, 36), interpolation=interpolation)[0]
    at = offset + sign * 0.25 * np.arange(36)
    inside = (at >= -0.5) & (at <= 5.5)
    assert (row[~inside] == 0).all()
    assert (row[inside] > 0).all()
    if interpolation == "linear":
        expected = np.interp(at[inside], np.arange(6), volume[1, 1])
        assert np.abs(row[inside] - expected).max() <= 0.51
    assert (row[inside & (at == -0.5)] > 0).all()


@pytest.mark.parametrize(
    ("value", "scale", "expected"),
    [(65535, 1, 65535), (65535, 0.5, 32768), (3, 0.5, 2), (2, 0.5, 1), (1, 0.5, 1), (0, 0.5, 0),
     (40000, 2, 65535)],
)  # fmt: skip
def test_scale_rounds_to_nearest_and_saturates(value, scale, expected):
    volume = np.full((3, 3, 3), value, np.uint16)
    for maps in ([Affine()], [Affine(), Affine()]):
        found = fuse([volume] * len(maps), maps, (3, 3, 3), scale=scale)
        assert (found == expected).all()


def test_cubic_overshoot_saturates_at_both_ends():
    volume = np.zeros((4, 4, 12), np.uint16)
    volume[..., 6:] = 65535
    row = fuse([volume], [Affine.translation((0, 0, 0.5))], (1, 1, 11), interpolation="cubic")[0, 0]
    assert row[4] == 0  # would be -4096
    assert row[6] == 65535  # would be 69631
    assert row[5] in (32767, 32768)


def test_nothing_to_fuse_is_black():
    pool, _ = empty_windows([])
    assert fuse_windows([], pool, (2, 3, 4)).tolist() == np.zeros((2, 3, 4)).tolist()


def test_views_beside_the_block_change_nothing():
    volume = noise((8, 10, 30))
    far = Affine.translation((0, 0, 1000))
    assert np.array_equal(fuse([volume], [Affine()]), fuse([volume] * 2, [Affine(), far]))


def test_a_view_whose_border_falls_on_voxel_centres_counts_there():
    """Extent is [-0.5, n - 0.5]: both ends belong to it, whatever the rounding of the border."""
    volume = np.full((4, 4, 4), 7, np.uint16)
    for tiny in (0.0, 1e-9, -1e-9):
        found = fuse([volume], [Affine.translation((-1.5 + tiny,) * 3)], (7, 7, 7))
        assert found[1:6, 1:6, 1:6].min() == 7
        assert found.astype(int).sum() == 7 * 5**3


def test_blending_weight_is_positive_up_to_the_border():
    """Where two views meet exactly at their borders, neither becomes black."""
    a, b = np.full((4, 4, 4), 100, np.uint16), np.full((4, 4, 4), 300, np.uint16)
    maps = [Affine.translation((0.5, 0, 0)), Affine.translation((-3.5, 0, 0))]
    found = fuse([a, b], maps, (8, 4, 4), width=(2, 2, 2))
    assert (found[:3] == 100).all()
    assert (found[3] == 200).all()
    assert (found[4:7] == 300).all()
