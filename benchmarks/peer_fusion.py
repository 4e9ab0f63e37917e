"""How fast multiview-stitcher, the closest peer, fuses 2 × 2 tiles from disk to disk.

Run ``python benchmarks/peer_fusion.py`` where multiview-stitcher 0.1.62 is installed (`make bench`
does that); it prints one JSON line per case: Mvoxel/s of output and peak memory, on two cores.

The peer gets its best case as far as we found it: inputs backed by Zarr as its documentation
recommends, uncompressed 128³ chunks in and out, its default blending, two threads, and the lazy
road (`fuse`, then `to_zarr`), which was faster here than its streaming road (`output_zarr_url`),
than 256³ chunks, than dask-backed inputs, and than two processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Shape = tuple[int, int, int]

TILE: Shape = (128, 512, 512)
OVERLAP = 0.15
SPACING_UM = (2.0, 0.5, 0.5)
ANGLE_DEG = 10.0
CORES = 2
CHUNK = 128


def tile_starts(tile: Shape = TILE) -> list[Shape]:
    """First voxel (z, y, x) of each tile on the common grid."""
    step_y, step_x = (round(n * (1 - OVERLAP)) for n in tile[1:])
    return [(0, y * step_y, x * step_x) for y, x in product(range(2), range(2))]


def make_tiles(tile: Shape = TILE) -> Iterator[tuple[Shape, NDArray[np.uint16]]]:
    """(first voxel, voxels) of four uint16 tiles that agree where they overlap."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).random((tile[0], 128, 128), dtype=np.float32)
    smooth = gaussian_filter(noise, 2, mode="wrap")
    texture = 200 + 3000 * (smooth - smooth.min()) / np.ptp(smooth)
    for start in tile_starts(tile):
        y, x = (np.arange(a, a + n) % 128 for a, n in zip(start[1:], tile[1:], strict=True))
        yield start, texture.astype(np.uint16)[:, y[:, None], x]


def rotation_about_z(tile: Shape = TILE, angle_deg: float = ANGLE_DEG) -> NDArray[np.float64]:
    """4 × 4 transform in µm (z, y, x) that turns the four tiles about their common centre."""
    last = np.array(tile_starts(tile)[-1])
    centre = (last + tile - 1) / 2 * SPACING_UM
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[c, -s], [s, c]]
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    return matrix


def write_zarr_tiles(folder: Path, tile: Shape = TILE) -> None:
    """Write the four tiles as uncompressed Zarr arrays ``tile_0.zarr`` … into `folder`."""
    import zarr

    folder.mkdir(parents=True, exist_ok=True)
    chunks = tuple(min(CHUNK, n) for n in tile)
    for number, (_, voxels) in enumerate(make_tiles(tile)):
        zarr.create_array(
            folder / f"tile_{number}.zarr",
            data=voxels,
            chunks=chunks,
            compressors=None,
            overwrite=True,
        )


def run_multiview_stitcher(folder: Path, rotated: bool) -> dict[str, Any]:
    """Fuse the tiles of `write_zarr_tiles` in a process of its own and measure it.

    Returns ``mvoxel_per_s`` (output voxels, opening the inputs to the last chunk on disk; imports
    are not counted), ``seconds``, ``cpu_seconds`` (which a busy machine changes less),
    ``peak_rss_bytes``, ``shape`` and what was run.
    """
    command = [sys.executable, __file__, "--fuse", str(folder), *["--rotated"][: int(rotated)]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"multiview-stitcher failed:\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _fuse(folder: Path, rotated: bool) -> dict[str, Any]:
    """The measured part; runs alone in its process, on `CORES` cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    import zarr

    _warm_up(rotated)
    forget_peak()
    target = folder / f"fused_{'rotated' if rotated else 'translation'}.zarr"
    start, cpu_start = time.perf_counter(), time.process_time()
    shape = _fuse_to(target, folder, rotated)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    peak_bytes = peak_memory()
    if not rotated:
        _check(folder, zarr.open_array(target, mode="r")[0, 0])
    return {
        "case": "multiview-stitcher",
        "transform": f"rotated {ANGLE_DEG:g} degrees about z" if rotated else "translation",
        "shape": shape,
        "chunk": CHUNK,
        "cores": CORES,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "mvoxel_per_s": round(float(np.prod(shape)) / seconds / 1e6, 3),
        "peak_rss_bytes": peak_bytes,
    }


def _fuse_to(target: Path, folder: Path, rotated: bool) -> Shape:
    import dask
    from multiview_stitcher import fusion

    with dask.config.set(scheduler="threads", num_workers=CORES):
        tiles = open_tiles(folder, rotated)
        chunks = dict(zip("zyx", (CHUNK,) * 3, strict=True))
        fused = fusion.fuse(tiles, transform_key="world", output_chunksize=chunks)
        fused.data.to_zarr(target, mode="w", compressors=None)
    z, y, x = (int(n) for n in fused.shape[-3:])
    return z, y, x


def _warm_up(rotated: bool) -> None:
    """Load and compile what fusing needs, on tiny tiles."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_zarr_tiles(folder, (16, 80, 64))
        _fuse_to(folder / "fused.zarr", folder, rotated)


def open_tiles(folder: Path, rotated: bool) -> list[Any]:
    """The tiles of `write_zarr_tiles` as the peer takes them."""
    import zarr
    from multiview_stitcher import param_utils
    from multiview_stitcher import spatial_image_utils as si_utils

    arrays = [zarr.open_array(folder / f"tile_{n}.zarr", mode="r") for n in range(4)]
    shape: Shape = arrays[0].shape
    tiles = []
    for array, start in zip(arrays, tile_starts(shape), strict=True):
        tile = si_utils.get_sim_from_array(
            array,
            dims=["z", "y", "x"],
            scale=dict(zip("zyx", SPACING_UM, strict=True)),
            translation=dict(zip("zyx", np.multiply(start, SPACING_UM).tolist(), strict=True)),
            transform_key="world",
        )
        if rotated:
            turn = param_utils.affine_to_xaffine(rotation_about_z(shape))
            si_utils.set_sim_affine(tile, turn, transform_key="world")
        tiles.append(tile)
    return tiles


def _check(folder: Path, fused: NDArray[np.uint16]) -> None:
    """Untransformed tiles come out as they were; the speed of a wrong result would say nothing."""
    import zarr

    inner = tuple(slice(n // 4, 3 * n // 4) for n in fused.shape)
    expected = np.zeros_like(fused)
    arrays = [zarr.open_array(folder / f"tile_{n}.zarr", mode="r") for n in range(4)]
    for array, start in zip(arrays, tile_starts(arrays[0].shape), strict=True):
        box = tuple(slice(a, a + n) for a, n in zip(start, array.shape, strict=True))
        expected[box] = array[:]
    error = np.abs(fused[inner].astype(int) - expected[inner].astype(int)).max()
    if error > 1:
        raise RuntimeError(f"the fused image differs from the tiles by {error} grey values")


def peak_memory() -> int:
    """Largest resident memory of this process since `forget_peak`; the kernel keeps count of it."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    """Start counting anew: a new process inherits the peak of the one that started it."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where the tiles go (default: temporary)")
    parser.add_argument("--tile", type=int, nargs=3, default=TILE, metavar=("Z", "Y", "X"))
    parser.add_argument("--fuse", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rotated", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fuse:
        print(json.dumps(_fuse(given.fuse, given.rotated)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        write_zarr_tiles(folder, tuple(given.tile))
        for rotated in (False, True):
            print(json.dumps(run_multiview_stitcher(folder, rotated)), flush=True)


if __name__ == "__main__":
    main()
