"""Single views on a block of output: the values of fusion, with their weights."""

import numpy as np
import pytest

from luxdask.fusion.fuse import PAD, Quality, Window, empty_windows, fuse_windows
from luxdask.fusion.sample import sample_window
from luxdask.model.geometry import Affine

SHAPE = (9, 20, 30)
TURN = Affine.from_array([[1, 0, 0], [0, 0.96, -0.28], [0, 0.28, 0.96]], [0.3, 4.2, -1.7])
PLACES = {
    "copied": Affine.translation((1, -3, 2)),
    "shifted": Affine.translation((0.5, -3.25, 2.125)),
    "mirrored": Affine.scale((1, 1, -1), (0, 0, 29)),
    "turned": TURN,
}


def window_of(volume, out_to_view, pool_part, pad, **kwargs):
    """The whole volume as a window, its borders repeated by `pad` voxels."""
    pool_part[...] = np.pad(volume, pad, mode="edge")
    lower, upper = np.full(3, -0.5), np.array(volume.shape) - 0.5
    start = (-pad,) * 3
    return Window(pool_part, out_to_view, tuple(lower), tuple(upper), start=start, **kwargs)


@pytest.fixture
def volume():
    return np.random.default_rng(1).integers(0, 60000, SHAPE, dtype=np.uint16)


def windows_of(volumes, maps, **kwargs):
    pad = PAD["cubic"] + 1
    shapes = [tuple(n + 2 * pad for n in v.shape) for v in volumes]
    pool, parts = empty_windows(shapes)
    made = [window_of(v, m, p, pad, **kwargs) for v, m, p in zip(volumes, maps, parts, strict=True)]
    return pool, made


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("place", PLACES)
def test_alone_a_view_has_the_values_of_fusion(volume, place, interpolation):
    pool, (window,) = windows_of([volume], [PLACES[place]])
    shape, corner = (12, 24, 34), (-2, -1, -3)
    image, weight = sample_window(
        window, pool, shape, corner=corner, interpolation=interpolation, blend=True
    )
    fused = fuse_windows([window], pool, shape, corner=corner, interpolation=interpolation)
    rounded = np.clip(np.rint(image), 0, 65535)
    assert np.abs(rounded - fused).max() <= 1  # halves may round either way
    assert ((weight > 0) == (image != 0))[fused > 0].all()
    assert (image[weight == 0] == 0).all()
    assert (weight == 0).any()


def test_weighted_mean_of_samples_is_fusion(volume):
    maps, width = [PLACES["shifted"], PLACES["turned"]], (2.0, 6.0, 8.0)
    other = np.roll(volume, 3)
    cells = Quality(np.array([[[1.0, 4.0]]], np.float32), Affine.scale((1, 1, 1 / 30)))
    pool, windows = windows_of([volume, other], maps, blend_width=width, quality=cells)
    fused = fuse_windows(windows, pool, SHAPE, blend=True)
    sampled = [sample_window(w, pool, SHAPE, blend=True) for w in windows]
    total = np.maximum(sum(weight for _, weight in sampled), 1e-30)
    mean = sum(image * weight for image, weight in sampled) / total
    assert np.abs(np.rint(mean) - fused).max() <= 1


@pytest.mark.parametrize("place", PLACES)
def test_a_block_is_a_part_of_the_whole_to_the_last_bit(volume, place):
    pool, (window,) = windows_of([volume], [PLACES[place]], blend_width=(2.0, 6.0, 8.0))
    whole = sample_window(window, pool, SHAPE, blend=True)
    part = sample_window(window, pool, (4, 7, 11), corner=(2, 5, 13), blend=True)
    for one, other in zip(whole, part, strict=True):
        assert np.array_equal(one[2:6, 5:12, 13:24], other)
