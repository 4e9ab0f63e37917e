"""The runner of a queue, with a small program in place of the runs of tasks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from luxdask.errors import ConfigError, OutputError
from luxdask.tasks import queue_runner
from luxdask.tasks.lock import LOCK
from luxdask.tasks.queue import Queue
from luxdask.tasks.queue_process import (
    QueueFiles,
    boot_id,
    launch,
    let_go,
    process_mark,
    runs_here,
    send_stop,
)
from luxdask.tasks.queue_rows import update_task
from luxdask.tasks.queue_runner import QueueRunner
from luxdask.tasks.queue_store import Store
from luxdask.tasks.watch import STOP_REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luxdask.tasks.queue_runner import QueueResult

LIMIT_S = 120

# As `luxdask run` seen from outside: a folder that is renamed to its state, SIGTERM stops it, an
# exit code. The description says what it does; "wait" lasts until it is released or stopped.
STAND_IN = """
import json, os, pathlib, signal, sys, time

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
end, _, target = sys.argv[1:]
if sys.stdin.readline() != "go\\n":
    sys.exit(1)
target = pathlib.Path(target)
here = pathlib.Path(os.environ["STAND_IN_PLACE"])
if target.is_dir():
    folder = target.with_name(target.name.removesuffix("_S"))
    target.rename(folder)
    how = "goes on"
else:
    count = len(list(here.glob("2026*")))
    folder = here / f"20261130-120000_Task_{target.stem}-{count}"
    folder.mkdir()
    (folder / "config_task.json").write_text(target.read_text())
    how = "begins"
pathlib.Path(os.environ["LUXDASK_FOLDER_FILE"]).write_text(str(folder))
settings = json.loads((folder / "config_task.json").read_text())
what = settings["description"]
device = os.environ.get("CUDA_VISIBLE_DEVICES")
reuse = settings["registration"]["reuse"]["task_folder"]
line = {"task": target.name, "how": how, "device": device, "reuse": reuse, "pid": os.getpid()}
with (here / "journal").open("a") as journal:
    journal.write(json.dumps(line) + "\\n")
limit = time.monotonic() + 120
while "wait" in what and not asked and not (here / "released").exists():
    time.sleep(0.01)
    if time.monotonic() > limit:
        sys.exit("never released")
if "die" in what:
    os.kill(os.getpid(), signal.SIGKILL)
code, suffix = (130, "_S") if asked else (1, "_F") if "fail" in what else (0, "_C")
if code == 1:
    print("Error: the image is bad")
folder.rename(folder.with_name(folder.name + suffix))
pathlib.Path(end).write_text(str(code))
sys.exit(code)
"""

RUNNER = """
import sys
from luxdask.tasks import queue_runner
from luxdask.tasks.queue import Queue
queue_runner.POLL_S = 0.05
Queue(sys.argv[1]).run(program=(sys.executable, "-I", sys.argv[2]))
"""


class Bench:
    """A queue, the stand-in, and what the stand-in has written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queue = Queue(folder / "queue.sqlite")
        self.script = folder / "stand_in.py"
        self.script.write_text(STAND_IN)
        self.program = (sys.executable, "-I", str(self.script))

    def add(self, *what: str, **options: Any) -> tuple[int, ...]:
        settings = [{"description": one, "input": {"experiment": "e"}} for one in what]
        return self.queue.add(*settings, **{"start": True, **options})

    def run(self, **options: Any) -> QueueResult:
        return self.queue.run(program=self.program, **options)

    def states(self) -> list[str]:
        return [task.state for task in sorted(self.queue.tasks(), key=lambda t: t.id)]

    def journal(self) -> list[dict[str, Any]]:
        try:
            text = (self.folder / "journal").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def release(self) -> None:
        (self.folder / "released").touch()

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        limit = time.monotonic() + LIMIT_S
        while not (found := condition()):
            assert time.monotonic() < limit, "waited too long"
            time.sleep(0.02)
        return found

    def wait_for_begun(self, count: int) -> None:
        self.wait_for(lambda: len(self.journal()) >= count)

    @contextmanager
    def running(self, **options: Any) -> Iterator[Running]:
        """A runner in a thread; it is stopped at the end."""
        running = Running(self, options)
        running.thread.start()
        try:
            yield running
        finally:
            self.release()
            running.stop.set()
            running.thread.join(LIMIT_S)
            assert not running.thread.is_alive()


class Running:
    """A runner in a thread, and its result."""

    def __init__(self, bench: Bench, options: dict[str, Any]) -> None:
        self.stop, self.kill = Event(), Event()
        self.result: QueueResult | None = None
        self._run = lambda: bench.run(stop=self.stop, kill=self.kill, **options)
        self.thread = threading.Thread(target=self._keep)

    def _keep(self) -> None:
        self.result = self._run()

    def ended(self) -> QueueResult:
        self.thread.join(LIMIT_S)
        assert self.result is not None
        return self.result


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(queue_runner, "POLL_S", 0.02)
    monkeypatch.setenv("STAND_IN_PLACE", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Bench(tmp_path)


def put(bench: Bench, number: int, **values: Any) -> None:
    with Store(bench.queue.path).writing() as connection:
        update_task(connection, number, **values)


# ---- one after another ----


def test_one_after_another(bench: Bench) -> None:
    bench.add("first", "second", "third")
    told: list[tuple[int, str]] = []
    result = bench.run(tell=lambda task: told.append((task.id, task.state)))
    assert told == [(n, s) for n in (1, 2, 3) for s in ("Running", "Completed")]
    assert [line["how"] for line in bench.journal()] == ["begins"] * 3
    assert result.all_completed
    assert result.completed == (1, 2, 3)
    task = bench.queue.task(1)
    assert task.folder is not None
    assert task.started is not None
    assert task.ended is not None
    assert (task.mark, task.error) == (None, None)
    assert bench.queue.runner() is None


def test_nothing_to_do(bench: Bench) -> None:
    bench.add("left alone", start=False)
    assert bench.run().all_completed
    assert bench.states() == ["New"]


def test_failing_task_stops_nothing(bench: Bench) -> None:
    bench.add("fail", "good")
    result = bench.run()
    assert (result.failed, result.completed, result.all_completed) == ((1,), (2,), False)
    task = bench.queue.task(1)
    assert (task.state, task.error) == ("Failed", "the image is bad")
    assert "Error: the image is bad" in bench.queue.log_file(1).read_text()
    assert task.folder is not None


def test_error_of_the_task_folder_is_the_one_that_is_told(bench: Bench) -> None:
    bench.add("fail")
    bench.script.write_text(
        STAND_IN.replace(
            'print("Error: the image is bad")',
            '(folder / "status.json").write_text(json.dumps({"error": "chunk 7 is bad"}))',
        )
    )
    bench.run()
    assert bench.queue.task(1).error == "chunk 7 is bad"


def test_failed_task_begins_anew_in_a_fresh_folder(bench: Bench) -> None:
    bench.add("fail")
    bench.run()
    first = bench.queue.task(1).folder
    bench.queue.set(1, {"description": "good now"})
    bench.queue.start(1)
    assert bench.run().completed == (1,)
    assert bench.queue.task(1).folder != first
    assert Path(f"{first}_F").is_dir()
    assert [line["how"] for line in bench.journal()] == ["begins", "begins"]


def test_settings_are_checked_again(bench: Bench) -> None:
    bench.add("good", "good")
    put(bench, 1, settings='{"input": {"experiment": "e"}, "run": "rm"}')
    result = bench.run()
    assert (result.failed, result.completed) == ((1,), (2,))
    assert "run" in str(bench.queue.task(1).error)


def test_folder_from_which_relative_paths_start_is_gone(bench: Bench) -> None:
    bench.add("good", "good")
    put(bench, 1, cwd=str(bench.folder / "gone"))
    result = bench.run()
    assert (result.failed, result.completed) == ((1,), (2,))
    assert "cannot be started" in str(bench.queue.task(1).error)


def test_program_that_ends_without_a_word(bench: Bench) -> None:
    bench.script.write_text("import sys; sys.exit(3)")
    bench.add("good")
    assert bench.run().failed == (1,)
    assert "without a word" in str(bench.queue.task(1).error)


# ---- dependencies ----


def test_dependency_that_fails_holds_only_what_needs_it(bench: Bench) -> None:
    bench.add("fail")
    bench.add("needs it", after=[1])
    bench.add("needs that", after=[2])
    bench.add("good")
    result = bench.run()
    assert (result.failed, result.completed, result.all_completed) == ((1,), (4,), False)
    assert result.held == {2: "held: needs task 1, which is Failed", 3: "waits for task 2"}
    bench.queue.set(1, {"description": "good"})
    bench.queue.start(1)
    assert bench.run().all_completed
    assert bench.states() == ["Completed"] * 4


def test_registration_of_another_task_is_used_again(bench: Bench) -> None:
    bench.add("first")
    bench.add("second", reuse_registration_of=1)
    bench.queue.move(2, to=1)
    assert bench.run().completed == (1, 2)
    second = bench.journal()[1]
    assert second["reuse"] == f"{bench.queue.task(1).folder}_C"


def test_registration_whose_folder_is_gone(bench: Bench) -> None:
    bench.add("first")
    bench.run()
    Path(f"{bench.queue.task(1).folder}_C").rename(bench.folder / "away")
    bench.add("second", reuse_registration_of=1)
    bench.run()
    assert "task folder of task 1 is gone" in str(bench.queue.task(2).error)


# ---- several at a time ----


def test_two_at_a_time(bench: Bench) -> None:
    bench.add(*["wait"] * 4)
    with bench.running(max_number_running_tasks=2):
        bench.wait_for_begun(2)
        assert sorted(bench.states()) == ["Queuing", "Queuing", "Running", "Running"]
        time.sleep(0.2)  # time for a third one to begin wrongly
        assert len(bench.journal()) == 2
        bench.release()
        bench.wait_for(lambda: bench.states() == ["Completed"] * 4)


def test_each_task_gets_a_gpu(bench: Bench) -> None:
    bench.add("wait", "wait", "wait")
    bench.add("wait on processor cores")
    for number in (1, 2, 3):
        bench.queue.set(number, {"compute.device": "cuda"})
    runner = QueueRunner(Store(bench.queue.path), gpus=("GPU-a", "GPU-b"), program=bench.program)
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        bench.wait_for_begun(2)
        assert bench.states() == ["Running", "Running", "Queuing", "Queuing"]
        assert {t.device for t in bench.queue.tasks()[:2]} == {"GPU-a", "GPU-b"}
    finally:
        bench.release()
        thread.join(LIMIT_S)
    devices = [line["device"] for line in bench.journal()]
    assert set(devices[:2]) == {"GPU-a", "GPU-b"}
    assert set(devices[2:]) & {"GPU-a", "GPU-b"}
    assert None in devices[2:]


def test_wrong_number_of_tasks(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="given 0; allowed: 1 or more"):
        bench.run(max_number_running_tasks=0)


def test_task_added_while_the_queue_runs(bench: Bench) -> None:
    bench.add("wait")
    with bench.running() as running:
        bench.wait_for_begun(1)
        bench.add("later")
        bench.release()
        assert running.ended().completed == (1, 2)


def test_forever(bench: Bench) -> None:
    with bench.running(forever=True) as running:
        bench.wait_for(lambda: bench.queue.runner() is not None)
        bench.add("good")
        bench.wait_for(lambda: bench.states() == ["Completed"])
        assert running.thread.is_alive()
        running.stop.set()
        assert running.ended().interrupted


# ---- stopping ----


def test_stop_a_running_task_and_resume_it(bench: Bench) -> None:
    bench.add("wait", "good")
    with bench.running() as running:
        bench.wait_for_begun(1)
        bench.queue.stop(1)
        result = running.ended()
    assert (result.stopped, result.completed) == ((1,), (2,))
    assert bench.states() == ["Stopped", "Completed"]
    folder = bench.queue.task(1).folder
    assert Path(f"{folder}_S").is_dir()
    bench.queue.resume(1)
    assert bench.run().completed == (1,)
    assert bench.queue.task(1).folder == folder
    assert [line["how"] for line in bench.journal()] == ["begins", "begins", "goes on"]


def test_task_is_stopped_a_second_time(bench: Bench) -> None:
    bench.add("wait")
    with bench.running(forever=True):
        for count in (1, 2):
            bench.wait_for_begun(count)
            bench.queue.stop(1)
            bench.wait_for(lambda: bench.states() == ["Stopped"])
            bench.queue.resume(1)
        bench.wait_for_begun(3)


def test_stopped_runner_leaves_its_tasks_first_in_the_queue(bench: Bench) -> None:
    bench.add("wait", "wait", "third")
    with bench.running(max_number_running_tasks=2) as running:
        bench.wait_for_begun(2)
        running.stop.set()
        result = running.ended()
    assert result.interrupted
    assert [(t.id, t.state) for t in bench.queue.tasks()] == [(n, "Queuing") for n in (1, 2, 3)]
    assert bench.run().completed == (1, 2, 3)
    assert [line["how"] for line in bench.journal()[2:]] == ["goes on", "goes on", "begins"]


def test_stop_may_be_set_at_any_moment_of_a_pause(bench: Bench) -> None:
    """A signal handler runs in the same thread, between any two steps: no lock may be held."""
    runner = QueueRunner(bench.queue._store)
    free: list[bool] = []

    def look(*_: object) -> Any:
        free.append(runner.stop._cond.acquire(blocking=False))  # type: ignore[attr-defined]
        if free[-1]:
            runner.stop._cond.release()  # type: ignore[attr-defined]
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        runner._pause()
    finally:
        sys.settrace(before)
    assert len(free) > 3
    assert all(free)


def test_stop_shortens_a_pause(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_runner, "POLL_S", LIMIT_S)
    runner = QueueRunner(bench.queue._store)
    threading.Timer(0.2, runner.stop.set).start()
    began = time.monotonic()
    runner._pause()
    assert time.monotonic() - began < LIMIT_S / 2


def test_second_stop_ends_tasks_at_once(bench: Bench) -> None:
    bench.script.write_text(STAND_IN.replace("not asked and", ""))  # it does not obey
    bench.add("wait")
    with bench.running() as running:
        bench.wait_for_begun(1)
        running.stop.set()
        time.sleep(0.1)
        assert running.thread.is_alive()
        running.kill.set()
        assert running.ended().interrupted
    assert bench.states() == ["Queuing"]
    assert bench.run().completed == (1,)
    assert bench.journal()[1]["how"] == "goes on"


def test_forced_stop(bench: Bench) -> None:
    bench.script.write_text(STAND_IN.replace("not asked and", ""))
    bench.add("wait")
    with bench.running() as running:
        bench.wait_for_begun(1)
        bench.queue.stop(1, force=True)
        assert running.ended().stopped == (1,)
    bench.queue.resume(1)
    assert bench.run().completed == (1,)


def test_interrupt_in_a_notebook_is_a_stop(bench: Bench) -> None:
    bench.add("wait")

    def interrupt(task: Any) -> None:
        if task.state == "Running":
            raise KeyboardInterrupt

    assert bench.run(tell=interrupt).interrupted
    assert bench.states() == ["Queuing"]


def test_folder_of_a_stopped_task_is_gone(bench: Bench) -> None:
    bench.add("good")
    bench.queue.stop(1)
    put(bench, 1, state="Stopped", folder=str(bench.folder / "20261130-120000_Task_9"))
    bench.queue.resume(1)
    assert bench.run().failed == (1,)
    assert "is gone" in str(bench.queue.task(1).error)
    bench.queue.start(1)
    assert bench.run().completed == (1,)


# ---- processes, runners and machines that die ----


def test_killed_task_goes_on(bench: Bench) -> None:
    bench.add("wait", "second")
    with bench.running() as running:
        bench.wait_for_begun(1)
        os.kill(bench.journal()[0]["pid"], signal.SIGKILL)
        bench.wait_for_begun(2)
        bench.release()
        assert running.ended().completed == (1, 2)
    assert [line["how"] for line in bench.journal()] == ["begins", "goes on", "begins"]


def test_task_that_always_dies_is_put_aside(bench: Bench) -> None:
    bench.add("die", "good")
    result = bench.run()
    assert (result.stopped, result.completed) == ((1,), (2,))
    assert "died 3 times (signal 9)" in str(bench.queue.task(1).error)
    assert [line["how"] for line in bench.journal()[:3]] == ["begins", "goes on", "goes on"]


def running_task(bench: Bench, **changes: Any) -> int:
    """A task whose process has gone without a word, with its folder left behind."""
    (number,) = bench.add("good")
    folder = bench.folder / "20261130-110000_Task_1"
    folder.mkdir()
    (folder / "config_task.json").write_text(bench.queue.task(number).settings)
    gone = subprocess.Popen([sys.executable, "-I", "-c", "input()"], stdin=subprocess.PIPE)
    mark = process_mark(gone.pid) | changes
    gone.communicate()
    put(bench, number, state="Running", mark=mark, folder=str(folder))
    return number


def test_machine_was_started_again(bench: Bench) -> None:
    running_task(bench, boot="of yesterday")
    assert bench.states() == ["Queuing"]
    assert bench.queue.task(1).deaths == 0
    assert bench.run().completed == (1,)
    assert bench.journal()[0]["how"] == "goes on"


@pytest.mark.parametrize(
    "changes",
    [{"boot": "of yesterday"}, {"started": 1.0}],
    ids=["after a reboot", "long ago"],
)
def test_number_of_the_process_is_given_anew(bench: Bench, changes: dict[str, Any]) -> None:
    mine = process_mark()
    number = running_task(bench, **{**mine, **changes})
    assert not runs_here(mine | changes)
    assert bench.queue.task(number).state == "Queuing"
    send_stop(mine | changes, at_once=True)  # must not hit this process
    assert bench.run().completed == (1,)


def test_completed_while_nobody_looked(bench: Bench) -> None:
    number = running_task(bench)
    Path(str(bench.queue.path.parent / "20261130-110000_Task_1")).rename(
        bench.folder / "20261130-110000_Task_1_C"
    )
    assert bench.queue.task(number).state == "Completed"


def test_task_of_another_host_is_left_alone_until_its_end_is_known(bench: Bench) -> None:
    number = running_task(bench, host="elsewhere")
    assert bench.run().all_completed
    assert bench.queue.task(number).state == "Running"
    files = QueueFiles.of(bench.queue.path, number)
    files.folder.mkdir()
    files.end.write_text("0")
    assert bench.queue.task(number).state == "Completed"


def test_task_of_another_host_that_shows_no_life(bench: Bench) -> None:
    number = running_task(bench, host="elsewhere")
    folder = bench.folder / "20261130-110000_Task_1"
    bench.queue.stop(number)
    assert (folder / STOP_REQUEST).exists()
    lock = folder / LOCK
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert bench.queue.task(number).state == "Running"
    os.utime(lock, (1.0, 1.0))
    assert bench.queue.task(number).state == "Stopped"


def test_task_of_another_host_has_ended(bench: Bench) -> None:
    number = running_task(bench, host="elsewhere")
    folder = bench.folder / "20261130-110000_Task_1"
    folder.rename(folder.with_name(f"{folder.name}_C"))
    assert bench.queue.task(number).state == "Completed"


def test_process_that_nobody_noted_does_nothing(bench: Bench) -> None:
    files = QueueFiles.of(bench.queue.path, 1)
    files.folder.mkdir()
    process, mark = launch(files, "task.json", str(bench.folder), program=bench.program)
    assert mark["boot"] == boot_id()
    let_go(process, begin=False)
    assert process.returncode == 1
    assert not bench.journal()


def test_change_that_cannot_be_written_starts_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("good")
    real, refused = queue_runner.begin, []

    def refuse(*arguments: Any) -> Any:
        process = real(*arguments)
        if not refused:
            refused.append(process)
            raise OutputError("the disk is full")
        return process

    monkeypatch.setattr(queue_runner, "begin", refuse)
    assert bench.run().completed == (1,)
    assert len(bench.journal()) == 1
    let_go(refused[0], begin=False)


def test_queue_that_cannot_be_used_for_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add("good")

    def refuse(*_: Any) -> Any:
        raise OutputError("the disk is full")

    monkeypatch.setattr(queue_runner, "begin", refuse)
    monkeypatch.setattr(queue_runner, "PATIENCE_S", 0.1)
    with pytest.raises(OutputError, match="disk is full"):
        bench.run()
    assert bench.queue.runner() is None
    assert bench.states() == ["Queuing"]


# ---- several runners and terminals ----


def test_second_runner_is_refused(bench: Bench) -> None:
    bench.add("wait")
    with bench.running():
        bench.wait_for_begun(1)
        with pytest.raises(ConfigError, match=f"run already by process {os.getpid()} on "):
            bench.run()


def test_runner_of_another_host(bench: Bench) -> None:
    bench.add("good")
    sql = "INSERT INTO runner (only, mark, token, beat) VALUES (1, ?, 'x', ?)"
    there = json.dumps({"host": "elsewhere", "pid": 1, "started": 0.0, "boot": "b"})
    with Store(bench.queue.path).writing() as connection:
        connection.execute(sql, (there, time.time()))
    with pytest.raises(ConfigError, match="on elsewhere"):
        bench.run()
    with pytest.raises(ConfigError, match="stop it there"):
        bench.queue.stop_runner()
    with Store(bench.queue.path).writing() as connection:
        connection.execute("UPDATE runner SET beat = ?", (time.time() - 1000,))
    assert bench.run().completed == (1,)


def test_runner_whose_place_was_taken_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_runner, "BEAT_S", 0.0)
    bench.add("wait")

    def take(_: Any) -> None:
        with Store(bench.queue.path).writing() as connection:
            connection.execute("UPDATE runner SET token = 'other'")

    with pytest.raises(ConfigError, match="another runner has taken over"):
        bench.run(tell=take)
    mark = bench.queue.task(1).mark
    assert mark is not None
    assert runs_here(mark)  # left to the other runner
    send_stop(mark, at_once=True)
    bench.wait_for(lambda: not runs_here(mark))


def start_runner(bench: Bench) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(bench.queue.path), str(bench.script)]
    )


def test_runner_is_killed_and_the_next_one_waits_for_its_task(bench: Bench) -> None:
    bench.add("wait", "second")
    process = start_runner(bench)
    try:
        bench.wait_for_begun(1)
        process.kill()
        process.wait(LIMIT_S)
        assert bench.queue.runner() is None
        assert bench.states() == ["Running", "Queuing"]  # it lives on
        with bench.running() as running:
            bench.wait_for(lambda: bench.queue.runner() is not None)
            bench.release()
            assert running.ended().completed == (1, 2)
    finally:
        bench.release()
        process.kill()
        process.wait(LIMIT_S)
    assert [line["how"] for line in bench.journal()] == ["begins", "begins"]


def test_task_whose_runner_was_killed_is_stopped(bench: Bench) -> None:
    bench.add("wait")
    process = start_runner(bench)
    try:
        bench.wait_for_begun(1)
        process.kill()
        process.wait(LIMIT_S)
        bench.queue.stop(1)
        bench.wait_for(lambda: bench.states() == ["Stopped"])
    finally:
        bench.release()
        process.kill()
        process.wait(LIMIT_S)


TERMINAL = """
import pathlib, sys, time
from luxdask.tasks.queue import Queue
queue = Queue(sys.argv[1])
here = pathlib.Path(sys.argv[1]).parent
(here / f"ready-{sys.argv[2]}").touch()
limit = time.monotonic() + 120
while not (here / "both").exists():
    time.sleep(0.001)
    assert time.monotonic() < limit
for number in range(10):
    (made,) = queue.add({"description": f"{sys.argv[2]} {number}", "input": {"experiment": "e"}})
    queue.start(made)
"""


def test_two_terminals_at_once(bench: Bench) -> None:
    """None of the tasks is lost or runs twice, while a runner is at work as well."""
    terminals = [
        subprocess.Popen([sys.executable, "-c", TERMINAL, str(bench.queue.path), name])
        for name in ("a", "b")
    ]
    try:
        bench.wait_for(lambda: len(list(bench.folder.glob("ready-*"))) == 2)
        (bench.folder / "both").touch()
        with bench.running(forever=True, max_number_running_tasks=3) as running:
            assert [terminal.wait(LIMIT_S) for terminal in terminals] == [0, 0]
            bench.wait_for(lambda: bench.states() == ["Completed"] * 20)
            running.stop.set()
            running.ended()
    finally:
        for terminal in terminals:
            terminal.kill()
            terminal.wait(LIMIT_S)
    titles = sorted(task.title for task in bench.queue.tasks())
    assert titles == sorted(f"{name} {n}" for name in "ab" for n in range(10))
    begun = [line["task"] for line in bench.journal()]
    assert sorted(begun) == sorted(f"task-{n}.json" for n in range(1, 21))
