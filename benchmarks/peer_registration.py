"""How well and how fast multiview-stitcher, the closest peer, registers 2 × 2 tiles from disk.

Run ``python benchmarks/peer_registration.py`` where multiview-stitcher 0.1.62 is installed; it
prints one JSON line per case: seconds, and root mean square and worst error of the tiles' positions
in voxels, on two cores.

Four tiles of 128 × 512 × 512 uint16 with 15 % overlap are cut from one made-up sample at places
between voxels, with photon noise of their own and errors of up to 15 µm per axis in what their
metadata says. The peer reads them from Zarr as its documentation recommends (uncompressed 128³
chunks), measures pairs by its phase correlation, resolves them by its global optimisation, and
otherwise has its defaults: once at full resolution, once binned by two along each axis.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from peer_fusion import CHUNK, CORES, OVERLAP, TILE, Shape, forget_peak, peak_memory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from luxdask.testing import Truth

SPACING_UM = (2.0, 1.0, 1.0)
STAGE_ERROR_UM = 15.0
LIGHT = 0.1  # of the phantom's: some hundred photons per voxel in a nucleus
BINNINGS = (1, 2)
SEED = 1


def volume_shape(tile: Shape = TILE) -> Shape:
    """Voxels that two tiles along y and x cover."""
    z, *lateral = tile
    y, x = (2 * n - _overlap(tile) for n in lateral)
    return z, y, x


def _overlap(tile: Shape) -> int:
    return round(OVERLAP * max(tile[1:]))


def write_tiles(folder: Path, tile: Shape = TILE) -> Truth:
    """The tiles as an experiment in ``folder/experiment`` and as Zarr arrays in ``folder/peer``."""
    from luxdask.testing import DemoSpec, write_experiment
    from luxdask.testing.phantoms import nuclei

    bright = nuclei(volume_shape(tile), seed=SEED, spacing_um=SPACING_UM)
    volume = np.rint(bright * LIGHT).astype(np.uint16)
    spec = DemoSpec(
        SPACING_UM,
        (2, 2),
        _overlap(tile),
        stage_error_um=STAGE_ERROR_UM * min(1.0, tile[1] / TILE[1]),
        sub_voxel=True,
        noise=True,
        seed=SEED,
    )
    truth = write_experiment(folder / "experiment", volume, spec)
    _write_zarr(folder / "peer", truth)
    return truth


def _write_zarr(folder: Path, truth: Truth) -> None:
    """``tile_0.zarr`` …, and where their metadata puts the first voxel, in ``tiles.json``."""
    import zarr

    from luxdask.io.lux_reader import read_box
    from luxdask.model.geometry import Box

    folder.mkdir(parents=True, exist_ok=True)
    for number, view in enumerate(truth.views):
        zarr.create_array(
            folder / f"tile_{number}.zarr",
            data=read_box(str(truth.path(view)), "Data", Box.of_shape(view.shape)),
            chunks=tuple(min(CHUNK, n) for n in view.shape),
            compressors=None,
            overwrite=True,
        )
    origins = [view.view_to_world.offset for view in truth.views]
    (folder / "tiles.json").write_text(json.dumps(origins))


def run_multiview_stitcher(folder: Path, truth: Truth, binning: int) -> dict[str, Any]:
    """Register the tiles of `write_tiles` in a process of its own, and score the result.

    Returns ``seconds`` (opening the inputs to the last transform; imports are not counted),
    ``cpu_seconds``, ``peak_rss_bytes``, ``rms_vx`` and ``worst_vx`` of the tiles' positions.
    """
    command = [sys.executable, __file__, "--register", str(folder), "--binning", str(binning)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"multiview-stitcher failed:\n{done.stderr[-4000:]}")
    row = dict(json.loads(done.stdout.splitlines()[-1]))
    found = row.pop("transforms")
    return row | score(truth, {v.id: m for v, m in zip(truth.views, found, strict=True)})


def score(truth: Truth, transforms: Mapping[Any, Sequence[Sequence[float]]]) -> dict[str, float]:
    """Errors of the tiles' positions, from corrections of sample space as 3 × 4 matrices."""
    from luxdask.model.geometry import Affine
    from luxdask.testing.alignment import position_errors, rms_error_vx, worst_error_vx

    found = {identity: Affine.from_array(matrix) for identity, matrix in transforms.items()}
    errors = position_errors(truth, found)
    return {
        "rms_vx": round(rms_error_vx(errors), 4),
        "worst_vx": round(worst_error_vx(errors), 4),
    }


def _register(folder: Path, binning: int) -> dict[str, Any]:
    """The measured part; runs alone in its process, on `CORES` cores."""
    use_cores()
    _warm_up(binning)
    forget_peak()
    start, cpu_start = time.perf_counter(), time.process_time()
    transforms = _transforms(folder, binning)
    return {
        "case": "multiview-stitcher",
        "binning": binning,
        "cores": CORES,
        "seconds": round(time.perf_counter() - start, 3),
        "cpu_seconds": round(time.process_time() - cpu_start, 3),
        "peak_rss_bytes": peak_memory(),
        "transforms": [matrix[:3].tolist() for matrix in transforms],
    }


def use_cores() -> None:
    """Keep this process and its children to `CORES` cores, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def _transforms(folder: Path, binning: int) -> list[NDArray[np.float64]]:
    """4 × 4 correction of each tile in µm (z, y, x)."""
    import dask
    from multiview_stitcher import msi_utils, registration

    with dask.config.set(scheduler="threads", num_workers=CORES):
        tiles = [msi_utils.get_msim_from_sim(sim, scale_factors=[]) for sim in _open(folder)]
        registration.register(
            tiles,
            transform_key="world",
            new_transform_key="registered",
            reg_channel_index=0,
            registration_binning=dict.fromkeys("zyx", binning),
        )
        found = [msi_utils.get_transform_from_msim(tile, "registered") for tile in tiles]
    return [np.asarray(matrix).reshape(-1, 4, 4)[0] for matrix in found]


def _open(folder: Path) -> list[Any]:
    import zarr
    from multiview_stitcher import spatial_image_utils as si_utils

    origins = json.loads((folder / "tiles.json").read_text())
    return [
        si_utils.get_sim_from_array(
            zarr.open_array(folder / f"tile_{number}.zarr", mode="r"),
            dims=["z", "y", "x"],
            scale=dict(zip("zyx", SPACING_UM, strict=True)),
            translation=dict(zip("zyx", origin, strict=True)),
            transform_key="world",
        )
        for number, origin in enumerate(origins)
    ]


def _warm_up(binning: int) -> None:
    """Load and compile what registering needs, on tiny tiles."""
    with tempfile.TemporaryDirectory() as temporary:
        write_tiles(Path(temporary), (16, 80, 80))
        _transforms(Path(temporary, "peer"), binning)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tile", type=int, nargs=3, default=TILE, metavar=("Z", "Y", "X"))
    parser.add_argument("--binnings", type=int, nargs="+", default=BINNINGS)
    parser.add_argument("--register", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--binning", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.register:
        print(json.dumps(_register(given.register, given.binning)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        truth = write_tiles(Path(temporary), tuple(given.tile))
        print(json.dumps({"case": "metadata", **score(truth, _nothing(truth))}), flush=True)
        for binning in given.binnings:
            row = run_multiview_stitcher(Path(temporary, "peer"), truth, binning)
            print(json.dumps(row), flush=True)


def _nothing(truth: Truth) -> dict[Any, Sequence[Sequence[float]]]:
    return {view.id: np.eye(3, 4).tolist() for view in truth.views}


if __name__ == "__main__":
    main()
