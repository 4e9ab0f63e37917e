"""The benchmark scripts run, on tiny data; `make bench` runs the real sizes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import fusion
import scale
import submission

from luxdask.cluster import connect


def test_fusion_measures_one_run(tmp_path: Path) -> None:
    fusion.write_experiment(tmp_path / "experiment", (8, 40, 40))
    row = fusion.run_luxdask(tmp_path / "experiment", run_s=1e-9)
    assert row["shape"] == [8, 74, 74]
    assert row["mvoxel_per_s"] > 0
    assert row["peak_rss_bytes"] > 1e7
    json.dumps(row)


def test_larger_output_repeats_the_tiles(tmp_path: Path) -> None:
    fusion.write_experiment(tmp_path / "experiment", (8, 40, 40), times=2)
    row = fusion.run_luxdask(tmp_path / "experiment", run_s=1e-9)
    assert row["shape"] == [16, 142, 142]


def test_scale_counts_tiles_and_chunks() -> None:
    row = scale.measure(scale.Case(9, (256, 1024, 1024), angle_deg=5.0))
    assert row["tiles"] == 9
    assert 0 < row["chunks_covered"] <= row["chunks"]
    assert row["compile_s"] < 5


def test_many_tiny_tasks_take_no_memory() -> None:
    """A short version: the bounds are wide, since the first thousands still warm things up."""
    with submission.local_cluster() as (address, scheduler), connect(address) as backend:
        memory = submission.watch_memory(backend, scheduler, 3_000, samples=10)
        speed = submission.compare(backend, scheduler, piece=200, turns=1)
    assert [row.done for row in memory] == list(range(300, 3_001, 300))
    assert submission.growth(memory, "client", warm=0.4) < 0.3
    assert submission.growth(memory, "scheduler", warm=0.4) < 0.3
    assert speed.tasks == 200
    assert speed.cpu_ratio > 0.3
