"""The layers that correct images: mean projections, one task per image, and what follows of them.

Mean projections and layers are kept as TIFF under names that stand for what they are made of, so
that a run that goes on, or another task, finds them done.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from dask.task_spec import Task

from luxdask.array.correct import binned_means, replace_hot
from luxdask.array.flatfield import multiplication_layer
from luxdask.array.robust_field import fit_field
from luxdask.errors import ConfigError
from luxdask.io.correction_file import Layers, read_plane, read_planes, write_layers, write_plane
from luxdask.io.reader import reader_for
from luxdask.model.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape
    from luxdask.model.view import CameraFrame, Source

SLAB_VOXELS = 1 << 24
"""Voxels that are read at once for a mean projection: bounds its memory."""

PARTS = 8
"""Parts along z that an image gives as samples."""

SIDE = 96
"""Pixels of a sample along its longer side."""

Pixels = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MeanJob:
    """The mean along z of one image, and the TIFF it is kept in.

    samples : TIFF of coarse means of parts of the image; None where they are not needed.
    """

    source: Source
    shape: Shape
    path: str
    samples: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether all its files exist."""
        return all(Path(path).exists() for path in (self.path, self.samples) if path)


@dataclass(frozen=True, slots=True)
class PixelValues:
    """Read offset and gain of a camera's pixels (a number or the path of a TIFF), hot pixels."""

    offset: float | str = 0.0
    gain: float | str = 1.0
    hot: str | None = None


@dataclass(frozen=True, slots=True)
class FlatJob:
    """How a multiplication layer is made.

    Attributes
    ----------
    means
        Mean projections of the correction images, all of one size.
    frame, shape
        The pixels of the camera they show, and their (rows, columns).
    size_px, maximum_factor
        Size of the smoothing kernel, and the largest factor.
    first
        Pixel of the layer that the corrected images begin with.
    is_robust
        Whether the light is fitted to parts of the images, rather than their mean taken for it.
    """

    means: tuple[MeanJob, ...]
    frame: CameraFrame
    shape: Pixels
    size_px: int
    maximum_factor: float
    first: Pixels = (0, 0)
    is_robust: bool = False


@dataclass(frozen=True, slots=True)
class LayersJob:
    """The layers that correct some images, which share all that matters here.

    Attributes
    ----------
    name
        Which images, in words that fit into a file name.
    path, digest
        The TIFF that keeps the layers, and what they are made of.
    frame, shape
        The pixels of the camera that the images show, and their (rows, columns).
    pixels
        What is known of the camera's pixels.
    flat
        None where only camera pixels are adjusted.
    """

    name: str
    path: str
    digest: str
    frame: CameraFrame
    shape: Pixels
    pixels: PixelValues
    flat: FlatJob | None


@dataclass(frozen=True, slots=True)
class PlannedCorrections:
    """The layers that a task needs, and whether they are saved in its folder."""

    jobs: tuple[LayersJob, ...]
    save_layers: bool = False

    @property
    def n_means(self) -> int:
        """How many images are averaged along z, those done before included."""
        return len({m.path for job in self.jobs if job.flat is not None for m in job.flat.means})


def mean_tasks(jobs: Iterable[LayersJob]) -> list[Task]:
    """Tasks that make the mean projections which do not exist yet; none for layers that do."""
    wanted = {
        mean.path: mean
        for job in jobs
        if job.flat is not None and not Path(job.path).exists()
        for mean in job.flat.means
        if not mean.is_done
    }
    return [Task(("mean", path), save_mean, mean) for path, mean in wanted.items()]


def save_mean(job: MeanJob) -> str:
    """Read an image slab by slab, and keep its mean along z; returns the path."""
    nz, bins = job.shape[0], _bins(job.shape[1:])
    total, samples = np.zeros(job.shape[1:]), []
    for first, last in pairwise(np.linspace(0, nz, min(nz, PARTS) + 1).astype(int).tolist()):
        part = _sum(job, first, last)
        total += part
        if job.samples is not None:
            samples.append(binned_means(part / (last - first), bins))
    if job.samples is not None:
        write_plane(Path(job.samples), np.stack(samples))
    write_plane(Path(job.path), total / nz)
    return job.path


def _sum(job: MeanJob, first: int, last: int) -> NDArray[np.float64]:
    """Sum of some planes of an image."""
    _, ny, nx = job.shape
    reader, total = reader_for(job.source), np.zeros((ny, nx))
    step = max(1, SLAB_VOXELS // (ny * nx))
    for z in range(first, last, step):
        box = Box((z, 0, 0), (min(z + step, last), ny, nx))
        slab = np.empty(box.shape, dtype=np.uint16)
        reader.read_into(job.source, box, slab)
        total += slab.sum(axis=0, dtype=np.uint64)
    return total


def _bins(shape: tuple[int, ...]) -> Pixels:
    """Pixels that are averaged for samples, so that these have `SIDE` a side at the most."""
    side = -(-max(shape) // SIDE)
    return min(side, shape[0]), min(side, shape[1])


def make_layers(job: LayersJob) -> None:
    """Put together what corrects images, and keep it; the mean projections must exist."""
    offset = pixel_plane(job.pixels.offset, "offset", job.frame, job.shape)
    gain = pixel_plane(job.pixels.gain, "gain", job.frame, job.shape)
    factor = 1.0 / gain
    if job.flat is not None:
        factor *= flat_planes(job)[1]
    hot = hot_pixels(job.pixels, job.frame, job.shape)
    layers = Layers(offset.astype(np.float32), factor.astype(np.float32), hot)
    write_layers(Path(job.path), layers)


def flat_planes(job: LayersJob) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Adjusted total mean projection, and multiplication layer, both of the images' pixels.

    Raises `ConfigError` where the correction images are dark everywhere.
    """
    flat = job.flat
    assert flat is not None
    mean = _adjusted(_total_mean(flat), job.pixels, flat)
    try:
        field = _fitted(job.pixels, flat) if flat.is_robust else mean
        layer = multiplication_layer(field, flat.size_px, flat.maximum_factor)
    except ValueError as error:
        raise ConfigError(
            f"input.flatfield: {error} ({job.name}): choose brighter correction images, or lower "
            "input.camera_pixels.offset"
        ) from error
    (y, x), (ny, nx) = flat.first, job.shape
    own = slice(y, y + ny), slice(x, x + nx)
    return mean[own], layer[own]


def _total_mean(flat: FlatJob) -> NDArray[np.float64]:
    """Mean over all planes of all correction images."""
    planes = sum(mean.shape[0] for mean in flat.means)
    total = np.zeros(flat.shape)
    for mean in flat.means:
        plane = read_plane(mean.path, "input.flatfield")
        if plane.shape != flat.shape:
            raise ConfigError(
                f"input.flatfield: {mean.path} has {_size(plane.shape)} pixels, but the images "
                f"{_size(flat.shape)}; delete it, so that it is made again"
            )
        total += plane * (mean.shape[0] / planes)
    return total


def _fitted(pixels: PixelValues, flat: FlatJob) -> NDArray[np.float64]:
    """The field of the light that the parts of all correction images have in common."""
    bins = _bins(flat.shape)
    samples = [read_planes(m.samples, "input.flatfield") for m in flat.means if m.samples]
    offset = pixel_plane(pixels.offset, "offset", flat.frame, flat.shape)
    gain = pixel_plane(pixels.gain, "gain", flat.frame, flat.shape)
    taken = np.concatenate(samples) - binned_means(offset, bins)
    return fit_field(taken / binned_means(gain, bins), bins, flat.shape)


def _adjusted(mean: NDArray[np.float64], pixels: PixelValues, flat: FlatJob) -> NDArray[np.float64]:
    hot = hot_pixels(pixels, flat.frame, flat.shape)
    if hot is not None:
        replace_hot(mean[np.newaxis], hot)
    offset = pixel_plane(pixels.offset, "offset", flat.frame, flat.shape)
    gain = pixel_plane(pixels.gain, "gain", flat.frame, flat.shape)
    return np.maximum((mean - offset) / gain, 0.0)


def hot_pixels(pixels: PixelValues, frame: CameraFrame, shape: Pixels) -> NDArray[np.bool_] | None:
    """Which pixels of an image are hot; None where none are marked."""
    if pixels.hot is None:
        return None
    hot = pixel_plane(pixels.hot, "hot_pixels", frame, shape) > 0
    return hot if hot.any() else None


def pixel_plane(
    value: float | str, key: str, frame: CameraFrame, shape: Pixels
) -> NDArray[np.float64]:
    """A value for each pixel of an image.

    A TIFF has the size of the sensor, and is cut as the image is, or that of the image. Raises
    `ConfigError` naming the setting `key` for another size, and gains that are not above zero.
    """
    setting = f"input.camera_pixels.{key}"
    if not isinstance(value, str):
        return np.full(shape, value, dtype=np.float64)
    plane = read_plane(value, setting)
    if plane.shape != shape:
        plane = _cut(plane, setting, value, frame, shape)
    if key == "gain" and not plane.min() > 0:
        raise ConfigError(f"{setting}: {value} holds gains that are not above zero")
    return plane


def _cut(
    plane: NDArray[np.float64], setting: str, path: str, frame: CameraFrame, shape: Pixels
) -> NDArray[np.float64]:
    is_raw = frame.is_known and frame.crop_size_px == shape
    if not is_raw or plane.shape != frame.sensor_px:
        sensor = "" if not is_raw else f" of the sensor ({_size(frame.sensor_px)}) or"
        raise ConfigError(
            f"{setting}: {path} has {_size(plane.shape)} pixels; it needs the size{sensor} of the "
            f"images ({_size(shape)})"
        )
    (y, x), (ny, nx) = frame.crop_offset_px, shape
    return plane[y : y + ny, x : x + nx]


def _size(shape: tuple[int, ...]) -> str:
    """Width x height, as cameras have it."""
    return " x ".join(map(str, reversed(shape)))
