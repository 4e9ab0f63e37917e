"""A progress bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from luxdask.cli.terminal import human_bytes, print_anyway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from luxdask.cluster.events import Listener, Progress

LINE_INTERVAL_S = 10.0
_UNITS = {"registration": " pairs", "quality": " views", "fusion": " chunks"}


@contextmanager
def progress_view(out: Console) -> Iterator[Listener]:
    """A listener that shows where the run stands."""
    if not out.is_terminal:
        yield _lines(out)
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Bar(*columns, TextColumn("{task.fields[text]}"), console=out) as bar:
        rows = {}

        def show(progress: Progress) -> None:
            if progress.stage not in rows:
                rows[progress.stage] = bar.add_task(progress.stage, text="")
            bar.update(
                rows[progress.stage],
                completed=progress.done,
                total=max(progress.total, 1),
                text=progress_text(progress),
            )

        yield show


def _lines(out: Console) -> Listener:
    last: dict[str, Any] = {"news": ("", ""), "time": 0.0}

    def show(progress: Progress) -> None:
        now = time.monotonic()
        finished = progress.done == progress.total
        due = now - last["time"] >= LINE_INTERVAL_S
        news = (progress.stage, progress.waiting) != last["news"]
        if news or finished or due:
            last.update(news=(progress.stage, progress.waiting), time=now)
            print_anyway(out, f"{progress.stage}: {progress_text(progress)}")

    return show


def progress_text(progress: Progress) -> str:
    """Chunks, speed and time left in a few words."""
    unit = _UNITS.get(progress.stage, "")
    parts = [f"{progress.done}/{progress.total}{unit}"]
    if progress.voxels_per_s:
        parts.append(f"{progress.voxels_per_s / 1e6:.0f} Mvoxel/s")
    if progress.bytes_written:
        parts.append(f"{human_bytes(progress.bytes_written)} written")
    if progress.seconds_left is not None and progress.done < progress.total:
        parts.append(f"{duration(progress.seconds_left)} left")
    if progress.waiting:
        parts.append(progress.waiting)
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time span as people say it: 45 s, 3:20 min, 5:07 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
