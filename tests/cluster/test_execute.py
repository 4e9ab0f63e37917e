"""The submission loop: windows, retries, stop, errors; on threads and without any dask cluster."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from dask.task_spec import Task

from luxdask.cluster import connect
from luxdask.cluster.backend import ThreadBackend
from luxdask.cluster.events import Counts, Progress
from luxdask.cluster.execute import execute
from luxdask.cluster.failures import RETRIES, is_memory, is_passing
from luxdask.cluster.window import MOST_AHEAD, PER_SLOT
from luxdask.errors import (
    ClusterError,
    ConfigError,
    ImageFileError,
    OutputError,
    TaskFailedError,
)

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


def counted(count: int, taken: list[int]) -> Iterator[Task]:
    for task in tasks(count):
        taken.append(task.key[1])  # type: ignore[index]
        yield task


def test_no_more_than_a_window_is_taken(threads: Backend) -> None:
    """As long as nobody knows how fast tasks are, a few per thread."""
    begun = threading.Semaphore(0)
    gate = threading.Event()
    taken: list[int] = []

    def source() -> Iterator[Task]:
        for task in counted(50, taken):
            yield Task(task.key, hold, task.args[0])

    def hold(n: int) -> int:
        begun.release()
        assert gate.wait(60)
        return n

    def let_go() -> None:
        assert begun.acquire(timeout=60)
        assert begun.acquire(timeout=60)
        ahead.append(len(taken))
        gate.set()

    ahead: list[int] = []
    watcher = threading.Thread(target=let_go)
    watcher.start()
    complete, results = run(source(), threads)
    watcher.join()
    assert complete
    assert len(results) == len(taken) == 50
    assert ahead[0] <= threads.slots * PER_SLOT


def test_quick_tasks_are_taken_far_ahead_but_not_without_bound(threads: Backend) -> None:
    taken: list[int] = []
    ended = most = 0

    def finished(_: int) -> list[Task]:
        nonlocal ended, most
        ended += 1
        most = max(most, len(taken) - ended)
        return []

    assert execute(counted(20_000, taken), threads, finished, threading.Event())
    assert ended == 20_000
    assert most <= MOST_AHEAD


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


class Noting(ThreadBackend):
    """Two threads whose tasks wait until those that have not begun were given back."""

    def __init__(self) -> None:
        super().__init__(2)
        self.both_run, self.given_back = threading.Barrier(2), threading.Event()

    def give_back(self) -> None:
        super().give_back()
        self.given_back.set()


def test_tasks_under_way_end_before_the_error_is_raised() -> None:
    results = []
    with Noting() as backend:

        def work(n: int) -> int:
            if n < 2:
                backend.both_run.wait(60)
            if n == 0:
                raise OutputError("disk full")
            assert backend.given_back.wait(60)
            return n

        def finished(result: int) -> list[Task]:
            results.append(result)
            return []

        with pytest.raises(OutputError):
            execute(tasks(8, work), backend, finished, threading.Event())
    # the free thread may have begun another one before the failure was known
    assert results in ([1], [1, 2], [2, 1])


def test_stop_lets_running_tasks_end_and_begins_no_other() -> None:
    stop = threading.Event()
    with Noting() as backend:

        def work(n: int) -> int:
            backend.both_run.wait(60)
            stop.set()
            assert backend.given_back.wait(60)
            return n

        complete, results = run(tasks(100, work), backend, stop)
    assert not complete
    assert sorted(results) == [0, 1]


def test_stop_before_the_first_task(threads: Backend) -> None:
    stop = threading.Event()
    stop.set()
    assert run(tasks(3), threads, stop) == (False, [])


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


def fail_large(size: int) -> int:
    if size > 10:
        raise MemoryError(f"no room for {size}")
    return size


def halved(task: Task) -> Task:
    return Task(task.key, task.func, task.args[0] // 2)


def test_out_of_memory_is_tried_in_smaller_pieces(threads: Backend) -> None:
    counts, results = Counts(), []

    def finished(result: int) -> list[Task]:
        results.append(result)
        return []

    work = [Task(("t", n), fail_large, n) for n in (3, 18, 20)]
    done = execute(work, threads, finished, threading.Event(), smaller=halved, counts=counts)
    assert done
    assert sorted(results) == [3, 9, 10]
    assert (counts.retries, counts.in_pieces) == (2, 2)


class FakeKilledWorker(Exception):
    """What dask raises for a task whose workers died one after the other."""


FakeKilledWorker.__name__ = "KilledWorker"


def test_task_that_kills_its_workers_is_tried_once_more_in_pieces(threads: Backend) -> None:
    tried = []

    def kill(size: int) -> int:
        tried.append(size)
        raise FakeKilledWorker("attempted to run task on 2 workers that died")

    with pytest.raises(TaskFailedError, match=r"worker after worker died with it.*tried 2 times"):
        execute([Task("t", kill, 8)], threads, lambda _: [], threading.Event(), smaller=halved)
    assert tried == [8, 4]


class Waiting(ThreadBackend):
    """Has no room for tasks at first; tells what it waits for, and may give up."""

    def __init__(self, texts: list[str], error: ClusterError | None = None) -> None:
        super().__init__(1)
        self.texts, self.error = texts, error

    @property
    def wanted_slots(self) -> int:
        return 0 if self.texts else 1

    def check(self) -> str:
        if not self.texts and self.error is not None:
            raise self.error
        return self.texts.pop(0) if self.texts else ""


def test_waiting_is_told_once_per_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luxdask.cluster.execute.CHECK_S", 0.0)
    told: list[str] = []
    with Waiting(["1 job queued", "1 job queued", "2 jobs queued"]) as backend:
        done = execute(tasks(3), backend, lambda _: [], threading.Event(), waiting=told.append)
    assert done
    assert [text for text in told if text] == ["1 job queued", "2 jobs queued"]


def test_backend_that_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luxdask.cluster.execute.CHECK_S", 0.0)
    with (
        Waiting(["starting"], ClusterError("no job could be started")) as backend,
        pytest.raises(ClusterError, match="no job"),
    ):
        execute(tasks(3, slow), backend, lambda _: [], threading.Event())


def slow(n: int) -> int:
    time.sleep(0.3)
    return n


def test_stop_while_waiting_for_workers() -> None:
    stop = threading.Event()
    stop.set()
    with Waiting(["1 job queued"] * 10**6) as backend:
        assert run(tasks(3), backend, stop) == (False, [])


@pytest.mark.parametrize(
    ("error", "is_so"),
    [(MemoryError(), True), (FakeKilledWorker(), True), (OSError("cannot allocate"), False)],
)
def test_which_failures_are_for_want_of_memory(error: Exception, is_so: bool) -> None:
    assert is_memory(error) is is_so


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
    with pytest.raises(ConfigError, match="'moon': no such cluster"):
        connect("moon")


def test_time_left_counts_chunks_of_this_run_only() -> None:
    progress = Progress("fusion", 60, 100, voxels=1000, seconds=5.0, done_before=50)
    assert progress.seconds_left == pytest.approx(20)
    assert progress.voxels_per_s == pytest.approx(200)
    resumed = Progress("fusion", 50, 100, seconds=5.0, done_before=50)
    assert resumed.seconds_left is None
    assert resumed.voxels_per_s is None
