import numpy as np
import pytest

from luxdask.io import lux_reader, lux_writer
from luxdask.model.geometry import Box
from luxdask.testing import small_experiment
from luxdask.testing.readers import Read, VoxelsRead, forbid_reads, record_reads

BOX = Box((0, 0, 0), (2, 3, 4))


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    truth = small_experiment(tmp_path_factory.mktemp("made"), shape=(4, 16, 18), tiles=(1, 1))
    return str(truth.path(truth.views[0]))


def test_forbidden_reads_raise_and_are_allowed_again(image):
    before = lux_reader.read_into
    with forbid_reads():
        with pytest.raises(VoxelsRead, match="Data"):
            lux_reader.read_box(image, "Data", BOX)
        with pytest.raises(VoxelsRead):
            lux_writer.LuxWriter(image, (4, 16, 18), (1, 1, 1)).read(0, BOX)
    assert lux_reader.read_into is before
    assert lux_reader.read_box(image, "Data", BOX).shape == (2, 3, 4)


def test_reads_are_recorded_once_and_still_happen(image):
    with record_reads() as reads:
        block = lux_reader.read_box(image, "Data", BOX)
    assert reads == [Read(image, "Data", BOX)]
    assert np.array_equal(block, lux_reader.read_box(image, "Data", BOX))
    assert len(reads) == 1


def test_the_original_comes_back_after_an_error():
    before = lux_reader.read_into
    with pytest.raises(RuntimeError, match="stop"), forbid_reads():
        raise RuntimeError("stop")
    assert lux_reader.read_into is before
