"""The submission loop: windows, retries, stop, errors; on threads and without any dask cluster."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from dask.task_spec import Task

from luxdask.cluster import connect
from luxdask.cluster.backend import ThreadBackend
from luxdask.cluster.events import Progress
from luxdask.cluster.execute import RETRIES, WINDOW_PER_SLOT, execute, is_passing
from luxdask.errors import ClusterError, ImageFileError, OutputError, TaskFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luxdask.cluster.backend import Backend


@pytest.fixture
def threads() -> Iterator[Backend]:
    with connect("threads", threads_per_worker=2) as backend:
        yield backend


def tasks(count: int, function: Any = abs) -> list[Task]:
    return [Task(("t", n), function, n) for n in range(count)]


def run(work: Any, backend: Backend, stop: threading.Event | None = None) -> tuple[bool, list[Any]]:
    results: list[Any] = []

    def finished(result: Any) -> list[Task]:
        results.append(result)
        return []

    return execute(work, backend, finished, stop or threading.Event()), results


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_all_tasks_run_once(threads: Backend, count: int) -> None:
    complete, results = run(tasks(count), threads)
    assert complete
    assert sorted(results) == list(range(count))


def test_no_more_than_a_window_is_taken(threads: Backend) -> None:
    taken, finished = 0, 0
    most = 0

    def source() -> Iterator[Task]:
        nonlocal taken, most
        for task in tasks(200):
            taken += 1
            most = max(most, taken - finished)
            yield task

    def count(_: Any) -> list[Task]:
        nonlocal finished
        finished += 1
        return []

    assert execute(source(), threads, count, threading.Event())
    assert taken == 200
    assert most <= threads.slots * WINDOW_PER_SLOT + 1


def test_follow_up_tasks_run_as_well(threads: Backend) -> None:
    results = []

    def finished(n: int) -> list[Task]:
        results.append(n)
        return [Task(("next", n), abs, n + 100)] if n < 100 else []

    assert execute(tasks(5), threads, finished, threading.Event())
    assert sorted(results) == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]


def test_passing_failures_are_tried_again(threads: Backend) -> None:
    tries: list[int] = []

    def flaky(n: int) -> int:
        tries.append(n)
        if tries.count(n) <= RETRIES:
            raise ConnectionError("reset by peer")
        return n

    complete, results = run(tasks(4, flaky), threads)
    assert complete
    assert sorted(results) == [0, 1, 2, 3]
    assert len(tries) == 4 * (RETRIES + 1)


def test_failure_that_stays(threads: Backend) -> None:
    tries = []

    def fail(n: int) -> None:
        tries.append(n)
        raise ZeroDivisionError("one too many")

    with pytest.raises(TaskFailedError, match=r"\('t', 0\): one too many") as caught:
        run(tasks(1, fail), threads)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert len(tries) == RETRIES + 1


@pytest.mark.parametrize("error", [OutputError("disk full"), ImageFileError("x.lux.h5: cut")])
def test_errors_of_ours_are_not_tried_again(threads: Backend, error: Exception) -> None:
    tries = []

    def fail(n: int) -> None:
        tries.append(n)
        raise error

    with pytest.raises(type(error), match=str(error)):
        run(tasks(1, fail), threads)
    assert len(tries) == 1


def test_tasks_under_way_end_before_the_error_is_raised(threads: Backend) -> None:
    begun = threading.Event()
    results = []

    def work(n: int) -> int:
        if n == 0:
            begun.wait(10)
            raise OutputError("disk full")
        begun.set()
        return n

    def finished(result: int) -> list[Task]:
        results.append(result)
        return []

    with pytest.raises(OutputError):
        execute(tasks(8, work), threads, finished, threading.Event())
    assert sorted(results) == list(range(1, 8))


def test_stop_lets_running_tasks_end(threads: Backend) -> None:
    stop = threading.Event()

    def work(n: int) -> int:
        stop.set()
        return n

    complete, results = run(tasks(100, work), threads, stop)
    assert not complete
    assert 1 <= len(results) <= threads.slots * WINDOW_PER_SLOT


def test_stop_when_all_is_done_counts_as_complete(threads: Backend) -> None:
    stop = threading.Event()

    def work(n: int) -> int:
        stop.set()
        return n

    assert run(tasks(1, work), threads, stop) == (True, [0])


def test_out_of_memory_says_what_to_change(threads: Backend) -> None:
    def fail(_: int) -> None:
        raise MemoryError

    with pytest.raises(TaskFailedError, match=r"compute\.chunk_vx or compute\.memory_limit lower"):
        run(tasks(1, fail), threads)


def test_interrupt_in_a_task_is_passed_on(threads: Backend) -> None:
    def fail(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tasks(1, fail), threads)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError("stale handle"), True),
        (MemoryError(), True),
        (OutputError("full"), False),
        (ImageFileError("cut"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_which_failures_may_pass(error: BaseException, passes: bool) -> None:
    assert is_passing(error) is passes


def test_threads_end_with_the_backend() -> None:
    before = set(threading.enumerate())
    with ThreadBackend(3) as backend:
        assert backend.slots == 3
        run(tasks(20), backend)
    assert set(threading.enumerate()) == before


def test_unknown_cluster() -> None:
    with pytest.raises(ClusterError, match="'moon': no such cluster"):
        connect("moon")


def test_time_left_counts_chunks_of_this_run_only() -> None:
    progress = Progress("fusion", 60, 100, voxels=1000, seconds=5.0, done_before=50)
    assert progress.seconds_left == pytest.approx(20)
    assert progress.voxels_per_s == pytest.approx(200)
    resumed = Progress("fusion", 50, 100, seconds=5.0, done_before=50)
    assert resumed.seconds_left is None
    assert resumed.voxels_per_s is None
