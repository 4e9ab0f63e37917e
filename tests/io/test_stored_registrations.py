"""Registrations of another task: found in whatever state it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from luxdask.errors import ConfigError
from luxdask.io.link_log import LinkLog
from luxdask.io.registration_file import link_path, write_corrections, write_links
from luxdask.io.stored_registrations import read_registrations
from luxdask.model.geometry import Affine
from luxdask.model.links import KINDS, Link
from luxdask.model.registrations import Correction
from luxdask.model.view import ViewId

if TYPE_CHECKING:
    from pathlib import Path

FIXED = ViewId(0, "0", "1-x00-y00", "left", "left")
NAME = "20260302-194519_Task_1_brain"


def links(count: int = 4) -> list[Link]:
    return [
        Link(KINDS[n % 4], FIXED, replace(FIXED, stack=f"1-x{n:02d}-y01"), Affine(), cost=n / 3)
        for n in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "processed" / f"{NAME}_C"
    write_links(path, [*links(), replace(links()[1], source="landmarks")])
    write_corrections(path, [Correction.of_view(FIXED, Affine.translation((1, 2, 3)))])
    return path


def test_all_that_was_written_is_read(folder: Path) -> None:
    stored = read_registrations(str(folder))
    assert stored.path == str(folder)
    assert set(stored.links) == {*links(), replace(links()[1], source="landmarks")}
    assert stored.globals == (Correction.of_view(FIXED, Affine.translation((1, 2, 3))),)
    assert stored.notes == ()


@pytest.mark.parametrize("given", ["", "_C", "_S", "_F"])
@pytest.mark.parametrize("there", ["", "_C", "_S", "_F"])
def test_the_state_in_the_name_does_not_matter(folder: Path, given: str, there: str) -> None:
    renamed = folder.rename(folder.with_name(NAME + there))
    stored = read_registrations(folder.with_name(NAME + given))
    assert stored.path == str(renamed)
    assert len(stored.links) == 5


def test_a_folder_of_the_given_name_comes_first(folder: Path) -> None:
    other = folder.with_name(NAME)
    write_links(other, links(1))
    assert len(read_registrations(other).links) == 1
    assert len(read_registrations(folder).links) == 5
    assert read_registrations(folder.with_name(f"{NAME}_F")).path == str(folder)


def test_a_running_task_has_its_log_only(tmp_path: Path) -> None:
    with LinkLog(tmp_path / NAME) as log:
        log.add(links()[0])
        log.add(replace(links()[2], cost=None))
        assert [link.cost for link in read_registrations(tmp_path / NAME).links] == [0.0, None]
        write_links(tmp_path / NAME, links()[2:3])  # solved: has a cost
    assert set(read_registrations(tmp_path / NAME).links) == {links()[0], links()[2]}


def test_damaged_and_foreign_files_are_passed_over(folder: Path) -> None:
    broken = link_path(folder, links()[0])
    broken.write_text(broken.read_text()[:100])
    (folder / "reg_sti" / "._x.tf.json").write_bytes(b"\0\5\x16\7")  # left by macOS
    (folder / "reg_sti" / "vendor.tf.json").write_text('{"type": "affine"}')
    stored = read_registrations(folder)
    assert len(stored.links) == 4
    assert len(stored.notes) == 2
    assert broken.name in stored.notes[0]
    assert "vendor.tf.json" in stored.notes[1]
    for n in range(20):
        (folder / "reg_sti" / f"{n}.tf.json").write_text("{}")
    assert len(read_registrations(folder).notes) == 6


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "no such folder"),
        ("a_file", "not a folder"),
        ("empty_C", "no registrations in this folder"),
        ("damaged", r"no registrations in this folder.*\n.*bad\.tf\.json"),
    ],
)
def test_what_is_no_registered_task(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "a_file").write_text("")
    (tmp_path / "empty_C").mkdir()
    (tmp_path / "damaged" / "reg_sti").mkdir(parents=True)
    (tmp_path / "damaged" / "reg_sti" / "bad.tf.json").write_text("{")
    with pytest.raises(ConfigError, match=rf"{name}: {said}") as error:
        read_registrations(tmp_path / name)
    assert "reg_… with .tf.json files" in str(error.value)
