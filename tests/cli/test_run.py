"""`luxdask run`: what it prints and its exit codes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from rich.console import Console

from luxdask.cli import main
from luxdask.cli.run import stop_on_signals
from luxdask.tasks.receipts import done_receipts
from luxdask.testing import small_experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.tasks import Task
    from luxdask.testing import Truth


def luxdask(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def task_file(tiles: Truth, make_task: Callable[..., Task], tmp_path: Path) -> Path:
    make_task(tiles).save(tmp_path / "task.json")
    return tmp_path / "task.json"


def folder_of(truth: Truth) -> Path:
    (folder,) = Path(truth.folder, "processed").iterdir()
    return folder


def test_run_to_the_end(tiles: Truth, task_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert luxdask("run", task_file, "--threads", 2) == 0
    out = capsys.readouterr().out
    folder = folder_of(tiles)
    assert folder.name.endswith("_C")
    for part in ("fusion: 0/", "fusion: 48/48 chunks", f": {folder}", "2 images, ", "_bdv.xml"):
        assert part in out
    assert "\x1b" not in out
    with h5py.File(
        folder / "uni_tp-0_ch-1_st-0-x00-y00-0-x01-y00_obj-left_cam-left_etc.lux.h5"
    ) as f:
        np.testing.assert_array_equal(f["Data"][:], tiles.read_volume(1))


def test_as_a_module(tiles: Truth, task_file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "luxdask", "run", str(task_file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Completed in" in done.stdout


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert luxdask("run", "--help") == 0
    out = " ".join(capsys.readouterr().out.split())
    for part in (
        "--workers",
        "--threads",
        "--cluster",
        "--resume",
        "--no-disk-check",
        "--report",
        "Ctrl-C",
    ):
        assert part in out


def test_no_such_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert luxdask("run", tmp_path / "none.json") == 2
    assert "there is no such file" in " ".join(capsys.readouterr().err.split())


def test_unknown_cluster(task_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert luxdask("run", task_file, "--cluster", "moon") == 2
    assert "no such cluster" in capsys.readouterr().err


def test_report_without_workers_of_dask(
    task_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert luxdask("run", task_file, "--report", tmp_path / "report.html") == 1
    assert "add --workers or --cluster" in " ".join(capsys.readouterr().err.split())


def test_failure(tiles: Truth, task_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tiles.path(tiles.views[0])
    healthy = image.read_bytes()
    image.write_bytes(healthy[:20000])
    assert luxdask("run", task_file) == 1
    err = capsys.readouterr().err
    assert image.name in err
    assert "Traceback" not in err
    folder = folder_of(tiles)
    assert folder.name.endswith("_F")
    image.write_bytes(healthy)
    assert luxdask("run", folder, "--resume") == 0
    assert luxdask("run", folder_of(tiles)) == 2
    assert "completed and cannot be run again" in " ".join(capsys.readouterr().err.split())


def test_disk_check(
    tiles: Truth, task_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("luxdask.tasks.task.free_disk", lambda _: 1000)
    assert luxdask("run", task_file) == 1
    assert "--no-disk-check" in capsys.readouterr().err
    assert luxdask("run", task_file, "--no-disk-check") == 0


def test_stop_and_go_on(
    tiles: Truth,
    task_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from luxdask.graph import write

    fuse = write.fuse_chunk

    def interrupt(job: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setattr(write, "fuse_chunk", fuse)
        return fuse(job)

    monkeypatch.setattr(write, "fuse_chunk", interrupt)
    before = signal.getsignal(signal.SIGINT)
    assert luxdask("run", task_file, "--threads", 1) == 130
    assert signal.getsignal(signal.SIGINT) is before
    captured = capsys.readouterr()
    folder = folder_of(tiles)
    assert folder.name.endswith("_S")
    assert "Stopping" in captured.out
    assert f"luxdask run {folder}" in captured.err.replace("\n", "")
    assert done_receipts(folder)
    assert luxdask("run", folder) == 0
    assert folder_of(tiles).name.endswith("_C")


def test_second_interrupt_ends_at_once(
    tiles: Truth, task_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from luxdask.graph import write

    fuse, end = write.fuse_chunk, threading.Event()

    def interrupt_twice(job: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        end.wait(0.5)
        return fuse(job)

    monkeypatch.setattr(write, "fuse_chunk", interrupt_twice)
    assert luxdask("run", task_file, "--threads", 1) == 130
    monkeypatch.setattr(write, "fuse_chunk", fuse)
    folder = folder_of(tiles)
    assert folder.name.endswith("_S")
    assert luxdask("run", folder) == 0


def test_signals_that_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler of the second must not wait for a lock that the first one has."""
    stop = threading.Event()
    calls: list[int] = []

    def another_within() -> None:
        calls.append(1)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(stop, "set", another_within)
    with pytest.raises(KeyboardInterrupt), stop_on_signals(stop, Console(file=io.StringIO())):
        signal.raise_signal(signal.SIGINT)
    assert len(calls) == 1


def test_threads_of_the_command_line_count_for_the_memory(
    tmp_path: Path, make_task: Callable[..., Task], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = small_experiment(tmp_path / "e")
    task = make_task(truth, compute__memory_limit="50 MB", compute__threads_per_worker=1)
    task.save(tmp_path / "task.json")
    assert luxdask("run", tmp_path / "task.json", "--threads", 8) == 2
    assert "compute.threads_per_worker" in capsys.readouterr().err
    assert luxdask("run", tmp_path / "task.json") == 0
