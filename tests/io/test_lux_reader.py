"""Reading of voxels: every kind of dataset against plain indexing, damage, threads, levels."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.errors import ImageFileError
from luxdask.io import lux_reader
from luxdask.io.chunk_table import chunk_table
from luxdask.io.lux_reader import read_box, read_into
from luxdask.io.lux_writer import LuxWriter
from luxdask.io.reader import reader_for
from luxdask.io.stored_levels import level_source, stored_levels
from luxdask.model.geometry import Box, Shape
from luxdask.model.view import Source

SHAPE: Shape = (70, 90, 131)
IMAGE = np.random.default_rng(1).integers(0, 65536, SHAPE, dtype=np.uint16)

KINDS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (64, 64, 64)},
    "flat chunks": {"chunks": (1, 90, 131)},
    "odd chunks": {"chunks": (7, 33, 50)},
    "gzip": {"chunks": (32, 32, 32), "compression": "gzip", "shuffle": True},
    "big-endian": {"dtype": ">u2"},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("kinds")
    paths = {}
    for kind, options in KINDS.items():
        paths[kind] = str(folder / f"{kind}.lux.h5")
        with h5py.File(paths[kind], "w") as file:
            file.create_dataset("Data", data=IMAGE, **options)
    return paths


def boxes() -> st.SearchStrategy[Box]:
    def ordered(n: int) -> st.SearchStrategy[list[int]]:
        return st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True).map(sorted)

    return st.tuples(*(ordered(n) for n in SHAPE)).map(
        lambda ranges: Box(
            (ranges[0][0], ranges[1][0], ranges[2][0]), (ranges[0][1], ranges[1][1], ranges[2][1])
        )
    )


@settings(max_examples=60, deadline=None)
@given(
    box=boxes(), kind=st.sampled_from(sorted(KINDS)), piece=st.sampled_from([300, 40000, 1 << 20])
)
def test_any_region_of_any_kind(images: dict[str, str], box: Box, kind: str, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lux_reader, "PIECE_BYTES", piece)
        found = read_box(images[kind], "Data", box)
    assert np.array_equal(found, IMAGE[box.slices])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_strided_and_float_targets(images: dict[str, str], kind: str) -> None:
    box = Box((3, 5, 7), (69, 88, 130))
    target = np.zeros((131, 90, 2 * 70), dtype=np.float32).transpose(2, 1, 0)[::2]
    read_into(images[kind], "Data", box, target[box.slices])
    expected = np.zeros(SHAPE, np.float32)
    expected[box.slices] = IMAGE[box.slices]
    assert np.array_equal(target, expected)


def test_plain_kinds_need_no_hdf5_for_voxels(
    images: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = [kind for kind in KINDS if chunk_table(images[kind], "Data").is_plain]
    assert plain == ["contiguous", "chunked", "flat chunks", "odd chunks"]

    def refuse(*_: object) -> None:
        raise AssertionError("HDF5 was opened")

    monkeypatch.setattr("luxdask.io.lux_reader.open_h5", refuse)
    monkeypatch.setattr("luxdask.io.chunk_table.open_h5", refuse)
    for kind in plain:
        assert np.array_equal(read_box(images[kind], "Data", Box.of_shape(SHAPE)), IMAGE)


def test_many_threads_read_the_same(images: dict[str, str]) -> None:
    wanted = [Box((z, y, 0), (z + 30, y + 50, 131)) for z in (0, 20, 40) for y in (0, 13, 40)] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda box: read_box(images["chunked"], "Data", box), wanted))
    for box, block in zip(wanted, found, strict=True):
        assert np.array_equal(block, IMAGE[box.slices])


def test_single_planes_and_chunks_never_written(tmp_path: Path) -> None:
    path = str(tmp_path / "a.lux.h5")
    with h5py.File(path, "w") as file:
        file.create_dataset("Data", shape=(1, 128, 128), dtype="u2", chunks=(1, 64, 64))
        file["Data"][0, :64, :64] = 7
    found = np.full((1, 128, 128), 9, np.uint16)
    read_into(path, "Data", Box.of_shape(found.shape), found)
    assert found[0, :64, :64].min() == 7
    assert (found.sum(), found.max()) == (7 * 64 * 64, 7)


def test_outside_missing_and_wrong_type_are_named(tmp_path: Path, images: dict[str, str]) -> None:
    with pytest.raises(ImageFileError, match="outside the image of shape"):
        read_box(images["chunked"], "Data", Box((0, 0, 0), (71, 1, 1)))
    with pytest.raises(ImageFileError, match="no dataset 'Other'"):
        read_box(images["chunked"], "Other", Box((0, 0, 0), (1, 1, 1)))
    with pytest.raises(ImageFileError, match=r"none\.lux\.h5"):
        read_box(str(tmp_path / "none.lux.h5"), "Data", Box((0, 0, 0), (1, 1, 1)))
    with h5py.File(tmp_path / "f.lux.h5", "w") as file:
        file["Data"] = IMAGE.astype("f4")
    with pytest.raises(ImageFileError, match="holds float32, expected uint16"):
        read_box(str(tmp_path / "f.lux.h5"), "Data", Box((0, 0, 0), (1, 1, 1)))


def test_truncation_after_opening_is_named(tmp_path: Path, images: dict[str, str]) -> None:
    path = tmp_path / "cut.lux.h5"
    path.write_bytes(Path(images["chunked"]).read_bytes())
    table = chunk_table(str(path), "Data")
    os.truncate(path, int(table.offsets.max()) + 1000)
    with pytest.raises(ImageFileError, match=r"cut\.lux\.h5.*truncated"):
        lux_reader._read_plain(table, Box.of_shape(SHAPE), np.empty(SHAPE, np.uint16))


LEVELS: tuple[Shape, ...] = ((1, 1, 1), (1, 2, 2), (2, 4, 4))


@pytest.fixture
def pyramid(tmp_path: Path) -> Source:
    path = str(tmp_path / "pyramid.lux.h5")
    writer = LuxWriter(path, SHAPE, (2.0, 0.5, 0.5), LEVELS)
    writer.create()
    for n, (z, y, x) in enumerate(LEVELS):
        level = IMAGE[::z, ::y, ::x][: SHAPE[0] // z, : SHAPE[1] // y, : SHAPE[2] // x]
        writer.write(n, (0, 0, 0), level)
    return Source(path)


def test_levels_are_found_and_read(pyramid: Source) -> None:
    reader = pickle.loads(pickle.dumps(reader_for(pyramid)))
    assert reader.levels(pyramid) == LEVELS
    assert level_source(pyramid, (2, 4, 4)) == (pyramid.path, "/Data_4_4_2")
    box = Box((1, 2, 3), (35, 22, 32))
    out = np.empty(box.shape, np.uint16)
    reader.read_into(pyramid, box, out, level=(2, 4, 4))
    assert np.array_equal(out, IMAGE[::2, ::4, ::4][box.slices])
    reader.read_into(pyramid, box, out)
    assert np.array_equal(out, IMAGE[box.slices])
    with pytest.raises(ImageFileError, match=r"no level .*\(8, 8, 8\).*it has"):
        reader.read_into(pyramid, box, out, level=(8, 8, 8))


def test_padded_levels_count_small_dead_and_foreign_ones_do_not(pyramid: Source) -> None:
    with h5py.File(pyramid.path, "r+") as file:
        file.create_dataset("Data_3_3_3", shape=(64, 64, 64), dtype="u2")  # padded: 23×30×43
        file.create_dataset("Data_8_8_8", shape=(7, 11, 16), dtype="u2")  # 8×11×16 are needed
        file.create_dataset("Data_0_2_2", shape=SHAPE, dtype="u2")
        file.create_dataset("Data_x_2_2", shape=SHAPE, dtype="u2")
        file.create_dataset("Data_5_5_5", shape=(64, 64), dtype="u2")
        file["Data_16_16_16"] = h5py.ExternalLink("gone.lux.h5", "Data")
        file["OtherData_2_2_2"] = file["Data_3_3_3"]
    assert stored_levels(pyramid) == ((1, 1, 1), (1, 2, 2), (3, 3, 3), (2, 4, 4))


def test_levels_of_a_linked_image_come_from_its_own_file(pyramid: Source, tmp_path: Path) -> None:
    main = str(tmp_path / "main.lux.h5")
    with h5py.File(main, "w") as file:
        group = file.create_group("timepoint_0/channel_0/raw_a")
        group["Data"] = h5py.ExternalLink("pyramid.lux.h5", "Data")
    source = Source(main, "timepoint_0/channel_0/raw_a/Data")
    assert stored_levels(source) == LEVELS
    path, dataset = level_source(source, (1, 2, 2))
    assert (os.path.realpath(path), dataset) == (os.path.realpath(pyramid.path), "/Data_2_2_1")


def test_levels_of_a_missing_file_name_it(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match=r"none\.lux\.h5"):
        stored_levels(Source(str(tmp_path / "none.lux.h5")))
    with h5py.File(tmp_path / "empty.lux.h5", "w"):
        pass
    with pytest.raises(ImageFileError, match=r"empty\.lux\.h5: no 3-D image 'Data'"):
        stored_levels(Source(str(tmp_path / "empty.lux.h5")))
