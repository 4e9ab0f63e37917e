"""Reading corrected voxels: any window, stored levels, hot pixels, layers that are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from luxdask.array.pyramid import downsample
from luxdask.errors import ImageFileError
from luxdask.io.corrected_reader import CorrectedReader
from luxdask.io.correction_file import Layers, write_layers
from luxdask.model.geometry import Box, Shape
from luxdask.model.levels import FULL
from luxdask.model.view import Correction, Source

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (6, 20, 28)


class Stored:
    """A reader of one volume, with a level of 2 x 2 x 2 means."""

    def __init__(self, volume: np.ndarray) -> None:
        self.images = {FULL: volume, (2, 2, 2): downsample(volume, (2, 2, 2))}

    def levels(self, source: Source) -> tuple[Shape, ...]:
        return tuple(self.images)

    def read_into(self, source: Source, box: Box, out: np.ndarray, *, level: Shape = FULL) -> None:
        out[...] = self.images[level][box.slices]


def read(reader: CorrectedReader, source: Source, box: Box, level: Shape = FULL) -> np.ndarray:
    out = np.empty(box.shape, dtype=np.uint16)
    reader.read_into(source, box, out, level=level)
    return out


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 40000, SHAPE, dtype=np.uint16)


def corrected_source(tmp_path: Path, hot: np.ndarray | None = None) -> Source:
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]].astype(np.float32)
    layers = Layers(10 + y, 1 + (x + y) / 400, hot)
    digest = "hot" if hot is not None else "plain"
    write_layers(tmp_path / f"{digest}.tiff", layers)
    return Source("image", correction=Correction(str(tmp_path / f"{digest}.tiff"), digest))


def test_a_stored_level_is_near_the_mean_of_corrected_voxels(
    tmp_path: Path, volume: np.ndarray
) -> None:
    reader, source = CorrectedReader(Stored(volume)), corrected_source(tmp_path)
    assert reader.levels(source) == (FULL, (2, 2, 2))
    whole = read(reader, source, Box.of_shape(SHAPE))
    level = read(reader, source, Box((0, 0, 0), (3, 10, 14)), (2, 2, 2))
    expected = whole.reshape(3, 2, 10, 2, 14, 2).astype(float).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(level, expected, rtol=3e-3, atol=2)


def test_hot_pixels_are_the_same_in_any_window(tmp_path: Path, volume: np.ndarray) -> None:
    hot = np.random.default_rng(2).random(SHAPE[1:]) < 0.2
    source = corrected_source(tmp_path, hot)
    reader = CorrectedReader(Stored(volume))
    assert reader.levels(source) == (FULL,)
    whole = read(reader, source, Box.of_shape(SHAPE))
    for start, stop in (((0, 0, 0), (2, 7, 9)), ((3, 5, 8), (6, 20, 28)), ((1, 9, 9), (2, 10, 10))):
        box = Box(start, stop)
        np.testing.assert_array_equal(read(reader, source, box), whole[box.slices])


def test_layers_that_were_not_made_are_named(tmp_path: Path, volume: np.ndarray) -> None:
    path = str(tmp_path / "none.tiff")
    source = Source("image", correction=Correction(path, "none"))
    with pytest.raises(ImageFileError, match=r"none\.tiff: the layers .* run the task once"):
        read(CorrectedReader(Stored(volume)), source, Box.of_shape(SHAPE))
    assert source.key != Source("image").key
