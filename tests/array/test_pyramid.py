import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.array.pyramid import bin_into, downsample
from luxdask.testing.strategies import shapes

moderate = settings(max_examples=80, deadline=None)
factors = st.tuples(*[st.integers(1, 4)] * 3)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)


def block_means(volume, factor):
    """Exact means of whole blocks, rounded half up."""
    shape = [n // f for n, f in zip(volume.shape, factor, strict=True)]
    cut = volume[tuple(slice(n * f) for n, f in zip(shape, factor, strict=True))]
    pairs = [v for n, f in zip(shape, factor, strict=True) for v in (n, f)]
    total, count = cut.reshape(pairs).sum(axis=(1, 3, 5), dtype=np.uint64), int(np.prod(factor))
    return ((total + count // 2) // count).astype(np.uint16)


@moderate
@given(shapes(4, 19), factors)
def test_means_of_blocks(shape, factor):
    volume = noise(shape)
    assert np.array_equal(downsample(volume, factor), block_means(volume, factor))


@moderate
@given(shapes(2, 40))
def test_halving_is_the_mean_of_eight(shape):
    volume = noise(shape)
    assert np.array_equal(downsample(volume, (2, 2, 2)), block_means(volume, (2, 2, 2)))


@pytest.mark.parametrize("value", [0, 1, 32768, 65535])
@pytest.mark.parametrize("factor", [(2, 2, 2), (1, 2, 2), (8, 8, 8)])
def test_even_images_keep_their_value(value, factor):
    volume = np.full((16, 16, 16), value, np.uint16)
    assert (downsample(volume, factor) == value).all()


def test_halves_are_rounded_up():
    volume = np.zeros((2, 2, 2), np.uint16)
    volume[0, 0] = 2, 2
    assert downsample(volume, (2, 2, 2)).item() == 1
    volume[0, 0] = 2, 1
    assert downsample(volume, (2, 2, 2)).item() == 0


@pytest.mark.parametrize(
    ("shape", "factor", "expected"),
    [((1, 8, 8), (2, 2, 2), (1, 4, 4)), ((3, 7, 5), (2, 2, 2), (1, 3, 2)),
     ((1, 1, 1), (4, 4, 4), (1, 1, 1)), ((5, 5, 5), (1, 1, 1), (5, 5, 5))],
)  # fmt: skip
def test_odd_and_short_axes(shape, factor, expected):
    volume = noise(shape)
    found = downsample(volume, factor)
    assert found.shape == expected
    start = [min(f, n) for f, n in zip(factor, shape, strict=True)]
    first = volume[: start[0], : start[1], : start[2]].astype(int)
    assert found[0, 0, 0] == (first.sum() + first.size // 2) // first.size


def test_input_stays_and_any_strides_do():
    volume = noise((8, 8, 8))
    before = volume.copy()
    mirrored = downsample(volume[::-1, :, ::2], (2, 2, 2))
    assert np.array_equal(mirrored, block_means(volume[::-1, :, ::2].copy(), (2, 2, 2)))
    assert np.array_equal(volume, before)


@moderate
@given(shapes(3, 15), factors, st.data())
def test_bins_that_reach_past_the_ends(shape, factor, data):
    volume = noise(shape)
    first = tuple(-data.draw(st.integers(0, f - 1)) for f in factor)
    counts = [-(-(n - a) // f) for n, a, f in zip(shape, first, factor, strict=True)]
    out = np.zeros(counts, np.uint16)
    bin_into(volume, out, first, factor)
    for index in np.ndindex(*counts):
        region = tuple(
            slice(max(0, a + i * f), a + (i + 1) * f)
            for a, i, f in zip(first, index, factor, strict=True)
        )
        values = volume[region].astype(int)
        assert out[index] == (values.sum() + values.size // 2) // values.size


def test_large_bins_do_not_overflow():
    volume = np.full((64, 128, 1024), 65535, np.uint16)
    out = np.empty((1, 1, 1), np.uint16)
    bin_into(volume, out, (0, 0, 0), (64, 128, 1024))
    assert out.item() == 65535
