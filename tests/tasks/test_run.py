"""Runs that end well, are stopped, fail or are killed, and how they go on."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from luxdask.cluster import connect
from luxdask.errors import (
    ConfigError,
    ImageFileError,
    LuxdaskError,
    OutputError,
    TaskFailedError,
    TaskStopped,
)
from luxdask.tasks import Task
from luxdask.tasks.folder import CONFIG, STATUS, TaskFolder
from luxdask.tasks.lock import LOCK
from luxdask.tasks.receipts import RECEIPTS, done_receipts

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.cluster.events import Progress
    from luxdask.tasks import TaskResult
    from luxdask.testing import Truth

STATE_FILES = {"status.json", "log.txt", "receipts.txt", "config_task.json", "plan.json"}
STATE_FILES |= {"config_task_given.json", "performance.json"}
ALL_FORMATS = ["lux", "bdv", "imaris", "ome-zarr"]


def content(folder: Path) -> dict[str, bytes]:
    """Every file of images of a task folder, by its path in it."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name not in STATE_FILES)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def image_content(folder: Path) -> dict[str, bytes]:
    """As `content`, without the few files that hold a date or the folder's name."""
    named = (".ims", "zarr.json")
    return {name: data for name, data in content(folder).items() if not name.endswith(named)}


def status_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / STATUS).read_text())
    return found


def receipts_of(folder: Path) -> set[tuple[int, int, int]]:
    return set(done_receipts(folder))


class StopAfter:
    """Stops a run when so many chunks are done; counts those that were computed."""

    def __init__(self, chunks: int | None = None) -> None:
        self.chunks, self.stop = chunks, Event()
        self.computed: list[int] = []

    def __call__(self, progress: Progress) -> None:
        if progress.stage == "fusion":
            self.computed.append(progress.done - progress.done_before)
            if self.chunks is not None and self.computed[-1] >= self.chunks:
                self.stop.set()


def stopped_run(task: Task, cluster: Any, chunks: int = 5) -> Path:
    """The folder of a task that was stopped after some chunks."""
    stopper = StopAfter(chunks)
    with pytest.raises(TaskStopped) as caught:
        task.run(cluster=cluster, listeners=(stopper,), stop=stopper.stop)
    folder = Path(str(caught.value).partition("luxdask run ")[2])
    assert folder.is_dir()
    return folder


def test_result_names_everything_that_exists(
    tiles: Truth, run_task: Callable[..., TaskResult]
) -> None:
    result = run_task(tiles, output__formats=ALL_FORMATS, description="two tiles, äöü")
    assert result.folder.parent == Path(tiles.folder, "processed")
    assert result.folder.name.endswith("_Task_1_two_tiles_äöü_C")
    assert [p.name[:12] for p in result.images] == ["uni_tp-0_ch-", "uni_tp-0_ch-"]
    assert result.voxels == 2 * 70 * 130 * 200
    assert result.seconds > 0
    for path in (*result.images, *result.main_files, *map(Path, result.ome_zarr)):
        assert path.exists()
        assert path.is_relative_to(result.folder)
    names = {p.name for p in result.main_files}
    assert "main_processed.lux.h5" in names
    assert {"_bdv.h5", "_bdv.xml"} <= {n[-7:] for n in names} | {n[-8:] for n in names}
    assert not (result.folder / ".lock").exists()


def test_status_and_log_of_a_completed_run(
    tiles: Truth, run_task: Callable[..., TaskResult]
) -> None:
    folder = run_task(tiles).folder
    status = status_of(folder)
    assert status["state"] == "Completed"
    assert status["error"] is None
    assert "completed" in (folder / "log.txt").read_text()


def test_fused_tiles_are_the_uncut_volume(
    tiles: Truth, run_task: Callable[..., TaskResult]
) -> None:
    result = run_task(tiles)
    for channel, path in enumerate(result.images):
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["Data"][:], tiles.read_volume(channel))


def test_settings_in_the_folder_run_again(
    tiles: Truth, run_task: Callable[..., TaskResult]
) -> None:
    first = run_task(tiles)
    again = Task.open(first.folder / CONFIG).run()
    assert again.folder != first.folder
    assert "_Task_2" in again.folder.name
    assert image_content(again.folder) == image_content(first.folder)


def test_stop_then_resume_gives_the_same_bytes(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    task = make_task(tiles, output__formats=ALL_FORMATS)
    whole = task.run(cluster=one_thread)
    total = len(receipts_of(whole.folder))
    folder = stopped_run(task, one_thread)
    assert folder.name.endswith("_S")
    status = status_of(folder)
    assert status["state"] == "Stopped"
    assert status["error"] is None
    assert 5 <= status["chunks_done"] < status["chunks_total"] == total
    done = receipts_of(folder)
    assert len(done) == status["chunks_done"]

    counter = StopAfter()
    resumed = Task.open(folder).run(cluster=one_thread, listeners=(counter,))
    assert not folder.exists()
    assert resumed.folder.name == folder.name.removesuffix("_S") + "_C"
    assert counter.computed[-1] == total - len(done)
    assert image_content(resumed.folder) == image_content(whole.folder)


def test_resume_with_quality_maps_and_blending(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    task = make_task(
        tiles, fusion__image_quality_weighting__enabled=True, fusion__blending__enabled=True
    )
    whole = task.run(cluster=one_thread)
    resumed = Task.open(stopped_run(task, one_thread)).run(cluster=one_thread)
    assert image_content(resumed.folder) == image_content(whole.folder)
    assert not (resumed.folder / "quality").exists()


def test_stop_before_the_first_chunk(tiles: Truth, make_task: Callable[..., Task]) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(TaskStopped) as caught:
        make_task(tiles).run(stop=stop)
    folder = Path(str(caught.value).partition("luxdask run ")[2])
    assert not receipts_of(folder)
    assert Task.open(folder).run().folder.name.endswith("_C")


def test_stop_after_the_last_chunk_completes(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    task = make_task(tiles)
    total = task.compile(task.open_experiment()).summary().n_tasks
    stopper = StopAfter(total)
    result = task.run(cluster=one_thread, listeners=(stopper,), stop=stopper.stop)
    assert result.folder.name.endswith("_C")


def test_resume_keeps_the_chunks_of_the_first_run(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    """The automatic chunk depends on the machine's memory, which may differ on resuming."""
    task = make_task(tiles, compute__chunk_vx=None, compute__memory_limit="21 MB")
    task = task.replace({"compute.threads_per_worker": 1})
    folder = stopped_run(task, one_thread, 1)
    opened = Task.open(folder).replace({"compute.memory_limit": "4 GB"})
    plan = opened.compile(opened.open_experiment())
    fresh = Task(opened.config).compile(opened.open_experiment())
    assert plan.outputs[0].chunks != fresh.outputs[0].chunks
    result = opened.run(cluster=one_thread)
    for channel, path in enumerate(result.images):
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["Data"][:], tiles.read_volume(channel))


def test_resume_is_refused_when_the_experiment_has_changed(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    folder = stopped_run(make_task(tiles), one_thread)
    first = tiles.path(tiles.views[0])
    first.with_name(first.name.replace(".lux.h5", ".json")).unlink()
    first.unlink()
    with pytest.raises(ConfigError, match=r"experiment has changed.*image uni_tp-0_ch-0"):
        Task.open(folder).run()
    assert folder.is_dir()


def test_settings_of_a_stopped_task_are_fixed(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    opened = Task.open(stopped_run(make_task(tiles), one_thread))
    with pytest.raises(ConfigError, match="settings of a stopped task cannot change"):
        opened.replace({"fusion.blending.enabled": True})
    assert opened.replace({"compute.threads_per_worker": 1}).folder == opened.folder


def test_half_written_receipt_is_not_taken_for_another(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    task = make_task(tiles)
    whole = task.run(cluster=one_thread)
    folder = stopped_run(task, one_thread, 8)
    lines = (folder / RECEIPTS).read_text().splitlines()
    # as a killed process leaves it: the chunk 1?. of image 0 was about to be noted
    (folder / RECEIPTS).write_text("\n".join([*lines[:3], "0 0 1"]))
    assert len(receipts_of(folder)) == len([x for x in lines[:3] if x])
    resumed = Task.open(folder).run(cluster=one_thread)
    assert image_content(resumed.folder) == image_content(whole.folder)


def test_completed_folder_is_refused(tiles: Truth, run_task: Callable[..., TaskResult]) -> None:
    folder = run_task(tiles).folder
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"completed and cannot be run again.*config_task"):
            Task.open(folder, resume=resume)


def test_damaged_input_fails_naming_file_and_chunk(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    task = make_task(tiles)
    whole = task.run(cluster=one_thread)
    damaged = tiles.path(tiles.views[1])
    healthy = damaged.read_bytes()
    damaged.write_bytes(healthy[: len(healthy) * 2 // 3])
    with pytest.raises(ImageFileError) as caught:
        task.run(cluster=one_thread)
    for part in (damaged.name, str(damaged.parent), "image uni_tp-0_ch-", "chunk ", "voxels ("):
        assert part in str(caught.value)
    (folder,) = Path(tiles.folder, "processed").glob("*_F")
    status = status_of(folder)
    assert status["state"] == "Failed"
    assert damaged.name in status["error"]
    assert damaged.name in (folder / "log.txt").read_text()

    damaged.write_bytes(healthy)
    fresh = Task.open(folder).run(cluster=one_thread)
    assert folder.is_dir()
    assert fresh.folder.name.removesuffix("_C") != folder.name.removesuffix("_F")
    done = receipts_of(folder)
    counter = StopAfter()
    resumed = Task.open(folder, resume=True).run(cluster=one_thread, listeners=(counter,))
    assert resumed.folder.name == folder.name.removesuffix("_F") + "_C"
    assert counter.computed[-1] == len(receipts_of(whole.folder)) - len(done)
    for result in (fresh, resumed):
        assert image_content(result.folder) == image_content(whole.folder)


def test_full_disk_fails_with_an_estimate_and_goes_on_later(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(tiles)
    whole = task.run(cluster=one_thread)
    calls = 0
    refused: list[tuple[int, int]] = []
    pwrite = os.pwrite

    def full(descriptor: int, data: Any, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 40:
            refused.append((os.fstat(descriptor).st_ino, offset))
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutputError) as caught:
        task.run(cluster=one_thread)
    monkeypatch.undo()
    (folder,) = Path(tiles.folder, "processed").glob("*_F")
    message = str(caught.value)
    for part in (".lux.h5: cannot write", "No space left", "need 0.0", " GB are free in"):
        assert part in message
    assert f"luxdask run --resume {folder}" in message
    assert status_of(folder)["error"] == message
    assert len(set(refused)) == len(refused), "a chunk was tried again on a full disk"
    resumed = Task.open(folder, resume=True).run(cluster=one_thread)
    assert image_content(resumed.folder) == image_content(whole.folder)


def test_disk_that_takes_not_even_the_status_still_marks_the_folder(
    tiles: Truth, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OutputError("status.json: cannot write: [Errno 28] No space left on device")

    monkeypatch.setattr(TaskFolder, "write_status", full)
    with pytest.raises(OutputError, match=r"disk .* is full"):
        make_task(tiles).run()
    assert len(list(Path(tiles.folder, "processed").glob("*_F"))) == 1


def test_too_small_disk_is_refused_before_the_run(
    tiles: Truth, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(tiles)
    monkeypatch.setattr("luxdask.tasks.task.free_disk", lambda _: 1000)
    with pytest.raises(OutputError, match=r"need 0\.0257 GB, but only 1e-06 GB are free"):
        task.run()
    assert not Path(tiles.folder, "processed").exists()
    assert task.run(check_disk=False).folder.name.endswith("_C")


def test_no_permission_to_make_the_task_folder(
    tiles: Truth, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(tiles)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        OutputError, match=r"cannot make a task folder: Permission denied.*output\.folder"
    ):
        task.run()


def test_no_permission_to_lock(
    tiles: Truth, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if str(path).endswith(".lock"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real_open(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match="cannot lock this task folder: Permission denied"):
        make_task(tiles).run()


def test_second_run_on_a_folder_is_refused(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    messages = []

    def run_again(progress: Progress) -> None:
        if progress.stage == "fusion" and progress.done == 2:
            (folder,) = Path(tiles.folder, "processed").iterdir()
            with pytest.raises(OutputError) as caught:
                Task.open(folder).run()
            messages.append(str(caught.value))

    result = make_task(tiles).run(cluster=one_thread, listeners=(run_again,))
    assert f"process {os.getpid()} on {os.uname().nodename}" in messages[0]
    assert "another run uses this task folder" in messages[0]
    assert result.folder.name.endswith("_C")


def test_run_that_has_lost_its_folder_leaves_it_alone(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    """As after a long sleep, in which a run on another host has taken the folder over."""
    lost: list[tuple[Path, int]] = []

    def lose(progress: Progress) -> None:
        if progress.stage == "fusion" and progress.done >= 8 and not lost:
            (folder,) = Path(tiles.folder, "processed").iterdir()
            (folder / LOCK).write_text('{"host": "node18", "pid": 2, "token": "x"}')
            lost.append((folder, len(receipts_of(folder))))

    with pytest.raises(OutputError, match="another run has taken this task folder over"):
        make_task(tiles).run(cluster=one_thread, listeners=(lose,))
    folder, receipts = lost[0]
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    assert len(receipts_of(folder)) == receipts
    assert status_of(folder)["state"] == "Running"
    assert "node18" in (folder / LOCK).read_text()


def test_unknown_failure_of_ours_is_told_with_image_and_chunk(
    tiles: Truth, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, one_thread: Any
) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("the network is gone")

    monkeypatch.setattr("luxdask.graph.write.fuse_chunk", fail)
    with pytest.raises(TaskFailedError, match=r"image uni_tp-0_ch-0_.*chunk 0 .*network is gone"):
        make_task(tiles).run(cluster=one_thread)


def test_folder_that_cannot_be_renamed(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    folder = stopped_run(make_task(tiles), one_thread)
    opened = Task.open(folder)
    folder.with_name(folder.name.removesuffix("_S")).mkdir()
    with pytest.raises(OutputError, match=r"cannot rename this task folder to .*already"):
        opened.run(cluster=one_thread)
    assert folder.is_dir()


def test_folder_that_another_run_has_taken_meanwhile(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    folder = stopped_run(make_task(tiles), one_thread)
    opened = Task.open(folder)
    Task.open(folder).run(cluster=one_thread)
    with pytest.raises(LuxdaskError, match=f"{folder.name}: no such folder"):
        opened.run(cluster=one_thread)


def test_chunk_that_passes_at_the_third_try(
    tiles: Truth, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, one_thread: Any
) -> None:
    from luxdask.graph import write

    fuse, tries = write.fuse_chunk, []

    def flaky(job: Any) -> Any:
        tries.append(job.box)
        if tries.count(job.box) < 3:
            raise ConnectionError("reset by peer")
        return fuse(job)

    monkeypatch.setattr(write, "fuse_chunk", flaky)
    result = make_task(tiles).run(cluster=one_thread)
    with h5py.File(result.images[0]) as file:
        np.testing.assert_array_equal(file["Data"][:], tiles.read_volume(0))


def test_given_cluster_serves_several_tasks(tiles: Truth, make_task: Callable[..., Task]) -> None:
    with connect("threads") as cluster:
        folders = [make_task(tiles).run(cluster=cluster).folder for _ in range(2)]
    assert image_content(folders[0]) == image_content(folders[1])


# ---- runs in processes of their own ----

SLOW_RUN = """
import sys, time
import luxdask.graph.write as write
fuse = write.fuse_chunk
def slow(job):
    time.sleep(0.05)
    return fuse(job)
write.fuse_chunk = slow
from luxdask.cli import main
main(["run", "--threads", "1", *sys.argv[1:]])
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW_RUN, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_receipts(parent: Path, count: int) -> Path:
    """The folder of a run in another process, once so many chunks of it are on disk."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        for folder in parent.glob("*_Task_*"):
            if len(receipts_of(folder)) >= count:
                return folder
        time.sleep(0.02)
    raise AssertionError("the run made no progress")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signal_stops_gracefully(
    tiles: Truth, make_task: Callable[..., Task], tmp_path: Path, number: signal.Signals
) -> None:
    task = make_task(tiles)
    task.save(tmp_path / "task.json")
    process = start(str(tmp_path / "task.json"))
    wait_for_receipts(Path(tiles.folder, "processed"), 1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopping" in out
    (folder,) = Path(tiles.folder, "processed").iterdir()
    assert folder.name.endswith("_S")
    assert f"luxdask run {folder}" in err
    assert status_of(folder)["state"] == "Stopped"
    resumed = Task.open(folder).run()
    with h5py.File(resumed.images[1]) as file:
        np.testing.assert_array_equal(file["Data"][:], tiles.read_volume(1))


def test_killed_run_goes_on(tiles: Truth, make_task: Callable[..., Task], tmp_path: Path) -> None:
    task = make_task(tiles, output__formats=ALL_FORMATS)
    whole = task.run()
    task = task.replace({"output.folder": str(tmp_path / "out")})
    task.save(tmp_path / "task.json")
    process = start(str(tmp_path / "task.json"))
    folder = wait_for_receipts(tmp_path / "out", 2)
    process.kill()
    process.communicate(timeout=60)
    assert folder.is_dir()
    assert (folder / ".lock").exists()
    done = receipts_of(folder)
    counter = StopAfter()
    resumed = Task.open(folder).run(listeners=(counter,))
    assert resumed.folder.name == folder.name + "_C"
    assert 2 <= len(done) == len(receipts_of(whole.folder)) - counter.computed[-1]
    assert image_content(resumed.folder) == image_content(whole.folder)


def test_errors_are_never_bare(tiles: Truth, make_task: Callable[..., Task]) -> None:
    """An experiment that vanished after the task was made."""
    task = make_task(tiles)
    for view in tiles.views:
        tiles.path(view).unlink()
    with pytest.raises(LuxdaskError, match=tiles.folder):
        task.run()
