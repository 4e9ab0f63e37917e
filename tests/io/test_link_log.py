"""The log of links: whatever was added before a process died is there."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from luxdask.errors import OutputError
from luxdask.io.link_log import LINK_LOG, LinkLog, read_link_log
from luxdask.model.geometry import Affine
from luxdask.model.links import Link
from luxdask.model.view import ViewId

if TYPE_CHECKING:
    from pathlib import Path

FIXED = ViewId(0, "0", "1-x00-y00", "left", "left")


def links(count: int) -> list[Link]:
    moving = [replace(FIXED, stack=f"1-x{n:02d}-y01") for n in range(count)]
    return [
        Link("tiles", FIXED, m, Affine.translation((n / 7, 1, 2)), reason='µm, "x"\nand more')
        for n, m in enumerate(moving)
    ]


def test_what_was_added_is_read(tmp_path: Path) -> None:
    assert read_link_log(tmp_path) == ()
    with LinkLog(tmp_path) as log:
        for n, link in enumerate(links(3), 1):
            log.add(link)
            assert len(read_link_log(tmp_path)) == n  # flushed at once
    assert read_link_log(tmp_path) == tuple(links(3))


def test_the_last_of_a_pair_counts(tmp_path: Path) -> None:
    one, two = links(2)
    with LinkLog(tmp_path) as log:
        for link in (one, two, replace(one, quality=0.5)):
            log.add(link)
    assert read_link_log(tmp_path) == (replace(one, quality=0.5), two)


def test_a_log_torn_anywhere_keeps_its_whole_lines(tmp_path: Path) -> None:
    with LinkLog(tmp_path) as log:
        for link in links(2):
            log.add(link)
    path = tmp_path / LINK_LOG
    whole = path.read_bytes()
    first_line = whole.index(b"\n") + 1
    for size in range(first_line, len(whole) - 1, 37):
        path.write_bytes(whole[:size])
        assert read_link_log(tmp_path) == tuple(links(1))
        with LinkLog(tmp_path) as log:  # the next run goes on behind the torn line
            log.add(links(3)[2])
        assert read_link_log(tmp_path) == (links(1)[0], links(3)[2])
    path.write_bytes(whole + b"\0" * 512)  # what some file systems leave after a power cut
    assert read_link_log(tmp_path) == tuple(links(2))


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    code = f"""
import os, signal
from luxdask.io.link_log import LinkLog
from luxdask.model.geometry import Affine
from luxdask.model.links import Link
from luxdask.model.view import ViewId
log = LinkLog({str(tmp_path)!r})
for n in range(5):
    ids = [ViewId(0, "0", str(n + i), "left", "left") for i in range(2)]
    log.add(Link("tiles", *ids, Affine()))
os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 9
    assert [link.fixed.stack for link in read_link_log(tmp_path)] == list("01234")


def test_several_threads_may_add(tmp_path: Path) -> None:
    with LinkLog(tmp_path) as log, ThreadPoolExecutor(8) as pool:
        list(pool.map(log.add, links(200)))
    assert set(read_link_log(tmp_path)) == set(links(200))


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "registration").write_text("a file where a folder belongs")
    with pytest.raises(OutputError, match=r"registration.links\.jsonl"):
        LinkLog(tmp_path)
