"""The figures of runs in `performance.json`."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from luxdask.cluster import connect
from luxdask.errors import ClusterError, TaskFailedError, TaskStopped
from luxdask.tasks import Task
from luxdask.tasks.performance import MOST_CHANGES, PERFORMANCE, Performance, read_performance

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.cluster.events import Progress
    from luxdask.tasks import TaskResult
    from luxdask.testing import Truth


def test_figures_of_a_run(tiles: Truth, run_task: Callable[..., TaskResult]) -> None:
    result = run_task(tiles)
    (run,) = read_performance(result.folder)
    assert run["state"] == "Completed"
    assert run["host"] == socket.gethostname()
    assert run["versions"].keys() >= {"python", "luxdask", "dask", "distributed"}
    assert run["workers_lost"] == 0
    fusion = run["stages"]["fusion"]
    assert (fusion["done"], fusion["done_before"], fusion["total"]) == (48, 0, 48)
    assert fusion["voxels"] == result.voxels
    assert fusion["bytes_read"] > 0
    assert fusion["bytes_written"] >= sum(2 * 70 * 130 * 200 for _ in range(2))
    assert sum(fusion["time_shares"].values()) == pytest.approx(1, abs=1e-3)
    assert min(fusion["time_shares"].values()) > 0
    assert 0 < fusion["worker_seconds"] <= fusion["seconds"] + 1
    assert fusion["mvoxel_per_s"] > 0
    assert fusion["peak_memory_bytes"] > 1e7
    assert fusion["chunks_by_host"] == {socket.gethostname(): 48}
    assert fusion["slots"] == [{"after_s": 0.0, "slots": 1}]
    assert (fusion["retries"], fusion["in_pieces"]) == (0, 0)
    assert "main files" in run["stages"]


def test_resumed_runs_are_added(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any
) -> None:
    stop = Event()

    def after_five(progress: Progress) -> None:
        if progress.stage == "fusion" and progress.done >= 5:
            stop.set()

    with pytest.raises(TaskStopped):
        make_task(tiles).run(cluster=one_thread, listeners=(after_five,), stop=stop)
    (folder,) = Path(tiles.folder, "processed").iterdir()
    first = read_performance(folder)[0]["stages"]["fusion"]
    result = Task.open(folder).run(cluster=one_thread)
    runs = read_performance(result.folder)
    assert [run["state"] for run in runs] == ["Stopped", "Completed"]
    second = runs[1]["stages"]["fusion"]
    assert second["done_before"] == first["done"]
    assert first["done"] + second["done"] == 48


def test_figures_that_cannot_be_read_are_begun_anew(tmp_path: Path) -> None:
    (tmp_path / PERFORMANCE).write_text("[{")
    with connect("threads") as backend:
        Performance(backend).save(tmp_path, "Failed")
    assert [run["state"] for run in json.loads((tmp_path / PERFORMANCE).read_text())] == ["Failed"]


def test_slots_that_change_all_the_time_stay_few(tmp_path: Path) -> None:
    from luxdask.cluster.events import Progress

    class Changing:
        workers_lost = 0
        slots = 0

    backend: Any = Changing()
    performance = Performance(backend)
    for n in range(3 * MOST_CHANGES):
        backend.slots = n
        performance.see(Progress("fusion", n, 10_000))
    kept = performance.values("Running")["stages"]["fusion"]["slots"]
    assert MOST_CHANGES // 3 < len(kept) <= MOST_CHANGES
    assert (kept[0]["slots"], kept[-1]["slots"]) == (0, 3 * MOST_CHANGES - 1)


def test_chunk_without_memory_is_made_in_pieces(
    tiles: Truth, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, one_thread: Any
) -> None:
    from luxdask.graph import write

    fuse = write.fuse_chunk

    def too_large(job: Any) -> Any:
        if job.pieces == 1 and job.box.start == (0, 64, 64):
            raise MemoryError("cannot allocate")
        return fuse(job)

    monkeypatch.setattr(write, "fuse_chunk", too_large)
    result = make_task(tiles, fusion__blending=True).run(cluster=one_thread)
    for channel, path in enumerate(result.images):
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["Data"][:], tiles.read_volume(channel))
    fusion = read_performance(result.folder)[0]["stages"]["fusion"]
    assert (fusion["retries"], fusion["in_pieces"]) == (2, 2)


def test_error_names_views_and_log(
    tiles: Truth, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, one_thread: Any
) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("the network is gone")

    monkeypatch.setattr("luxdask.graph.write.fuse_chunk", fail)
    with pytest.raises(TaskFailedError) as caught:
        make_task(tiles).run(cluster=one_thread)
    text = str(caught.value)
    (folder,) = Path(tiles.folder, "processed").iterdir()
    assert str(tiles.views[0].id) in text
    assert "tried 3 times" in text
    assert text.endswith(f"see {folder}{os.sep}log.txt")
    assert "the network is gone" in (folder / "log.txt").read_text()


def test_report_needs_workers_of_dask(tmp_path: Path) -> None:
    with connect("threads") as backend, pytest.raises(ClusterError, match="add --workers"):
        backend.report(str(tmp_path / "report.html"))
