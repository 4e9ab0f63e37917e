"""Multi-view deconvolution of 2 × 2 tiles from disk to disk: luxdask beside multiview-stitcher.

Run ``python benchmarks/peer_deconvolution.py`` where multiview-stitcher 0.1.62 is installed; it
prints a table and writes ``benchmarks/out/peer_deconvolution.json``. Both sides deconvolve the same
four tiles with 15 % overlap, blending and the same Gaussian (the peer's default: a standard
deviation of 1.5 voxels along each axis), 10 iterations, on two cores, in processes of their own
that take turns; imports and first compilations are not counted.

The peer's halo is half its point-spread function; luxdask computes as much around each chunk as
makes it equal to the whole.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import fusion
import peer_fusion as peer

OUT = Path(__file__).parent / "out" / "peer_deconvolution.json"
TILE: peer.Shape = (64, 192, 192)
SIGMA_VX = 1.5
ITERATIONS = 10
ROUNDS = 3
FWHM_VX = SIGMA_VX * 2 * sqrt(2 * log(2))
SETTINGS = {
    **fusion.SETTINGS,
    "fusion.deconvolution.enabled": True,
    "fusion.deconvolution.psf_lateral_um": FWHM_VX * peer.SPACING_UM[2],
    "fusion.deconvolution.psf_axial_um": FWHM_VX * peer.SPACING_UM[0],
    "fusion.deconvolution.iterations": ITERATIONS,
}


def _run(side: str, folder: Path) -> dict[str, Any]:
    """One side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side} failed:\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(side: str, folder: Path) -> dict[str, Any]:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: peer.CORES])
    run = {"luxdask": _luxdask, "multiview-stitcher": _peer}[side]
    with tempfile.TemporaryDirectory() as small:
        _write(Path(small), (16, 48, 48))
        run(Path(small))
    peer.forget_peak()
    begin, cpu = time.perf_counter(), time.process_time()
    shape = run(folder)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return {
        "side": side,
        "shape": shape,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "mvoxel_per_s": round(float(np.prod(shape)) / seconds / 1e6, 3),
        "peak_rss_bytes": peer.peak_memory(),
    }


def _write(folder: Path, tile: peer.Shape) -> None:
    fusion.write_experiment(folder / "experiment", tile)
    peer.write_zarr_tiles(folder / "peer", tile)


def _luxdask(folder: Path) -> tuple[int, ...]:
    import luxdask
    from luxdask.tasks import Task

    with tempfile.TemporaryDirectory(dir=folder) as target:
        experiment = luxdask.open_experiment(folder / "experiment")
        task = Task.new(experiment, values={**SETTINGS, "output.folder": target})
        task.run(experiment, luxdask.connect("threads", threads_per_worker=peer.CORES))
        return task.compile(experiment).outputs[0].output.grid.shape


def _peer(folder: Path) -> tuple[int, ...]:
    import dask
    from multiview_stitcher import fusion as peers_fusion
    from multiview_stitcher.fusion.mv_deconv import multi_view_deconvolution

    with dask.config.set(scheduler="threads", num_workers=peer.CORES):
        fused = peers_fusion.fuse(
            peer.open_tiles(folder / "peer", rotated=False),
            transform_key="world",
            fusion_func=multi_view_deconvolution,
            fusion_func_kwargs={"n_iterations": ITERATIONS},
            output_chunksize=dict.fromkeys("zyx", peer.CHUNK),
        )
        fused.data.to_zarr(folder / "fused.zarr", mode="w", compressors=None)
    return tuple(int(n) for n in fused.shape[-3:])


def _median(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(rows, key=lambda r: float(r["seconds"]))[len(rows) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tile", type=int, nargs=3, default=TILE, metavar=("Z", "Y", "X"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(_measure(given.side, given.folder)))
        return
    sides = ["luxdask", *["multiview-stitcher"][: int(bool(find_spec("multiview_stitcher")))]]
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), tuple(given.tile))
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for _ in range(given.rounds):
            for side in sides:
                runs[side].append(_run(side, Path(folder)))
    rows = {side: _median(found) for side, found in runs.items()}
    for side, row in rows.items():
        print(
            f"{side:20}{row['seconds']:>8.2f} s{row['cpu_seconds']:>8.2f} CPU s"
            f"{row['mvoxel_per_s']:>8.2f} Mvoxel/s{row['peak_rss_bytes'] / 1e6:>7.0f} MB"
        )
    if len(rows) == 2:
        wall, cpu = (
            rows["multiview-stitcher"][k] / rows["luxdask"][k] for k in ("seconds", "cpu_seconds")
        )
        print(f"{wall:.1f} times faster ({cpu:.1f} times by CPU seconds)")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"runs": runs, "median": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
