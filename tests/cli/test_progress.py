"""What people see while a task runs."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from luxdask.cli import progress as module
from luxdask.cli.progress import duration, progress_text, progress_view
from luxdask.cluster.events import Progress


def lines_of(events: list[Progress]) -> list[str]:
    out = io.StringIO()
    with progress_view(Console(file=out, width=200)) as listener:
        for event in events:
            listener(event)
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (44.6, "45 s"),
        (59.7, "1:00 min"),
        (200, "3:20 min"),
        (3599.6, "1:00 h"),
        (18437, "5:07 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Progress("quality", 3, 4), "3/4 views"),
        (Progress("fusion", 0, 10), "0/10 chunks"),
        (
            Progress("fusion", 5, 10, voxels=100_000_000, bytes_written=1 << 30, seconds=2.0),
            "5/10 chunks, 50 Mvoxel/s, 1.00 GiB written, 2 s left",
        ),
        (Progress("fusion", 10, 10, voxels=4_000_000, seconds=2.0), "10/10 chunks, 2 Mvoxel/s"),
        (
            Progress("fusion", 60, 100, voxels=10_000_000, seconds=10, done_before=50),
            "60/100 chunks, 1 Mvoxel/s, 40 s left",
        ),
        (Progress("main files", 1, 1), "1/1"),
        (
            Progress("fusion", 5, 10, waiting="waiting for workers: 2 jobs queued"),
            "5/10 chunks, waiting for workers: 2 jobs queued",
        ),
    ],
)
def test_text(event: Progress, text: str) -> None:
    assert progress_text(event) == text


def test_lines_are_few_when_not_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [Progress("fusion", n, 1000, seconds=0.001) for n in range(1001)]
    lines = lines_of([*events, Progress("main files", 0, 1), Progress("main files", 1, 1)])
    assert [line.partition(",")[0] for line in lines] == [
        "fusion: 0/1000 chunks",
        "fusion: 1000/1000 chunks",
        "main files: 0/1",
        "main files: 1/1",
    ]
    monkeypatch.setattr(module, "LINE_INTERVAL_S", 0.0)
    assert len(lines_of(events)) == 1001


def test_waiting_is_told_at_once() -> None:
    """Also where lines are few."""
    waiting = [Progress("fusion", 1, 9, waiting=text) for text in ("", "waiting for workers", "")]
    assert [line.rpartition("chunks")[2] for line in lines_of(waiting)] == [
        "",
        ", waiting for workers",
        "",
    ]


def test_bar_on_a_terminal() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    with progress_view(console) as listener:
        for done in (0, 4, 8):
            listener(Progress("fusion", done, 8, voxels=done * 10**6, seconds=done / 2))
    text = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", out.getvalue())
    assert "100%" in text
    assert "8/8 chunks, 2 Mvoxel/s" in text


def test_bar_without_anything_to_do() -> None:
    out = io.StringIO()
    with progress_view(Console(file=out, width=100, force_terminal=True)) as listener:
        listener(Progress("fusion", 0, 0))
