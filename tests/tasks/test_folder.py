"""Task folders: names, states, receipts and the lock."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from luxdask.errors import ConfigError, OutputError
from luxdask.tasks.folder import (
    CONFIG,
    STATUS,
    TaskFolder,
    check_resumable,
    find_folder,
    folder_words,
    make_folder,
)

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


@pytest.mark.parametrize("name", ["x", "x_S", "x_F", "x_C"])
@pytest.mark.parametrize("now", ["x", "x_S", "x_F", "x_C"])
def test_found_by_any_name(tmp_path: Path, name: str, now: str) -> None:
    (tmp_path / now).mkdir()
    assert find_folder(tmp_path / name) == tmp_path / now


def test_folder_that_is_nowhere(tmp_path: Path) -> None:
    assert find_folder(tmp_path / "x_S") == tmp_path / "x_S"


def test_leftovers_of_a_killed_run(folder: TaskFolder) -> None:
    kept = [folder.path / "a.tmp", folder.path / ".hidden", folder.path / "b" / "image.h5"]
    gone = [
        folder.path / ".status.json.123.tmp",
        folder.path / "b" / ".x.png.7.tmp",
        folder.path / f".lock.{'a' * 32}",
        folder.path / "b" / f"3.{'0' * 32}.partial",
        folder.path / "image.lux.h5.empty",
    ]
    (folder.path / "b").mkdir()
    for file in (*kept, *gone):
        file.touch()
    folder.remove_leftovers()
    assert [f for f in gone if f.exists()] == []
    assert all(f.exists() for f in kept)
