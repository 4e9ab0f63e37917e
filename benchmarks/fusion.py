"""luxdask beside multiview-stitcher: 2 × 2 tiles from disk to disk, on two cores, in one run.

Run ``python benchmarks/fusion.py`` (``make bench`` does); it prints a table and writes
``benchmarks/out/fusion.json``. Both sides fuse the same four tiles of 128 × 512 × 512 uint16 with
15 % overlap and blending, each in a process of its own; luxdask also writes its pyramid. The two
take turns, each fusing for several seconds, and the median counts for each, since times drift.
Imports and the first use of compiled code are not counted on either side: each process warms up on
tiny tiles first.

The last part fuses an output eight times larger, to show that the peak memory stays.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import peer_fusion as peer

OUT = Path(__file__).parent / "out" / "fusion.json"
ROUNDS = 3
RUN_S = 4.0
SETTINGS = {
    "fusion.blending": True,
    "fusion.fuse_different_cams": True,
    "output.formats": ["lux"],
    "output.sampling.isotropic": False,
}


def write_experiment(folder: Path, tile: peer.Shape = peer.TILE, times: int = 1) -> None:
    """The peer's four tiles as an experiment; `times` repeats them along each axis."""
    from luxdask.testing import DemoSpec, write_experiment

    end = np.add(peer.tile_starts(tile)[-1], tile)
    uncut = np.zeros(end, dtype=np.uint16)
    for start, voxels in peer.make_tiles(tile):
        uncut[tuple(slice(a, a + n) for a, n in zip(start, tile, strict=True))] = voxels
    overlap = int(2 * tile[1] - end[1])
    grid = (2 * times, 2 * times)
    size = [n * times - (overlap * (times - 1) if a else 0) for a, n in enumerate(end)]
    index = [np.arange(n) % m for n, m in zip(size, end, strict=True)]
    volume = uncut[np.ix_(*index)]
    write_experiment(folder, volume, DemoSpec(peer.SPACING_UM, grid, overlap))


def run_luxdask(folder: Path, rotated: bool = False, run_s: float = RUN_S) -> dict[str, Any]:
    """Fuse an experiment in a process of its own; seconds from opening to the last byte."""
    command = [sys.executable, __file__, "--fuse", str(folder), "--seconds", str(run_s)]
    command += ["--rotated"] if rotated else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"luxdask failed:\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _fuse(folder: Path, rotated: bool, run_s: float) -> dict[str, Any]:
    """Runs of `run_s` seconds altogether, in this process; the median one counts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: peer.CORES])
    _warm_up()
    peer.forget_peak()
    runs: list[tuple[float, float]] = []
    while sum(wall for wall, _ in runs) < run_s:
        begin, cpu = time.perf_counter(), time.process_time()
        shape = _run_once(folder, rotated)
        runs.append((time.perf_counter() - begin, time.process_time() - cpu))
    seconds, cpu = sorted(runs)[len(runs) // 2]
    return {
        "case": "luxdask",
        "transform": f"rotated {peer.ANGLE_DEG:g} degrees about z" if rotated else "translation",
        "shape": shape,
        "cores": peer.CORES,
        "runs": len(runs),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "mvoxel_per_s": round(float(np.prod(shape)) / seconds / 1e6, 3),
        "peak_rss_bytes": peer.peak_memory(),
    }


def _run_once(folder: Path, rotated: bool) -> tuple[int, ...]:
    """From opening the experiment to the last byte of the image; the shape of the output."""
    import luxdask
    from luxdask.model.geometry import Affine
    from luxdask.tasks import Task

    with tempfile.TemporaryDirectory(dir=folder.parent) as target:
        experiment = luxdask.open_experiment(folder)
        if rotated:
            turn = Affine.from_array(peer.rotation_about_z()[:3])
            experiment = experiment.with_views(
                [replace(v, view_to_world=turn @ v.view_to_world) for v in experiment.views]
            )
        task = Task.new(experiment, values={**SETTINGS, "output.folder": target})
        task.run(experiment, luxdask.connect("threads", threads_per_worker=peer.CORES))
        return task.compile(experiment).outputs[0].output.grid.shape


def _warm_up() -> None:
    """Load (the first time on a machine: compile) all that a run needs."""
    import luxdask
    from luxdask.tasks import Task
    from luxdask.testing import small_experiment

    with tempfile.TemporaryDirectory() as folder:
        small_experiment(folder + "/x", shape=(8, 40, 60))
        experiment = luxdask.open_experiment(folder + "/x")
        Task.new(experiment, values=SETTINGS).run(experiment)


def compare(folder: Path, rotated: bool, rounds: int) -> dict[str, Any]:
    """Median of a few rounds for both sides, taking turns."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run_luxdask(folder / "experiment", rotated))
        if find_spec("multiview_stitcher"):
            theirs.append(peer.run_multiview_stitcher(folder / "peer", rotated))
    row = {"luxdask": _median(ours)}
    if theirs:
        row["multiview-stitcher"] = _median(theirs)
        rates = [float(row[k]["mvoxel_per_s"]) for k in ("luxdask", "multiview-stitcher")]
        row["ratio"] = round(rates[0] / rates[1], 1)  # type: ignore[assignment]
    return row


def _median(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(rows, key=lambda r: float(r["mvoxel_per_s"]))[len(rows) // 2]


def measure_memory(folder: Path, tile: peer.Shape) -> dict[str, Any]:
    """Peak memory of an output and of one eight times larger, in chunks of one size."""
    found = {}
    for name, times in (("once", 1), ("eight_times", 2)):
        write_experiment(folder / name, tile, times)
        found[name] = run_luxdask(folder / name, run_s=1e-9)
    peaks = [found[n]["peak_rss_bytes"] for n in ("once", "eight_times")]
    return {**found, "growth": round(peaks[1] / peaks[0], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tile", type=int, nargs=3, default=peer.TILE, metavar=("Z", "Y", "X"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--fuse", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=RUN_S, help=argparse.SUPPRESS)
    parser.add_argument("--rotated", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fuse:
        print(json.dumps(_fuse(given.fuse, given.rotated, given.seconds)))
        return
    tile = tuple(given.tile)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_experiment(folder / "experiment", tile)
        peer.write_zarr_tiles(folder / "peer", tile)
        rows = {
            name: compare(folder, rotated, given.rounds)
            for name, rotated in (("translation", False), ("rotated", True))
        }
        rows["memory"] = measure_memory(folder / "memory", tile)
    _print(rows)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")


def _print(rows: dict[str, Any]) -> None:
    print(f"{'':24}{'Mvoxel/s':>10}{'seconds':>10}{'CPU s':>8}{'peak MB':>9}")
    for case in ("translation", "rotated"):
        for side in ("luxdask", "multiview-stitcher"):
            if side in rows[case]:
                _print_row(f"{case} {side}"[:24], rows[case][side])
        if "ratio" in rows[case]:
            print(f"{case}: {rows[case]['ratio']} times faster")
    for name in ("once", "eight_times"):
        _print_row(f"memory, output {name}"[:24], rows["memory"][name])
    print(f"peak memory of the larger output: {rows['memory']['growth']} times")


def _print_row(name: str, row: dict[str, Any]) -> None:
    print(
        f"{name:24}{row['mvoxel_per_s']:>10.1f}{row['seconds']:>10.2f}{row['cpu_seconds']:>8.2f}"
        f"{row['peak_rss_bytes'] / 1e6:>9.0f}"
    )


if __name__ == "__main__":
    main()
