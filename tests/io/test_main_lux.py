"""The nested main file: read back by luxdask's own reader and by plain h5py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from luxdask.errors import ImageFileError, OutputError
from luxdask.io.lux_metadata import read_view
from luxdask.io.main_lux import write_main_lux
from luxdask.io.nested import nested_sources
from luxdask.io.stored_levels import stored_levels
from luxdask.model.view import View

LEVELS = ((1, 1, 1), (1, 2, 2), (2, 4, 4))

Write = Callable[..., tuple[View, list[np.ndarray]]]
Noise = Callable[..., np.ndarray]


@pytest.fixture
def images(write_image: Write, noise: Noise) -> list[tuple[View, list[np.ndarray]]]:
    return [
        write_image(
            f"im{n}",
            noise((9, 21, 18), seed=n),
            levels=LEVELS,
            time_point=n // 3,
            **({"pm": str(n)} if n % 3 == 2 else {"channel": str(n % 3)}),
        )
        for n in range(6)
    ]


def test_views_and_levels_come_back(
    images: list[tuple[View, list[np.ndarray]]], tmp_path: Path
) -> None:
    main = tmp_path / "main_processed.lux.h5"
    write_main_lux(main, [view for view, _ in reversed(images)])
    sources, notes = nested_sources(str(main))
    assert notes == []
    found = {read_view(source)[0].id: source for source in sources}
    assert set(found) == {view.id for view, _ in images}
    for view, _ in images:
        assert stored_levels(found[view.id]) == LEVELS


def test_names_and_links_are_the_vendors(
    images: list[tuple[View, list[np.ndarray]]], tmp_path: Path
) -> None:
    main = tmp_path / "main_processed.lux.h5"
    write_main_lux(main, [view for view, _ in images])
    with h5py.File(main) as file:
        assert list(file) == ["timepoint_0", "timepoint_1"]
        assert list(file["timepoint_0"]) == [
            "channel_0_cam_left",
            "channel_0_pm_2_cam_left",
            "channel_1_cam_left",
        ]
        group = file["timepoint_1/channel_1_cam_left/proc_stack_0-x00-y00_obj_left"]
        assert sorted(group) == ["Data", "Data_2_2_1", "Data_4_4_2", "metadata"]
        link = group.get("Data_4_4_2", getlink=True)
        assert (link.filename, link.path) == ("im4.lux.h5", "Data_4_4_2")
        for name, voxels in zip(("Data", "Data_2_2_1", "Data_4_4_2"), images[4][1], strict=True):
            np.testing.assert_array_equal(group[name][()], voxels)
        document = json.loads(group["metadata"][()])
        assert document["processingInformation"]["time_point"] == "1"


def test_a_moved_folder_still_works(write_image: Write, noise: Noise, tmp_path: Path) -> None:
    task, images = tmp_path / "a" / "task", tmp_path / "a" / "images"
    task.mkdir(parents=True)
    images.mkdir()
    view, (voxels,) = write_image("im", noise((3, 4, 5)), folder=images)
    write_main_lux(task / "main.lux.h5", [view], prefix="raw")
    shutil.move(tmp_path / "a", tmp_path / "b")
    with h5py.File(tmp_path / "b/task/main.lux.h5") as file:
        group = file["timepoint_0/channel_0_cam_left/raw_stack_0-x00-y00_obj_left"]
        assert group.get("Data", getlink=True).filename == "../images/im.lux.h5"
        np.testing.assert_array_equal(group["Data"][()], voxels)


def test_a_linked_folder_does_not_mislead(write_image: Write, noise: Noise, tmp_path: Path) -> None:
    real = tmp_path / "disk" / "deep" / "folder"
    real.mkdir(parents=True)
    (tmp_path / "short").symlink_to(real, target_is_directory=True)
    view, (voxels,) = write_image("im", noise((3, 4, 5)))
    write_main_lux(tmp_path / "short" / "main.lux.h5", [view])
    with h5py.File(real / "main.lux.h5") as file:
        group = file["timepoint_0/channel_0_cam_left/proc_stack_0-x00-y00_obj_left"]
        np.testing.assert_array_equal(group["Data"][()], voxels)


def test_two_images_of_one_identity_are_both_kept(
    write_image: Write, noise: Noise, tmp_path: Path
) -> None:
    views = [write_image(name, noise((3, 4, 5)))[0] for name in ("a", "b")]
    write_main_lux(tmp_path / "main.lux.h5", views)
    with h5py.File(tmp_path / "main.lux.h5") as file:
        name = "proc_stack_0-x00-y00_obj_left"
        assert sorted(file["timepoint_0/channel_0_cam_left"]) == [name, f"{name}_2"]


def test_metadata_of_a_sidecar_are_copied_in(
    write_image: Write, noise: Noise, tmp_path: Path
) -> None:
    view, _ = write_image("im", noise((3, 4, 5)))
    with h5py.File(view.source.path, "r+") as file:
        del file["metadata"]
    write_main_lux(tmp_path / "main.lux.h5", [view])
    with h5py.File(tmp_path / "main.lux.h5") as file:
        text = file["timepoint_0/channel_0_cam_left/proc_stack_0-x00-y00_obj_left/metadata"][()]
    assert json.loads(text) == json.loads(Path(str(view.source.sidecar)).read_text())


def test_a_failure_leaves_the_old_file(write_image: Write, noise: Noise, tmp_path: Path) -> None:
    view, _ = write_image("im", noise((3, 4, 5)))
    main = tmp_path / "main.lux.h5"
    write_main_lux(main, [view])
    before = main.read_bytes()
    lost = replace(view, source=replace(view.source, path=str(tmp_path / "gone.lux.h5")))
    with pytest.raises(ImageFileError, match="gone"):
        write_main_lux(main, [view, lost])
    assert main.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["im.json", "im.lux.h5", "main.lux.h5"]


def test_a_missing_folder_is_named(write_image: Write, noise: Noise, tmp_path: Path) -> None:
    view, _ = write_image("im", noise((3, 4, 5)))
    with pytest.raises(OutputError, match="nowhere"):
        write_main_lux(tmp_path / "nowhere" / "main.lux.h5", [view])
