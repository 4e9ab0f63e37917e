"""`luxdask register` as someone meets it who has not used it before."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from luxdask.cli import main
from luxdask.io.link_log import read_link_log
from luxdask.testing import small_experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.tasks import Task
    from luxdask.testing import Truth

TILES = {"registration__enabled": True, "registration__tiles__enabled": True}


def luxdask(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    return small_experiment(tmp_path / "e", tiles=(2, 2), stage_error_um=2.0, sub_voxel=True)


@pytest.fixture
def task_file(truth: Truth, make_task: Callable[..., Task], tmp_path: Path) -> Callable[..., Path]:
    def make(**values: Any) -> Path:
        make_task(truth, **values).save(tmp_path / "task.json")
        return tmp_path / "task.json"

    return make


def folder_of(truth: Truth) -> Path:
    (folder,) = Path(truth.folder, "processed").iterdir()
    return folder


def words(text: str) -> str:
    return " ".join(text.split())


def test_help_says_what_it_does_and_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    assert luxdask("register", "--help") == 0
    out = words(capsys.readouterr().out)
    for part in ("tiles", "objective_camera", "registration.reuse.task_folder", "Ctrl-C"):
        assert part in out


def test_register_then_use_it_again(
    truth: Truth,
    task_file: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert luxdask("register", task_file(**TILES)) == 0
    out = capsys.readouterr().out
    folder = folder_of(truth)
    assert "Stages that the images call for" not in out
    assert "registration: 6/6 pairs" in out
    assert "6 links, 6 used; views moved by up to " in out
    assert "registration_tiles.png" in out
    assert f"registration.reuse.task_folder = {folder}" in out
    assert "fusion" not in out
    assert not list(folder.glob("*.lux.h5"))

    again = {"registration__reuse__task_folder": str(folder)}
    assert luxdask("check", task_file(**TILES, **again)) == 0
    assert "0 pairs to measure (0 bytes to read), 6 links known" in capsys.readouterr().out
    assert luxdask("run", task_file(**TILES, **again, output__folder=str(tmp_path / "out"))) == 0
    assert "registration: 0/0 pairs" in capsys.readouterr().out


def test_stages_follow_from_the_images_where_none_was_chosen(
    truth: Truth, task_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert luxdask("register", task_file()) == 0
    out = capsys.readouterr().out
    assert "Stages that the images call for: tiles\n" in out
    assert "6 links, 6 used" in out


def test_chosen_stages_without_the_main_switch_are_done(
    task_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert luxdask("register", task_file(registration__tiles__enabled=True)) == 0
    out = capsys.readouterr().out
    assert "Stages that the images call for" not in out
    assert "6 links, 6 used" in out


def test_check_counts_pairs_and_notes_a_main_switch_that_is_off(
    task_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert luxdask("check", task_file(**TILES)) == 0
    out = capsys.readouterr().out
    assert "6 pairs to measure (6 tiles, " in out
    assert "Note" not in out
    assert luxdask("check", task_file(registration__tiles__enabled=True)) == 0
    out = words(capsys.readouterr().out)
    assert "nothing is registered: registration.enabled is off" in out
    assert "registration.tiles.enabled" in out


def test_run_shows_warnings_with_names_and_reasons(
    truth: Truth, task_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from luxdask.testing.spoil import neighbouring_tiles, spoil_overlaps

    bad = neighbouring_tiles(truth)[0]
    spoil_overlaps(truth, {bad: "blank"})
    assert luxdask("run", task_file(**TILES)) == 0
    out = words(capsys.readouterr().out)
    assert "Warning: not used: tiles: " in out
    assert "1 not used: " in out


@pytest.mark.parametrize(
    ("path", "message"),
    [("none.json", "there is no such file"), ("e", "make a task file first: luxdask new")],
    ids=["no file", "experiment"],
)
def test_what_is_no_task(
    truth: Truth, tmp_path: Path, path: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert luxdask("register", tmp_path / path) == 2
    assert message in words(capsys.readouterr().err)
    assert not Path(truth.folder, "processed").exists()


def test_wrong_folder_to_use_again(
    truth: Truth, task_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"registration__reuse__task_folder": truth.folder}
    assert luxdask("register", task_file(**TILES, **wrong)) == 2
    assert "no registrations in this folder" in words(capsys.readouterr().err)


def test_stop_and_go_on(
    truth: Truth,
    task_file: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from luxdask.graph import registration

    match = registration.match

    def interrupt(*given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setattr(registration, "match", match)
        return match(*given)

    monkeypatch.setattr(registration, "match", interrupt)
    one = {"compute__threads_per_worker": 1}
    assert luxdask("register", task_file(**TILES, **one)) == 130
    captured = capsys.readouterr()
    assert "Stopping" in captured.out
    folder = folder_of(truth)
    assert folder.name.endswith("_S")
    assert f"luxdask run {folder}" in captured.err
    known = len(read_link_log(folder))
    assert 1 <= known < 6
    # goes on with either command, and still writes no images
    assert luxdask("register", folder) == 0
    assert f"registration: {known}/6 pairs" in capsys.readouterr().out
    assert folder_of(truth).name.endswith("_C")
    assert not list(folder_of(truth).glob("*.lux.h5"))
    assert luxdask("register", folder_of(truth)) == 2
    assert "completed and cannot be run again" in words(capsys.readouterr().err)
