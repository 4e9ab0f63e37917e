"""Runs killed at random moments: nothing reported as done is lost, or done again.

A run ends when its process group is killed: the controlling process in which chunks are computed by
threads, or that process, its workers, or all of them. Moments are drawn with a fixed seed over the
time that a whole run takes, so that the start, registration, fusion and main files are all hit.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import psutil
import pytest

from luxdask.cli import main
from luxdask.io import open_experiment
from luxdask.tasks import Task
from luxdask.tasks.folder import CONFIG, STATUS, task_folders
from luxdask.tasks.lock import holder_of
from luxdask.tasks.receipts import RECEIPTS, done_receipts
from luxdask.testing import small_experiment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT_S = 120.0
MOST_RUNS = 12
"""A very quick machine may end some runs before they are killed."""
KILLS_OF_THREADS, KILLS_OF_CLIENTS, KILLS_OF_WORKERS = 24, 4, 4
STATE_FILES = {STATUS, RECEIPTS, "log.txt", "plan.json", CONFIG, "config_task_given.json"}
STATE_FILES |= {"registration.csv", "links.jsonl"}


pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of two tiles that are registered and fused in many small chunks, and its result."""
    folder = tmp_path_factory.mktemp("killed")
    truth = small_experiment(
        folder / "tiles", shape=(128, 330, 450), tiles=(1, 2), overlap=40, stage_error_um=3.0
    )
    values = {
        "compute.chunk_vx": [64, 64, 64],
        "fusion.blending.enabled": True,
        "fusion.interpolation": "cubic",
        "registration.enabled": True,
        "registration.tiles.enabled": True,
    }
    task = Task.new(open_experiment(truth.folder), values=values)
    task.replace({"output.folder": str(folder / "out")}).save(folder / "task.json")
    task.replace({"output.folder": str(folder / "whole")}).run()
    return folder


@pytest.fixture
def out(work: Path) -> Iterator[Path]:
    """The task's folder of results; what a test leaves there is out of the next one's way."""
    yield work / "out"
    if (work / "out").exists():
        (work / "out").rename(work / f"out-left-{time.monotonic_ns()}")


WARM_UP = """
from luxdask.cluster import connect
from luxdask.tasks import Task
from luxdask.cli import main
with connect("threads", threads_per_worker=1) as cluster:
    Task.open({0!r}).replace({{"output.folder": {1!r}}}).run(cluster=cluster)
"""


@pytest.fixture(scope="module")
def fork(work: Path) -> Iterator[Callable[..., Any]]:
    """Starts `luxdask` in a process of its own, forked from one that has run the task before.

    So a run is quick: modules are imported and kernels loaded already.
    """
    context = multiprocessing.get_context("forkserver")
    (work / "warm_up_for_kills.py").write_text(
        WARM_UP.format(str(work / "task.json"), str(work / "warm"))
    )
    monkeypatch = pytest.MonkeyPatch()
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(work), before])))
    context.set_forkserver_preload(["warm_up_for_kills"])

    def start(*arguments: object) -> Any:
        process = context.Process(target=main, args=([str(a) for a in arguments],))
        process.start()
        return process

    yield start
    monkeypatch.undo()
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


def content(folder: Path) -> dict[str, bytes]:
    """Everything a run makes, but for dates and the folder's own name in links."""
    dated = (".ims", ".png", ".json")
    files = (p for p in folder.rglob("*") if p.is_file() and p.name not in STATE_FILES)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if not p.name.endswith(dated)}


def task_begun(out: Path) -> Path | None:
    """The task folder that a run has begun, with its settings in it."""
    found = [f for f in (task_folders(out) if out.exists() else []) if (f / CONFIG).is_file()]
    assert len(found) <= 1
    return found[0] if found else None


def only(out: Path) -> Path:
    """The task folder that is there by now."""
    folder = task_begun(out)
    assert folder is not None
    return folder


def is_completed(out: Path) -> bool:
    """Whether there is nothing left to do: a run may be killed on its way out."""
    folder = task_begun(out)
    return folder is not None and folder.name.endswith("_C")


def check_what_is_done(folder: Path, whole: Path) -> int:
    """Compare every chunk that is reported done with that of the whole run; how many there are."""
    done = {chunk for _, stage, chunk in done_receipts(folder) if stage == 0}
    if not done:
        return 0
    (name,) = (p.name for p in whole.glob("uni*.lux.h5"))
    with h5py.File(folder / name) as file, h5py.File(whole / name) as truth:
        found, expected = file["Data"][:], truth["Data"][:]
    counts = [-(-n // 64) for n in found.shape]
    for chunk in done:
        corner = [64 * i for i in np.unravel_index(chunk, counts)]
        part = tuple(slice(a, a + 64) for a in corner)
        np.testing.assert_array_equal(found[part], expected[part], err_msg=f"chunk {chunk}")
    return len(done)


def check_the_end(folder: Path, whole: Path) -> None:
    """The same bytes as the whole run, and each chunk reported as done once."""
    assert folder.name.endswith("_C")
    found, expected = content(folder), content(whole)
    assert sorted(found) == sorted(expected)
    assert [name for name in found if found[name] != expected[name]] == []
    lines = [line for line in (folder / RECEIPTS).read_text().splitlines() if line]
    reported = Counter(tuple(line.split()[:3]) for line in lines if line.endswith("."))
    assert set(reported.values()) == {1}, "a chunk that was reported done was done again"
    assert len(reported) == len(done_receipts(whole))


def wait_until(condition: Callable[[], Any], process: Any) -> bool:
    """Whether a condition came true before a process ended."""
    limit = time.monotonic() + LIMIT_S
    while time.monotonic() < limit:
        if condition():
            return True
        if not _is_alive(process):
            return bool(condition())
        time.sleep(0.002)
    raise AssertionError("the run made no progress")


def _is_alive(process: Any) -> bool:
    return process.is_alive() if hasattr(process, "is_alive") else process.poll() is None


def test_killed_with_its_threads(work: Path, out: Path, fork: Callable[..., Any]) -> None:
    """24 kills; the moment is drawn over the whole time that a run takes."""
    draw = random.Random(4)
    whole = only(work / "whole")
    seconds, kills, folders = 2.0, 0, 0
    while kills < KILLS_OF_THREADS:
        target = work / "task.json"
        while True:
            began = time.monotonic()
            process = fork("run", target, "--threads", 1, "--no-picture")
            process.join(draw.uniform(0, seconds))
            if process.is_alive():
                process.kill()
            process.join(LIMIT_S)
            # the speed of the machine changes while others work on it
            seconds = max(0.2, time.monotonic() - began if process.exitcode == 0 else seconds * 1.2)
            if process.exitcode == 0 or is_completed(out):
                break
            assert process.exitcode == -signal.SIGKILL
            kills += 1
            target = task_begun(out) or target
            if target.is_dir():
                check_what_is_done(target, whole)
        check_the_end(only(out), whole)
        out.rename(work / f"out-{folders}")
        folders += 1


def _stage(folder: Path) -> str:
    with suppress(OSError):
        return str(json.loads((folder / STATUS).read_text()).get("stage"))
    return "None"


@pytest.fixture
def run_processes(work: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `luxdask run` with two worker processes, in a session of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(target: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "luxdask", "run", str(target), "--no-picture"]
        process = subprocess.Popen(
            [*command, "--cluster", "processes", "--workers", "2", "--threads", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        kill_all(process)


def kill_all(process: subprocess.Popen[str]) -> None:
    """End the run and all its workers, wherever they have gone since."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Worker processes of dask that a run has started."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if _is_worker(child)]
    return []


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return any("spawn_main" in part for part in process.cmdline())
    return False


def begun(out: Path, process: subprocess.Popen[str]) -> bool:
    """Whether a run computes; false where it has ended before anybody could see it."""

    def computes() -> bool:
        folder = task_begun(out)
        if folder is None or not _is_of(folder, process):
            return False
        return _stage(folder) in ("fusion", "main files")

    return wait_until(computes, process)


def _is_of(folder: Path, process: subprocess.Popen[str]) -> bool:
    found = holder_of(folder)
    return found is not None and found[0].get("pid") == process.pid


def test_killed_workers_are_replaced(
    work: Path, out: Path, run_processes: Callable[..., subprocess.Popen[str]]
) -> None:
    """The run itself goes on to its end; each time the worker and the moment are drawn."""
    draw, kills, runs = random.Random(5), 0, 0
    while kills < KILLS_OF_WORKERS and runs < MOST_RUNS:
        process = run_processes(work / "task.json")
        begun(out, process)
        for _ in range(3):
            time.sleep(draw.uniform(0, 0.4))
            workers = workers_of(process)
            if workers:
                with suppress(psutil.NoSuchProcess):
                    draw.choice(workers).kill()
                    kills += 1
        _, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, err
        check_the_end(only(out), only(work / "whole"))
        out.rename(work / f"workers-{runs}")
        runs += 1


def test_killed_client_and_everything(
    work: Path, out: Path, run_processes: Callable[..., subprocess.Popen[str]]
) -> None:
    """Workers of a killed client may still write for a while: the same bytes to the same places."""
    draw, kills, runs = random.Random(6), 0, 0
    whole = only(work / "whole")
    while kills < KILLS_OF_CLIENTS and runs < MOST_RUNS:
        process = run_processes(work / "task.json")
        # later and later, and not for ever: receipts wait up to a second for others
        for longest in (0.5, 1.0, 2.0, 4.0):
            if not begun(out, process):
                break
            time.sleep(draw.uniform(0, longest))
            if draw.random() < 0.5:
                process.kill()
            else:
                kill_all(process)
            if process.wait(LIMIT_S) == 0 or is_completed(out):
                break
            kills += 1
            check_what_is_done(only(out), whole)
            process = run_processes(only(out))
        _, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode in (0, -signal.SIGKILL), err
        check_the_end(only(out), whole)
        out.rename(work / f"clients-{runs}")
        runs += 1
