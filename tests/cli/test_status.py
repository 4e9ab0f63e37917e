"""`luxdask status` and `luxdask stop`: what they say, their exit codes, and runs that obey."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from luxdask.cli import main
from luxdask.tasks import Task
from luxdask.tasks.folder import CONFIG, STATUS
from luxdask.tasks.lock import LOCK
from luxdask.tasks.status import read_status
from luxdask.tasks.watch import STOP_REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luxdask.testing import Truth

LIMIT_S = 120.0
SLOW_RUN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, however this was
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # started
import luxdask.graph.write as write
fuse, seconds, released = write.fuse_chunk, float(sys.argv[1]), pathlib.Path(sys.argv[2])
def slow(job):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and not released.exists():
        time.sleep(0.02)
    return fuse(job)
write.fuse_chunk = slow
from luxdask.cli import main
main(["run", "--threads", "1", "--no-picture", *sys.argv[3:]])
"""
CHUNK_S = 1.0
"""How long a chunk of such a run takes, as long as it is not released; there are 48."""


def luxdask(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def made_up(parent: Path, name: str, lock: dict[str, Any] | None = None, **status: Any) -> Path:
    """A task folder as some run has left it."""
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text("{}")
    if status:
        (folder / STATUS).write_text(json.dumps(status))
    if lock is not None:
        (folder / LOCK).write_text(json.dumps(lock))
    return folder


RUNNING = {
    "state": "Running",
    "stage": "fusion",
    "chunks_done": 5,
    "chunks_total": 20,
    "voxels_per_s": 3e6,
    "seconds_left": 75.0,
}
CASES = [
    ("C", None, {**RUNNING, "state": "Completed"}, 0, ["Completed"]),
    ("F", None, {**RUNNING, "error": "x.h5: damaged"}, 1, ["Failed", "x.h5: damaged", "--resume"]),
    ("S", None, RUNNING, 130, ["Stopped, fusion 5/20", "luxdask run"]),
    ("", "alive", RUNNING, 3, ["Running, fusion 5/20, 3 Mvoxel/s, 1:15 min left", "process"]),
    ("", "far", RUNNING, 3, ["Running", "process 1 on node17"]),
    ("", "dead", RUNNING, 4, ["no longer running (killed?), can be resumed, fusion 5/20"]),
    ("", None, RUNNING, 4, ["no longer running", "go on with: luxdask run"]),
    ("", None, {}, 3, ["Queuing", "start it with: luxdask run"]),
]


@pytest.mark.parametrize(("ending", "holder", "written", "code", "said"), CASES)
def test_status(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ending: str,
    holder: str | None,
    written: dict[str, Any],
    code: int,
    said: list[str],
) -> None:
    lock = {
        None: None,
        "alive": {"host": os.uname().nodename, "pid": os.getpid()},
        "dead": {"host": os.uname().nodename, "pid": 1, "started": 1.0},
        "far": {"host": "node17", "pid": 1},
    }[holder]
    name = "20260101-000000_Task_1" + (f"_{ending}" if ending else "")
    folder = made_up(tmp_path, name, lock, **written)
    for given in (folder, tmp_path / "20260101-000000_Task_1", f"{tmp_path / name[:22]}_S"):
        assert luxdask("status", given) == code
        out = capsys.readouterr().out
        for part in said:
            assert part in out
    assert luxdask("status", "--json", folder) == code
    document = json.loads(capsys.readouterr().out)
    assert document["folder"] == str(folder)
    assert document["chunks_total"] == written.get("chunks_total")
    assert document["resumable"] == (code in (1, 4, 130) or not written)


def test_no_task_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert luxdask("status", tmp_path) == 2
    assert luxdask("status", tmp_path / "none") == 2
    assert "no task folder" in " ".join(capsys.readouterr().err.split())


def test_all_tasks_of_an_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up(tmp_path, "20260101-000000_Task_1_C", **RUNNING)
    made_up(tmp_path, "20260101-000001_Task_2", {"host": "node17", "pid": 1}, **RUNNING)
    (tmp_path / "20260101-000002_Task_3").mkdir()  # its run was killed before it had settings
    assert luxdask("status", tmp_path) == 0
    out = capsys.readouterr().out
    assert "Task_1_C" in out
    assert "Running, fusion 5/20" in out
    assert luxdask("status", tmp_path, "--json") == 0
    assert [d["state"] for d in json.loads(capsys.readouterr().out)] == ["Completed", "Running"]


def test_folder_renamed_between_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from luxdask.tasks import status as module

    folder = made_up(tmp_path, "20260101-000000_Task_1", **RUNNING)
    real = module.holder_of

    def look(place: Path) -> Any:
        if folder.exists():
            folder.rename(f"{folder}_C")
        return real(place)

    monkeypatch.setattr(module, "holder_of", look)
    assert read_status(folder).state == "Completed"


def test_nothing_to_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_up(tmp_path, "20260101-000000_Task_1", **RUNNING)
    assert luxdask("stop", folder) == 1
    assert "Not running: no longer running (killed?)" in capsys.readouterr().out
    assert not (folder / STOP_REQUEST).exists()
    assert luxdask("stop", tmp_path) == 2


def test_stop_that_takes_too_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_up(tmp_path, "20260101-000000_Task_1", {"host": "node17", "pid": 1}, **RUNNING)
    assert luxdask("stop", folder, "--wait", "--timeout", 0) == 1
    out = capsys.readouterr().out
    assert "Asked process 1 on node17 to stop" in out
    assert "Still running after 0 s" in out
    assert read_status(folder).is_stopping


# ---- runs in processes of their own ----


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A file; where it is there, a slow run is slow no more."""
    return tmp_path / "released"


@pytest.fixture
def slow_run(
    tiles: Truth,
    make_task: Callable[..., Task],
    tmp_path: Path,
    released: Path,
    request: pytest.FixtureRequest,
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run that computes, for nearly a minute or until it is released, and its folder."""
    make_task(tiles).save(tmp_path / "task.json")
    seconds = getattr(request, "param", CHUNK_S)
    words = (str(seconds), str(released), str(tmp_path / "task.json"))
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_RUN, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, computing(Path(tiles.folder, "processed"), process)
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def computing(parent: Path, process: subprocess.Popen[str]) -> Path:
    limit = time.monotonic() + LIMIT_S
    while time.monotonic() < limit and process.poll() is None:
        for folder in parent.glob("*_Task_*"):
            if (folder / CONFIG).exists() and read_status(folder).stage == "fusion":
                return folder
        time.sleep(0.05)
    raise AssertionError("the run made no progress")


def check_resumes(folder: Path, tiles: Truth) -> None:
    resumed = Task.open(folder).run()
    with h5py.File(resumed.images[1]) as file:
        np.testing.assert_array_equal(file["Data"][:], tiles.read_volume(1))


def test_stop_from_elsewhere(
    tiles: Truth,
    slow_run: tuple[subprocess.Popen[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    process, folder = slow_run
    assert luxdask("status", folder) == 3
    assert f"process {process.pid} on" in capsys.readouterr().out
    assert luxdask("stop", folder, "--wait", "--timeout", LIMIT_S) == 0
    assert "Stopped, fusion" in capsys.readouterr().out
    assert luxdask("status", folder) == 130
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    stopped = folder.with_name(f"{folder.name}_S")
    assert not (stopped / STOP_REQUEST).exists()
    check_resumes(stopped, tiles)


def test_status_follows_to_the_end(
    slow_run: tuple[subprocess.Popen[str], Path], released: Path
) -> None:
    process, folder = slow_run
    command = [sys.executable, "-m", "luxdask", "status", "--follow", "--json", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        told = [json.loads(follower.stdout.readline())]
        released.touch()
        said, _ = follower.communicate(timeout=LIMIT_S)
    assert follower.returncode == 0
    told += [json.loads(line) for line in said.splitlines()]
    assert told[0]["state"] == "Running"
    assert told[-1]["state"] == "Completed"
    assert process.wait(LIMIT_S) == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT], ids=["SIGHUP", "SIGINT"])
def test_output_that_nobody_reads_any_more(
    tiles: Truth, slow_run: tuple[subprocess.Popen[str], Path], number: signal.Signals
) -> None:
    """A closed terminal, or Ctrl-C that ends `| tee log` as well: a graceful stop all the same."""
    process, folder = slow_run
    assert process.stdout is not None
    process.stdout.close()
    process.send_signal(number)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    stopped = folder.with_name(f"{folder.name}_S")
    assert stopped.is_dir()
    check_resumes(stopped, tiles)


@pytest.mark.parametrize("slow_run", [LIMIT_S], indirect=True)
def test_second_ctrl_c(
    tiles: Truth, slow_run: tuple[subprocess.Popen[str], Path], released: Path
) -> None:
    """It ends at once, in the middle of a chunk, and resumes as well."""
    process, folder = slow_run
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    while "Stopping" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    released.touch()
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    check_resumes(folder.with_name(f"{folder.name}_S"), tiles)
