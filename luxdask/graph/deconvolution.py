"""Deconvolve one chunk of output: what its task carries and what it does.

A chunk is computed on a larger region, its halo around it, so that it comes out as if the whole
image had been deconvolved at once. As in `luxdask.graph.fusion` there are two faces:
`deconvolve_chunk` reads and computes in one task, `deconvolve_read` takes what others have read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from itertools import product
from operator import or_
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.array.backend import require_cuda, to_device, to_host
from luxdask.deconv.blur import Blur, gaussian_blur, sampled_blur
from luxdask.deconv.halo import halo_vx
from luxdask.deconv.measured import checked_psf, cleaned_psf, resampled_psf
from luxdask.deconv.memory import peak_bytes
from luxdask.deconv.psf import (
    GaussianPsf,
    MeasuredPsf,
    Psf,
    file_axes,
    gaussian_psf,
    optical_widths_um,
)
from luxdask.deconv.richardson_lucy import View as DeconvView
from luxdask.deconv.richardson_lucy import richardson_lucy
from luxdask.errors import ConfigError
from luxdask.fusion.fuse import PAD, empty_windows
from luxdask.fusion.sample import sample_window
from luxdask.graph.background import load_background
from luxdask.graph.chunks import halves
from luxdask.graph.device import on_device
from luxdask.graph.fusion import PIECES, window_of
from luxdask.graph.placement import part_of
from luxdask.graph.quality import load_quality
from luxdask.graph.read import read_window
from luxdask.graph.stopwatch import timed
from luxdask.graph.weighted import (
    Sampled,
    add_weighted,
    divide,
    inside,
    round_into,
    take_off,
    weighted_mean,
)
from luxdask.io.psf_file import read_stack
from luxdask.model.geometry import Box, shape3

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from luxdask.graph.params import DeconvolutionParams, FusionParams, Width
    from luxdask.graph.placement import Part, Placement
    from luxdask.model.geometry import Shape, Vector
    from luxdask.model.view import View

_EDGE = 1e-6

PEDESTAL = 16.0
"""Grey values of the background that stay under the light: with none at all, noise in the dark
would be taken for light and sharpened."""

MOST_VIEWS_AT_A_PLACE = 16
"""Views that see the same place, where they take turns: what the halo reckons with at the most."""


@dataclass(frozen=True, slots=True)
class DeconvolveJob:
    """One chunk of output: everything a worker needs, in a few kilobytes.

    Attributes
    ----------
    box, region, halo
        Output voxels that are wanted, those that are computed for them, and how many (z, y, x) that
        are on each side, where views reach as far.
    parts, psfs, quality, backgrounds
        Per view of the region: its window, its point-spread function, the file of its quality map
        (or None), and its background or the file of it.
    pieces
        The box is put together from so many, computed one after the other to save memory.
    """

    box: Box
    region: Box
    halo: Shape
    spacing_um: Vector
    parts: tuple[Part, ...]
    psfs: tuple[Psf, ...]
    params: FusionParams
    quality: tuple[str | None, ...]
    backgrounds: tuple[str | float, ...]
    pieces: int = 1

    @property
    def peak_bytes(self) -> int:
        """Memory that the chunk needs at most: windows, the iterations, result and its pyramid."""
        if self.pieces > 1:
            return max(job.peak_bytes for job in self.piece_jobs()) + self.box.size * 2 * 8 // 7
        windows = sum(part.window.size for part in self.parts) * 2
        return windows + self._iteration_bytes + self.box.size * 2 * 8 // 7 + (16 << 20)

    @property
    def _iteration_bytes(self) -> int:
        given = self.params.deconvolution
        assert given is not None  # jobs of this kind are made for no other task
        if not self.parts:
            return 0
        groups = self.groups
        if self.params.device != "cpu":  # images, weights and the result; the rest is on the GPU
            return 4 * (2 * len(groups) + 1) * self.region.size + 4 * self.box.size
        return 4 * self.box.size + peak_bytes(
            self.region.shape,
            [psf_blur(self.psfs[group[0]], self.spacing_um) for group in groups],
            regularisation=given.regularisation,
            order=given.order,
            back_projector=given.back_projector,
            acceleration=given.acceleration,
            parts=[self.group_box(group).shape for group in groups],
        )

    @property
    def groups(self) -> list[list[int]]:
        """Numbers of the views that are deconvolved as one; where they take turns, each alone."""
        given = self.params.deconvolution
        assert given is not None  # jobs of this kind are made for no other task
        if given.order != "joint":
            return [[n] for n in range(len(self.psfs))]
        groups: dict[Psf, list[int]] = {}
        for n, psf in enumerate(self.psfs):
            groups.setdefault(psf, []).append(n)
        return list(groups.values())

    def group_box(self, group: Sequence[int]) -> Box:
        """The part of the region that views which are deconvolved as one cover together."""
        return reduce(or_, map(self.region_of, group))

    def in_pieces(self) -> DeconvolveJob | None:
        """The same block with less memory; None where it is made of pieces already."""
        if self.pieces > 1 or max(self.box.shape) < 2:
            return None
        return replace(self, pieces=PIECES)

    def piece_jobs(self) -> Iterator[DeconvolveJob]:
        """The jobs of the pieces; they differ from the whole by as little as chunks do."""
        placements = [part.placement for part in self.parts]
        views = list(zip(placements, self.psfs, self.quality, self.backgrounds, strict=True))
        for box in halves(self.box, self.pieces):
            region = grown(box, self.halo) & self.region
            yield deconvolve_job(box, region, self.halo, self.spacing_um, views, self.params)

    def region_of(self, part: int) -> Box:
        """The part of the region on which a view is sampled: where it covers, and around it.

        As far around as its light has come from: its place in the region (`DeconvView.start`).
        """
        covered = covered_box(self.parts[part].placement)
        radius = psf_blur(self.psfs[part], self.spacing_um).radius_vx
        return grown(covered, radius) & self.region


def deconvolve_job(
    box: Box,
    region: Box,
    halo: Shape,
    spacing_um: Vector,
    views: Iterable[tuple[Placement, Psf, str | None, str | float]],
    params: FusionParams,
) -> DeconvolveJob:
    """Describe a chunk: the windows that its region needs of the views that overlap it.

    views : placement, point-spread function, quality map and background of each candidate.
    """
    pad = PAD[params.interpolation]
    found = [(part_of(view[0], region, pad), *view[1:]) for view in views]
    used = [(part, *rest) for part, *rest in found if part is not None]
    parts, psfs, quality, backgrounds = zip(*used, strict=True) if used else ((), (), (), ())
    return DeconvolveJob(box, region, halo, spacing_um, parts, psfs, params, quality, backgrounds)


def deconvolve_chunk(job: DeconvolveJob) -> NDArray[np.uint16]:
    """Read the windows of a chunk and deconvolve them."""
    if job.pieces > 1:
        return _deconvolve_pieces(job)
    with timed("read"):
        pool, parts = empty_windows([part.window.shape for part in job.parts])
        for part, voxels in zip(job.parts, parts, strict=True):
            read_window(part, voxels)
        quality = [None if file is None else load_quality(file) for file in job.quality]
        backgrounds = [load_background(b) if isinstance(b, str) else b for b in job.backgrounds]
    return _deconvolve(job, pool, parts, quality, backgrounds)


def _deconvolve_pieces(job: DeconvolveJob) -> NDArray[np.uint16]:
    """One box after the other, into one block."""
    block = np.zeros(job.box.shape, dtype=np.uint16)
    for piece in job.piece_jobs():
        block[inside(piece.box, job.box)] = deconvolve_chunk(piece)
    return block


def deconvolve_read(
    job: DeconvolveJob,
    windows: Sequence[NDArray[np.uint16]],
    quality: Sequence[NDArray[np.float32] | None],
    backgrounds: Sequence[float],
) -> NDArray[np.uint16]:
    """Deconvolve windows that other tasks have read, with maps that other tasks have made."""
    pool, parts = empty_windows([part.window.shape for part in job.parts])
    for voxels, window in zip(parts, windows, strict=True):
        voxels[...] = window
    return _deconvolve(job, pool, parts, quality, backgrounds)


def psf_of(view: View, params: DeconvolutionParams) -> Psf:
    """The point-spread function of a view.

    Raises `ConfigError` where no width is given and the metadata does not tell one.
    """
    if params.file is not None:
        file = params.file
        return MeasuredPsf(file.path, file.digest, file.spacing_um, file_axes(view))
    return gaussian_psf(view, *widths_um(view, params))


def widths_um(view: View, params: DeconvolutionParams) -> tuple[float, float]:
    """Lateral and axial width of a view: as given, else by its optics."""
    lateral = width_for(params.lateral_um, view.id.objective)
    axial = width_for(params.axial_um, view.id.objective)
    if lateral is None or axial is None:
        by_optics = optical_widths_um(view)
        lateral, axial = lateral or by_optics[0], axial or by_optics[1]
    return lateral, axial


def width_for(width: Width, objective: str) -> float | None:
    """The width given for an objective, None where there is none."""
    return dict(width).get(objective) if isinstance(width, tuple) else width


def psf_blur(psf: Psf, spacing_um: Vector) -> Blur:
    """What a point-spread function does to an image on a grid; made anew for every chunk.

    It keeps spectra of the chunk's size, so it must not outlive the chunk.
    """
    if isinstance(psf, GaussianPsf):
        return gaussian_blur(psf.covariance_vx(spacing_um))
    return sampled_blur(measured_kernel(psf, spacing_um))


@lru_cache(maxsize=64)
def measured_kernel(psf: MeasuredPsf, spacing_um: Vector) -> NDArray[np.float32]:
    """A measured point-spread function on the output grid.

    Raises `ConfigError` where the file is no longer the one that the task was made with.
    """
    stack = read_stack(psf.path)
    if stack.digest != psf.digest:
        raise ConfigError(
            f"{psf.path}: this point-spread function has changed since the task was made; put the "
            "old file back, or run the task's config_task.json as a new task"
        )
    cleaned = cleaned_psf(checked_psf(stack.values, psf.path), psf.path)
    return resampled_psf(cleaned, psf.spacing_um, psf.axes, spacing_um)


@dataclass(frozen=True, slots=True)
class Reach:
    """Voxels (z, y, x) around what is wanted that are computed with it.

    Attributes
    ----------
    halo
        Around a chunk, where views go on.
    margin
        Around the views: light from there, of which nothing is known, has reached into them.
    """

    halo: Shape
    margin: Shape


def reach_of(psfs: Sequence[Psf], spacing_um: Vector, params: DeconvolutionParams) -> Reach:
    """How far the point-spread functions of an output's views reach over its iterations."""
    at_once = min(len(psfs), MOST_VIEWS_AT_A_PLACE)
    return _reach(tuple(dict.fromkeys(psfs)), spacing_um, params, at_once)


@lru_cache(maxsize=256)
def _reach(
    psfs: tuple[Psf, ...], spacing_um: Vector, params: DeconvolutionParams, at_once: int
) -> Reach:
    blurs = [psf_blur(psf, spacing_um) for psf in psfs]
    halo = halo_vx(
        [*blurs, *blurs[:1] * (at_once - len(blurs))],
        params.iterations,
        order=params.order,
        back_projector=params.back_projector,
        acceleration=params.acceleration,
    )
    radius = np.max([blur.radius_vx for blur in blurs], axis=0)
    return Reach(halo, shape3(np.minimum(radius, halo).tolist()))


def covered_box(placement: Placement) -> Box:
    """Output voxels that may lie inside a view, as a box."""
    ends = product(*zip(placement.lower, placement.upper, strict=True))
    corners = placement.out_to_bin.inverse().apply(np.array(list(ends)))
    start = np.ceil(corners.min(axis=0) - _EDGE).astype(int)
    stop = np.floor(corners.max(axis=0) + _EDGE).astype(int) + 1
    return Box(shape3(start.tolist()), shape3(stop.tolist()))


def grown(box: Box, by: Shape, within: Box | None = None) -> Box:
    """A box with so many voxels more on each side, but not beyond another box that it overlaps."""
    start = [a - n for a, n in zip(box.start, by, strict=True)]
    stop = [b + n for b, n in zip(box.stop, by, strict=True)]
    larger = Box(shape3(start), shape3(stop))
    if within is None:
        return larger
    cut = larger & within
    first = [min(a, b) for a, b in zip(cut.start, box.start, strict=True)]
    last = [max(a, b) for a, b in zip(cut.stop, box.stop, strict=True)]
    return Box(shape3(first), shape3(last))


def _deconvolve(
    job: DeconvolveJob,
    pool: NDArray[np.uint16],
    parts: Sequence[NDArray[np.uint16]],
    quality: Sequence[NDArray[np.float32] | None],
    backgrounds: Sequence[float],
) -> NDArray[np.uint16]:
    """Sample the views, take their backgrounds off, deconvolve, and put the backgrounds back.

    Views of the same point-spread function become one first, their weighted mean. Nothing changes
    by it: ``sum(w * (image / seen - 1))`` of views that see alike is ``W * (mean / seen - 1)`` with
    the sum W of their weights. So tiles cost as much as one image.
    """
    block = np.zeros(job.box.shape, np.uint16)
    if not job.parts:
        return block
    removed = np.zeros(job.box.shape, np.float32)

    def sampled(n: int) -> Sampled:
        view = _sample(job, n, pool, parts[n], quality[n])
        below = np.float32(max(0.0, backgrounds[n] - PEDESTAL))
        take_off(view.image, below)
        common = job.box & view.box
        if common and below > 0:
            weight = view.weight[inside(common, view.box)]
            add_weighted(removed[inside(common, job.box)], weight, below)
        return view

    groups = job.groups
    views = [
        weighted_mean(job.group_box(group), map(sampled, group), len(group)) for group in groups
    ]
    total = np.zeros(job.region.shape, np.float32)
    for view in views:
        total[inside(view.box, job.region)] += view.weight
    for view in views:
        divide(view.weight, total[inside(view.box, job.region)])
    divide(removed, total[inside(job.box, job.region)])
    del total
    psfs = [job.psfs[group[0]] for group in groups]
    values = _iterate(job, psfs, views)[inside(job.box, job.region)]
    round_into(values, removed, np.float32(job.params.scale), block)
    return block


def _sample(
    job: DeconvolveJob,
    n: int,
    pool: NDArray[np.uint16],
    voxels: NDArray[np.uint16],
    quality: NDArray[np.float32] | None,
) -> Sampled:
    """A view on the output grid."""
    box = job.region_of(n)
    image, weight = sample_window(
        window_of(job.parts[n], voxels, quality),
        pool,
        box.shape,
        corner=box.start,
        interpolation=job.params.interpolation,
        blend=job.params.blend,
    )
    return Sampled(image, weight, box)


def _iterate(
    job: DeconvolveJob, psfs: Sequence[Psf], views: Sequence[Sampled]
) -> NDArray[np.float32]:
    """Richardson-Lucy where the settings say; the result is in the memory of the CPU."""
    given = job.params.deconvolution
    assert given is not None  # jobs of this kind are made for no other task
    blurs = [psf_blur(psf, job.spacing_um) for psf in psfs]

    def iterate(move: Any = lambda array: array) -> Any:
        return richardson_lucy(
            [
                DeconvView(
                    move(view.image),
                    None if (view.weight == 1).all() else move(view.weight),
                    blur,
                    shape3(np.subtract(view.box.start, job.region.start).tolist()),
                )
                for view, blur in zip(views, blurs, strict=True)
            ],
            iterations=given.iterations,
            regularisation=given.regularisation,
            order=given.order,
            back_projector=given.back_projector,
            acceleration=given.acceleration,
            shape=job.region.shape,
        )

    if job.params.device == "cpu":
        return np.asarray(iterate())
    require_cuda()
    return on_device(lambda: to_host(iterate(to_device)))
