"""Runs on dask clusters: the same bytes, retries, lost workers, schedulers shared by several."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import distributed
import psutil
import pytest
from dask.task_spec import Task as DaskTask
from dask.utils import key_split

from luxdask.cluster import connect, dask_backend, remote
from luxdask.cluster.dask_backend import DaskBackend
from luxdask.cluster.execute import execute
from luxdask.errors import ClusterError, OutputError, TaskFailedError
from luxdask.graph.tasks import write_graph
from luxdask.io.lux_writer import LuxWriter
from luxdask.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luxdask.cluster.backend import Ended
    from luxdask.testing import Truth


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    """A scheduler with two threads in this process: quick to start, everything but processes."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
    ) as made:
        yield made


@pytest.fixture
def backend(cluster: distributed.LocalCluster) -> Iterator[DaskBackend]:
    with connect(cluster.scheduler_address) as made:
        assert isinstance(made, DaskBackend)
        yield made


def images(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.iterdir() if p.name.startswith("uni_"))
    return {p.name: p.read_bytes() for p in found}


def run(work: list[DaskTask], backend: Any) -> list[Any]:
    results: list[Any] = []

    def finished(result: Any) -> list[DaskTask]:
        results.append(result)
        return []

    assert execute(work, backend, finished, threading.Event())
    return results


def test_existing_scheduler_gives_the_same_bytes(
    tiles: Truth, make_task: Callable[..., Task], cluster: distributed.LocalCluster
) -> None:
    task = make_task(tiles, fusion__blending=True)
    address = cluster.scheduler_address
    there = task.replace({"compute.cluster": address}).run()
    assert images(there.folder) == images(task.run().folder)
    # it stays for others
    with distributed.Client(address) as client:
        assert client.submit(abs, -1).result() == 1


def test_names_of_tasks_are_forgotten(
    backend: DaskBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scheduler and worker, here in one process, would keep those of 100,000 tasks."""
    never = 1 << 30

    def kept(*, by_scheduler: int, by_worker: int) -> int:
        monkeypatch.setattr(dask_backend, "NAMES_KEPT", by_scheduler)
        monkeypatch.setattr(remote, "NAMES_KEPT", by_worker)
        key_split.cache_clear()
        for _ in range(4):
            run([DaskTask(("tiny", n), abs, n) for n in range(200)], backend)
        return key_split.cache_info().currsize

    assert kept(by_scheduler=never, by_worker=never) >= 800
    assert kept(by_scheduler=50, by_worker=never) < 500
    assert kept(by_scheduler=never, by_worker=50) < 500


def test_lazy_images_compute_on_a_cluster(
    tiles: Truth, make_task: Callable[..., Task], cluster: distributed.LocalCluster
) -> None:
    """A client sends the whole lazy graph: it must travel, also when the image was made before."""
    task = make_task(tiles, fusion__blending=True)
    image = task.compile(task.open_experiment()).outputs[0].array
    part = image[3:9, 10:40, 5:50]
    with distributed.Client(cluster.scheduler_address):
        there = part.compute().values
    assert (there == tiles.read_volume(0)[3:9, 10:40, 5:50]).all()
    assert pickle.loads(pickle.dumps(image.data)).compute(scheduler="sync").shape == image.shape


def test_retries(backend: DaskBackend, tmp_path: Path) -> None:
    def flaky(path: str) -> int:
        with open(path, "a+b") as file:
            file.write(b".")
            tries = file.tell()
        if tries < 3:
            raise ConnectionError("reset by peer")
        return tries

    assert run([DaskTask(("t", 1), flaky, str(tmp_path / "tries"))], backend) == [3]


def test_failures(backend: DaskBackend) -> None:
    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(TaskFailedError, match="division"):
        run([DaskTask("t", fail, ZeroDivisionError("division"))], backend)
    with pytest.raises(OutputError, match="full"):
        run([DaskTask("t", fail, OutputError("full"))], backend)


def test_two_runs_on_one_scheduler_do_not_share_results(
    cluster: distributed.LocalCluster, tmp_path: Path
) -> None:
    """Their tasks have the same keys."""
    gate = tmp_path / "gate"

    def wait(value: int) -> int:
        while not gate.exists():
            time.sleep(0.01)
        return value

    ended: list[Ended] = []
    with connect(cluster.scheduler_address) as one, connect(cluster.scheduler_address) as two:
        for backend, value in ((one, 1), (two, 2)):
            backend.submit([DaskTask(("write", 0, 0, 0), wait, value)], ended.append)
        gate.touch()
        limit = time.monotonic() + 60
        while len(ended) < 2 and time.monotonic() < limit:
            time.sleep(0.01)
    assert sorted(one.result for one in ended) == [1, 2]
    assert {one.key for one in ended} == {("write", 0, 0, 0)}


def test_nothing_stays_on_the_scheduler(
    cluster: distributed.LocalCluster, backend: DaskBackend
) -> None:
    run([DaskTask(("t", n), abs, n) for n in range(50)], backend)
    limit = time.monotonic() + 60
    while cluster.scheduler.tasks and time.monotonic() < limit:
        time.sleep(0.02)
    assert not cluster.scheduler.tasks


def test_scheduler_that_dies_in_the_middle(
    tiles: Truth,
    make_task: Callable[..., Task],
    one_thread: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("luxdask.cluster.address.CONNECT_TIMEOUT_S", 1)
    task = make_task(tiles)
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    )

    def close(progress: Any) -> None:
        if progress.stage == "fusion" and progress.done == 3:
            cluster.close()

    with (
        connect(cluster.scheduler_address) as backend,
        pytest.raises(ClusterError, match="scheduler is lost"),
    ):
        task.run(cluster=backend, listeners=(close,))
    (folder,) = Path(tiles.folder, "processed").iterdir()
    assert folder.name.endswith("_F")
    resumed = Task.open(folder, resume=True).run(cluster=one_thread)
    assert images(resumed.folder) == images(task.run().folder)


def test_no_scheduler_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luxdask.cluster.address.CONNECT_TIMEOUT_S", 1)
    with pytest.raises(ClusterError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9"):
        connect("tcp://127.0.0.1:9")


def test_tasks_are_small(tiles: Truth, make_task: Callable[..., Task]) -> None:
    """A task carries geometry and names, not voxels: a few kilobytes for each view it needs."""
    task = make_task(tiles)
    plan = task.compile(task.open_experiment())
    planned = plan.outputs[0]
    grid = planned.output.grid
    writer = LuxWriter(f"{tiles.folder}/x.lux.h5", grid.shape, grid.spacing_um, planned.levels)
    for one in write_graph(planned, (writer,)).values():
        assert len(pickle.dumps(one)) < 4000


# ---- worker processes ----


@pytest.mark.slow
def test_two_processes_give_the_same_bytes(tiles: Truth, make_task: Callable[..., Task]) -> None:
    task = make_task(tiles, fusion__blending=True, fusion__image_quality_weighting=True)
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    result = task.replace({"compute.n_workers": 2, "compute.threads_per_worker": 1}).run()
    after = psutil.Process().children(recursive=True)
    assert not [p for p in after if p.pid not in before and "resource_tracker" not in _words(p)]
    assert images(result.folder) == images(task.run().folder)


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return "resource_tracker"


@pytest.mark.slow
def test_killed_worker_costs_its_chunks_only(tiles: Truth, make_task: Callable[..., Task]) -> None:
    task = make_task(tiles)
    killed: list[int] = []
    with connect("processes", n_workers=2, threads_per_worker=1) as backend:
        assert isinstance(backend, DaskBackend)

        def kill(progress: Any) -> None:
            if progress.stage == "fusion" and progress.done >= 2 and not killed:
                pids = list(backend._client.run(os.getpid).values())
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])

        result = task.run(cluster=backend, listeners=(kill,))
    assert killed
    assert images(result.folder) == images(task.run().folder)


PROGRAM = """
if __name__ == "__main__":
    from luxdask.cli import main
    main()
"""


@pytest.mark.slow
def test_interrupt_reaches_all_processes_and_stops_gracefully(
    tiles: Truth, make_task: Callable[..., Task], tmp_path: Path
) -> None:
    """Ctrl-C on a terminal is sent to the workers as well."""
    (tmp_path / "program.py").write_text(PROGRAM)
    make_task(tiles).save(tmp_path / "task.json")
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), "run", "--workers", "2", "--threads", "1",
         str(tmp_path / "task.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    processed = Path(tiles.folder, "processed")
    limit = time.monotonic() + 60
    while not list(processed.glob("*/uni_*.lux.h5")) and time.monotonic() < limit:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Traceback" not in out + err
    assert process.returncode == 130, (out, err)
    (folder,) = processed.iterdir()
    assert folder.name.endswith("_S")
