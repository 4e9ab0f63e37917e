"""The list of tasks: what can be done with it in each state, without any process."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import luxdask
from luxdask.errors import ConfigError, OutputError
from luxdask.tasks import Task
from luxdask.tasks.config import TaskConfig
from luxdask.tasks.folder import CONFIG
from luxdask.tasks.lock import LOCK
from luxdask.tasks.process_mark import this_process
from luxdask.tasks.queue import Queue
from luxdask.tasks.queue_rows import update_task
from luxdask.tasks.queue_store import BUSY_S, Store, default_path
from luxdask.tasks.queue_task import STATES


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "place" / "queue.sqlite")


def settings(**values: Any) -> dict[str, Any]:
    return {"input": {"experiment": "/data/embryo"}, **values}


def put(queue: Queue, number: int, **values: Any) -> None:
    """Change a task behind the queue's back."""
    with Store(queue.path).writing() as connection:
        update_task(connection, number, **values)


def state(queue: Queue, number: int) -> str:
    """State as it stands in the file."""
    with Store(queue.path).reading() as connection:
        assert connection is not None
        row = connection.execute("SELECT state FROM tasks WHERE id = ?", (number,)).fetchone()
    found: str = row["state"]
    return found


def in_state(queue: Queue, name: str, tmp_path: Path) -> int:
    """A task in a state; those that have begun have a folder."""
    (number,) = queue.add(settings())
    values: dict[str, Any] = {"state": name}
    if name in ("Running", "Stopped", "Failed", "Completed"):
        suffix = "" if name == "Running" else f"_{name[0]}"
        folder = tmp_path / "processed" / f"20261130-120000_Task_1{suffix}"
        folder.mkdir(parents=True)
        values["folder"] = str(folder)
    if name == "Running":  # on a host of which nothing can be told from here
        values["mark"] = {"host": "elsewhere", "pid": 1, "started": 0.0, "boot": "b"}
    put(queue, number, **values)
    return number


def test_list_needs_nothing_that_computes() -> None:
    code = """import sys, luxdask.tasks.queue, luxdask.cli.queue_list
print(sorted({"dask", "h5py", "numba", "numpy", "xarray"} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- the list ----


def test_no_queue_yet(queue: Queue) -> None:
    assert queue.tasks() == []
    assert queue.runner() is None
    assert not queue.path.exists()
    with pytest.raises(ConfigError, match="no task 1; there is no queue here yet"):
        queue.task(1)


def test_own_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUXDASK_STATE_DIR", str(tmp_path / "mine"))
    assert default_path() == tmp_path / "mine" / "queue.sqlite"
    assert luxdask.Queue().add(settings()) == (1,)
    assert default_path().is_file()


def test_added_task_is_a_snapshot(queue: Queue, tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text(json.dumps(settings(name="7", description="beads")))
    (number,) = queue.add(file)
    file.write_text(json.dumps(settings(name="8")))
    task = queue.task(number)
    assert (task.state, task.title, task.source) == ("New", "7 beads", str(file))
    assert task.cwd == os.getcwd()


@pytest.mark.parametrize(
    "given",
    [settings(), TaskConfig(), Task(TaskConfig())],
    ids=["document", "settings", "task"],
)
def test_what_can_be_added(queue: Queue, given: Any) -> None:
    assert queue.add(given) == (1,)


def test_wrong_settings_add_nothing(queue: Queue, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown"):
        queue.add(settings(), {"unknown": 1})
    with pytest.raises(ConfigError, match="there is no such file"):
        queue.add(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="luxdask queue import"):
        queue.add(tmp_path)
    with pytest.raises(ConfigError, match="no task 9"):
        queue.add(settings(), after=[9])
    assert queue.tasks() == []


def test_numbers_are_never_given_twice(queue: Queue) -> None:
    queue.add(settings(), settings())
    queue.remove(2)
    assert queue.add(settings()) == (3,)


def test_unknown_task_is_named_with_those_that_exist(queue: Queue) -> None:
    queue.add(settings(), settings())
    with pytest.raises(ConfigError, match="no task 7 in this queue; there are: 1, 2"):
        queue.start(1, 7)
    assert state(queue, 1) == "New"  # all or nothing


# ---- states ----

SUCCEEDS = {
    ("start", "New"): "Queuing",
    ("start", "Stopped"): "Queuing",
    ("start", "Failed"): "Queuing",
    ("resume", "Stopped"): "Queuing",
    ("stop", "Queuing"): "New",
    ("stop", "Running"): "Running",
    ("set", "New"): "New",
    ("set", "Queuing"): "Queuing",
    ("set", "Failed"): "Failed",
    ("move", "Queuing"): "Queuing",
    **{("remove", name): "" for name in STATES if name != "Running"},
    **{("copy", name): name for name in STATES},
    **{("export", name): name for name in STATES},
}
ACTIONS = ("start", "resume", "stop", "set", "move", "remove", "copy", "export")


def act(queue: Queue, action: str, number: int, tmp_path: Path) -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "set": (number, {"output.sampling": 2}),
        "export": (number, tmp_path / "exported.json"),
    }
    options = {"to": 1} if action == "move" else {}
    getattr(queue, action)(*arguments.get(action, (number,)), **options)


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("action", ACTIONS)
def test_what_each_state_allows(queue: Queue, tmp_path: Path, action: str, before: str) -> None:
    number = in_state(queue, before, tmp_path)
    expected = SUCCEEDS.get((action, before))
    if expected is None:
        with pytest.raises(ConfigError, match=f"task {number} is {before}: "):
            act(queue, action, number, tmp_path)
        assert state(queue, number) == before
        return
    act(queue, action, number, tmp_path)
    if expected:
        assert state(queue, number) == expected
    else:
        assert queue.tasks() == []


def test_stopped_task_keeps_its_folder_and_failed_one_does_not(
    queue: Queue, tmp_path: Path
) -> None:
    stopped = in_state(queue, "Stopped", tmp_path)
    failed = in_state(queue, "Failed", tmp_path)
    queue.start(stopped, failed)
    assert queue.task(stopped).folder is not None
    assert queue.task(failed).folder is None


def test_task_that_goes_on_is_stopped_and_not_new(queue: Queue, tmp_path: Path) -> None:
    number = in_state(queue, "Stopped", tmp_path)
    queue.resume(number)
    with pytest.raises(ConfigError, match="goes on in its folder"):
        queue.set(number, {"output.sampling": 2})
    queue.stop(number)
    assert state(queue, number) == "Stopped"


def test_removing_leaves_the_folder(queue: Queue, tmp_path: Path) -> None:
    number = in_state(queue, "Completed", tmp_path)
    folder = queue.task(number).folder
    queue.remove(number)
    assert folder is not None
    assert Path(folder).is_dir()


def test_stop_request_is_noted_for_the_runner(queue: Queue, tmp_path: Path) -> None:
    number = in_state(queue, "Running", tmp_path)
    queue.stop(number)
    assert queue.task(number).stopping


def test_task_of_a_host_that_is_gone(queue: Queue, tmp_path: Path) -> None:
    number = in_state(queue, "Running", tmp_path)
    queue.stop(number, force=True)
    task = queue.task(number)
    assert (task.state, task.mark) == ("Stopped", None)
    queue.resume(number)


# ---- order ----


@pytest.mark.parametrize(
    ("number", "how", "expected"),
    [
        (3, {"to": 1}, [3, 1, 2, 4]),
        (1, {"to": 3}, [2, 3, 1, 4]),
        (1, {"to": 99}, [2, 3, 4, 1]),
        (3, {"by": -1}, [1, 3, 2, 4]),
        (3, {"by": 1}, [1, 2, 4, 3]),
        (1, {"by": -1}, [1, 2, 3, 4]),
        (4, {"by": 5}, [1, 2, 3, 4]),
    ],
)
def test_move(queue: Queue, number: int, how: dict[str, int], expected: list[int]) -> None:
    queue.add(*[settings()] * 4, start=True)
    queue.move(number, **how)
    assert [task.id for task in queue.tasks()] == expected


@pytest.mark.parametrize("how", [{}, {"to": 1, "by": 1}, {"to": 0}])
def test_impossible_move(queue: Queue, how: dict[str, int]) -> None:
    queue.add(settings(), start=True)
    with pytest.raises(ConfigError, match="task 1"):
        queue.move(1, **how)


def test_start_puts_at_the_end(queue: Queue) -> None:
    queue.add(*[settings()] * 3)
    queue.start(3)
    queue.start(1, 2)
    assert [task.id for task in queue.tasks()] == [3, 1, 2]


def test_moved_to_the_top_comes_after_those_that_run(queue: Queue, tmp_path: Path) -> None:
    running = in_state(queue, "Running", tmp_path)
    queue.add(settings(), settings(), start=True)
    queue.move(3, to=1)
    put(queue, running, state="Queuing", mark=None)  # as when the queue is stopped
    assert [task.id for task in queue.tasks()] == [running, 3, 2]


# ---- dependencies ----


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("New", "held: needs task 1, which is New"),
        ("Queuing", "waits for task 1"),
        ("Running", "waits for task 1"),
        ("Stopped", "held: needs task 1, which is Stopped"),
        ("Failed", "held: needs task 1, which is Failed"),
        ("Completed", None),
    ],
)
@pytest.mark.parametrize("how", ["after", "reuse"])
def test_dependency(queue: Queue, tmp_path: Path, first: str, reason: str | None, how: str) -> None:
    needed = in_state(queue, first, tmp_path)
    options: dict[str, Any] = (
        {"after": [needed]} if how == "after" else {"reuse_registration_of": needed}
    )
    queue.add(settings(), start=True, **options)
    assert queue.held().get(2) == reason


def test_task_that_others_need_is_not_removed(queue: Queue) -> None:
    queue.add(settings())
    queue.add(settings(), after=[1])
    with pytest.raises(ConfigError, match="task 2 needs task 1: remove it first"):
        queue.remove(1)
    put(queue, 2, state="Completed")
    queue.remove(1)
    assert queue.copy(2) == 3
    assert queue.task(3).after == ()  # there is no such task any more


def test_copy_keeps_what_it_depends_on(queue: Queue) -> None:
    queue.add(settings())
    queue.add(settings(), after=[1], reuse_registration_of=1)
    queue.copy(2, {"output.sampling": 3}, start=True)
    task = queue.task(3)
    assert (task.after, task.reuse, task.needs, task.state) == ((1,), 1, (1,), "Queuing")
    assert json.loads(task.settings)["output"]["sampling"]["width"] == 3
    with pytest.raises(ConfigError, match="unknown"):
        queue.copy(1, {"output.samplin": 3})


# ---- files ----


def test_export_and_import(queue: Queue, tmp_path: Path) -> None:
    queue.add(settings(description="beads"))
    queue.set(1, {"output.sampling": 2})
    queue.export(1, tmp_path / "out.json")
    assert queue.import_task(tmp_path / "out.json") == 2
    assert queue.task(2).settings == queue.task(1).settings


def test_export_names_the_folder_whose_registration_is_used(queue: Queue, tmp_path: Path) -> None:
    done = in_state(queue, "Completed", tmp_path)
    queue.add(settings(), reuse_registration_of=done)
    queue.export(2, tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["registration"]["reuse"]["task_folder"] == queue.task(done).folder


@pytest.mark.parametrize(
    ("suffix", "expected"), [("_S", "Stopped"), ("", "Stopped"), ("_F", "New"), ("_C", "New")]
)
def test_import_of_a_task_folder(queue: Queue, tmp_path: Path, suffix: str, expected: str) -> None:
    folder = tmp_path / f"20261130-120000_Task_1{suffix}"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"no config_task\.json in here"):
        queue.import_task(folder)
    (folder / CONFIG).write_text(json.dumps(settings()))
    (folder / LOCK).write_text(json.dumps(this_process()))
    with pytest.raises(ConfigError, match="this task runs"):
        queue.import_task(folder)
    (folder / LOCK).write_text(json.dumps({**this_process(), "started": 1.0}))  # it is dead
    number = queue.import_task(folder)
    assert queue.task(number).state == expected
    if expected == "Stopped":
        with pytest.raises(ConfigError, match="is task 1 of this queue already"):
            queue.import_task(folder)


# ---- the file of the queue ----


@pytest.mark.parametrize(
    "content", [b"not a database, but text", b"SQLite format 3\0" + b"x" * 500]
)
def test_damaged_file(queue: Queue, content: bytes) -> None:
    queue.path.parent.mkdir()
    queue.path.write_bytes(content)
    for use in (queue.tasks, lambda: queue.add(settings())):
        with pytest.raises(ConfigError, match=r"damaged .*Move it away"):
            use()
    assert queue.path.read_bytes() == content


def test_cut_file(queue: Queue) -> None:
    queue.add(*[settings(description="x" * 100)] * 20)
    whole = queue.path.read_bytes()
    queue.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="damaged"):
        queue.tasks()


def test_other_database(queue: Queue) -> None:
    queue.path.parent.mkdir()
    connection = sqlite3.connect(queue.path)
    connection.execute("CREATE TABLE birds (name TEXT)")
    connection.commit()
    connection.close()
    for use in (queue.tasks, lambda: queue.add(settings())):
        with pytest.raises(ConfigError, match="not a queue of luxdask"):
            use()


def test_newer_file(queue: Queue) -> None:
    queue.add(settings())
    with Store(queue.path).writing() as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigError, match=r"newer luxdask \(version 2 .*update luxdask"):
        queue.tasks()


@pytest.mark.parametrize(
    ("column", "value"), [("after", "[1"), ("mark", "[]x"), ("settings", "{}x")]
)
def test_damaged_task(queue: Queue, column: str, value: str) -> None:
    queue.add(settings())
    put(queue, 1, **{column: value})
    with pytest.raises(ConfigError, match=r"task 1.* damaged|damaged .*task 1"):
        queue.copy(1)


def test_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be used: .*--queue or LUXDASK_STATE_DIR"):
        Queue(tmp_path / "file" / "queue.sqlite").add(settings())


def test_read_only_queue_can_be_listed(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.add(settings())
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    assert [task.id for task in queue.tasks()] == [1]


def test_queue_that_another_program_keeps_locked(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.add(settings())
    assert BUSY_S >= 30
    monkeypatch.setattr("luxdask.tasks.queue_store.BUSY_S", 0.1)
    with (
        Store(queue.path).writing(),
        pytest.raises(OutputError, match="another program has kept it locked"),
    ):
        queue.add(settings())
    assert len(queue.tasks()) == 1


def test_change_that_fails_leaves_nothing(queue: Queue) -> None:
    queue.add(settings())

    def fail() -> None:
        with Store(queue.path).writing() as connection:
            update_task(connection, 1, state="Queuing")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert state(queue, 1) == "New"


def test_stopped_task_is_imported_and_not_added(queue: Queue, tmp_path: Path) -> None:
    folder = tmp_path / "20261130-120000_Task_1_S"
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(settings()))
    with pytest.raises(ConfigError, match="import_task"):
        queue.add(Task.open(folder))
