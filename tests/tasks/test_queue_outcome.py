"""What becomes of a task whose process has ended, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from luxdask.tasks.queue_outcome import MOST_DEATHS, Ending, folder_now, outcome, read_status
from luxdask.tasks.queue_process import HEADER, QueueFiles, last_error

if TYPE_CHECKING:
    from pathlib import Path

ENDINGS = [
    # code, folder, asked, queue stops, rebooted → state, deaths
    (0, "Completed", False, False, False, "Completed", 0),
    (0, None, False, False, False, "Completed", 0),
    (0, "Completed", True, True, False, "Completed", 0),
    (1, "Failed", False, False, False, "Failed", 0),
    (1, None, True, True, False, "Failed", 0),
    (2, None, False, False, False, "Failed", 0),
    (1, "Completed", False, False, False, "Completed", 0),
    (130, "Stopped", False, False, False, "Stopped", 0),
    (130, "Stopped", True, False, False, "Stopped", 0),
    (130, "Stopped", True, True, False, "Stopped", 0),
    (130, "Stopped", False, True, False, "Queuing", 0),
    (130, None, False, True, False, "Queuing", 0),
    (-15, None, True, False, False, "Stopped", 0),
    (-9, "Running", True, False, False, "Stopped", 0),
    (-9, "Running", False, True, False, "Queuing", 0),
    (-9, "Running", False, False, False, "Queuing", 1),
    (-9, "Completed", False, False, False, "Completed", 0),
    (-9, "Failed", False, False, False, "Failed", 0),
    (-9, "Stopped", False, False, False, "Stopped", 0),
    (None, "Running", False, False, False, "Queuing", 1),
    (None, None, False, False, False, "Queuing", 1),
    (None, "Running", False, False, True, "Queuing", 0),
    (None, "Running", True, False, True, "Stopped", 0),
    (None, "Completed", False, False, True, "Completed", 0),
]


@pytest.mark.parametrize(
    ("code", "folder", "asked", "queue_stops", "rebooted", "state", "deaths"), ENDINGS
)
def test_outcome(
    code: int | None,
    folder: str | None,
    asked: bool,
    queue_stops: bool,
    rebooted: bool,
    state: str,
    deaths: int,
) -> None:
    found = outcome(Ending(code, folder, asked, queue_stops, rebooted))
    assert (found.state, found.deaths) == (state, deaths)


def test_task_whose_process_dies_again_and_again_is_put_aside() -> None:
    deaths, states = 0, []
    while not states or states[-1] == "Queuing":
        found = outcome(Ending(-9, "Running", deaths=deaths))
        deaths = found.deaths
        states.append(found.state)
    assert states == ["Queuing"] * (MOST_DEATHS - 1) + ["Stopped"]
    assert "died 3 times (signal 9)" in str(found.error)


def test_reboots_are_not_counted() -> None:
    assert outcome(Ending(None, "Running", rebooted=True, deaths=2)).state == "Queuing"


@pytest.mark.parametrize("noted", ["", "_S", "_F", "_C"])
@pytest.mark.parametrize("now", ["", "_S", "_F", "_C"])
def test_folder_is_found_by_any_of_its_names(tmp_path: Path, noted: str, now: str) -> None:
    name = "20261130-120000_Task_1"
    (tmp_path / f"{name}{now}").mkdir()
    found = folder_now(str(tmp_path / f"{name}{noted}"))
    assert found is not None
    assert found.path.name == f"{name}{now}"


def test_no_folder(tmp_path: Path) -> None:
    assert folder_now(None) is None
    assert folder_now(str(tmp_path / "20261130-120000_Task_1")) is None
    assert read_status(None) == {}


@pytest.mark.parametrize("content", [None, "", "{", "[1]"])
def test_status_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "20261130-120000_Task_1"
    folder.mkdir()
    if content is not None:
        (folder / "status.json").write_text(content)
    assert read_status(folder_now(str(folder))) == {}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("fusion: 1/2\nError: disk\nfull\n", "disk\nfull"),
        ("Error: old\nError: new\n", "new"),
        ("Traceback …\nMemoryError\n", "MemoryError"),
        (f"Error: of a former run\n{HEADER}now ---\nfusion: 1/2\n", "fusion: 1/2"),
        ("", None),
    ],
)
def test_last_error(tmp_path: Path, said: str, expected: str | None) -> None:
    log = tmp_path / "task-1.log"
    log.write_text(f"{HEADER}then ---\n{said}")
    assert last_error(log) == expected


def test_last_error_without_a_log(tmp_path: Path) -> None:
    assert last_error(tmp_path / "none.log") is None


def test_files_of_a_task(tmp_path: Path) -> None:
    files = QueueFiles.of(tmp_path / "queue.sqlite", 3)
    assert files.folder == tmp_path / "queue_files"
    assert (files.exit_code(), files.noted_folder()) == (None, None)
    files.folder.mkdir()
    files.end.write_text("130")
    files.folder_note.write_text("/a/b")
    assert (files.exit_code(), files.noted_folder()) == (130, "/a/b")
    files.remove()
    assert not list(files.folder.iterdir())
