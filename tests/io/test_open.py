"""Opening of folders, images and lists: what is found, what is passed over, what is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import pytest

import luxdask
from luxdask.errors import ExperimentNotFoundError, ImageFileError, LuxdaskError, MetadataError
from luxdask.io.lux_writer import LuxWriter
from luxdask.io.open_notes import ranges
from luxdask.model.view import ViewId

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.model.experiment import Experiment

ID = ViewId(0, "0", "0-x00-y00", "left", "left")


def metadata(identity: ViewId, shape: tuple[int, int, int] = (4, 5, 6), **more: Any) -> str:
    z, y, x = shape
    information = {
        "version": "1.0.0",
        "sources": [],
        "contains_beads": False,
        "time_point": f"{identity.time_point:05d}",
        "channel": identity.channel,
        "stack": identity.stack,
        "objective": identity.objective,
        "camera": identity.camera,
        "voxel_size_um": {"width": 0.5, "height": 0.5, "depth": 2},
        "image_size_vx": {"width": x, "height": y, "depth": z},
        "affine_to_sample": [
            {"matrix": [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 2]], "translation": [1, 2, 3]}
        ],
        "detection_directions": [[0, 0, 1]],
        "acquisition": [],
        **more,
    }
    return json.dumps({"processingInformation": information})


def add(path: Path, identity: ViewId = ID, shape: tuple[int, int, int] = (4, 5, 6)) -> Path:
    """A real image with its sidecar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    LuxWriter(str(path), shape, (2, 0.5, 0.5), metadata=metadata(identity, shape)).create()
    return path


def placeholder(path: Path, identity: ViewId = ID) -> Path:
    """An empty file with a sidecar: whoever opens it as HDF5 fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.with_name(path.name.split(".")[0] + ".json").write_text(metadata(identity))
    return path


def stack_folder(identity: ViewId) -> str:
    return f"stack_{identity.stack}_channel_{identity.channel}_obj_{identity.objective}"


def raw_file(root: Path, identity: ViewId) -> Path:
    name = f"Cam_{identity.camera}_{identity.time_point:05d}.lux.h5"
    return root / "raw" / stack_folder(identity) / name


IDS = tuple(
    ViewId(t, c, s, "left", cam)
    for t in (0, 1)
    for c in ("0", "1")
    for s in ("2-x00-y00", "10-x00-y01")
    for cam in ("long", "short")
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "2026-03-02_194519 Fish Eye"
    for number, identity in enumerate(IDS):
        add(raw_file(folder, identity), identity, (4 + number, 5, 6))
    return folder


def ids(experiment: Experiment) -> list[ViewId]:
    return [view.id for view in experiment.views]


def files(experiment: Experiment) -> list[str]:
    return [os.path.basename(view.source.path) for view in experiment.views]


def test_experiment_raw_and_stack_folder(root: Path) -> None:
    for path in (root, str(root), root / "raw", f"{root}/raw/"):
        experiment = luxdask.open_experiment(path)
        assert (experiment.kind, experiment.root, experiment.notes) == ("experiment", str(root), ())
        assert ids(experiment) == list(IDS)
    assert experiment.stacks == ("2-x00-y00", "10-x00-y01")
    assert experiment.cameras == ("long", "short")
    assert {view.shape[0] for view in experiment.views} == set(range(4, 20))
    part = luxdask.open_experiment(root / "raw" / stack_folder(IDS[0]))
    assert (part.kind, part.root, len(part)) == ("experiment", str(root), 4)


def test_names_mean_nothing(tmp_path: Path) -> None:
    identity = ViewId(7, "GFP", "3", "right", "Right", None)
    add(tmp_path / "raw/stack_0-L26A pos1_channel_1-far red/Cam_Left_00000.lux.h5", identity)
    assert ids(luxdask.open_experiment(tmp_path)) == [identity]


def test_everything_else_in_the_folder_is_passed_over(root: Path) -> None:
    stack = root / "raw" / stack_folder(IDS[0])
    add(root / "processed/20260302-1_Task_1_C/uni_tp-0_ch-0_st-0_obj-a_cam-a_etc.lux.h5")
    add(root / "raw/snapshots/2026-03-02_194519-right.lux.h5")
    add(stack / "mip/Cam_long_00000.lux.h5")
    for name in (
        "._Cam_long_00000.lux.h5",
        ".hidden.lux.h5",
        "Cam_long_00000.max.z.tiff",
        "bdv.h5",
        "main_st-0_bdv.h5",
        "main_raw.lux.h5",
        "main.lux.h5",
        "imaris.ims",
        "notes.h5",
        "transforms.mtf.json",
    ):
        (stack / name).write_text("junk")
    (root / "raw/complete").mkdir()
    (root / "raw/complete/EXPERIMENT_ABORTED").touch()
    (root / "raw/loop").symlink_to(root / "raw")
    experiment = luxdask.open_experiment(root)
    assert ids(experiment) == list(IDS)
    assert experiment.notes == ()


def test_metadata_whose_image_is_gone_is_noted(root: Path) -> None:
    gone = raw_file(root, IDS[0])
    gone.unlink()
    experiment = luxdask.open_experiment(root)
    assert IDS[0] not in ids(experiment)
    assert any(gone.name.split(".")[0] in n and "without an image" in n for n in experiment.notes)


def test_incomplete_files_dead_links_and_gaps_are_noted(root: Path) -> None:
    victim = raw_file(root, IDS[-1])
    victim.rename(f"{victim}.part")
    (victim.parent / "Cam_long_00009.lux.h5").symlink_to("nowhere.lux.h5")
    experiment = luxdask.open_experiment(root)
    assert ids(experiment) == list(IDS[:-1])
    part, gap = (n for n in experiment.notes if "dead link" not in n)
    assert len(experiment.notes) == 3
    assert part == f"{victim}.part: incomplete (.part), not used"
    assert gap == "missing: ch:1 st:10-x00-y01 obj:left cam:short at tp 1"


def test_links_that_leave_the_experiment_are_read(root: Path, tmp_path: Path) -> None:
    other = replace(ID, stack="elsewhere")
    target = add(tmp_path / "store/a.lux.h5", other)
    folder = root / "raw/stack_linked"
    folder.mkdir()
    link = folder / "Cam_left_00000.lux.h5"
    link.symlink_to(target)
    found = luxdask.open_experiment(root).by_id[other]
    assert found.source.path == str(link)
    assert found.source.sidecar == str(target.with_name("a.json"))


@pytest.mark.parametrize(
    "name", ["Cam_Left_00000.h5", "Cam_left_00000.lux.h5", "cam_left_00000.LUX.H5"]
)
def test_old_and_new_spellings(tmp_path: Path, name: str) -> None:
    path = add(tmp_path / "raw/stack_0-x00-y00_channel_0" / name)
    assert ids(luxdask.open_experiment(tmp_path)) == [ID]
    path.with_name(name.split(".")[0] + ".json").unlink(missing_ok=True)
    experiment = luxdask.open_experiment(path)
    assert (ids(experiment), experiment.root) == ([ID], str(tmp_path))


def test_missing_sidecars_are_read_from_the_images(root: Path) -> None:
    for identity in IDS[:3]:
        raw_file(root, identity).with_name(
            f"Cam_{identity.camera}_{identity.time_point:05d}.json"
        ).unlink()
    experiment = luxdask.open_experiment(root)
    assert ids(experiment) == list(IDS)
    (note,) = experiment.notes
    assert "and 2 more" in note
    assert "sidecar" in note


def test_broken_sidecar_is_noted_and_neither_is_an_error(root: Path) -> None:
    path = raw_file(root, IDS[0])
    path.with_name("Cam_long_00000.json").write_bytes(b"\0" * 100)
    experiment = luxdask.open_experiment(root)
    assert ids(experiment) == list(IDS)
    assert "Cam_long_00000.json: not valid JSON" in experiment.notes[0]
    path.write_bytes(b"")
    with pytest.raises(MetadataError, match=r"(?s)Cam_long_00000\.lux.*Cam_long_00000\.json"):
        luxdask.open_experiment(root)
    path.with_name("Cam_long_00000.json").unlink()
    with pytest.raises(ImageFileError, match=r"Cam_long_00000\.lux\.h5: not a readable HDF5"):
        luxdask.open_experiment(root)


def test_same_identity_twice_keeps_the_first(root: Path) -> None:
    copy = raw_file(root, IDS[0]).with_name("Cam_long_00000 (copy).lux.h5")
    add(copy.parent.with_name("stack_99_copy") / "Cam_long_00000.lux.h5", IDS[0])
    experiment = luxdask.open_experiment(root)
    assert ids(experiment) == list(IDS)
    assert experiment.by_id[IDS[0]].source.path == str(raw_file(root, IDS[0]))
    (note,) = experiment.notes
    assert "stack_99_copy" in note
    assert "same identity (tp:0 ch:0" in note


def test_task_folder_of_any_mode(root: Path) -> None:
    task = root / "processed" / "20260302-201500_Task_1_first_C"
    name = "tp-0_ch-0_st-0-x00-y00_obj-left_cam-left_etc.lux.h5"
    add(task / f"int_{name}")
    add(task / f"sep_{name}", replace(ID, channel="1"))
    add(task / "uni_tp-0_ch-2_st-0_obj-left_cam-left_etc.h5", replace(ID, channel="2"))
    (task / "main_st-0_bdv.h5").write_text("junk")
    (task / "config_task.json").write_text("{}")
    experiment = luxdask.open_experiment(task)
    assert (experiment.kind, experiment.root) == ("task", str(root))
    assert (experiment.channels, experiment.notes) == (("0", "1", "2"), ())
    assert len(luxdask.open_experiment(root)) == len(IDS)


def test_fused_images_win_over_views_added_separately(tmp_path: Path) -> None:
    name = "tp-0_ch-0_st-0-x00-y00_obj-left_cam-left_etc.lux.h5"
    other = replace(ID, stack="1-x01-y00")
    add(tmp_path / f"int_view_{name}", other)
    add(tmp_path / f"int_view_a_{name}")
    add(tmp_path / f"uni_{name}")
    experiment = luxdask.open_experiment(tmp_path)
    assert (experiment.kind, experiment.root) == ("task", str(tmp_path))
    assert files(experiment) == [f"uni_{name}", f"int_view_{name}"]
    assert "int_view_a_" in experiment.notes[0]


def test_single_files_and_lists(root: Path, tmp_path: Path) -> None:
    one = luxdask.open_experiment(raw_file(root, IDS[3]))
    assert (one.kind, one.root, ids(one)) == ("files", str(root), [IDS[3]])
    chosen = [raw_file(root, i) for i in (IDS[5], IDS[0], IDS[2], IDS[0])]
    several = luxdask.open_experiment(chosen)
    assert (several.kind, several.root) == ("files", str(root))
    assert ids(several) == [IDS[0], IDS[2], IDS[5]]
    assert several.path == str(root / "raw")
    free = add(tmp_path / "loose/any name.lux.h5")
    assert luxdask.open_experiment(free).root == str(free.parent)


def test_images_in_folders_not_called_raw(root: Path) -> None:
    (root / "raw").rename(root / "renamed")
    experiment = luxdask.open_experiment(root / "renamed")
    assert (experiment.kind, ids(experiment)) == ("experiment", list(IDS))


def test_experiments_inside_a_folder_of_images_are_not_mixed_in(root: Path) -> None:
    add(root.parent / "loose.lux.h5")
    experiment = luxdask.open_experiment(root.parent)
    assert ids(experiment) == [ID]
    assert experiment.notes == (f"{root}: another experiment, not used",)


def test_relative_paths_become_absolute(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    experiment = luxdask.open_experiment(root.name)
    assert experiment.root == str(root)
    assert all(os.path.isabs(view.source.path) for view in experiment.views)


def refused(path: Any, expected: str, error: type[LuxdaskError] = ExperimentNotFoundError) -> None:
    with pytest.raises(error, match=expected):
        luxdask.open_experiment(path)


def test_what_cannot_be_opened_says_why(root: Path, tmp_path: Path) -> None:
    refused(tmp_path / "none", r"none: no such file or folder\. Give an experiment folder")
    refused([], "empty list")
    refused([tmp_path / "none.lux.h5"], r"none\.lux\.h5: not a regular file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "Looked for .*there was: nothing")
    (tmp_path / "empty/photo.jpg").touch()
    refused(tmp_path / "empty", r"there was: 'photo\.jpg'")
    refused(tmp_path / "empty/photo.jpg", r"not a \.lux\.h5 file")
    refused(tmp_path, "It holds experiments; open one of them: '2026-03-02_194519 Fish Eye'")
    add(root / "processed/Task_1_C/uni_tp-0_ch-0_etc.lux.h5")
    refused(root / "processed", "open one of them: 'Task_1_C'")
    (root / "raw").rename(tmp_path / "away")
    refused(root, "open a task folder in 'processed' instead")
    part = tmp_path / "empty/Cam_left_00000.lux.h5.part"
    part.touch()
    refused(part, r"did not finish")
    refused(tmp_path / "empty", r"\.part: incomplete")


def test_damaged_single_files_name_themselves(tmp_path: Path) -> None:
    path = add(tmp_path / "a.lux.h5")
    (tmp_path / "a.json").unlink()
    os.truncate(path, 700)
    refused(path, r"a\.lux\.h5: not a readable HDF5 file \(700 bytes", ImageFileError)
    with h5py.File(tmp_path / "b.lux.h5", "w") as file:
        file["Data"] = [[[1]]]
    refused(tmp_path / "b.lux.h5", r"b\.lux\.h5: no metadata: neither", MetadataError)
    (tmp_path / "b.json").write_text(metadata(ID, affine_to_sample=[]))
    refused(tmp_path / "b.lux.h5", r"b\.json: .*affine_to_sample", MetadataError)


def test_four_thousand_images_open_in_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = [f"2026-03-02T18:45:19.{n:06d}Z" for n in range(500)]
    acquisition = [{"microscope_type": "TruLive3D", "time_stamps": stamps}]
    text = metadata(ID, acquisition=acquisition)
    assert len(text) > 15_000
    for stack in range(20):
        folder = tmp_path / f"raw/stack_{stack}_channel_0_obj_left"
        folder.mkdir(parents=True)
        for t in range(200):
            (folder / f"Cam_left_{t:05d}.lux.h5").touch()
            (folder / f"Cam_left_{t:05d}.json").write_text(
                text.replace('"00000"', f'"{t:05d}"').replace('"0-x00-y00"', f'"{stack}"')
            )

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an HDF5 file was opened")

    monkeypatch.setattr(h5py, "File", refuse)
    start = time.process_time()
    experiment = luxdask.open_experiment(tmp_path)
    seconds = time.process_time() - start
    assert (len(experiment), len(experiment.stacks)) == (4000, 20)
    assert experiment.notes == ()
    assert seconds < 8


def test_import_stays_light() -> None:
    code = "import sys, luxdask, luxdask.io; assert not {'h5py', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([], ""), ([4], "4"), ([3, 4], "3, 4"), ([9, 3, 5, 4, 4], "3-5, 9"), (range(100), "0-99")],
)
def test_ranges(numbers: list[int], expected: str) -> None:
    assert ranges(numbers) == expected
