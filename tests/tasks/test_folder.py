"""Task folders: names, states, receipts and the lock."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from luxdask.errors import ConfigError, OutputError
from luxdask.tasks.folder import (
    CONFIG,
    RECEIPTS,
    STATUS,
    Receipts,
    TaskFolder,
    check_resumable,
    folder_words,
    make_folder,
)
from luxdask.tasks.lock import LOCK, FolderLock

if TYPE_CHECKING:
    from typing import Any

NAME = r"\d{8}-\d{6}_Task_"


@pytest.fixture
def folder(tmp_path: Path) -> TaskFolder:
    return make_folder(tmp_path / "processed", "", "")


@pytest.mark.parametrize(
    ("name", "description", "expected"),
    [
        ("", "", "1"),
        ("7", "", "7"),
        ("", "Ovary sample3 4", "1_Ovary_sample3_4"),
        ("../up", "a/b\\c:d", "up_a_b_c_d"),
        ("x", "..", "x_unnamed"),
    ],
    ids=["nothing", "number", "blanks", "paths", "dots"],
)
def test_name(tmp_path: Path, name: str, description: str, expected: str) -> None:
    made = make_folder(tmp_path / "processed", name, description)
    assert re.fullmatch(NAME + re.escape(expected), made.path.name)
    assert made.path.parent == tmp_path / "processed"
    assert made.path.is_dir()
    assert made.state == "Running"


def test_number_follows_the_highest(tmp_path: Path) -> None:
    for other in ("20220514-165524_Task_3_Ovary_C", "20220514-165524_Task_12_F", "notes"):
        (tmp_path / other).mkdir()
    assert make_folder(tmp_path, "", "").path.name.endswith("_Task_13")


def test_two_folders_of_one_name_in_a_second(tmp_path: Path) -> None:
    made = [make_folder(tmp_path, "x", "") for _ in range(3)]
    made[0] = made[0].renamed("Completed")
    assert len({f.path for f in [*made, make_folder(tmp_path, "x", "")]}) == 4


def test_no_place_for_folders(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file: cannot make a task folder.*output\.folder"):
        make_folder(tmp_path / "file", "", "")


@pytest.mark.parametrize(
    ("state", "suffix"), [("Stopped", "_S"), ("Failed", "_F"), ("Completed", "_C")]
)
def test_states(folder: TaskFolder, state: str, suffix: str) -> None:
    renamed = folder.renamed(state)
    assert renamed.path.name == folder.path.name + suffix
    assert renamed.state == state
    assert renamed.renamed(state) == renamed
    assert renamed.renamed(None).path == folder.path


def test_status_is_replaced(folder: TaskFolder) -> None:
    folder.write_status(state="Running", chunks_done=1)
    folder.write_status(state="Completed")
    written = json.loads((folder.path / STATUS).read_text(encoding="utf-8"))
    assert written == {"folder": folder.path.name, "state": "Completed"}


def test_receipts_come_back(folder: TaskFolder) -> None:
    keys = {(0, 0, 0), (0, 1, 12), (10, 0, 345)}
    receipts = Receipts(folder)
    for key in keys:
        receipts.add(key)
    receipts.close()
    assert folder.receipts() == keys


@pytest.mark.parametrize("torn", ["1", "1 ", "1 0", "1 0 1", "1 0 1.", "\0\0\0\0", "é 1", "0 0 x."])
def test_torn_receipt(folder: TaskFolder, torn: str) -> None:
    (folder.path / RECEIPTS).write_text(f"0 0 0.\n{torn}", encoding="utf-8")
    receipts = Receipts(folder)
    receipts.add((0, 0, 5))
    receipts.close()
    complete = {(1, 0, 1)} if torn == "1 0 1." else set()
    assert folder.receipts() == {(0, 0, 0), (0, 0, 5)} | complete


def test_folder_without_settings_is_no_task(folder: TaskFolder) -> None:
    with pytest.raises(ConfigError, match=f"no {CONFIG} in here"):
        check_resumable(folder)


@pytest.mark.parametrize("text", ["a b", "/etc/passwd", "..", "", "tab\tline\n", "ok-1.2+3=4"])
def test_folder_words(text: str) -> None:
    safe = folder_words(text)
    assert safe
    assert Path(safe).name == safe
    assert safe not in (".", "..")
    assert not re.search(r"\s", safe)


# ---- the lock ----


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


def test_lock_of_another_host_stays(folder: TaskFolder) -> None:
    write_lock(folder, {"host": "node17", "pid": dead_pid()})
    with pytest.raises(OutputError, match="on node17"), FolderLock(folder):
        pass


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
