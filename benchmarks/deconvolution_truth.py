"""Deconvolution of views with a known truth: how close it comes, with which options.

Run ``python benchmarks/deconvolution_truth.py``; it prints tables, writes
``benchmarks/out/deconvolution_truth.json`` and draws ``docs/images/deconvolution_truth.png``. A
phantom of nuclei and real volumes are blurred by four views whose long axes (sigma 4, across 1.2
voxels) point in four directions, and get Poisson noise. What counts is the correlation with the
truth blurred to half the views' narrow width, away from the border: no method can show more.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from luxdask.deconv.blur import gaussian_blur
from luxdask.deconv.richardson_lucy import View, richardson_lucy
from luxdask.testing.phantoms import nuclei

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
OUT = HERE / "out" / "deconvolution_truth.json"
PICTURE = HERE.parent / "docs" / "images" / "deconvolution_truth.png"
REAL = HERE.parents[1] / "shared" / "data" / "real"
SIGMAS = (4.0, 1.2, 1.2)
ANGLES = (0, 90, 45, 135)
BRIGHTEST = 300.0
GROUND = 2.0
EDGE = 14
Image = Any


def truths() -> dict[str, Image]:
    """Volumes from `GROUND` to `BRIGHTEST` photons."""
    rng = np.random.default_rng(0)
    points = np.zeros((72, 96, 96), dtype=np.float32)
    points[tuple(rng.integers(0, n, 400) for n in points.shape)] = 1
    found = {"nuclei phantom": nuclei((72, 96, 96), seed=1), "spots": gaussian_filter(points, 0.7)}
    for name in ("tribolium_lightsheet", "cells3d_nuclei"):
        if (REAL / f"{name}.tif").exists():
            volume = tifffile.imread(REAL / f"{name}.tif").astype(np.float32)
            z, y, x = (
                max(0, (n - m) // 2) for n, m in zip(volume.shape, (72, 96, 96), strict=True)
            )
            found[name] = volume[z : z + 72, y : y + 96, x : x + 96]
    return {name: _photons(volume) for name, volume in found.items()}


def _photons(volume: Image) -> Image:
    low, high = np.percentile(volume, (1, 99.9))
    scaled = np.clip((volume.astype(np.float32) - low) / (high - low), 0, 1)
    return (GROUND + (BRIGHTEST - GROUND) * scaled).astype(np.float32)


def make_views(truth: Image) -> list[View]:
    """Four views about the y axis, each with noise of its own."""
    views = []
    for n, angle in enumerate(ANGLES):
        turn = Rotation.from_euler("zyx", (0, angle, 0), degrees=True).as_matrix()
        blur = gaussian_blur(turn @ np.diag(np.square(SIGMAS)) @ turn.T)
        image = np.empty_like(truth)
        blur.forward(truth, image)
        views.append(View(np.random.default_rng(n).poisson(image).astype(np.float32), None, blur))
    return views


def score(image: Image, truth: Image) -> float:
    inner = (slice(EDGE, -EDGE),) * 3
    aim = gaussian_filter(truth, SIGMAS[1] / 2)
    return float(np.corrcoef(image[inner].ravel(), aim[inner].ravel())[0, 1])


def rows_of(views: Sequence[View], truth: Image) -> dict[str, float]:
    """Every figure of the tables for one volume."""

    def found(n_views: int, iterations: int = 10, **options: Any) -> float:
        result = richardson_lucy(views[:n_views], iterations=iterations, threads=2, **options)
        return score(result, truth)

    average = np.mean([view.image for view in views], axis=0)
    rows = {
        "best view": max(score(view.image, truth) for view in views),
        "average of 2": score(np.mean([v.image for v in views[:2]], axis=0), truth),
        "average of 4": score(average, truth),
        "best single, 10": max(score(richardson_lucy([view], threads=2), truth) for view in views),
    }
    for n_views in (1, 2, 4):
        for iterations in (2, 5, 10, 20, 40):
            rows[f"{n_views}, {iterations}"] = found(n_views, iterations)
    for n in (3, 5, 10):
        rows[f"4 ordered subsets, {n}"] = found(4, n, order="ordered_subsets")
        rows[f"4 accelerated, {n}"] = found(4, n, acceleration=True)
        rows[f"1 accelerated, {n}"] = found(1, n, acceleration=True)
    for n in (1, 2, 3, 5):
        for n_views in (1, 4):
            name = f"{n_views} Wiener-Butterworth, {n}"
            rows[name] = found(n_views, n, back_projector="wiener_butterworth")
    for strength in (0.001, 0.003, 0.01, 0.03):
        for n_views, n in ((1, 10), (4, 10), (1, 40)):
            rows[f"{n_views} total variation {strength}, {n}"] = found(
                n_views, n, regularisation=strength
            )
    return rows


def draw(truth: Image, views: Sequence[View]) -> None:
    """One plane across the views' long axes: truth, views, average, results."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    average = np.mean([view.image for view in views], axis=0)
    panels = [("truth", truth), ("view at 0°", views[0].image), ("view at 90°", views[1].image)]
    panels += [("average of 4 views", average), ("1 view", richardson_lucy(views[:1]))]
    panels += [(f"{n} views", richardson_lucy(views[:n])) for n in (2, 4)]
    panels.append(("4 views, ordered subsets", richardson_lucy(views, order="ordered_subsets")))
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    detailed = EDGE + int(truth[EDGE:-EDGE, EDGE:-EDGE, EDGE:-EDGE].std(axis=(0, 2)).argmax())
    for axes, (name, image) in zip(figure.subplots(2, 4).flat, panels, strict=True):
        plane = image[EDGE:-EDGE, detailed, EDGE:-EDGE]
        axes.imshow(plane, cmap="gray", vmin=0, vmax=np.percentile(plane, 99.8))
        text = name if image is truth else f"{name}: {score(image, truth):.3f}"
        axes.set_title(text, fontsize=10)
        axes.axis("off")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="one of the volumes")
    chosen = parser.parse_args().only
    table: dict[str, dict[str, float]] = {}
    volumes = {k: v for k, v in truths().items() if chosen in (None, k)}
    for name, truth in volumes.items():
        views = make_views(truth)
        table[name] = rows_of(views, truth)
        print(name, table[name], flush=True)
        if name == "tribolium_lightsheet" or len(volumes) == 1:
            draw(truth, views)
    print("|".join(["", *table, ""]))
    for row in next(iter(table.values())):
        print("|".join([row, *(f"{table[name][row]:.3f}" for name in table), ""]))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
