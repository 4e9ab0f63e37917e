"""Row functions against references written here or taken from scipy, on full-range noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from luxdask.array.resample import (
    SEGMENT,
    copy_row,
    cubic_row,
    cubic_shift_row,
    linear_row,
    lowest,
    shift_row,
)

moderate = settings(max_examples=80, deadline=None)
fraction = st.one_of(st.just(0.0), st.floats(0, 0.999999, allow_subnormal=False))
fractions = st.tuples(fraction, fraction, fraction)
SHAPE = (9, 11, 40)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)


@pytest.fixture(scope="module")
def volume():
    return noise(SHAPE)


def line(origin, step, count):
    return np.array(origin)[:, None] + np.array(step)[:, None] * np.arange(count)


def linear_reference(volume, points):
    return ndimage.map_coordinates(volume.astype(float), points, order=1, mode="nearest")


def keys_weights(t):
    """Keys 1981, a = -0.5, from its definition by distance: taps at -1, 0, 1, 2."""
    s = np.abs(t - np.array([-1.0, 0, 1, 2]))
    near = 1.5 * s**3 - 2.5 * s**2 + 1
    far = -0.5 * s**3 + 2.5 * s**2 - 4 * s + 2
    return np.where(s <= 1, near, np.where(s < 2, far, 0))


def cubic_reference(volume, points):
    values = []
    for point in points.T:
        base = np.floor(point).astype(int)
        wz, wy, wx = (keys_weights(p - b) for p, b in zip(point, base, strict=True))
        taps = volume[tuple(slice(b - 1, b + 3) for b in base)].astype(float)
        values.append(np.einsum("zyx,z,y,x", taps, wz, wy, wx))
    return np.array(values)


def embedded(volume, lead=0, tail=1):
    """The volume inside of a larger buffer full of the largest value."""
    pool = np.full(lead + volume.size + tail, 65535, np.uint16)
    pool[lead : lead + volume.size] = volume.ravel()
    return pool, lead, volume.shape[1] * volume.shape[2], volume.shape[2]


def run(function, volume, origin, step, count, lead=0, first=0):
    """Values `first` to `first + count` of a row."""
    pool, start, pz, py = embedded(volume, lead)
    row = np.full(count + 32, -7, np.float32)
    function(pool, start, pz, py, np.array(origin), np.array(step), first, row, count)
    assert (row[count:] == -7).all()
    return row[:count].astype(float)


@st.composite
def lines(draw, shape=SHAPE, margin=0.0):
    """A straight row whose coordinates all have their taps inside the volume."""
    low, high = np.full(3, margin), np.array(shape) - 1.001 - margin
    ends = [
        [draw(st.floats(a, b, allow_subnormal=False)) for a, b in zip(low, high, strict=True)]
        for _ in range(2)
    ]
    fewest = int(np.abs(np.subtract(*ends)).max() / 2) + 2  # steps stay below two voxels
    count = draw(st.integers(fewest, 3 * SEGMENT))
    step = (np.array(ends[1]) - ends[0]) / max(1, count - 1)
    return ends[0], step.tolist(), count


@moderate
@given(lines(margin=0.01), st.integers(0, 5))
def test_linear_rows_like_scipy(volume, row, lead):
    origin, step, count = row
    expected = linear_reference(volume, line(origin, step, count))
    found = run(linear_row, volume, origin, step, count, lead)
    assert np.abs(found - expected).max() < 1


def test_linear_rows_stay_precise_far_away_and_over_long_rows():
    """float32 coordinates would be wrong by 2e-4 voxel, or 16 grey values, at voxel 2000."""
    volume = noise((2, 2, 4000), 1)
    origin, step, count = (0.3, 0.4, 0.123), (1e-4, 0, 0.99), 4000
    expected = linear_reference(volume, line(origin, step, count))
    assert np.abs(run(linear_row, volume, origin, step, count) - expected).max() < 1.5


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 31, 32, 33, SEGMENT, SEGMENT + 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_linear_rows_of_every_length_write_no_further(volume, count, sign):
    wide = noise((3, 3, 256), 2)
    origin = (0.5, 0.5, 1.0 if sign > 0 else 1.5 * SEGMENT)
    step = (0.0, 0.001, sign * 0.9)
    expected = linear_reference(wide, line(origin, step, count))
    assert np.abs(run(linear_row, wide, origin, step, count) - expected).max() < 1


@moderate
@given(lines(margin=1.01))
def test_cubic_rows_like_keys(volume, row):
    origin, step, count = row
    expected = cubic_reference(volume, line(origin, step, count))
    assert np.abs(run(cubic_row, volume, origin, step, count) - expected).max() < 1


@moderate
@given(fractions, st.integers(1, 30))
def test_shifted_rows(volume, shift, count):
    pool, _, pz, py = embedded(volume)
    start = 2 * pz + 3 * py + 4
    origin = np.add((2, 3, 4), shift)
    points = line(origin, (0, 0, 1), count)
    row, scratch = np.empty(count, np.float32), np.empty(count + 3, np.float32)
    shift_row(pool, start, pz, py, *shift, row, count)
    assert np.abs(row - linear_reference(volume, points)).max() < 0.05
    cubic_shift_row(pool, start, pz, py, *shift, row, scratch, count)
    assert np.abs(row - cubic_reference(volume, points)).max() < 0.5


def test_copied_rows(volume):
    pool, start, pz, py = embedded(volume, 3)
    row = np.empty(20, np.float32)
    copy_row(pool, start + 4 * pz + 5 * py + 6, row, 20)
    assert np.array_equal(row, volume[4, 5, 6:26])


@pytest.mark.parametrize("function", [linear_row, cubic_row])
def test_integer_coordinates_are_voxel_centres(volume, function):
    found = run(function, volume, (4.0, 5.0, 2.0), (0.0, 0.0, 1.0), 30)
    assert np.array_equal(found, volume[4, 5, 2:32])
    along_z = run(function, volume, (1.0, 5.0, 7.0), (1.0, 0.0, 0.0), 6)
    assert np.array_equal(along_z, volume[1:7, 5, 7])
    diagonal = run(function, volume, (1.0, 8.0, 30.0), (1.0, -1.0, -2.0), 6)
    assert np.array_equal(diagonal, [volume[1 + i, 8 - i, 30 - 2 * i] for i in range(6)])


def test_keys_reproduces_polynomials():
    """Cubic convolution with a = -0.5 is exact for quadratics, trilinear for straight lines."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    curved = (3 * x**2 + 40 * y + 5 * z**2 + 100).astype(np.uint16)
    origin, step, count = (2.3, 4.7, 3.1), (0.03, 0.02, 0.3), 80
    pz, py, px = line(origin, step, count)
    found = run(cubic_row, curved, origin, step, count)
    assert np.allclose(found, 3 * px**2 + 40 * py + 5 * pz**2 + 100, atol=0.01)


@moderate
@given(st.floats(-50, 50), st.floats(-2, 2))
def test_lowest_is_below_every_coordinate_of_a_segment(position, step):
    found = lowest(position, step)
    coordinates = position + step * np.arange(SEGMENT)
    assert found <= coordinates.min() + 1e-9
    assert found > coordinates.min() - 1 - 1e-9


@moderate
@given(lines(margin=1.01), st.data())
def test_pieces_of_a_row_are_the_row_to_the_last_bit(volume, row, data):
    origin, step, count = row
    first = data.draw(st.integers(0, count - 1))
    length = data.draw(st.integers(1, count - first))
    for function in (linear_row, cubic_row):
        whole = run(function, volume, origin, step, count)
        piece = run(function, volume, origin, step, length, first=first)
        assert np.array_equal(piece, whole[first : first + length])


@pytest.mark.parametrize("function", [linear_row, cubic_row])
def test_the_rest_of_the_buffer_does_not_matter(function):
    """A black volume stays black in a buffer full of white, up to its last row."""
    black = np.zeros((6, 6, 6), np.uint16)
    for origin in ((1.0, 1.0, 1.0), (3.0, 3.0, 1.0), (2.9999999, 2.9999999, 1.2)):
        assert run(function, black, origin, (0.0, 0.0, 0.5), 5, lead=50).max() == 0
