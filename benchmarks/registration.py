"""luxdask beside multiview-stitcher and elastix: tiles and rigid pairs, on two cores, in one run.

Run ``python benchmarks/registration.py``; it prints tables and writes
``benchmarks/out/registration.json``. For what is registered, and how the others are set, see
``peer_registration.py`` (2 × 2 tiles of 128 × 512 × 512, once at full resolution and once binned by
two) and ``elastix_pair.py`` (two views of 100 × 256 × 256). The same files' voxels and metadata go
to all. Each side runs in processes of its own and opens its inputs itself; imports and the first
use of compiled code are not counted, as each process warms up on tiny tiles first. luxdask is
measured before and after the others, since times drift, and the slower one counts.

The peer's full resolution takes minutes: ``--binnings 2`` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))
import elastix_pair
import peer_registration as peer

if TYPE_CHECKING:
    from luxdask.model.geometry import Affine
    from luxdask.model.view import ViewId
    from luxdask.testing import Truth

OUT = Path(__file__).parent / "out" / "registration.json"
SETTINGS = {"registration.tiles.enabled": True}
RUNS = 3


def register(folder: Path) -> dict[ViewId, Affine]:
    """From opening the experiment to the correction of every view."""
    import luxdask

    experiment = luxdask.open_experiment(folder)
    cluster = luxdask.connect("threads", threads_per_worker=peer.CORES)
    return dict(luxdask.register(experiment, SETTINGS, cluster=cluster).transforms)


def run_luxdask(folder: Path, truth: Truth) -> dict[str, Any]:
    """Register an experiment in a process of its own, and score the result."""
    command = [sys.executable, __file__, "--register", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"luxdask failed:\n{done.stderr[-4000:]}")
    row = dict(json.loads(done.stdout.splitlines()[-1]))
    found = dict(row.pop("transforms"))
    return row | peer.score(truth, {view.id: found[str(view.id)] for view in truth.views})


def _register(folder: Path) -> dict[str, Any]:
    """The measured part, in this process: the median of a few runs."""
    _warm_up()
    peer.forget_peak()
    runs = []
    for _ in range(RUNS):
        start, cpu = time.perf_counter(), time.process_time()
        transforms = register(folder)
        runs.append((time.perf_counter() - start, time.process_time() - cpu))
    seconds, cpu_seconds = sorted(runs)[RUNS // 2]
    return {
        "case": "luxdask",
        "cores": peer.CORES,
        "runs": RUNS,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "peak_rss_bytes": peer.peak_memory(),
        "transforms": [
            (str(identity), a.to_array().tolist()) for identity, a in transforms.items()
        ],
    }


def _warm_up() -> None:
    """Load (the first time on a machine: compile) all that a run needs."""
    from luxdask.testing import small_experiment

    with tempfile.TemporaryDirectory() as folder:
        small_experiment(folder + "/x", shape=(16, 80, 120), tiles=(2, 2))
        register(Path(folder, "x"))


def compare_tiles(folder: Path, tile: peer.Shape, binnings: list[int]) -> dict[str, Any]:
    """Both sides on the same tiles, and how many times faster and more accurate luxdask is."""
    truth = peer.write_tiles(folder, tile)
    ours = [run_luxdask(folder / "experiment", truth)]
    theirs = {}
    if find_spec("multiview_stitcher"):
        for binning in binnings:
            row = peer.run_multiview_stitcher(folder / "peer", truth, binning)
            theirs[f"multiview-stitcher, binning {binning}"] = row
        ours.append(run_luxdask(folder / "experiment", truth))
    slower = max(ours, key=lambda row: float(row["seconds"]))
    for row in theirs.values():
        row["times_faster"] = round(row["seconds"] / slower["seconds"], 1)
        row["times_more_accurate"] = round(row["rms_vx"] / slower["rms_vx"], 1)
    return {"luxdask": slower, **theirs}


def compare_pairs(folder: Path, shape: peer.Shape) -> dict[str, Any]:
    """Rigid pairs; elastix runs where it is installed."""
    found = {}
    for case in elastix_pair.CASES:
        truth = elastix_pair.make_pair(folder / case / "experiment", case, shape=shape)
        rows = {row["case"]: row for row in elastix_pair.compare(folder / case, truth)}
        if "elastix" in rows:
            ratio = rows["elastix"]["seconds"] / rows["luxdask"]["seconds"]
            rows["elastix"]["times_faster"] = round(ratio, 1)
        found[case] = rows
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tile", type=int, nargs=3, default=peer.TILE, metavar=("Z", "Y", "X"))
    parser.add_argument(
        "--pair", type=int, nargs=3, default=elastix_pair.SHAPE, metavar=("Z", "Y", "X")
    )
    parser.add_argument("--binnings", type=int, nargs="*", default=peer.BINNINGS)
    parser.add_argument("--register", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    peer.use_cores()
    if given.register:
        print(json.dumps(_register(given.register)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tiles = compare_tiles(folder / "tiles", tuple(given.tile), list(given.binnings))
        _print_tiles(tiles)
        pairs = compare_pairs(folder / "pairs", tuple(given.pair))
        _print_pairs(pairs)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"tiles": tiles, "pairs": pairs}, indent=2) + "\n")


def _print_tiles(rows: dict[str, Any]) -> None:
    print(f"{'2 x 2 tiles':32}{'seconds':>9}{'CPU s':>8}{'rms vx':>9}{'worst vx':>10}")
    for name, row in rows.items():
        print(
            f"{name:32}{row['seconds']:>9.2f}{row['cpu_seconds']:>8.2f}{row['rms_vx']:>9.3f}"
            f"{row['worst_vx']:>10.3f}{_ratios(row)}"
        )


def _print_pairs(cases: dict[str, Any]) -> None:
    print(f"{'rigid pairs':32}{'seconds':>9}{'CPU s':>8}{'degrees':>9}{'worst vx':>10}")
    for case, rows in cases.items():
        for name, row in rows.items():
            print(
                f"{f'{case}, {name}':32}{row['seconds']:>9.2f}{row['cpu_seconds']:>8.2f}"
                f"{row['angle_deg']:>9.4f}{row['worst_vx']:>10.3f}{_ratios(row)}"
            )


def _ratios(row: dict[str, Any]) -> str:
    faster, better = row.get("times_faster"), row.get("times_more_accurate")
    text = f"  luxdask {faster} times faster" if faster else ""
    return text + (f", {better} times more accurate" if better else "")


if __name__ == "__main__":
    main()
