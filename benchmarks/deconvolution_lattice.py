"""A real cell with the measured point-spread function of its microscope.

Run ``python benchmarks/deconvolution_lattice.py``; it prints figures and draws
``docs/images/deconvolution_lattice.png``. The cell (../shared/data/real/lattice_cell_raw.tif) was
scanned by a stage that moves at 31.5° to the light sheet; the point-spread function is a stack
along the detection axis. It is sheared into the frame of the raw images, so that these are
deconvolved as they are. Which way the stage went, the images say: the wrong way explains them
worse.
"""

from __future__ import annotations

from math import cos, radians, sin
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from scipy.ndimage import map_coordinates

from luxdask.deconv.blur import sampled_blur
from luxdask.deconv.richardson_lucy import View, richardson_lucy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.deconv.blur import Blur

HERE = Path(__file__).parent
REAL = HERE.parents[1] / "shared" / "data" / "real"
PICTURE = HERE.parent / "docs" / "images" / "deconvolution_lattice.png"
ANGLE = radians(31.5)
STEP_UM, PIXEL_UM, PSF_STEP_UM = 0.3, 0.1, 0.1
DARK_COUNTS = 100.0
ITERATIONS = 10
PAD = (8, 20, 40)
Image = Any


def sheared_psf(psf: NDArray[np.float64], direction: int) -> NDArray[np.float64]:
    """The point-spread function as raw images of the scan would show it."""
    centre = np.unravel_index(psf.argmax(), psf.shape)
    k, y, x = np.meshgrid(np.arange(-9, 10), np.arange(-16, 17), np.arange(-44, 45), indexing="ij")
    depth = k * STEP_UM * sin(ANGLE) / PSF_STEP_UM
    along = x + direction * k * STEP_UM * cos(ANGLE) / PIXEL_UM
    at = [c + d for c, d in zip(centre, (depth, y, along), strict=True)]
    return np.asarray(map_coordinates(psf, at, order=1))


def load() -> tuple[Image, NDArray[np.float64]]:
    raw = tifffile.imread(REAL / "lattice_cell_raw.tif").astype(np.float32)
    psf = tifffile.imread(REAL / "lattice_cell_psf.tif").astype(np.float64)
    floor = np.percentile(psf, 50) + 3 * (np.percentile(psf, 50) - np.percentile(psf, 16))
    return np.maximum(raw - np.float32(DARK_COUNTS), 0), np.maximum(psf - floor, 0)


def deconvolve(image: Image, blur: Blur) -> Image:
    """With a border of unknown light around the image."""
    wide = [(p, p) for p in PAD]
    weight = np.pad(np.ones_like(image), wide)
    views = [View(np.pad(image, wide), weight, blur)]
    found = richardson_lucy(views, iterations=ITERATIONS, threads=2)
    return np.ascontiguousarray(found[tuple(slice(p, -p) for p in PAD)])


def misfit(image: Image, found: Image, blur: Blur) -> float:
    """Squared deviation of what the result explains, in units of photon noise."""
    explained = np.empty_like(found)
    blur.forward(found, explained)
    return float(np.mean((explained - image) ** 2 / (np.maximum(explained, 0) + 10)))


def spectrum(plane: Image) -> tuple[Image, Image]:
    """Radial mean of the Fourier amplitude, over spatial frequency in 1/µm."""
    window = np.outer(np.hanning(plane.shape[0]), np.hanning(plane.shape[1]))
    amplitude = np.abs(np.fft.fftshift(np.fft.fft2(plane * window)))
    axes = [np.fft.fftshift(np.fft.fftfreq(n, PIXEL_UM)) for n in plane.shape]
    radius = np.hypot(*np.meshgrid(*axes, indexing="ij"))
    bins = np.arange(0, 5, 0.1)
    which = np.digitize(radius.ravel(), bins)
    sums = np.bincount(which, amplitude.ravel(), len(bins) + 1)[1 : len(bins)]
    counts = np.bincount(which, minlength=len(bins) + 1)[1 : len(bins)]
    means = sums / np.maximum(counts, 1)
    return bins[:-1] + 0.05, means / means[0]


def deskewed(image: Image, direction: int) -> Image:
    """Each plane moved by what the stage moved along the light sheet."""
    shift = STEP_UM * cos(ANGLE) / PIXEL_UM
    out = np.zeros((len(image), image.shape[1], image.shape[2] + int(shift * len(image)) + 1))
    for k, plane in enumerate(image):
        start = round(shift * (k if direction > 0 else len(image) - 1 - k))
        out[k, :, start : start + image.shape[2]] = plane
    return out


def draw(image: Image, found: Image, direction: int) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.5), layout="constrained")
    axes = figure.subplot_mosaic(
        [["a", "b", "s"], ["c", "d", "s"]], width_ratios=(1, 1, 0.9), height_ratios=(2, 1)
    )
    middle = int(image.sum(axis=(1, 2)).argmax())
    aspect = STEP_UM * sin(ANGLE) / PIXEL_UM
    for names, volume, title in (("ac", image, "raw"), ("bd", found, "deconvolved")):
        plane, side = volume[middle], deskewed(volume, direction).max(axis=1)
        axes[names[0]].imshow(plane, cmap="gray", vmin=0, vmax=np.percentile(plane, 99.9))
        axes[names[0]].set_title(f"{title}, one plane")
        top = np.percentile(side, 99.8)
        axes[names[1]].imshow(side, cmap="gray", vmin=0, vmax=top, aspect=aspect)
        axes[names[1]].set_title(f"{title}, from the side")
        axes["s"].semilogy(*spectrum(plane), label=title)
    for name in "abcd":
        axes[name].axis("off")
    axes["s"].set(
        xlabel="spatial frequency, 1/µm", ylabel="amplitude of the plane", title="spectrum"
    )
    axes["s"].legend()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=80)


def main() -> None:
    image, psf = load()
    fits = {}
    for direction in (-1, 1):
        blur = sampled_blur(sheared_psf(psf, direction))
        found = deconvolve(image, blur)
        fits[direction] = (misfit(image, found, blur), found)
        print(f"stage {direction:+d}: misfit {fits[direction][0]:.3f}")
    direction = min(fits, key=lambda d: fits[d][0])
    found = fits[direction][1]
    print(f"light: {image.sum():.4g} in the images, {found.sum():.4g} in the result")
    for name, volume in (("raw", image), ("deconvolved", found)):
        steep = np.abs(np.diff(volume, axis=2)).max() / np.percentile(volume, 99.9)
        print(f"{name}: steepest edge {steep:.2f} of the bright parts per pixel")
    draw(image, found, direction)


if __name__ == "__main__":
    main()
