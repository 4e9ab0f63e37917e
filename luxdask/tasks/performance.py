"""What a run took, kept in its folder: time, bytes, memory, mended failures, per stage."""

from __future__ import annotations

import json
import logging
import platform
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from luxdask.cluster.events import Counts
from luxdask.errors import OutputError
from luxdask.io.json_file import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.cluster.backend import Backend
    from luxdask.cluster.events import Progress
    from luxdask.graph.write import Receipt

log = logging.getLogger(__name__)

PERFORMANCE = "performance.json"
MOST_CHANGES = 400
"""Changes of the number of slots that are kept; of more, every second one."""

PACKAGES = ("luxdask", "dask", "distributed", "numpy", "numba", "h5py", "zarr")


@dataclass
class _Stage:
    """Figures of one stage of a run."""

    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    last: Progress | None = None
    counts: Counts = field(default_factory=Counts)
    slots: list[tuple[float, int]] = field(default_factory=list)

    def see(self, progress: Progress, slots: int) -> None:
        self.ended = time.monotonic()
        self.last = progress
        if not self.slots or self.slots[-1][1] != slots:
            self.slots.append((round(self.ended - self.began, 1), slots))
        if len(self.slots) > MOST_CHANGES:
            self.slots = [*self.slots[:-1:2], self.slots[-1]]

    def values(self) -> dict[str, Any]:
        assert self.last is not None
        return {
            "seconds": round(self.ended - self.began, 3),
            "done": self.last.done - self.last.done_before,
            "done_before": self.last.done_before,
            "total": self.last.total,
            "retries": self.counts.retries,
            "in_pieces": self.counts.in_pieces,
            "slots": [{"after_s": after, "slots": slots} for after, slots in self.slots],
        }


class Performance:
    """Gathers the figures of one run; `save` adds them to those of the runs before."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lost_before = backend.workers_lost
        self._started, self._began = datetime.now(UTC), time.monotonic()
        self._stages: dict[str, _Stage] = {}
        self._chunks = _Chunks()

    def see(self, progress: Progress) -> None:
        """Note where the run stands."""
        self._stage(progress.stage).see(progress, self._backend.slots)

    def counts(self, stage: str) -> Counts:
        """Where the retries of a stage are counted."""
        return self._stage(stage).counts

    def add(self, receipt: Receipt) -> None:
        """Note what a chunk took."""
        self._chunks.add(receipt)

    def values(self, state: str) -> dict[str, Any]:
        """All figures, as JSON holds them."""
        stages = {name: stage.values() for name, stage in self._stages.items() if stage.last}
        if "fusion" in stages:
            stages["fusion"] |= self._chunks.values(stages["fusion"]["seconds"])
        return {
            "started": self._started.isoformat(timespec="seconds"),
            "state": state,
            "seconds": round(time.monotonic() - self._began, 3),
            "host": socket.gethostname(),
            "stages": stages,
            "workers_lost": self._backend.workers_lost - self._lost_before,
            "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        }

    def save(self, folder: Path, state: str) -> None:
        """Add this run to the folder's list; a task never fails for its figures."""
        path = folder / PERFORMANCE
        try:
            write_json(path, [*read_performance(folder), self.values(state)])
        except (OutputError, OSError) as error:
            log.warning("%s: cannot be written: %s", path, error)

    def _stage(self, name: str) -> _Stage:
        return self._stages.setdefault(name, _Stage())


def read_performance(folder: Path) -> list[dict[str, Any]]:
    """Figures of all runs of a task folder, oldest first; empty where there are none."""
    try:
        found = json.loads((folder / PERFORMANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


@dataclass
class _Chunks:
    """Sums over the chunks of a run."""

    voxels: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    read_s: float = 0.0
    write_s: float = 0.0
    seconds: float = 0.0
    peak_bytes: int = 0
    hosts: Counter[str] = field(default_factory=Counter)

    def add(self, receipt: Receipt) -> None:
        self.voxels += receipt.voxels
        self.bytes_read += receipt.bytes_read
        self.bytes_written += receipt.bytes_written
        self.read_s += receipt.read_s
        self.write_s += receipt.write_s
        self.seconds += receipt.seconds
        self.peak_bytes = max(self.peak_bytes, receipt.peak_bytes)
        self.hosts[receipt.host] += 1

    def values(self, wall_s: float) -> dict[str, Any]:
        """Sums, rates over `wall_s`, and what the workers spent their time on."""
        spent = max(self.seconds, 1e-9)
        return {
            "voxels": self.voxels,
            "mvoxel_per_s": round(self.voxels / max(wall_s, 1e-9) / 1e6, 3),
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "worker_seconds": round(self.seconds, 3),
            "time_shares": {
                "read": round(self.read_s / spent, 4),
                "compute": round((self.seconds - self.read_s - self.write_s) / spent, 4),
                "write": round(self.write_s / spent, 4),
            },
            "peak_memory_bytes": self.peak_bytes,
            "chunks_by_host": dict(self.hosts),
        }
