"""The lock of a task folder: one run at a time, and what dead ones leave behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from threading import Event
from typing import TYPE_CHECKING

import psutil
import pytest

from luxdask.errors import OutputError
from luxdask.tasks import lock as module
from luxdask.tasks import watch
from luxdask.tasks.folder import TaskFolder, make_folder
from luxdask.tasks.lock import LOCK, SILENT_FOR_S, FolderLock, holder_of
from luxdask.tasks.watch import STOP_REQUEST, Watch, request_stop

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


@pytest.fixture
def folder(tmp_path: Path) -> TaskFolder:
    return make_folder(tmp_path / "processed", "", "")


def write_lock(folder: TaskFolder, holder: dict[str, Any] | str) -> None:
    text = holder if isinstance(holder, str) else json.dumps(holder)
    (folder.path / LOCK).write_text(text)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_lock_names_its_holder_and_goes(folder: TaskFolder) -> None:
    with FolderLock(folder) as lock:
        assert json.loads(lock.path.read_text())["pid"] == os.getpid()
        with pytest.raises(OutputError) as caught, FolderLock(folder):
            pass
        for part in (f"process {os.getpid()}", socket.gethostname(), f"delete {lock.path}"):
            assert part in str(caught.value)
    assert not lock.path.exists()


def test_lock_follows_its_folder(folder: TaskFolder) -> None:
    with FolderLock(folder) as lock:
        moved = folder.renamed("Completed")
        lock.moved(moved)
    assert list(moved.path.iterdir()) == []


def test_lock_of_a_dead_process_is_taken_over(folder: TaskFolder) -> None:
    write_lock(folder, {"host": socket.gethostname(), "pid": dead_pid(), "started": 1.0})
    with FolderLock(folder) as lock:
        assert json.loads(lock.path.read_text())["pid"] == os.getpid()


def test_lock_whose_process_number_belongs_to_another_now(folder: TaskFolder) -> None:
    started = psutil.Process(os.getppid()).create_time()
    holder = {"host": socket.gethostname(), "pid": os.getppid(), "started": started - 3600}
    write_lock(folder, holder)
    with FolderLock(folder):
        pass
    write_lock(folder, {**holder, "started": started})
    with pytest.raises(OutputError, match="another run"), FolderLock(folder):
        pass


def test_lock_of_another_host_stays_while_it_shows_life(folder: TaskFolder) -> None:
    write_lock(folder, {"host": "node17", "pid": dead_pid()})
    set_age(folder, SILENT_FOR_S - 60)
    with pytest.raises(OutputError, match="on node17"), FolderLock(folder):
        pass


def test_silent_lock_of_another_host_is_taken_over(
    folder: TaskFolder, caplog: pytest.LogCaptureFixture
) -> None:
    write_lock(folder, {"host": "node17", "pid": 1})
    set_age(folder, SILENT_FOR_S + 60)
    with FolderLock(folder) as lock:
        assert lock.is_ours()
    assert "the lock of a dead run (process 1 on node17) is taken over" in caplog.text
    assert list(folder.path.iterdir()) == []


def test_age_is_by_the_clock_of_the_file_system(
    folder: TaskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose clock is an hour ahead takes nothing over."""
    write_lock(folder, {"host": "node17", "pid": 1})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    with pytest.raises(OutputError, match="another run"), FolderLock(folder):
        pass


def test_lock_that_another_run_was_quicker_to_take_over(
    folder: TaskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a dead lock and its removal a third run has replaced it."""
    write_lock(folder, {"host": "node17", "pid": 1})
    set_age(folder, SILENT_FOR_S + 60)
    real = module.holder_of

    def look(place: Path) -> Any:
        found = real(place)
        write_lock(folder, {"host": "node18", "pid": 2, "token": "x"})
        return found

    monkeypatch.setattr(module, "holder_of", look)
    with pytest.raises(OutputError, match="cannot lock"), FolderLock(folder):
        pass
    assert json.loads((folder.path / LOCK).read_text())["host"] == "node18"
    assert [p.name for p in folder.path.iterdir()] == [LOCK]


def set_age(folder: TaskFolder, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder.path / LOCK, (then, then))


def test_beat_moves_the_date(folder: TaskFolder) -> None:
    with FolderLock(folder) as lock:
        set_age(folder, 1000)
        lock.beat()
        assert time.time() - lock.path.stat().st_mtime < 500


@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_lost_lock_is_noticed_and_left_alone(folder: TaskFolder, how: str) -> None:
    with FolderLock(folder) as lock:
        if how == "replaced":
            write_lock(folder, {"host": "node18", "pid": 2, "token": "x"})
        else:
            lock.path.unlink()
        assert not lock.is_ours()
        with pytest.raises(OutputError, match="another run has taken this task folder over"):
            lock.require()
    assert (folder.path / LOCK).exists() == (how == "replaced")


def test_file_server_that_is_away_does_not_end_a_run(
    folder: TaskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Path) -> Any:
        raise OSError(5, "Input/output error")

    with FolderLock(folder) as lock:
        monkeypatch.setattr(module, "_read", away)
        lock.require()
        monkeypatch.undo()
    assert not lock.path.exists()


def test_who_holds_a_folder(folder: TaskFolder) -> None:
    assert holder_of(folder.path) is None
    with FolderLock(folder):
        found = holder_of(folder.path)
        assert found is not None
        assert (found[0]["pid"], found[1]) == (os.getpid(), True)
    write_lock(folder, {"host": socket.gethostname(), "pid": dead_pid(), "started": 1.0})
    found = holder_of(folder.path)
    assert found is not None
    assert not found[1]


# ---- what a run looks after ----


def soon(condition: Any) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.02)
    monkeypatch.setattr(watch, "BEAT_S", 0.02)


@pytest.mark.usefixtures("quick")
def test_stop_request_is_seen_once(folder: TaskFolder) -> None:
    stop = Event()
    request_stop(folder.path)  # to a run that has ended: does not stop the next one
    with FolderLock(folder) as lock, Watch(folder.path, lock, stop):
        assert not (folder.path / STOP_REQUEST).exists()
        assert not stop.is_set()
        request_stop(folder.path)
        soon(stop.is_set)
    assert list(folder.path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_watch_keeps_the_lock_fresh(folder: TaskFolder) -> None:
    with FolderLock(folder) as lock, Watch(folder.path, lock, Event()):
        set_age(folder, 1000)
        soon(lambda: time.time() - lock.path.stat().st_mtime < 500)


@pytest.mark.usefixtures("quick")
def test_watch_stops_a_run_that_has_lost_its_folder(folder: TaskFolder) -> None:
    stop = Event()
    with FolderLock(folder) as lock, Watch(folder.path, lock, stop):
        write_lock(folder, {"host": "node18", "pid": 2, "token": "x"})
        soon(stop.is_set)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1'])
def test_lock_without_a_name_is_left_over_when_it_is_old(folder: TaskFolder, text: str) -> None:
    write_lock(folder, text)
    with pytest.raises(OutputError, match="unknown host"), FolderLock(folder):
        pass
    os.utime(folder.path / LOCK, (1, 1))
    with FolderLock(folder):
        pass


def test_lock_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    gone = TaskFolder(tmp_path / "gone")
    with pytest.raises(OutputError, match="gone: cannot lock this task folder"), FolderLock(gone):
        pass
