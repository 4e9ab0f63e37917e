"""What durable receipts cost: the same task with and without bringing voxels to the disk.

Run ``python benchmarks/receipts.py [FOLDER]``; FOLDER lies on the disk to be measured. Four tiles
are fused again and again, by turns as always, and with nothing brought to the disk before a receipt
is written; the median counts for each.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from math import prod
from pathlib import Path
from typing import Any

import luxdask
from luxdask.tasks import receipts
from luxdask.testing import small_experiment

ROUNDS = 5
SHAPE = (128, 980, 980)
VALUES = {
    "fusion.blending.enabled": True,
    "output.formats": ["lux"],
    "compute.chunk_vx": [64, 128, 256],
}


def seconds_of_run(task: Any, out: Path, *, durable: bool) -> float:
    """Time from the first chunk to the last byte, including the last receipts."""
    sync = receipts.sync_files
    if not durable:
        receipts.sync_files = lambda _: None  # type: ignore[assignment]
    os.sync()  # what the run before has left
    began = time.perf_counter()
    try:
        task.replace({"output.folder": str(out)}).run()
    finally:
        receipts.sync_files = sync  # type: ignore[assignment]
    return time.perf_counter() - began


def main(place: str | None = None) -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        truth = small_experiment(folder / "e", shape=SHAPE, tiles=(2, 2), overlap=44)
        task = luxdask.Task.new(luxdask.open_experiment(truth.folder), values=VALUES)
        times: dict[bool, list[float]] = {True: [], False: []}
        for number in range(ROUNDS + 1):
            for durable in (True, False) if number % 2 else (False, True):
                seconds = seconds_of_run(task, folder / f"{number}{durable}", durable=durable)
                if number:  # the first round compiles
                    times[durable].append(seconds)
        voxels = prod(SHAPE) / 1e6
        with_sync, without = (statistics.median(times[d]) for d in (True, False))
        print(f"voxels brought to the disk   {with_sync:.2f} s  {voxels / with_sync:.0f} Mvoxel/s")
        print(f"not brought to the disk      {without:.2f} s  {voxels / without:.0f} Mvoxel/s")
        print(f"cost                         {100 * (with_sync / without - 1):.1f} %")


if __name__ == "__main__":
    main(*sys.argv[1:2])
