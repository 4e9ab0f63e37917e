"""Bytes that reach the disk: by whom, and which files; metadata renewed in place."""

from __future__ import annotations

import errno
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luxdask.errors import OutputError
from luxdask.io.durable import sync_files, this_machine
from luxdask.io.json_file import write_json
from luxdask.io.lux_writer import LuxWriter, sidecar_path
from luxdask.io.omezarr import OmeZarrWriter
from luxdask.model.geometry import Box, Grid

SHAPE, LEVELS = (70, 90, 130), ((1, 1, 1), (1, 2, 2))
GRID = Grid((64, 64, 128), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are brought to the disk, as that happens."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("nobody tells the name of an open file here")
    real, names = os.fsync, []

    def fsync(descriptor: int) -> None:
        names.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return names


def lux(path: Path, **changes: Any) -> LuxWriter:
    return replace(LuxWriter(str(path), SHAPE, (2.0, 0.5, 0.5), LEVELS), **changes)


def zarr_image(path: Path, **changes: Any) -> OmeZarrWriter:
    shards = ((64, 64, 64), (64, 32, 32))
    return replace(OmeZarrWriter(str(path), GRID, LEVELS, shards, run="x"), **changes)


@pytest.mark.parametrize("make", [lux, zarr_image], ids=["lux", "zarr"])
def test_only_a_worker_elsewhere_syncs_what_it_writes(
    tmp_path: Path, make: Any, synced: list[str]
) -> None:
    image = make(tmp_path / "a.lux.h5")
    image.create()
    block = np.ones((64, 64, 64), dtype=np.uint16)
    synced.clear()
    pickle.loads(pickle.dumps(image)).write(0, (0, 0, 64), block)
    assert synced == []
    replace(image, home="another machine").write(0, (0, 0, 64), block)
    assert ("a.lux.h5" if make is lux else "1") in synced


@pytest.mark.parametrize("make", [lux, zarr_image], ids=["lux", "zarr"])
def test_files_that_hold_a_chunk_exist(tmp_path: Path, make: Any, synced: list[str]) -> None:
    image = make(tmp_path / "a.lux.h5")
    image.create()
    image.write(1, (0, 0, 32), np.ones((64, 32, 32), dtype=np.uint16))
    files = image.files(1, (0, 0, 32))
    assert [f for f in files if not os.path.exists(f)] == []
    sync_files(files)
    assert len(synced) == len(set(files))


def test_object_stores_need_nothing() -> None:
    assert zarr_image("memory://x").files(0, (0, 0, 0)) == ()  # type: ignore[arg-type]


def test_machine_has_one_name() -> None:
    assert this_machine() == this_machine() != ""


def test_refused_sync_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "a").touch()
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=r"Input/output error: '.*/a'"):
        sync_files([str(tmp_path / "a"), str(tmp_path / "gone")])


def test_durable_json(tmp_path: Path, synced: list[str]) -> None:
    write_json(tmp_path / "a.json", {})
    assert synced == []
    write_json(tmp_path / "a.json", {"a": 1}, durable=True)
    assert synced[-1] == tmp_path.name
    assert len(synced) == 2


@pytest.mark.parametrize("length", [3, 300, 90_000], ids=["shorter", "longer", "very long"])
def test_renewed_metadata_are_those_of_a_fresh_image(tmp_path: Path, length: int) -> None:
    voxels = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    images = []
    for name, text in (("a", "n" * 40), ("b", "n" * length)):
        image = lux(tmp_path / f"{name}.lux.h5", metadata=f'{{"note": "{text}"}}')
        image.create()
        image.write(0, (0, 0, 0), voxels)
        images.append(image)
    renewed = replace(images[0], metadata=images[1].metadata)
    for _ in range(2):  # again does nothing
        renewed.renew()
    np.testing.assert_array_equal(renewed.read(0, Box.of_shape(SHAPE)), voxels)
    one, other = ((Path(i.path), sidecar_path(i.path)) for i in images)
    assert [f.read_bytes() for f in one] == [f.read_bytes() for f in other]
    assert len(list(tmp_path.iterdir())) == 4


def test_image_of_another_layout_is_left_alone(tmp_path: Path) -> None:
    image = lux(tmp_path / "a.lux.h5")
    image.create()
    before = (tmp_path / "a.lux.h5").read_bytes()
    with pytest.raises(OutputError, match="laid out differently"):
        replace(image, shape=(64, 64, 64), metadata='{"a": 1}').renew()
    assert (tmp_path / "a.lux.h5").read_bytes() == before
    assert not list(tmp_path.glob("*.empty"))
