"""OME-Zarr images, checked by the readers and validators of other people."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import ome_zarr_io
import pytest
import tensorstore as ts
import zarr
from ome_zarr_models.v05 import Image

from luxdask.errors import OutputError
from luxdask.io.omezarr import OmeZarrWriter, inner_chunk, set_display_range
from luxdask.io.omezarr_metadata import OmeChannel, display_window, level_transform
from luxdask.model.geometry import Box, Grid, Shape, shape3
from luxdask.model.levels import level_shape

LEVELS: tuple[Shape, ...] = ((1, 1, 1), (1, 2, 2), (2, 4, 4))
SHARDS: tuple[Shape, ...] = ((32, 64, 64), (32, 32, 32), (16, 16, 16))
GRID = Grid((37, 101, 150), (2.0, 0.5, 0.4), (-10.0, 1000.5, 33.25))
CHANNELS = (OmeChannel("ch:0 GFP"), OmeChannel("ch:1 RFP", "FF8800"))


def writer(url: Path | str, **changes: Any) -> OmeZarrWriter:
    return replace(OmeZarrWriter(str(url), GRID, LEVELS, SHARDS, name="sample"), **changes)


def voxels(level: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, level])
    shape = level_shape(GRID.shape, LEVELS[level])
    return rng.integers(0, 65536, shape, dtype=np.uint16)


def shard_boxes(level: int) -> list[Box]:
    shape = level_shape(GRID.shape, LEVELS[level])
    starts = product(*(range(0, n, s) for n, s in zip(shape, SHARDS[level], strict=True)))
    whole = Box.of_shape(shape)
    return [Box(shape3(a), shape3(np.add(a, SHARDS[level]).tolist())) & whole for a in starts]


def fill(image: OmeZarrWriter, seed: int = 0) -> None:
    for level in range(len(LEVELS)):
        values = voxels(level, seed)
        for box in shard_boxes(level):
            image.write(level, box.start, values[box.slices])


def tensorstore_voxels(path: Path, level: int) -> np.ndarray:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/{level}/"}}
    return np.asarray(ts.open(spec, read=True).result().read().result())


def write_boxes(image: OmeZarrWriter, boxes: list[Box]) -> int:
    values = voxels(0)
    return sum(image.write(0, box.start, values[box.slices]) for box in boxes)


@pytest.fixture
def image(tmp_path: Path) -> OmeZarrWriter:
    made = writer(tmp_path / "sample.ome.zarr")
    made.create()
    return made


class TestOtherReaders:
    def test_validators_accept_it(self, image: OmeZarrWriter) -> None:
        fill(image)
        set_display_range(image)
        report = ome_zarr_io.validate(image.path, strict=True)
        assert report.is_valid, report
        assert ome_zarr_io.Reader(image.path).validate(strict=True)
        model = Image.from_zarr(zarr.open_group(image.path, mode="r"))
        assert [a.name for a in model.ome_attributes.multiscales[0].axes] == list("tczyx")

    def test_tensorstore_reads_every_level(self, image: OmeZarrWriter) -> None:
        fill(image)
        for level in range(len(LEVELS)):
            found = tensorstore_voxels(Path(image.path), level)
            assert found.dtype == np.uint16
            np.testing.assert_array_equal(found[0, 0], voxels(level))

    def test_zarr_reads_every_level(self, image: OmeZarrWriter) -> None:
        fill(image)
        group = zarr.open_group(image.path, mode="r")
        for level in range(len(LEVELS)):
            array = group[str(level)]
            assert isinstance(array, zarr.Array)
            assert array.metadata.dimension_names == ("t", "c", "z", "y", "x")
            np.testing.assert_array_equal(array[0, 0], voxels(level))

    def test_voxel_size_as_another_library_gives_it(self, image: OmeZarrWriter) -> None:
        sizes = ome_zarr_io.Reader(image.path).get_physical_size(1)
        assert {axis: (s.value, s.unit) for axis, s in sizes.items() if axis in "zyx"} == {
            "z": (2.0, "micrometer"),
            "y": (1.0, "micrometer"),
            "x": (0.8, "micrometer"),
        }


class TestTransforms:
    def test_a_level_lies_where_the_voxels_it_averages_lie(self) -> None:
        rng = np.random.default_rng(1)
        for factor in LEVELS:
            spacing, origin = level_transform(GRID, factor)
            index = rng.integers(0, level_shape(GRID.shape, factor), (20, 3))
            offsets = np.array(list(product(*(range(f) for f in factor))))
            for voxel in index:
                centre = GRID.to_world.apply(voxel * factor + offsets).mean(axis=0)
                np.testing.assert_allclose(np.add(origin, np.multiply(spacing, voxel)), centre)

    def test_they_are_in_the_file(self, image: OmeZarrWriter) -> None:
        attributes = json.loads((Path(image.path) / "zarr.json").read_text())["attributes"]
        datasets = attributes["ome"]["multiscales"][0]["datasets"]
        for level, factor in enumerate(LEVELS):
            spacing, origin = level_transform(GRID, factor)
            assert datasets[level] == {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0, 1.0, *spacing]},
                    {"type": "translation", "translation": [0.0, 0.0, *origin]},
                ],
            }

    def test_the_time_axis_has_a_unit_only_where_the_interval_is_known(
        self, tmp_path: Path
    ) -> None:
        for interval, unit in ((None, None), (12.5, "second")):
            image = writer(tmp_path / f"{unit}.zarr", time_interval_s=interval)
            image.create()
            scales = Image.from_zarr(zarr.open_group(image.path, mode="r")).ome_attributes
            assert scales.multiscales[0].axes[0].unit == unit
            transform = scales.multiscales[0].datasets[0].coordinateTransformations[0]
            assert transform.scale[0] == (interval or 1.0)


class TestSeveralWriters:
    def test_two_channels_and_two_time_points(self, tmp_path: Path) -> None:
        path = tmp_path / "movie.zarr"
        writers = [
            writer(path, index=index, channels=CHANNELS, time_points=(3, 7))
            for index in product(range(2), range(2))
        ]
        for one in writers:
            one.create()
        for seed, one in enumerate(writers):
            fill(one, seed)
        set_display_range(writers[0])
        assert ome_zarr_io.validate(path, strict=True).is_valid
        reader = ome_zarr_io.Reader(path)
        assert reader.channel_names == ["ch:0 GFP", "ch:1 RFP"]
        for level in range(len(LEVELS)):
            found = tensorstore_voxels(path, level)
            for seed, (t, c) in enumerate(product(range(2), range(2))):
                np.testing.assert_array_equal(found[t, c], voxels(level, seed))
        ome: Any = zarr.open_group(path, mode="r").attrs["ome"]
        assert [c["color"] for c in ome["omero"]["channels"]] == ["00FF00", "FF8800"]

    def test_processes_write_disjoint_shards(self, image: OmeZarrWriter) -> None:
        boxes = shard_boxes(0)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=spawn) as pool:
            written = sum(pool.map(write_boxes, [image, image], [boxes[::2], boxes[1::2]]))
        assert written == voxels(0).nbytes
        np.testing.assert_array_equal(tensorstore_voxels(Path(image.path), 0)[0, 0], voxels(0))

    def test_threads_create_and_write_at_once(self, tmp_path: Path) -> None:
        image = writer(tmp_path / "a.zarr")

        def work(box: Box) -> int:
            image.create()
            return write_boxes(image, [box])

        with ThreadPoolExecutor(4) as pool:
            written = sum(pool.map(work, shard_boxes(0)))
        assert written == voxels(0).nbytes
        np.testing.assert_array_equal(image.read(0, Box.of_shape(GRID.shape)), voxels(0))

    def test_a_shard_shared_by_two_blocks_is_our_own_mistake(self, image: OmeZarrWriter) -> None:
        block = np.ones((32, 64, 64), dtype=np.uint16)
        for start, part in (
            ((0, 1, 0), block),
            ((0, 0, 0), block[:16]),
            ((0, 0, 128), block),
            ((0, 0, 0), block[:0]),
        ):
            with pytest.raises(AssertionError, match="whole shards"):
                image.write(0, start, part)
        assert not image.read(0, Box.of_shape(GRID.shape)).any()


class TestStores:
    @pytest.mark.parametrize("scheme", ["memory://test_omezarr", "file://{folder}"])
    def test_urls(self, scheme: str, tmp_path: Path) -> None:
        url = scheme.format(folder=tmp_path.as_posix()) + "/bucket/sample.zarr"
        image = writer(url)
        for _ in range(2):
            image.create()
        fill(image)
        set_display_range(image)
        for level in range(len(LEVELS)):
            box = Box.of_shape(level_shape(GRID.shape, LEVELS[level]))
            np.testing.assert_array_equal(image.read(level, box), voxels(level))
        writer(url, run="another").create()
        assert not image.read(0, Box.of_shape(GRID.shape)).any()

    def test_memory_refuses_foreign_content(self) -> None:
        fsspec.filesystem("memory").pipe("/test_omezarr_foreign/notes.txt", b"mine")
        with pytest.raises(OutputError, match="memory://test_omezarr_foreign"):
            writer("memory://test_omezarr_foreign").create()

    def test_unknown_scheme(self) -> None:
        with pytest.raises(OutputError, match=r"nowhere://a/b\.zarr: cannot create"):
            writer("nowhere://a/b.zarr").create()

    def test_no_image(self, tmp_path: Path) -> None:
        image = writer(tmp_path / "never_created.zarr")
        with pytest.raises(OutputError, match="never_created"):
            image.read(0, Box((0, 0, 0), (1, 1, 1)))
        with pytest.raises(OutputError, match="never_created"):
            write_boxes(image, shard_boxes(0)[:1])

    def test_the_folder_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(OutputError, match="file/sub"):
            writer(tmp_path / "file/sub/a.zarr").create()


class TestReplacing:
    def test_the_same_run_keeps_what_it_wrote(self, image: OmeZarrWriter) -> None:
        fill(image)
        image.create()
        np.testing.assert_array_equal(image.read(0, Box.of_shape(GRID.shape)), voxels(0))

    @pytest.mark.parametrize(
        "change",
        [
            {"run": "second"},
            {"grid": replace(GRID, origin_um=(0.0, 0.0, 0.0))},
            {"channels": CHANNELS},
            {"levels": LEVELS[:2], "shards": SHARDS[:2]},
        ],
        ids=["run", "grid", "channels", "levels"],
    )
    def test_any_other_image_of_ours_is_replaced(
        self, image: OmeZarrWriter, change: dict[str, Any]
    ) -> None:
        fill(image)
        other = replace(image, **change)
        other.create()
        assert not other.read(0, Box.of_shape(GRID.shape)).any()
        assert ome_zarr_io.validate(other.path, strict=True).is_valid
        on_disk = {p.name for p in Path(other.path).iterdir() if p.is_dir()}
        assert on_disk == {str(level) for level in range(len(other.levels))}

    def test_an_interrupted_creation_starts_anew(self, tmp_path: Path) -> None:
        image = writer(tmp_path / "a.zarr")
        zarr.create_group(image.path, zarr_format=3, attributes={"luxdask": {"run": None}})
        image.create()
        assert ome_zarr_io.validate(image.path, strict=True).is_valid

    def test_an_empty_folder_is_taken(self, tmp_path: Path) -> None:
        writer(tmp_path).create()
        assert (tmp_path / "zarr.json").is_file()

    @pytest.mark.parametrize("kind", ["file", "folder", "zarr group"])
    def test_foreign_content_stays(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "precious"
        if kind == "file":
            path.write_text("results")
        elif kind == "folder":
            path.mkdir()
            (path / "thesis.txt").write_text("results")
        else:
            zarr.create_group(path, zarr_format=3, attributes={"ome": {"version": "0.5"}})
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(OutputError, match=r"precious.*did not write"):
            writer(path).create()
        assert sorted(tmp_path.rglob("*")) == before


class TestLayout:
    @pytest.mark.parametrize(
        ("shard", "chunk"),
        [
            ((128, 512, 512), (64, 64, 64)),
            ((37, 96, 200), (37, 48, 50)),
            ((1, 64, 65), (1, 64, 13)),
        ],
    )
    def test_inner_chunks_divide_the_shard(self, shard: Shape, chunk: Shape) -> None:
        assert inner_chunk(shard) == chunk

    def test_one_file_per_shard_and_none_for_empty_ones(self, image: OmeZarrWriter) -> None:
        files = Path(image.path, "0", "c")
        box = shard_boxes(0)[0]
        image.write(0, box.start, np.zeros(box.shape, dtype=np.uint16))
        assert not [p for p in files.rglob("*") if p.is_file()]
        fill(image)
        assert len([p for p in files.rglob("*") if p.is_file()]) == len(shard_boxes(0))

    def test_an_image_smaller_than_its_shard(self, tmp_path: Path) -> None:
        image = replace(
            writer(tmp_path / "a.zarr"),
            grid=Grid((1, 3, 5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
            levels=((1, 1, 1), (1, 2, 2)),
            shards=((64, 64, 64), (64, 32, 32)),
        )
        image.create()
        values = np.arange(65520, 65535, dtype=np.uint16).reshape(1, 3, 5)
        image.write(0, (0, 0, 0), values)
        image.write(1, (0, 0, 0), values[:, :1, :2])
        np.testing.assert_array_equal(tensorstore_voxels(Path(image.path), 0)[0, 0], values)
        np.testing.assert_array_equal(image.read(1, Box((0, 0, 0), (1, 1, 2))), values[:, :1, :2])

    def test_a_worker_gets_a_copy(self, image: OmeZarrWriter) -> None:
        assert pickle.loads(pickle.dumps(image)) == image


class TestDisplayRange:
    def test_from_the_imaged_voxels(self, image: OmeZarrWriter) -> None:
        coarsest = np.zeros(level_shape(GRID.shape, LEVELS[2]), dtype=np.uint16)
        coarsest[:, 10:, 10:] = np.random.default_rng(2).integers(100, 1101, (18, 15, 27))
        for box in shard_boxes(2):
            image.write(2, box.start, coarsest[box.slices])
        set_display_range(image)
        ome: Any = zarr.open_group(image.path, mode="r").attrs["ome"]
        window = ome["omero"]["channels"][0]["window"]
        assert window["start"] == pytest.approx(110, abs=5)
        assert window["end"] == pytest.approx(1099, abs=5)

    @pytest.mark.parametrize(
        ("low", "high", "start", "end"),
        [(0, 0, 0, 1), (65535, 65535, 65534, 65535), (99.6, 4000.2, 100, 4000)],
    )
    def test_stays_within_uint16(self, low: float, high: float, start: int, end: int) -> None:
        assert display_window(low, high) == {"min": 0, "max": 65535, "start": start, "end": end}
