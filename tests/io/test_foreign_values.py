"""Voxels of any type become uint16 by a rule that is said, or not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from luxdask.errors import ConfigError, ImageFileError, MetadataError
from luxdask.io.grey_values import store, voxel_type
from luxdask.model.experiment import Experiment
from luxdask.model.geometry import Affine
from luxdask.model.value_range import with_value_range
from luxdask.model.view import Foreign, Source, View, ViewId


def source(name: str, value_range: tuple[float, float] | None = None) -> Source:
    return Source("/data/a.tif", "0", foreign=Foreign("tiff", (), name, value_range))


def stored(values: np.ndarray, value_range: tuple[float, float] | None = None) -> list[int]:
    out = np.full(values.shape, 7, dtype=np.uint16)
    store(values, out, source(values.dtype.name, value_range))
    return out.tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 255], dtype=np.uint8), [0, 255]),
        (np.array([0, 65535], dtype=np.uint16), [0, 65535]),
        (np.array([0, 65535], dtype=">u2"), [0, 65535]),
        (np.array([False, True]), [0, 1]),
        (np.array([0, 32767], dtype=np.int16), [0, 32767]),
        (np.array([0, 65535], dtype=np.int64), [0, 65535]),
        (np.array([5], dtype=np.uint64), [5]),
    ],
    ids=str,
)
def test_whole_numbers_are_taken_as_they_are(values: np.ndarray, expected: list[int]) -> None:
    assert stored(values) == expected


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (np.array([3, -1], dtype=np.int16), "-1"),
        (np.array([3, 65536], dtype=np.int32), "65536"),
        (np.array([2**63], dtype=np.uint64), str(2**63)),
    ],
    ids=str,
)
def test_what_does_not_fit_is_an_error(values: np.ndarray, named: str) -> None:
    with pytest.raises(ImageFileError, match=rf"/data/a\.tif: .*{named}.*input\.value_range"):
        stored(values)


def test_a_range_becomes_all_of_uint16() -> None:
    values = np.array([-1, 0, 0.5, 1, 2, np.nan, np.inf, -np.inf], dtype=np.float32)
    assert stored(values, (0, 1)) == [0, 0, 32768, 65535, 65535, 0, 65535, 0]
    assert stored(np.array([100.4, 65535.0]), (0, 65535)) == [100, 65535]
    assert stored(np.array([-5, 5], dtype=np.int16), (-5, 5)) == [0, 65535]


def test_native_types_have_no_use_for_a_range() -> None:
    assert stored(np.array([1, 2], dtype=np.uint8), (0, 1)) == [1, 2]


def test_floating_point_needs_a_range() -> None:
    with pytest.raises(ImageFileError, match=r"float32.*input\.value_range"):
        stored(np.zeros(2, dtype=np.float32))


@pytest.mark.parametrize("dtype", ["c8", "S3", "datetime64[s]"])
def test_what_is_no_number_is_refused(dtype: str) -> None:
    with pytest.raises(MetadataError, match=r"here: voxels are of type"):
        voxel_type(np.dtype(dtype), "here")


class TestSetting:
    def experiment(self, *sources: Source) -> Experiment:
        views = (
            View(ViewId(0, "0", str(n), "0", "0"), s, (1, 1, 1), (1, 1, 1), Affine())
            for n, s in enumerate(sources)
        )
        return Experiment("/data", "/data", "tiff", tuple(views))

    def ranges(self, experiment: Experiment) -> list[tuple[float, float] | None]:
        return [v.source.foreign.value_range for v in experiment.views if v.source.foreign]

    def test_reaches_images_that_can_use_it(self) -> None:
        given = self.experiment(
            source("float32"), source("uint16"), source("int16"), source("float32", (3, 4))
        )
        assert self.ranges(with_value_range(given, (0, 1))) == [(0, 1), None, (0, 1), (3, 4)]

    def test_floating_point_without_it_is_refused_before_anything_runs(self) -> None:
        with pytest.raises(ConfigError, match=r"st:0 .*float32.*input\.value_range"):
            with_value_range(self.experiment(source("float32")), None)

    def test_whole_numbers_and_luxendo_images_may_go_without(self) -> None:
        given = self.experiment(source("int16"), replace(source("uint16"), foreign=None))
        assert with_value_range(given, None).views == given.views
