"""Richardson-Lucy beside scikit-image and RedLionfish's CPU path, in one run.

Run ``python benchmarks/deconvolution.py``; it prints a table and writes
``benchmarks/out/deconvolution.json``. Ten iterations on noise of 256³ float32, with Gaussians of
sigma (4, 1.5, 1.5) voxels along the axes, turned about y and turned about all axes. The others get
the Gaussian as the array that luxdask applies. Everything from the image to the result counts;
compiled code and imports are warmed up on a tiny image. luxdask uses two threads, the others what
they use: one. Where other programs share the cores, CPU seconds tell more than seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from luxdask.deconv.blur import Blur, gaussian_blur, sampled_blur
from luxdask.deconv.richardson_lucy import View, richardson_lucy

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

OUT = Path(__file__).parent / "out" / "deconvolution.json"
SIGMAS = (4.0, 1.5, 1.5)
CASES = {"along the axes": (0, 0, 0), "turned about y": (0, 35, 0), "oblique": (20, 35, 50)}
ITERATIONS = 10
Image = Any


def covariance(angles: tuple[float, float, float]) -> NDArray[np.float64]:
    turn = Rotation.from_euler("zyx", angles, degrees=True).as_matrix()
    return np.asarray(turn @ np.diag(np.square(SIGMAS)) @ turn.T)


def luxdask(image: Image, blurs: list[Blur], **options: Any) -> Image:
    share = None if len(blurs) == 1 else np.full_like(image, 1 / len(blurs))
    views = [View(image, share, blur) for blur in blurs]
    return richardson_lucy(views, **{"iterations": ITERATIONS, "threads": 2, **options})


def skimage(image: Image, blur: Blur) -> Image:
    from skimage.restoration import richardson_lucy as peer

    return peer(image, blur.kernel().astype(np.float32), num_iter=ITERATIONS, clip=False)


def redlionfish(image: Image, blur: Blur) -> Image:
    from RedLionfishDeconv.RLDeconv3DScipy import doRLDeconvolution

    return doRLDeconvolution(image, blur.kernel().astype(np.float32), niter=ITERATIONS)


def timed(call: Callable[[], Image]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def best(call: Callable[[], Image], runs: int) -> dict[str, float]:
    rows = [timed(call) for _ in range(runs)]
    return {key: min(row[key] for row in rows) for key in rows[0]}


def beside_peers(image: Image, runs: int) -> list[dict[str, Any]]:
    """luxdask before and after each peer; the slower of both counts."""
    rows = []
    for name, angles in CASES.items():
        blur = gaussian_blur(covariance(angles))
        ours = [best(lambda blur=blur: luxdask(image, [blur]), runs)]
        row: dict[str, Any] = {"case": name}
        for peer in (skimage, redlionfish):
            row[peer.__name__] = timed(lambda blur=blur, peer=peer: peer(image, blur))
            ours.append(best(lambda blur=blur: luxdask(image, [blur]), runs))
        row["luxdask"] = {key: max(o[key] for o in ours[1:]) for key in ours[0]}
        rows.append(row)
        print(name, *(_text(row, key) for key in ("luxdask", "skimage", "redlionfish")), sep=" | ")
    return rows


def _text(row: dict[str, Any], key: str) -> str:
    ratio = " ".join(f"{row[key][k] / row['luxdask'][k]:.1f}x" for k in ("s", "cpu_s"))
    return f"{key} {row[key]['s']:.2f} s, {row[key]['cpu_s']:.2f} CPU s ({ratio})"


def own(image: Image, runs: int) -> list[dict[str, Any]]:
    """Views in numbers, and options."""
    turned = [gaussian_blur(covariance((0, angle, 0))) for angle in (0, 90, 45, 135)]
    cases: dict[str, Callable[[], Image]] = {
        f"{n} views": lambda n=n: luxdask(image, turned[:n]) for n in (1, 2, 3, 4)
    }
    for name, options in {
        "accelerated": {"acceleration": True},
        "total variation": {"regularisation": 0.01},
        "Wiener-Butterworth": {"back_projector": "wiener_butterworth"},
    }.items():
        cases[name] = lambda options=options: luxdask(image, turned[:1], **options)
    measured = sampled_blur(turned[0].kernel())
    cases["measured PSF"] = lambda: luxdask(image, [measured])
    rows = [{"case": name, **best(call, runs)} for name, call in cases.items()]
    for row in rows:
        print(f"{row['case']} | {row['s']:.2f} s | {row['cpu_s']:.2f} CPU s")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    tiny = np.ones((8, 8, 8), dtype=np.float32)
    luxdask(tiny, [gaussian_blur(np.eye(3))], regularisation=0.01)
    image = np.random.default_rng(0).random((options.size,) * 3, dtype=np.float32) * 100 + 50
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    result = {"peers": beside_peers(image, options.runs), "own": own(image, options.runs)}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result | {"size": options.size, "iterations": ITERATIONS}, indent=1))


if __name__ == "__main__":
    main()
