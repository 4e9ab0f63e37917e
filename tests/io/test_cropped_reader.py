"""Images of which a region counts as the whole, at all levels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import tifffile

from luxdask.io.reader import reader_for
from luxdask.model.geometry import Box
from luxdask.model.view import Foreign, Source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 60000, (16, 24, 32), dtype=np.uint16)


def read(source: Source, box: Box, level: tuple[int, int, int] = (1, 1, 1)) -> np.ndarray:
    out = np.empty(box.shape, dtype=np.uint16)
    reader_for(source).read_into(source, box, out, level=level)
    return out


def test_levels_that_begin_with_the_region_are_used(tmp_path: Path, voxels: np.ndarray) -> None:
    path = tmp_path / "a.lux.h5"
    coarse = {
        "Data": voxels,
        "Data_2_2_2": voxels[::2, ::2, ::2],
        "Data_4_4_2": voxels[::2, ::4, ::4],
    }
    with h5py.File(path, "w") as file:
        for name, values in coarse.items():
            file[name] = values
    crop = Box((2, 4, 6), (13, 20, 31))
    source = Source(str(path), crop=crop)
    assert reader_for(source).levels(source) == ((1, 1, 1), (2, 2, 2))
    np.testing.assert_array_equal(read(source, Box.of_shape(crop.shape)), voxels[crop.slices])
    inner = Box((1, 2, 3), (5, 8, 12))
    cropped = voxels[::2, ::2, ::2][1:, 2:, 3:]
    np.testing.assert_array_equal(read(source, inner, (2, 2, 2)), cropped[inner.slices])
    whole = replace(source, crop=None)
    assert len(reader_for(whole).levels(whole)) == 3


def test_other_formats_as_well(tmp_path: Path, voxels: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, voxels, photometric="minisblack")
    crop = Box((3, 5, 7), (9, 20, 30))
    source = Source(str(path), "0", foreign=Foreign("tiff"), crop=crop)
    box = Box((1, 1, 1), (5, 9, 20))
    np.testing.assert_array_equal(read(source, box), voxels[crop.slices][box.slices])
