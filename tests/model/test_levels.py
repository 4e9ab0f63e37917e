import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from luxdask.model.levels import COARSEST_SIZE, FULL, level_factors, level_name, level_shape
from luxdask.testing.strategies import shapes

DUMP = Path(__file__).parents[2] / "../shared/data/vendor/imaris_attributes.h5dump-A.txt"


@pytest.fixture(scope="module")
def imaris_sizes():
    """Sizes (z, y, x) of the levels of an image that Imaris itself wrote."""
    if not DUMP.exists():
        pytest.skip(f"{DUMP} is not there")
    sizes = []
    for level in DUMP.read_text().split('GROUP "ResolutionLevel ')[1:]:
        found = [
            re.search(rf'ImageSize{a}" {{.*?\(0\): (.*?)\n', level, re.DOTALL)[1] for a in "ZYX"
        ]
        sizes.append(tuple(int("".join(re.findall(r'"(.)"', f))) for f in found))
    return sizes


def test_sizes_are_those_that_imaris_writes(imaris_sizes):
    factors = level_factors(imaris_sizes[0])
    assert factors == (FULL, (1, 2, 2), (2, 4, 4))
    # newer files of Imaris end at 4 Mi voxels, this one goes on further
    ours = [level_shape(imaris_sizes[0], f) for f in factors]
    assert ours == imaris_sizes[: len(ours)]


def test_published_ladder_of_a_processed_image():
    factors = level_factors((3099, 6979, 5347))
    assert factors == tuple((f, f, f) for f in (1, 2, 4, 8, 16, 32))


@settings(max_examples=200, deadline=None)
@given(shapes(1, 3000))
def test_rule_of_the_imaris_format(shape):
    sizes = [np.array(level_shape(shape, f)) for f in level_factors(shape)]
    assert tuple(sizes[0]) == shape
    assert sizes[-1].prod() < COARSEST_SIZE
    for size, following in pairwise(sizes):
        assert size.prod() >= COARSEST_SIZE
        for i, j, k in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
            halved = (10 * size[i]) ** 2 > size[j] * size[k] and size[i] > 1
            assert following[i] == (size[i] // 2 if halved else size[i])


def test_flat_images_are_halved_only_in_plane():
    assert level_factors((1, 8192, 8192))[:3] == (FULL, (1, 2, 2), (1, 4, 4))
    assert level_factors((64, 64, 64)) == (FULL,)


def test_names_count_in_width_height_depth():
    assert level_name(FULL) == "Data"
    assert level_name((2, 4, 8)) == "Data_8_4_2"
    assert level_name((1, 2, 2), "timepoint_0/Data") == "timepoint_0/Data_2_2_1"
