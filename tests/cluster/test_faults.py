"""What goes wrong on real worker processes: lost workers, a restarted scheduler, want of memory."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dask.task_spec import Task

from luxdask.cluster import connect
from luxdask.cluster.dask_backend import DaskBackend
from luxdask.cluster.events import Counts
from luxdask.cluster.execute import execute
from luxdask.errors import ClusterError, TaskFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT_S = 240


def wait_for(condition: Callable[[], Any]) -> Any:
    limit = time.monotonic() + LIMIT_S
    while time.monotonic() < limit:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def marks(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# ---- tasks, run in worker processes ----


def mark(folder: str, n: int) -> int:
    Path(folder, f"{n}-{os.getpid()}").touch()
    return n


def fail_on_first_worker(folder: str, n: int) -> tuple[int, int]:
    """Fails on whichever worker is asked first."""
    first = Path(folder, "first")
    try:
        with first.open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        pass
    if n == 0 and first.read_text() in ("", str(os.getpid())):
        raise ConnectionError("stale file handle")
    return n, os.getpid()


def die_when_large(size: int) -> int:
    if size > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return size


def hold(folder: str, n: int) -> int:
    """Begins, then ends when told to."""
    Path(folder, f"begun-{n}").touch()
    limit = time.monotonic() + LIMIT_S
    while not Path(folder, "go").exists():
        assert time.monotonic() < limit
        time.sleep(0.02)
    return n


@pytest.fixture(scope="module")
def backend() -> Iterator[DaskBackend]:
    """Two worker processes, for tests that leave them alive."""
    with connect("processes", n_workers=2, threads_per_worker=1) as made:
        assert isinstance(made, DaskBackend)
        wait_for(lambda: made.slots == 2)
        yield made


@pytest.fixture(scope="module")
def mortal() -> Iterator[DaskBackend]:
    """So many worker processes that no test has to wait until dead ones are started again."""
    with connect("processes", n_workers=4, threads_per_worker=1) as made:
        assert isinstance(made, DaskBackend)
        wait_for(lambda: made.slots == 4)
        yield made


class Run:
    """A run in a thread: what it returned or raised, and its results so far."""

    def __init__(self, tasks: Any, backend: DaskBackend, **options: Any) -> None:
        self.results: list[Any] = []
        self.stop, self.counts = threading.Event(), Counts()
        self.complete: bool | None = None
        self.error: BaseException | None = None
        self.told: list[str] = []
        arguments = (tasks, backend, self.finished, self.stop)
        options |= {"waiting": self.told.append, "counts": self.counts}
        self.thread = threading.Thread(target=self.run, args=arguments, kwargs=options)
        self.thread.start()

    def finished(self, result: Any) -> list[Task]:
        self.results.append(result)
        return []

    def run(self, *arguments: Any, **options: Any) -> None:
        try:
            self.complete = execute(*arguments, **options)
        except BaseException as error:
            self.error = error

    def end(self) -> Run:
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()
        return self


def test_failed_task_is_tried_on_another_worker(backend: DaskBackend, tmp_path: Path) -> None:
    tasks = [Task(("t", 0), fail_on_first_worker, str(tmp_path), 0)]
    run = Run(tasks, backend).end()
    assert (run.error, run.complete) == (None, True)
    assert run.counts.retries == 1
    ((_, pid),) = run.results
    assert pid != int((tmp_path / "first").read_text())


def test_last_error_names_the_worker_and_its_host(backend: DaskBackend) -> None:
    run = Run([Task(("t", 0), divide, 0)], backend, describe=lambda _: "chunk 0 of view 1").end()
    assert isinstance(run.error, TaskFailedError)
    text = str(run.error)
    assert text.startswith("chunk 0 of view 1: division by zero (tried 3 times, last on worker tcp")
    assert socket.gethostname() in text
    assert isinstance(run.error.__cause__, ZeroDivisionError)
    assert "in divide" in "".join(run.error.__cause__.__notes__)


def divide(n: int) -> float:
    return 1 / n


class Odd(Exception):
    """Pickles, but cannot be made again from its arguments."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def raise_odd(_: int) -> None:
    raise Odd("one", "two")


def test_error_that_does_not_travel_is_told_in_words(backend: DaskBackend) -> None:
    run = Run([Task(("t", 0), raise_odd, 0)], backend).end()
    assert isinstance(run.error, TaskFailedError)
    assert "Odd: one and two" in str(run.error)


def test_lost_worker_costs_its_tasks_only(mortal: DaskBackend, tmp_path: Path) -> None:
    tasks = (Task(("t", n), hold, str(tmp_path), n) for n in range(16))
    run = Run(tasks, mortal)
    wait_for(lambda: len(marks(tmp_path)) >= 4)
    os.kill(next(iter(mortal._client.run(os.getpid).values())), signal.SIGKILL)
    wait_for(lambda: mortal.slots and mortal.workers_lost)
    (tmp_path / "go").touch()
    run.end()
    assert (run.error, run.complete) == (None, True)
    assert sorted(run.results) == list(range(16))


def test_task_that_kills_workers_is_done_in_pieces(mortal: DaskBackend) -> None:
    """Two die with it; then dask gives it up, and a third does it in pieces."""

    def smaller(task: Task) -> Task:
        return Task(task.key, task.func, 1)

    tasks = [Task(("t", n), die_when_large, 1 + (n == 3)) for n in range(8)]
    run = Run(tasks, mortal, smaller=smaller).end()
    assert (run.error, run.complete) == (None, True)
    assert run.results == [1] * 8
    assert run.counts.in_pieces >= 1


def test_stop_ends_with_the_tasks_that_run(backend: DaskBackend, tmp_path: Path) -> None:
    tasks = (Task(("t", n), hold, str(tmp_path), n) for n in range(1000))
    run = Run(tasks, backend)
    wait_for(lambda: len(marks(tmp_path)) >= 2)
    run.stop.set()
    # the others leave the scheduler while the first two are still held
    wait_for(lambda: len(backend._flying) <= 2)
    (tmp_path / "go").touch()
    run.end()
    assert (run.error, run.complete) == (None, False)
    begun = [int(name[6:]) for name in marks(tmp_path) if name.startswith("begun")]
    assert sorted(run.results) == sorted(begun)
    assert len(begun) == 2


# ---- a scheduler that comes back ----


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


def scheduler(port: int) -> Any:
    return started("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")


def worker(address: str, folder: Path) -> Any:
    return started(
        "dask_worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard",
        "--host", "127.0.0.1", "--local-directory", str(folder),
    )  # fmt: skip


def free_port() -> int:
    """A port that stays free while the scheduler is away: connections get higher ones."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def connected(address: str) -> DaskBackend | None:
    try:
        backend = connect(address)
    except ClusterError:
        return None
    assert isinstance(backend, DaskBackend)
    return backend


def test_run_goes_on_when_the_scheduler_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers end with it; the run waits for it, then for new workers."""
    monkeypatch.setattr("luxdask.cluster.execute.CHECK_S", 0.2)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]))
    port, place = free_port(), tmp_path / "marks"
    place.mkdir()
    address = f"tcp://127.0.0.1:{port}"
    with (
        scheduler(port) as first,
        worker(address, tmp_path) as old,
        wait_for(lambda: connected(address)) as backend,
    ):
        run = Run((Task(("t", n), hold, str(place), n) for n in range(6)), backend)
        wait_for(lambda: marks(place))
        first.kill()
        old.kill()
        wait_for(lambda: "waiting for the scheduler" in run.told)
        with scheduler(port), worker(address, tmp_path):
            (place / "go").touch()
            run.end()
    assert (run.error, run.complete) == (None, True)
    assert sorted(run.results) == list(range(6))


def test_run_without_workers_ends_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with scheduler(port), wait_for(lambda: connected(f"tcp://127.0.0.1:{port}")) as backend:
        run = Run([Task(("t", 0), mark, str(tmp_path), 0)], backend)
        wait_for(lambda: "waiting for workers" in run.told)
        monkeypatch.setattr(backend, "_patience_s", 0.0)
        run.end()
    assert isinstance(run.error, ClusterError)
    assert "no worker for " in str(run.error)


def test_report_without_bokeh(
    backend: DaskBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luxdask.cluster.dask_backend.find_spec", lambda _: None)
    assert backend.link is None
    with (
        pytest.raises(ClusterError, match=r"pip install .luxdask\[dashboard\]"),
        backend.report(str(tmp_path / "report.html")),
    ):
        pass


@pytest.mark.skipif(find_spec("bokeh") is None, reason="dask draws its report with bokeh")
def test_report(backend: DaskBackend, tmp_path: Path) -> None:
    assert str(backend.link).startswith("http://127.0.0.1:")
    with backend.report(str(tmp_path / "report.html")):
        run = Run([Task(("t", n), abs, n) for n in range(10)], backend).end()
    assert run.complete
    assert "bokeh" in (tmp_path / "report.html").read_text()
