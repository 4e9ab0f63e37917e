"""The list of finished chunks: what it holds after a crash, and when it is written."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from luxdask.errors import OutputError
from luxdask.tasks import receipts as module
from luxdask.tasks.receipts import RECEIPTS, ReceiptLog, done_receipts, read_receipts

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "5d41402abc4b2a76"


def test_receipts_come_back(tmp_path: Path) -> None:
    keys = {(0, 0, 0), (0, 1, 12), (10, 0, 345)}
    with ReceiptLog(tmp_path) as log:
        for key in keys:
            log.add(key, DIGEST)
    assert done_receipts(tmp_path) == dict.fromkeys(keys, DIGEST)


def test_the_last_word_counts(tmp_path: Path) -> None:
    with ReceiptLog(tmp_path) as log:
        log.add((0, 0, 1), DIGEST)
        log.add((0, 0, 2), DIGEST)
    with ReceiptLog(tmp_path) as log:
        log.undo([(0, 0, 1), (0, 0, 2)])
        log.add((0, 0, 2), "ab")
    assert read_receipts(tmp_path) == {(0, 0, 1): "-", (0, 0, 2): "ab"}
    assert done_receipts(tmp_path) == {(0, 0, 2): "ab"}


def test_lists_of_older_versions_have_no_checksums(tmp_path: Path) -> None:
    (tmp_path / RECEIPTS).write_text("\n0 0 0.\n0 0 7.\n")
    assert done_receipts(tmp_path) == {(0, 0, 0): "", (0, 0, 7): ""}


@pytest.mark.parametrize(
    "torn", ["1", "1 ", "1 0", "1 0 1", "1 0 1 ab", "\0\0\0\0", "é 1", "0 0 x.", "0 0 1 xyz."]
)
def test_torn_receipt(tmp_path: Path, torn: str) -> None:
    (tmp_path / RECEIPTS).write_text(f"0 0 0 ab.\n{torn}", encoding="utf-8")
    with ReceiptLog(tmp_path) as log:
        log.add((0, 0, 5), "cd")
    assert done_receipts(tmp_path) == {(0, 0, 0): "ab", (0, 0, 5): "cd"}


def test_voxels_reach_the_disk_before_their_receipts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image"
    image.touch()
    events: list[tuple[str, int]] = []

    def sync(files: Any) -> None:
        events.append((",".join(sorted(files)), len(done_receipts(tmp_path))))

    monkeypatch.setattr(module, "sync_files", sync)
    with ReceiptLog(tmp_path) as log:
        log.add((0, 0, 0), DIGEST, [str(image)])
    assert events == [(str(image), 0)]
    assert len(done_receipts(tmp_path)) == 1


def test_receipts_are_written_while_the_run_goes_on(tmp_path: Path) -> None:
    with ReceiptLog(tmp_path) as log:
        log.add((0, 0, 0), DIGEST)
        limit = time.monotonic() + 60
        while not done_receipts(tmp_path):
            assert time.monotonic() < limit
            time.sleep(0.02)


def test_voxels_that_the_disk_refuses_late_get_no_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    image = tmp_path / "image"
    image.touch()
    log = ReceiptLog(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match=r"image: cannot write.*Disk quota exceeded"), log:
        log.add((0, 0, 0), DIGEST, [str(image)])
    assert not done_receipts(tmp_path)


def test_error_of_the_run_is_not_hidden_by_that_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    log = ReceiptLog(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse)
    log.add((0, 0, 0), DIGEST)
    with pytest.raises(ValueError, match="of the run"), log:
        raise ValueError("of the run")


def test_nothing_is_written_into_a_folder_that_is_lost(tmp_path: Path) -> None:
    def lost() -> None:
        raise OutputError("taken over")

    with pytest.raises(OutputError, match="taken over"), ReceiptLog(tmp_path, lost) as log:
        log.add((0, 0, 0), DIGEST)
    assert not done_receipts(tmp_path)


def test_files_that_are_gone_are_no_error(tmp_path: Path) -> None:
    with ReceiptLog(tmp_path) as log:
        log.add((0, 0, 0), DIGEST, [str(tmp_path / "gone")])
    assert len(done_receipts(tmp_path)) == 1
