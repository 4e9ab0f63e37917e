"""`luxdask queue`: what it prints, its exit codes, and real tasks in it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from luxdask.cli import main, queue_run
from luxdask.cluster import connect
from luxdask.tasks import Task, queue_runner
from luxdask.tasks.queue import Queue
from luxdask.tasks.queue_process import runs_here
from luxdask.tasks.queue_rows import update_task
from luxdask.tasks.queue_store import Store
from luxdask.tasks.receipts import done_receipts
from luxdask.testing import small_experiment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luxdask.testing import Truth

LIMIT_S = 120


def luxdask(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(autouse=True)
def _own_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUXDASK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(queue_runner, "POLL_S", 0.05)


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    (tmp_path / "task.json").write_text(json.dumps({"input": {"experiment": str(tmp_path)}}))
    return tmp_path / "task.json"


@pytest.fixture
def real_task(tmp_path: Path, make_task: Callable[..., Task]) -> Task:
    """A task of a tenth of a second."""
    return make_task(small_experiment(tmp_path / "tiles"), compute__threads_per_worker=1)


def listed(capsys: pytest.CaptureFixture[str]) -> dict[int, dict[str, Any]]:
    capsys.readouterr()
    assert luxdask("queue", "list", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    return {task["id"]: task for task in document["tasks"]}


def wait_for(condition: Callable[[], Any]) -> Any:
    limit = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.05)
    return found


def states() -> list[str]:
    return [task.state for task in sorted(Queue().tasks(), key=lambda t: t.id)]


# ---- the list ----


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert luxdask("queue", "--help") == 0
    out = capsys.readouterr().out
    names = "add list start stop resume remove move copy set export import run log"
    assert all(f" {name} " in out for name in names.split())


def test_add_and_list(task_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert luxdask("queue", "list") == 0
    assert "No tasks in " in capsys.readouterr().out
    assert luxdask("queue", "add", task_file, task_file) == 0
    assert "Added tasks 1, 2. Put into the queue with: luxdask queue start 1 2" in words(
        capsys.readouterr().out
    )
    assert luxdask("queue", "start", 2) == 0
    assert "Nobody runs the queue: luxdask queue run" in capsys.readouterr().out
    assert luxdask("queue", "copy", 2, "--set", "description=beads", "--start") == 0
    assert luxdask("queue", "move", 3, "--top") == 0
    assert "Task 3 is at place 1 of 2." in capsys.readouterr().out
    assert luxdask("queue", "list") == 0
    out = capsys.readouterr().out
    for part in ("New", "Queuing", "beads", str(task_file), "Nobody runs this queue"):
        assert part in out
    found = listed(capsys)
    assert list(found) == [3, 2, 1]
    assert found[3]["title"] == "beads"
    assert found[1]["log"].endswith("task-1.log")


def test_progress_of_a_running_task(
    task_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    luxdask("queue", "add", task_file, "--start")
    luxdask("queue", "add", task_file, "--after", 1, "--start")
    folder = tmp_path / "20261130-120000_Task_1"
    folder.mkdir()
    status = {"stage": "fusion", "chunks_done": 3, "chunks_total": 10, "seconds_left": 200.0}
    (folder / "status.json").write_text(json.dumps(status))
    mark = {"host": "elsewhere", "pid": 1, "started": 0.0, "boot": "b"}
    with Store(Queue().path).writing() as connection:
        update_task(connection, 1, state="Running", folder=str(folder), mark=mark)
    capsys.readouterr()
    assert luxdask("queue", "list", "--follow") == 0  # nobody runs it: shown once
    out = capsys.readouterr().out
    for part in ("fusion 3/10, 3:20 min left", "waits for task 1", str(folder)):
        assert part in out
    found = listed(capsys)
    assert found[1]["status"] == status
    assert found[1]["process"] == {"host": "elsewhere", "pid": 1}
    assert found[2]["held"] == "waits for task 1"


def test_all_other_commands(
    task_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert luxdask("queue", "add", task_file, "--start") == 0
    assert luxdask("queue", "add", task_file, "--after", 1, "--reuse-registration-of", 1) == 0
    assert luxdask("queue", "set", 2, "output.sampling=2", "description=b") == 0
    assert luxdask("queue", "export", 2, tmp_path / "out.json") == 0
    assert luxdask("queue", "import", tmp_path / "out.json") == 0
    assert luxdask("queue", "stop", 1, "--wait") == 0
    assert "Task 1 is New." in capsys.readouterr().out
    for how in (["--up"], ["--down"], ["--bottom"], ["--to", 1]):
        luxdask("queue", "start", 3)
        assert luxdask("queue", "move", 3, *how) == 0
    assert luxdask("queue", "remove", 1, 2) == 0
    found = listed(capsys)
    assert list(found) == [3]
    assert json.loads((tmp_path / "out.json").read_text())["output"]["sampling"]["depth"] == 2


WRONG = [
    (["start", 9], 2, "no task 9 in this queue; there are: 1"),
    (["resume", 1], 2, "task 1 is New: it has not run yet"),
    (["stop", 1], 2, "task 1 is New"),
    (["stop"], 2, "name the tasks to stop, or --runner"),
    (["stop", "--runner"], 2, "nobody runs this queue"),
    (["move", 1, "--top"], 2, "task 1 is New"),
    (["move", 1], 2, "give one of --to N"),
    (["set", 1, "output.samplin=2"], 2, "output.sampling"),
    (["set", 1, "output.sampling"], 2, "expected KEY=VALUE"),
    (["log", 1], 2, "task 1 has not run yet"),
    (["import", "."], 2, "no config_task.json in here"),
    (["add", "none.json"], 2, "there is no such file"),
    (["start", "x"], 2, "x"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), WRONG)
def test_what_is_wrong_is_said(
    task_file: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[object],
    code: int,
    text: str,
) -> None:
    luxdask("queue", "add", task_file)
    assert luxdask("queue", *arguments) == code
    assert text in words(capsys.readouterr().err)


def test_export_replaces_nothing(task_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    luxdask("queue", "add", task_file)
    before = task_file.read_text()
    assert luxdask("queue", "export", 1, task_file) == 1
    assert "--force" in capsys.readouterr().err
    assert task_file.read_text() == before
    assert luxdask("queue", "export", 1, task_file, "--force") == 0


def test_damaged_queue(task_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "q").write_text("text")
    assert luxdask("queue", "add", task_file, "--queue", tmp_path / "q") == 2
    assert "Move it away" in words(capsys.readouterr().err)


# ---- real tasks ----


def test_a_night(real_task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One task registers, one fails, one uses the registration: no other is hurt."""
    values = {"registration.enabled": True, "registration.tiles.enabled": True}
    real_task.replace({**values, "fusion.enabled": False}).save(tmp_path / "register.json")
    real_task.replace({"input.select.channels": ["7"]}).save(tmp_path / "bad.json")
    real_task.replace(values).save(tmp_path / "fuse.json")
    assert luxdask("queue", "add", tmp_path / "register.json", "--start") == 0
    fuse = tmp_path / "fuse.json"
    assert luxdask("queue", "add", fuse, "--reuse-registration-of", 1, "--start") == 0
    assert luxdask("queue", "add", tmp_path / "bad.json", "--start") == 0
    capsys.readouterr()
    assert luxdask("queue", "run", "-n", 2) == 1
    out = capsys.readouterr().out
    assert "task 3 Failed: " in out
    assert "Queue: 2 completed, 1 failed." in out
    found = listed(capsys)
    assert "'7' matches no image" in found[3]["error"]
    assert found[2]["folder"].endswith("_C")
    assert found[2]["status"]["state"] == "Completed"
    settings = json.loads(Path(found[2]["folder"], "config_task.json").read_text())
    assert settings["registration"]["reuse"]["task_folder"] == found[1]["folder"]
    assert luxdask("queue", "list") == 0
    assert luxdask("queue", "log", 2) == 0
    assert "Completed in" in capsys.readouterr().out
    assert luxdask("queue", "start", 2) == 2
    assert luxdask("queue", "run") == 0  # nothing is left to run


SLOW_CHILD = """
import pathlib, sys, time
import luxdask.graph.write as write
fuse, log, chunks = write.fuse_chunk, pathlib.Path(sys.argv[1]).with_suffix(".log"), []
def slow(job):
    chunks.append(job)
    limit = time.monotonic() + 120
    while len(chunks) > FREE:
        time.sleep(0.05)  # also after the stop, or all would be done before it is seen
        if "Stopping" in log.read_text() or time.monotonic() > limit:
            break
    return fuse(job)
write.fuse_chunk = slow
from luxdask.cli.queue_child import run_child
sys.exit(run_child(sys.argv[1], sys.argv[2:]))
"""

RUNNER = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a terminal, however this was started
from luxdask.cli import main
from luxdask.tasks.queue import Queue
Queue.run.__kwdefaults__["program"] = (sys.executable, "-c", sys.argv[1])
main(["queue", "run"])
"""


def slow_child(chunks: int) -> str:
    """A program of a queued task that does so many chunks, and the others when it is stopped."""
    return SLOW_CHILD.replace("FREE", str(chunks))


def images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("uni_*.lux.h5")}


def test_stopped_and_resumed_task_gives_the_same_bytes(
    tiles: Truth, make_task: Callable[..., Task]
) -> None:
    task = make_task(tiles, compute__threads_per_worker=1)
    with connect("threads", threads_per_worker=1) as cluster:
        whole = task.run(cluster=cluster)
    queue = Queue()
    (number,) = queue.add(task, start=True)

    def stop_midway(found: Any) -> None:
        """Called by the runner; waits for chunks that are on disk, then asks for the stop."""
        if found.state == "Running":
            parent = whole.folder.parent
            wait_for(lambda: any(done_receipts(f) for f in parent.glob("*_Task_2*")))
            queue.stop(number)

    queue.run(program=(sys.executable, "-c", slow_child(10)), tell=stop_midway)
    (folder,) = whole.folder.parent.glob("*_Task_2_S")
    assert 0 < len(done_receipts(folder)) < len(done_receipts(whole.folder))
    assert queue.task(number).state == "Stopped"
    queue.resume(number)
    assert queue.run().all_completed
    done = folder.with_name(folder.name.removesuffix("_S") + "_C")
    assert images(done) == images(whole.folder)


@contextmanager
def runner_at_work() -> Iterator[subprocess.Popen[str]]:
    """A runner in a process of its own, whose task does not end before it is stopped."""
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, slow_child(0)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: "Running" in states())
        yield runner
    finally:
        runner.kill()
        runner.wait(LIMIT_S)
        assert runner.stdout is not None
        runner.stdout.close()


def test_ctrl_c(real_task: Task) -> None:
    """The runner ends with 130; its task goes on when the queue runs again."""
    Queue().add(real_task, start=True)
    with runner_at_work() as runner:
        runner.send_signal(signal.SIGINT)
        out, _ = runner.communicate(timeout=LIMIT_S)
    assert runner.returncode == 130, out
    assert "Stopping" in out
    assert states() == ["Queuing"]
    assert luxdask("queue", "run") == 0
    assert states() == ["Completed"]


def test_terminal_that_is_closed(real_task: Task) -> None:
    """Nothing can be printed any more, and the task is stopped all the same."""
    Queue().add(real_task, start=True)
    with runner_at_work() as runner:
        assert runner.stdout is not None
        runner.stdout.close()
        runner.send_signal(signal.SIGHUP)
        assert runner.wait(LIMIT_S) == 130
    assert states() == ["Queuing"]
    assert Queue().runner() is None


def test_ctrl_c_that_ends_the_reader_of_the_output_as_well(real_task: Task) -> None:
    """As with `| tee log`: that the runner stops cannot be said, and it stops all the same."""
    Queue().add(real_task, start=True)
    with runner_at_work() as runner:
        assert runner.stdout is not None
        runner.stdout.close()
        runner.send_signal(signal.SIGINT)
        assert runner.wait(LIMIT_S) == 130
    assert states() == ["Queuing"]


def test_output_that_nobody_reads_stops_nothing(real_task: Task) -> None:
    Queue().add(real_task, real_task, start=True)
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "luxdask", "queue", "run"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert states() == ["Completed", "Completed"]


class SignalWithin(Event):
    """An event that a signal finds just being set, when its lock is taken."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.number, self.calls = number, 0

    def set(self) -> None:
        self.calls += 1
        if self.calls == 1:
            signal.raise_signal(self.number)
        super().set()


def test_signals_that_come_at_once() -> None:
    """The handler of the second must not wait for a lock that the first one has."""
    stop, kill = SignalWithin(signal.SIGTERM), SignalWithin(signal.SIGINT)
    with queue_run._stop_on_signals(stop, kill, Console(file=io.StringIO())):
        signal.raise_signal(signal.SIGINT)
    assert (stop.calls, kill.calls) == (1, 1)
    assert stop.is_set()
    assert kill.is_set()


def test_detached_runner(real_task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    assert luxdask("queue", "run", "--detach", "--forever") == 0
    mark = Queue().runner()
    assert mark is not None
    try:
        assert f"Process {mark['pid']} runs the queue" in capsys.readouterr().out
        assert luxdask("queue", "run") == 2
        assert luxdask("queue", "run", "--detach") == 1
        assert "run already by process" in words(capsys.readouterr().err)
        Queue().add(real_task, start=True)
        wait_for(lambda: states() == ["Completed"])
        assert luxdask("queue", "stop", "--runner", "--wait", "--timeout", LIMIT_S) == 0
        wait_for(lambda: not runs_here(mark))
    finally:
        if runs_here(mark):
            os.kill(int(mark["pid"]), signal.SIGKILL)
    assert Queue().runner() is None


def child(said: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The program of a queued task, which is told something on its standard input."""
    command = [sys.executable, "-P", "-W", "error", "-m", "luxdask.cli.queue_child"]
    return subprocess.run(
        [*command, *map(str, arguments)], input=said, capture_output=True, text=True, check=False
    )


def test_process_that_is_not_let_go_does_nothing(task_file: Path, tmp_path: Path) -> None:
    done = child("", tmp_path / "end", "run", task_file)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert not (tmp_path / "end").exists()


def test_process_leaves_its_exit_code(tmp_path: Path) -> None:
    done = child("go\n", tmp_path / "end", "run", tmp_path / "none.json")
    assert done.returncode == 2
    assert (tmp_path / "end").read_text() == "2"
    assert "there is no such file" in words(done.stderr)
