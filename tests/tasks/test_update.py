"""What has changed is what is done again, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from luxdask.errors import ConfigError
from luxdask.tasks import Task, update
from luxdask.tasks.receipts import RECEIPTS, done_receipts, read_receipts
from luxdask.testing import small_experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.testing import Truth

STATE_FILES = ("links.jsonl", "status.json", "log.txt", RECEIPTS, "plan.json", "overview.png")
FORMATS = ["lux", "bdv", "imaris", "ome-zarr"]


@pytest.fixture
def grid(tmp_path: Path, copy_experiment: Callable[..., Truth]) -> Truth:
    """2 x 3 tiles, many chunks of 64 voxels."""
    return copy_experiment(tmp_path / "grid", shape=(66, 200, 330), tiles=(2, 3), overlap=20)


def sidecar_of(truth: Truth, tile: int) -> Path:
    path = truth.path(truth.views[tile])
    return path.with_name(path.name.replace(".lux.h5", ".json"))


def move(truth: Truth, tile: int, shift_xyz_um: tuple[float, float, float]) -> None:
    """Let the metadata place a tile elsewhere; it also names another position of the stage."""
    document = json.loads(sidecar_of(truth, tile).read_text())
    information = document["processingInformation"]
    moved = {"matrix": np.eye(3).tolist(), "translation": list(shift_xyz_um)}
    information["affine_to_sample"].append(moved)
    information["acquisition"][0]["note"] = f"moved by {shift_xyz_um}" * 20
    sidecar_of(truth, tile).write_text(json.dumps(document))


def remove(truth: Truth, tile: int) -> None:
    truth.path(truth.views[tile]).unlink()
    sidecar_of(truth, tile).unlink()


def images(folder: Path) -> dict[str, bytes]:
    """All files of images; those that hold a date or the folder's name are left out."""
    dated = (".ims", "_bdv.xml", "zarr.json", ".json")
    files = (p for p in folder.rglob("*") if p.is_file() and p.name not in STATE_FILES)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if not p.name.endswith(dated)}


def same_images(one: Path, other: Path) -> None:
    first, second = images(one), images(other)
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []


class Said:
    """Keeps what an update says, and counts the chunks it computes."""

    def __init__(self) -> None:
        self.text = ""
        self.computed = 0

    def __call__(self, text: str) -> None:
        self.text = text

    def listen(self, progress: Any) -> None:
        if progress.stage == "fusion":
            self.computed = progress.done - progress.done_before


def run_update(folder: Path, cluster: Any, task: Path | None = None) -> tuple[Path, Said]:
    said = Said()
    result = Task.update(folder, task).run(cluster=cluster, announce=said, listeners=(said.listen,))
    return result.folder, said


WITHIN = (-9.3, 5.25, 0.0)
"""Moves a tile of the middle column so that the borders of the whole stay where they are."""


@pytest.mark.parametrize("formats", [["lux", "bdv", "imaris"], ["ome-zarr"]], ids=["lux", "zarr"])
def test_moved_tile(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any, formats: list[str]
) -> None:
    task = make_task(grid, output__formats=formats, fusion__blending__enabled=True)
    folder = task.run(cluster=one_thread).folder
    before = done_receipts(folder)
    move(grid, 1, WITHIN)
    updated, said = run_update(folder, one_thread)
    fresh = task.run(cluster=one_thread).folder
    assert updated == folder
    assert 0 < said.computed < len(before) * 2 / 3
    assert f"{said.computed} of {len(before)} chunks are done again" in said.text
    assert "1 view (tp:0 ch:0 st:0-x01-y00 obj:left cam:left) moved" in said.text
    assert "another file" not in said.text
    assert said.text in (updated / "log.txt").read_text()
    same_images(updated, fresh)
    assert done_receipts(updated) == done_receipts(fresh)


def test_only_chunks_that_the_tile_touches_are_written(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    """The others are spoiled by hand, and stay so."""
    task = make_task(grid, output__formats=["lux"])
    result = task.run(cluster=one_thread)
    plan = task.compile(task.open_experiment()).outputs[0]
    with h5py.File(result.images[0], "r+") as file:
        file["Data"][...] = 7
    move(grid, 1, WITHIN)
    after = Task(task.config).compile(task.open_experiment()).outputs[0]
    tile = [view.id for view in plan.output.views].index(grid.views[1].id)
    tables = (plan.table, after.table)
    touched = {c for t in tables for c in range(len(plan.chunks)) if tile in t.views_of(c)}
    run_update(result.folder, one_thread)
    with h5py.File(result.images[0]) as file:
        voxels = file["Data"][:]
    for chunk, box in enumerate(plan.chunks.boxes()):
        assert (voxels[box.slices] == 7).all() == (chunk not in touched), chunk


def test_nothing_has_changed(grid: Truth, make_task: Callable[..., Task], one_thread: Any) -> None:
    folder = make_task(grid).run(cluster=one_thread).folder
    before = images(folder)
    updated, said = run_update(folder, one_thread)
    assert said.text.startswith("nothing has changed; all ")
    assert said.computed == 0
    assert images(updated) == before
    assert not update.is_updating(updated)


def test_tile_that_is_gone_leaves_zeros(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    """Its chunks that no other tile covers are cleared; the grid stays, as the rest fits in it."""
    task = make_task(grid, output__formats=["lux", "ome-zarr"])
    folder = task.run(cluster=one_thread).folder
    remove(grid, 4)
    updated, said = run_update(folder, one_thread)
    assert "1 view (tp:0 ch:0 st:0-x01-y01 obj:left cam:left) gone" in said.text
    fresh = task.run(cluster=one_thread).folder
    same_images(updated, fresh)


def test_tile_that_comes_back(grid: Truth, make_task: Callable[..., Task], one_thread: Any) -> None:
    task = make_task(grid)
    whole = task.run(cluster=one_thread).folder
    path, sidecar = grid.path(grid.views[4]), sidecar_of(grid, 4)
    kept = path.rename(path.with_name("kept")), sidecar.rename(sidecar.with_name("kept.json"))
    folder = task.run(cluster=one_thread).folder
    kept[0].rename(path)
    kept[1].rename(sidecar)
    updated, said = run_update(folder, one_thread)
    assert "1 view (tp:0 ch:0 st:0-x01-y01 obj:left cam:left) new" in said.text
    same_images(updated, whole)


def test_bounding_box_that_grows_means_everything(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    task = make_task(grid, output__formats=["lux", "ome-zarr"])
    folder = task.run(cluster=one_thread).folder
    move(grid, 5, (30.0, 0.0, 0.0))
    updated, said = run_update(folder, one_thread)
    fresh = task.run(cluster=one_thread).folder
    count = len(done_receipts(fresh))
    assert f"{count} of {count} chunks are done again, because of: other voxels of" in said.text
    same_images(updated, fresh)


def test_bounding_box_that_shrinks_keeps_its_voxels(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    task = make_task(grid, output__formats=["lux"])
    before = task.run(cluster=one_thread)
    with h5py.File(before.images[0]) as file:
        shape = file["Data"].shape
    for tile in (2, 5):  # the whole right column
        move(grid, tile, (-20.0, 0.0, 0.0))
    updated, said = run_update(before.folder, one_thread)
    fresh = task.run(cluster=one_thread)
    assert 0 < said.computed < len(done_receipts(updated))
    (image,) = updated.glob("uni*.lux.h5")
    with h5py.File(image) as file, h5py.File(fresh.images[0]) as expected:
        assert file["Data"].shape == shape
        values = expected["Data"][:]
        assert values.shape[2] == shape[2] - 20
        np.testing.assert_array_equal(file["Data"][:, :, :-20], values)
        assert not file["Data"][:, :, -20:].any()


@pytest.mark.parametrize("state", ["Stopped", "Failed"])
def test_other_states(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any, state: str
) -> None:
    task = make_task(grid)
    folder = interrupted(task, one_thread, 9, state)
    move(grid, 1, WITHIN)
    updated, said = run_update(folder, one_thread)
    assert updated.name == folder.name[:-2] + "_C"
    assert "1 view" in said.text
    same_images(updated, task.run(cluster=one_thread).folder)


def interrupted(task: Task, cluster: Any, chunks: int, state: str = "Stopped") -> Path:
    """The folder of a run that ended after some chunks."""

    def end(progress: Any) -> None:
        if progress.stage == "fusion" and progress.done - progress.done_before >= chunks:
            raise KeyboardInterrupt if state == "Stopped" else ValueError("made up")

    with pytest.raises((KeyboardInterrupt, ValueError)):
        task.run(cluster=cluster, listeners=(end,))
    (folder,) = Path(task.config.input.experiment or "", "processed").glob(f"*_{state[0]}")
    return folder


STEPS = ["done_receipts", "_remove_files", "write_plan", "_in_words", "_remove_zarrs"]


@pytest.mark.parametrize("step", STEPS)
def test_update_cut_short_goes_on(
    grid: Truth,
    make_task: Callable[..., Task],
    one_thread: Any,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cut short before each step; then the folder is run as if nobody knew of the update."""
    task = make_task(grid, output__formats=["lux", "ome-zarr"])
    folder = task.run(cluster=one_thread).folder
    move(grid, 1, WITHIN)
    remove(grid, 4)

    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(update, step, cut)
    with pytest.raises(KeyboardInterrupt):
        Task.update(folder).run(cluster=one_thread)
    monkeypatch.undo()
    stopped = folder.with_name(folder.name[:-2] + "_S")
    resumed = Task.open(stopped).run(cluster=one_thread).folder
    assert not update.is_updating(resumed)
    same_images(resumed, task.run(cluster=one_thread).folder)


@pytest.mark.parametrize("chunks", [1, 12])
def test_update_stopped_in_its_chunks_goes_on(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any, chunks: int
) -> None:
    task = make_task(grid)
    folder = task.run(cluster=one_thread).folder
    move(grid, 1, WITHIN)
    remove(grid, 4)
    stopped = interrupted(Task.update(folder), one_thread, chunks)
    said = Said()
    resumed = Task.open(stopped).run(cluster=one_thread, listeners=(said.listen,)).folder
    assert said.computed > 0
    same_images(resumed, task.run(cluster=one_thread).folder)


def test_experiment_that_goes_back_after_an_update_was_cut_short(
    grid: Truth,
    make_task: Callable[..., Task],
    one_thread: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Receipts were taken back, the plan is the old one: nothing may count as done wrongly."""
    task = make_task(grid)
    folder = task.run(cluster=one_thread).folder
    whole = images(folder)
    original = sidecar_of(grid, 1).read_text()
    move(grid, 1, WITHIN)
    stopped = interrupted(Task.update(folder), one_thread, 5)
    sidecar_of(grid, 1).write_text(original)
    updated, _ = run_update(stopped, one_thread)
    assert images(updated) == whole


def test_folder_of_an_older_version_is_done_once_more(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    folder = make_task(grid).run(cluster=one_thread).folder
    whole = images(folder)
    lines = [" ".join(line.split()[:3]) + "." for line in _lines(folder)]
    (folder / RECEIPTS).write_text("\n" + "\n".join(lines) + "\n")
    plan = json.loads((folder / "plan.json").read_text())
    names = ("name", "shape_zyx", "content", "chunk_zyx")
    old = [{key: image[key] for key in names} for image in plan["images"]]
    (folder / "plan.json").write_text(json.dumps({"images": old}))
    updated, said = run_update(folder, one_thread)
    assert "made by a version of luxdask that noted no inputs" in said.text
    assert said.computed == len(lines)
    assert images(updated) == whole


def _lines(folder: Path) -> list[str]:
    return [line for line in (folder / RECEIPTS).read_text().splitlines() if line]


def test_other_settings(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any, tmp_path: Path
) -> None:
    folder = make_task(grid).run(cluster=one_thread).folder
    changed = make_task(grid, fusion__blending__enabled=True, output__formats=["lux"])
    changed.save(tmp_path / "task.json")
    updated, said = run_update(folder, one_thread, tmp_path / "task.json")
    assert "settings of fusion or output" in said.text
    assert not list(updated.glob("*.xml"))
    assert Task.update(updated).config.fusion.blending.enabled
    same_images(updated, changed.run(cluster=one_thread).folder)


def test_selection_that_drops_and_adds_images(
    tmp_path: Path, make_task: Callable[..., Task], one_thread: Any
) -> None:
    """Images get numbers in receipts that no other image of the folder ever had."""
    truth = small_experiment(tmp_path / "colours", shape=(66, 80, 130), channels=3)
    formats = ["lux", "ome-zarr"]
    two = make_task(truth, input__select__channels=["1", "2"], output__formats=formats)
    other = make_task(truth, input__select__channels=["0", "2"], output__formats=formats)
    other.save(tmp_path / "other.json")
    folder = two.run(cluster=one_thread).folder
    updated, said = run_update(folder, one_thread, tmp_path / "other.json")
    fresh = other.run(cluster=one_thread).folder
    assert "1 image (uni_tp-0_ch-1_" in said.text
    assert "images that are new" in said.text
    assert {number for number, _, _ in done_receipts(updated)} == {1, 2}
    same_images(updated, fresh)


def test_touched_file_is_read_again(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    folder = make_task(grid, output__formats=["lux"]).run(cluster=one_thread).folder
    path = grid.path(grid.views[0])
    with h5py.File(path, "r+") as file:
        file["Data"][0, 0, 0] += 1
    os.utime(path, ns=(1, 1))
    updated, said = run_update(folder, one_thread)
    assert "1 view (tp:0 ch:0 st:0-x00-y00 obj:left cam:left) with another file" in said.text
    assert 0 < said.computed < len(done_receipts(updated))


def test_image_that_somebody_deleted_is_made_anew(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    task = make_task(grid, output__formats=["lux"])
    folder = interrupted(task, one_thread, 9)
    (image,) = folder.glob("uni*.lux.h5")
    image.unlink()
    resumed = Task.open(folder).run(cluster=one_thread)
    with h5py.File(resumed.images[0]) as file:
        assert file["Data"][0, 0].any()
    same_images(resumed.folder, task.run(cluster=one_thread).folder)


def test_resuming_says_how_to_update(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    folder = interrupted(make_task(grid), one_thread, 9)
    move(grid, 1, WITHIN)
    with pytest.raises(ConfigError, match="luxdask run --update and the folder"):
        Task.open(folder).run(cluster=one_thread)


def test_damaged_receipts_are_not_believed(
    grid: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    folder = make_task(grid).run(cluster=one_thread).folder
    whole = images(folder)
    with (folder / RECEIPTS).open("a") as file:
        file.write("0 9 1 ab.\n0 0 99999999 ab.\n77 0 0 ab.\n")
    updated, said = run_update(folder, one_thread)
    assert said.computed == 0
    assert images(updated) == whole
    assert "77" not in {str(number) for number, _, _ in done_receipts(updated)}
    assert read_receipts(updated)[0, 9, 1] == "-"


def test_registration_measures_only_pairs_of_the_moved_tile(
    tmp_path: Path, make_task: Callable[..., Task], one_thread: Any
) -> None:
    truth = small_experiment(
        tmp_path / "e", shape=(20, 90, 130), tiles=(2, 3), stage_error_um=2.0, sub_voxel=True
    )
    task = make_task(
        truth,
        registration__enabled=True,
        registration__tiles__enabled=True,
        output__formats=["lux"],
    )
    folder = task.run(cluster=one_thread).folder
    moved = truth.views[5].id
    move(truth, 5, (1.5, 0.0, 0.0))
    measured: list[tuple[int, int]] = []

    def listen(progress: Any) -> None:
        if progress.stage == "registration":
            measured.append((progress.done_before, progress.total))

    updated = Task.update(folder).run(cluster=one_thread, listeners=(listen,))
    fresh = task.run(cluster=one_thread)
    assert updated.registration is not None
    assert fresh.registration is not None
    touching = sum(moved in (x.fixed, x.moving) for x in fresh.registration.links)
    kept, total = measured[0]
    assert 0 < touching < total == len(fresh.registration.links)
    assert kept == total - touching
    assert updated.registration.transforms == fresh.registration.transforms
    same_images(updated.folder, fresh.folder)
