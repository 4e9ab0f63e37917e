"""Averaged reads: block means, stored levels, bounded memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luxdask.graph.read
from luxdask.array.pyramid import downsample
from luxdask.graph.read import SCRATCH, read_window, window_bytes_read
from luxdask.model.geometry import Affine, Box, Grid, shape3
from luxdask.model.levels import FULL
from luxdask.testing.strategies import boxes, shapes

moderate = settings(max_examples=60, deadline=None)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)


def cut(memory, volume, box, **stored):
    """A tile of the volume, at its place."""
    return memory.view(volume[box.slices].copy(), Affine.translation(box.start), **stored)


def binned_grid(shape, factor):
    """The output voxels of a whole volume, each made of `factor`³ of its voxels."""
    return Grid(shape3([max(1, n // factor) for n in shape]), (factor,) * 3,
                ((factor - 1) / 2,) * 3)  # fmt: skip


def whole_bins(box, factor, shape):
    """Output voxels of which a tile holds every voxel."""
    start = [-(-a // factor) for a in box.start]
    stop = [min(b // factor, n) for b, n in zip(box.stop, shape, strict=True)]
    return Box(shape3(start), shape3(stop))


@moderate
@given(shapes(8, 36), st.sampled_from([2, 3, 4]), st.data())
def test_integer_cut_tiles_average_to_block_means(memory, shape, factor, data):
    volume = noise(shape)
    grid = binned_grid(shape, factor)
    expected = downsample(volume, (factor,) * 3)
    box = data.draw(boxes(shape))
    found = memory.whole(memory.plan([cut(memory, volume, box)], grid))
    inner = whole_bins(box, factor, grid.shape)
    if inner:
        assert np.array_equal(found[inner.slices], expected[inner.slices])


@pytest.mark.parametrize("mirror", [(1, 1, -1), (-1, 1, 1), (-1, -1, -1)])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_mirrored_tiles_average_alike(memory, mirror, factor):
    volume = noise((24, 36, 48))
    flipped = volume[tuple(slice(None, None, m) for m in mirror)].copy()
    last = np.array(volume.shape) - 1
    view = memory.view(flipped, Affine.scale(mirror, np.where(np.array(mirror) < 0, last, 0)))
    found = memory.whole(memory.plan([view], binned_grid(volume.shape, factor)))
    assert np.array_equal(found, downsample(volume, (factor,) * 3))


def test_anisotropic_factors(memory):
    volume = noise((10, 24, 36))
    grid = Grid((10, 12, 9), (1, 2, 4), (0, 0.5, 1.5))
    found = memory.whole(memory.plan([memory.view(volume)], grid))
    assert np.array_equal(found, downsample(volume, (1, 2, 4)))


@pytest.mark.parametrize("factor", [1.5, 2.5])
def test_broken_factors_interpolate_averages(memory, factor):
    """A slope stays a slope: voxel centres are where they belong."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in (30, 40, 50)), indexing="ij")
    volume = (500 + 300 * z + 200 * y + 100 * x).astype(np.uint16)
    grid = Grid((8, 10, 14), (factor,) * 3, (3, 3, 3))
    found = memory.whole(memory.plan([memory.view(volume)], grid))
    az, ay, ax = np.meshgrid(*(grid.coordinates_um(a) for a in range(3)), indexing="ij")
    assert np.abs(found - (500 + 300 * az + 200 * ay + 100 * ax)).max() <= 1


def test_upsampling_interpolates(memory):
    volume = noise((6, 6, 6))
    grid = Grid((11, 11, 11), (0.5,) * 3, (0, 0, 0))
    found = memory.whole(memory.plan([memory.view(volume)], grid))
    assert np.array_equal(found[::2, ::2, ::2], volume)
    middle = (volume[:-1].astype(int) + volume[1:] + 1) // 2
    assert np.abs(found[1::2, ::2, ::2] - middle).max() <= 1


@moderate
@given(shapes(10, 40), st.sampled_from([2, 3, 4]), st.integers(1, 9), st.data())
def test_chunks_of_averages_are_those_of_the_whole(memory, shape, factor, chunk, data):
    volume = noise(shape)
    views = [cut(memory, volume, data.draw(boxes(shape))) for _ in range(2)]
    planned = memory.plan(views, binned_grid(shape, factor), (chunk,) * 3, blend=True)
    assert np.array_equal(memory.chunked(planned), memory.whole(planned))


STORED = ((2, 2, 2), (4, 4, 4), (8, 8, 8))


@pytest.mark.parametrize(
    ("factor", "offset", "level"),
    [(2, 0, 2), (4, 0, 4), (8, 0, 8), (3, 0, 1), (6, 0, 2), (12, 0, 4), (4, 4, 4), (4, 2, 2),
     (4, 1, 1), (8, 6, 2)],
)  # fmt: skip
def test_stored_levels_are_used_where_they_make_up_whole_bins(memory, reads, factor, offset, level):
    volume = noise((64, 64, 64))
    box = Box((offset,) * 3, (64,) * 3)
    view = cut(memory, volume, box, levels=STORED)
    grid = binned_grid(volume.shape, factor)
    found = memory.whole(memory.plan([view], grid))
    assert {r[2] for r in reads} == {(level,) * 3}
    inner = whole_bins(box, factor, grid.shape)
    expected = downsample(volume, (factor,) * 3)
    # each stored level was rounded
    assert np.abs(found[inner.slices].astype(int) - expected[inner.slices]).max() <= 1


@moderate
@given(shapes(9, 35), st.sampled_from([2, 4]), st.data())
def test_stored_levels_of_odd_sizes(memory, shape, factor, data):
    volume = noise(shape)
    box = data.draw(boxes(shape))
    grid = binned_grid(shape, factor)
    with_levels = memory.whole(
        memory.plan([cut(memory, volume, box, levels=STORED[:2])], grid)
    ).astype(int)
    inner = whole_bins(box, factor, grid.shape)
    if inner:
        expected = downsample(volume, (factor,) * 3)
        assert np.abs(with_levels[inner.slices] - expected[inner.slices]).max() <= 1


def test_each_voxel_is_read_once_in_bounded_blocks(memory, reads, monkeypatch):
    monkeypatch.setattr(luxdask.graph.read, "SCRATCH", (16, 32, 32))
    volume = noise((50, 100, 90))
    planned = memory.plan([memory.view(volume)], binned_grid(volume.shape, 3), (64, 64, 64))
    (part,) = planned.job(0).parts
    out = np.empty(part.window.shape, np.uint16)
    read_window(part, out)
    painted = np.zeros(volume.shape, int)
    for _, box, level in reads:
        assert level == FULL
        assert box.size <= 16 * 32 * 32
        painted[box.slices] += 1
    assert painted.max() == 1
    assert painted[:48, :99, :90].min() == 1


def test_blocks_have_a_fixed_size():
    assert np.prod(SCRATCH) * 2 <= 64 << 20


def test_windows_repeat_the_border_of_the_view(memory):
    volume = noise((5, 6, 7))
    planned = memory.plan([memory.view(volume, Affine.translation((0.25, 0.5, 0.75)))],
                          Grid((8, 8, 9), (1, 1, 1), (0, 0, 0)), interpolation="cubic")  # fmt: skip
    (part,) = planned.job(0).parts
    out = np.empty(part.window.shape, np.uint16)
    read_window(part, out)
    axes = zip(part.window.start, part.window.stop, volume.shape, strict=True)
    index = np.ix_(*(np.clip(np.arange(a, b), 0, n - 1) for a, b, n in axes))
    assert np.array_equal(out, volume[index])
    assert window_bytes_read(part) == part.needed.size * 2


def test_what_is_read_is_what_was_announced(memory, reads):
    planned = memory.plan([memory.view(noise((40, 50, 60)))], Grid((10,) * 3, (3,) * 3, (4, 4, 4)))
    (part,) = planned.job(0).parts
    read_window(part, np.empty(part.window.shape, np.uint16))
    assert sum(r[1].size for r in reads) * 2 == window_bytes_read(part)
