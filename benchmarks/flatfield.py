"""Flatfield correction of 2 x 2 tiles whose corners get 35 % of the light, and what it costs.

Run ``python benchmarks/flatfield.py``; it prints a table, writes ``benchmarks/out/flatfield.json``
and draws ``docs/images/flatfield.png``. The truth is a real volume, which is cut into tiles without
the falloff and fused in the same way. The cost is that of reading a window, with and without the
correction, alternately.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile

from luxdask.cluster import connect
from luxdask.io import open_experiment
from luxdask.io.reader import reader_for
from luxdask.model.geometry import Box
from luxdask.tasks import Task
from luxdask.testing import DemoSpec, write_experiment
from luxdask.testing.phantoms import phantom

HERE = Path(__file__).parent
OUT = HERE / "out" / "flatfield.json"
DOCS = HERE.parent / "docs" / "images"
REAL = HERE.parents[1] / "shared" / "data" / "real" / "brain_signal.tif"
LOSS = 0.65
SPEC = DemoSpec(tiles=(2, 2), overlap=0.1)
REPEATS = 15


def truth_volume() -> np.ndarray:
    """Part of a real volume where there is one, else a phantom."""
    if REAL.exists():
        return np.ascontiguousarray(tifffile.imread(REAL)[:32, 200:760, 60:700])
    return phantom("band-limited", (32, 560, 640))


def even_light(shape: tuple[int, ...]) -> np.ndarray:
    """A correction image of two planes: nothing but the falloff."""
    y, x = (np.linspace(-1, 1, n) for n in shape[1:])
    plane = 20000 * (1 - LOSS * (y[:, None] ** 2 + x**2) / 2)
    return np.repeat(np.rint(plane).astype(np.uint16)[np.newaxis], 2, axis=0)


def fuse(folder: Path, **values: Any) -> tuple[Path, np.ndarray]:
    """Fuse an experiment; the task folder and the image."""
    given = {key.replace("__", "."): value for key, value in values.items()}
    task = Task.new(open_experiment(folder), values=given)
    with connect("threads", threads_per_worker=2) as cluster:
        result = task.run(cluster=cluster)
    with h5py.File(result.images[0]) as file:
        return result.folder, file["Data"][:]


def errors(image: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """How far the brighter half of the voxels is off, in percent of the truth."""
    bright = truth > np.median(truth)
    off = 100 * np.abs(image[bright].astype(float) - truth[bright]) / truth[bright]
    return {f"p{p}": round(float(np.percentile(off, p)), 3) for p in (50, 99, 99.9)}


def like(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The image at the brightness of the truth: only evenness counts."""
    return image * (np.median(truth[truth > 0]) / np.median(image[image > 0]))


def read_cost(folder: Path, **values: Any) -> dict[str, float]:
    """Milliseconds for reading a whole view, and how fast the pass of the correction is."""
    given = {key.replace("__", "."): value for key, value in values.items()}
    plan = Task.new(open_experiment(folder), values=given).compile(open_experiment(folder))
    view = plan.outputs[0].output.views[0]
    box, out = Box.of_shape(view.shape), np.empty(view.shape, dtype=np.uint16)
    sources = {"plain": replace(view.source, correction=None), "corrected": view.source}
    taken: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(REPEATS):
        for name, source in sources.items():
            began = time.perf_counter()
            reader_for(source).read_into(source, box, out)
            taken[name].append(time.perf_counter() - began)
    best = {name: 1000 * min(times) for name, times in taken.items()}
    added = best["corrected"] - best["plain"]
    gigabytes = 2 * out.nbytes / 1e9
    return {
        "Mvoxel": round(out.size / 1e6, 1),
        "plain_ms": round(best["plain"], 2),
        "corrected_ms": round(best["corrected"], 2),
        "pass_GB_per_s": round(gigabytes / (added / 1000), 2),
        "copy_GB_per_s": round(_copy_speed(out), 2),
    }


def _copy_speed(block: np.ndarray) -> float:
    """Speed of a plain copy, read and written bytes, for comparison."""
    other, best = np.empty_like(block), float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        np.copyto(other, block)
        best = min(best, time.perf_counter() - began)
    return 2 * block.nbytes / 1e9 / best


def draw(images: dict[str, np.ndarray]) -> None:
    """Maximum projections side by side, on one scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.3), facecolor="#0e1116")
    top = np.percentile(images["truth"].max(axis=0), 99.7)
    for n, (name, image) in enumerate(images.items()):
        axes = figure.add_subplot(1, len(images), n + 1)
        axes.imshow(image.max(axis=0), cmap="gray", vmin=0, vmax=top, interpolation="antialiased")
        axes.set_title(name, color="#e9edf2", fontsize=11)
        axes.set_axis_off()
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.92, 0.02)
    figure.savefig(DOCS / "flatfield.png", dpi=100, facecolor="#0e1116")


def main() -> None:
    """Make the images, compare, draw."""
    volume = truth_volume()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        write_experiment(place / "truth", volume, SPEC)
        dark = write_experiment(place / "dark", volume, replace(SPEC, flatfield=LOSS))
        shape = open_experiment(dark.folder).views[0].shape
        light = write_experiment(place / "light", even_light(shape), DemoSpec())
        flat = {"input__flatfield__enabled": True}
        separate = flat | {"input__flatfield__correction_images": [light.folder]}
        truth = fuse(place / "truth")[1]
        folder, corrected = fuse(place / "dark", **separate)
        shutil.copy(folder / "flatfield.png", DOCS / "flatfield_profile.png")
        images = {
            "truth": truth,
            "without correction": fuse(place / "dark")[1],
            "flatfield-corrected": corrected,
        }
        own = {
            f"by the sample itself, {method}": fuse(
                place / "dark", **flat, input__flatfield__method=method
            )[1]
            for method in ("mean", "robust")
        }
        result = {
            "error_percent": {
                name: errors(image, truth) for name, image in images.items() if name != "truth"
            }
            | {name: errors(like(image, truth), truth) for name, image in own.items()},
            "reading": read_cost(place / "dark", **separate),
        }
    draw(images)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=2), encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
