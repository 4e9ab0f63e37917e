"""How long compiling a plan takes, for more and more tiles and output chunks.

Run ``python benchmarks/scale.py``; it prints the curve and writes ``benchmarks/out/scale.json``.
Every case runs in a process of its own, so that its peak memory is its own. No file is opened: the
views are made in memory, as compiling reads no voxel.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).parent / "out" / "scale.json"
TILE = (256, 2048, 2048)
CHUNK = (64, 192, 192)
OVERLAP = 0.1


@dataclass(frozen=True)
class Case:
    """A grid of tiles, and the super-chunk that divides their union."""

    tiles: int
    chunk: tuple[int, int, int]
    angle_deg: float = 0.0


CASES = (
    Case(100, CHUNK),
    Case(1_000, CHUNK),
    Case(10_000, (256, 512, 512)),
    Case(10_000, (128, 384, 384)),
    Case(10_000, (128, 256, 256)),
    Case(10_000, CHUNK),
    Case(10_000, CHUNK, angle_deg=10.0),
)


def make_experiment(case: Case) -> Any:
    """Overlapping tiles on a square, turned about z by the case's angle."""
    from luxdask.model.experiment import Experiment
    from luxdask.model.geometry import Affine
    from luxdask.model.view import Source, View, ViewId

    side = round(case.tiles**0.5)
    spacing = np.array((2.0, 0.65, 0.65))
    c, s = np.cos(np.deg2rad(case.angle_deg)), np.sin(np.deg2rad(case.angle_deg))
    turn = Affine.from_array([[1, 0, 0], [0, c, -s], [0, s, c]])
    step = np.round(np.array(TILE) * (1 - OVERLAP))
    views = []
    for y in range(side):
        for x in range(side):
            start = np.array((0, y, x)) * step
            to_world = turn @ Affine.scale(spacing, start * spacing)
            name = ViewId(0, "0", f"0-x{x:03d}-y{y:03d}", "left", "left")
            source = Source(f"/none/{y}-{x}.lux.h5")
            views.append(View(name, source, TILE, tuple(spacing), to_world))
    return Experiment("/none", "/none", "experiment", tuple(views))


def measure(case: Case) -> dict[str, Any]:
    """Compile a plan, then make all its tasks one by one as a run does; seconds and bytes."""
    from luxdask.graph.tasks import TaskStream
    from luxdask.tasks import Task

    experiment = make_experiment(case)
    settings = {"fusion.blending": True, "compute.chunk_vx": list(case.chunk)}
    task = Task.new(experiment).replace(
        {**settings, "compute.memory_limit": "1 TB", "output.sampling.isotropic": False}
    )
    before, start = _peak_bytes(), time.perf_counter()
    plan = task.compile(experiment)
    compiled, peak = time.perf_counter() - start, _peak_bytes()
    start = time.perf_counter()
    array = plan.outputs[0].array
    lazy = time.perf_counter() - start
    start = time.perf_counter()
    stream = TaskStream(plan.outputs, lambda _: ())
    sent = sum(1 for _ in zip(stream, range(20_000), strict=False))
    per_task = (time.perf_counter() - start) / sent
    return {
        "tiles": len(experiment.views),
        "angle_deg": case.angle_deg,
        "chunks": len(plan.outputs[0].chunks),
        "chunks_covered": len(plan.outputs[0].table.covered),
        "compile_s": round(compiled, 2),
        "lazy_array_s": round(lazy, 2),
        "dask_keys": int(np.prod(array.data.numblocks)),
        "ms_per_task": round(per_task * 1e3, 3),
        "plan_mb": round((peak - before) / 1e6),
        "peak_mb": round(_peak_bytes() / 1e6),
    }


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run_case(number: int) -> dict[str, Any]:
    """Measure a case in a fresh process."""
    command = [sys.executable, __file__, "--case", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int, help="measure one case only, in this process")
    given = parser.parse_args()
    if given.case is not None:
        print(json.dumps(measure(CASES[given.case])))
        return
    rows = [run_case(n) for n in range(len(CASES))]
    print(
        f"{'tiles':>7} {'chunks':>9} {'angle':>6} {'compile s':>10} {'ms/task':>8} {'peak MB':>8}"
    )
    for r in rows:
        print(
            f"{r['tiles']:>7} {r['chunks']:>9} {r['angle_deg']:>6} {r['compile_s']:>10} "
            f"{r['ms_per_task']:>8} {r['peak_mb']:>8}"
        )
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
