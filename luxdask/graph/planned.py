"""One output of a plan: its chunks, which views each needs, and the jobs that make it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.fusion.fuse import PAD
from luxdask.graph.chunks import (
    STORED,
    ChunkGrid,
    halo_chunk,
    super_chunk,
)
from luxdask.graph.deconvolution import (
    DeconvolveJob,
    Reach,
    deconvolve_job,
    grown,
    psf_of,
    reach_of,
)
from luxdask.graph.fusion import FuseJob, fuse_job
from luxdask.graph.overlap import OverlapTable, overlap_table
from luxdask.graph.placement import Placement, part_of, place_view
from luxdask.graph.read import window_bytes_read
from luxdask.graph.write import CoarsenJob, WriteJob
from luxdask.model.geometry import Box, shape3, volume_corners
from luxdask.model.levels import level_factors, level_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from luxdask.deconv.psf import Psf
    from luxdask.graph.params import FusionParams
    from luxdask.io.writer import Writer
    from luxdask.model.geometry import Shape
    from luxdask.model.output import Output
    from luxdask.model.view import View

_EDGE = 1e-6

SAMPLES = 256
"""Chunks looked at for estimates of reading and memory; all where there are no more."""


@dataclass(frozen=True)
class PlannedOutput:
    """An output image with everything that its tasks need, and no voxel read.

    `name` is its file name without extension.

    Placements of views are computed when a chunk first asks for them, so that compiling stays
    linear in tiles and chunks.
    """

    output: Output
    params: FusionParams
    chunks: ChunkGrid
    table: OverlapTable
    name: str
    _placements: dict[int, Placement] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Travel without the lazy image: its graph holds this object again."""
        return {key: value for key, value in self.__dict__.items() if key != "array"}

    @property
    def weighs_quality(self) -> bool:
        """Whether image-quality maps are needed."""
        return self.params.quality_strength is not None

    @property
    def estimates_background(self) -> bool:
        """Whether the backgrounds of the views are needed and not given."""
        given = self.params.deconvolution
        return given is not None and given.background is None

    @cached_property
    def psfs(self) -> tuple[Psf, ...]:
        """Point-spread functions of all views; none where nothing is deconvolved."""
        given = self.params.deconvolution
        return () if given is None else tuple(psf_of(v, given) for v in self.output.views)

    @cached_property
    def reach(self) -> Reach:
        """Voxels around a chunk, and around the views, that are computed with it."""
        given = self.params.deconvolution
        assert given is not None  # asked for by tasks that deconvolve
        return reach_of(self.psfs, self.output.grid.spacing_um, given)

    @cached_property
    def lit(self) -> Box:
        """Output voxels that the views know something of, as a box; it may exceed the output."""
        to_out = self.output.grid.to_world.inverse()
        corners = [
            (to_out @ v.view_to_world).apply(volume_corners(v.shape)) for v in self.output.views
        ]
        low = np.ceil(np.min(corners, axis=(0, 1)) - _EDGE).astype(int)
        high = np.floor(np.max(corners, axis=(0, 1)) + _EDGE).astype(int) + 1
        return grown(Box(shape3(low.tolist()), shape3(high.tolist())), self.reach.margin)

    def computed_box(self, chunk: int) -> Box:
        """Voxels that are computed for a chunk: it and its halo, where views are deconvolved."""
        box = self.chunks.box(chunk)
        if self.params.deconvolution is None:
            return box
        return grown(box, self.reach.halo, self.lit)

    @property
    def levels(self) -> tuple[Shape, ...]:
        """Factors of the resolution pyramid."""
        return level_factors(self.output.grid.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of all levels on disk."""
        shape = self.output.grid.shape
        return sum(_stored_bytes(level_shape(shape, f)) for f in self.levels)

    @cached_property
    def array(self) -> xr.DataArray:
        """The fused image, lazily: dims z, y, x with coordinates in µm."""
        import xarray as xr

        from luxdask.graph.layer import lazy_array

        grid = self.output.grid
        coords = {d: (d, grid.coordinates_um(a), {"units": "µm"}) for a, d in enumerate("zyx")}
        return xr.DataArray(lazy_array(self), dims=("z", "y", "x"), coords=coords, name=self.name)

    def placement(self, view: int) -> Placement:
        """How a view lies on this output."""
        if view not in self._placements:
            views = self.output.views
            self._placements[view] = place_view(views[view], self.output.grid, self.params)
        return self._placements[view]

    def views_of(self, chunk: int) -> list[int]:
        """Views (numbers in the output) that give a chunk a window, in order."""
        region, pad = self.computed_box(chunk), PAD[self.params.interpolation]
        return [
            v for v in self.candidates(chunk) if part_of(self.placement(v), region, pad) is not None
        ]

    def candidates(self, chunk: int) -> list[int]:
        """Views that may overlap what is computed for a chunk, ascending."""
        if self.params.deconvolution is None:
            return self.table.views_of(chunk)
        near = self.chunks.touching(self.computed_box(chunk))
        return sorted({v for other in near for v in self.table.views_of(other)})

    def job(self, chunk: int, folder: str | None = None) -> FuseJob | DeconvolveJob:
        """What one chunk needs; `folder` is where quality maps and backgrounds are kept."""
        views = self.candidates(chunk)
        placements = [self.placement(v) for v in views]
        files = [self.quality_file(v, folder) for v in views]
        box = self.chunks.box(chunk)
        if self.params.deconvolution is None:
            return fuse_job(box, placements, self.params, files)
        psfs = [self.psfs[v] for v in views]
        dark = [self._background(v, folder) for v in views]
        candidates = zip(placements, psfs, files, dark, strict=True)
        region, halo = self.computed_box(chunk), self.reach.halo
        spacing_um = self.output.grid.spacing_um
        return deconvolve_job(box, region, halo, spacing_um, candidates, self.params)

    def quality_file(self, view: int, folder: str | None) -> str | None:
        """Where the quality map of a view is kept; outputs that share a view share its map."""
        return self._file(view, folder, "") if self.weighs_quality else None

    def background_file(self, view: int, folder: str | None) -> str | None:
        """Where the background of a view is kept."""
        return self._file(view, folder, "background_") if self.estimates_background else None

    def _file(self, view: int, folder: str | None, prefix: str) -> str | None:
        if folder is None:
            return None
        digest = sha256(self.output.views[view].source.key.encode()).hexdigest()[:24]
        return f"{folder}/{prefix}{digest}.npy"

    def _background(self, view: int, folder: str | None) -> str | float:
        """The background of a view or its file; 0 in jobs that are only looked at."""
        given = self.params.deconvolution
        if given is not None and given.background is not None:
            return given.background
        return self.background_file(view, folder) or 0.0

    def quality_jobs(self, folder: str) -> Iterator[tuple[View, str]]:
        """Views whose maps are needed, and the file of each."""
        for number, view in enumerate(self.output.views):
            file = self.quality_file(number, folder)
            if file is not None:
                yield view, file

    def background_jobs(self, folder: str) -> Iterator[tuple[View, str]]:
        """Views whose backgrounds are needed, and the file of each."""
        for number, view in enumerate(self.output.views):
            file = self.background_file(number, folder)
            if file is not None:
                yield view, file

    def write_jobs(
        self, number: int, writers: tuple[Writer, ...], quality_folder: str | None = None
    ) -> Iterator[WriteJob]:
        """One job per super-chunk that some view overlaps; the others stay 0 on disk."""
        fine = self.stages[0]
        shape = self.output.grid.shape
        for chunk in self.table.covered.tolist():
            job = self.job(chunk, quality_folder)
            yield WriteJob(number, chunk, shape, job, fine, writers)

    @cached_property
    def stages(self) -> tuple[tuple[Shape, ...], ...]:
        """Levels by the stage that writes them; each stage starts from the last level before.

        A level belongs to a stage while super-chunks hold whole rows of its stored chunks: then no
        two tasks write into one page of the file.
        """
        shape, todo = self.output.grid.shape, list(self.levels)
        stages = [_writable(todo, shape, self.chunks.chunk)]
        todo = todo[len(stages[0]) - 1 :]
        while len(todo) > 1:
            base = todo[0]
            relative = [shape3([f // b for f, b in zip(x, base, strict=True)]) for x in todo]
            inner = _writable(relative, level_shape(shape, base), self._coarse_chunk)
            stages.append(tuple(todo[: max(len(inner), 2)]))
            todo = todo[len(stages[-1]) - 1 :]
        return tuple(stages)

    def coarsen_jobs(
        self, number: int, stage: int, writers: tuple[Writer, ...]
    ) -> Iterator[CoarsenJob]:
        """Jobs of a later stage: coarser levels from the coarsest of the stage before."""
        levels, shape = self.stages[stage], self.output.grid.shape
        grid = self._coarse_grid(stage)
        source = self.levels.index(levels[0])
        for chunk, box in enumerate(grid.boxes()):
            yield CoarsenJob(number, stage, chunk, shape, box, source, levels, writers)

    @property
    def task_count(self) -> int:
        """Number of write tasks of all stages."""
        later = sum(self.coarsen_count(stage) for stage in range(1, len(self.stages)))
        return len(self.table.covered) + later

    def coarsen_count(self, stage: int) -> int:
        """Number of jobs of a later stage."""
        return len(self._coarse_grid(stage))

    def region(self, stage: int, chunk: int) -> Box:
        """Voxels of the full resolution that one task of a stage stands for."""
        if stage == 0:
            return self.chunks.box(chunk)
        scale, box = self.stages[stage][0], self._coarse_grid(stage).box(chunk)
        whole = Box.of_shape(self.output.grid.shape)
        start, stop = np.multiply(box.start, scale), np.multiply(box.stop, scale)
        return Box(shape3(start.tolist()), shape3(stop.tolist())) & whole

    @property
    def _coarse_chunk(self) -> Shape:
        """Region of later stages: wide enough to hold whole rows of chunks of the next level."""
        z, *wide = self.chunks.chunk
        return shape3([z, *(-(-c // (2 * STORED)) * 2 * STORED for c in wide)])

    def _coarse_grid(self, stage: int) -> ChunkGrid:
        base = level_shape(self.output.grid.shape, self.stages[stage][0])
        return ChunkGrid(base, self._coarse_chunk)

    def shards(self) -> tuple[Shape, ...]:
        """Per level the region that one task writes: the shard of formats that have shards."""
        found: dict[Shape, Shape] = {}
        for number, stage in enumerate(self.stages):
            base, chunk = stage[0], self._coarse_chunk if number else self.chunks.chunk
            for level in stage:
                step = [f // b for f, b in zip(level, base, strict=True)]
                part = [c // s for c, s in zip(chunk, step, strict=True)]
                found.setdefault(level, shape3([max(1, p) for p in part]))
        return tuple(found[level] for level in self.levels)

    def sample(self, most: int) -> list[FuseJob | DeconvolveJob]:
        """Jobs of evenly spread chunks, and of the one with the most views."""
        covered = self.table.covered
        if not len(covered):
            return []
        busiest = covered[np.argmax(np.diff(self.table.first)[covered])]
        step = max(1, -(-len(covered) // most))
        return [self.job(chunk) for chunk in [*covered[::step].tolist(), int(busiest)]]

    def bytes_read(self, most: int = SAMPLES) -> int:
        """Input bytes read for the whole output, from a sample of its chunks."""
        jobs = self.sample(most)[:-1]
        read = sum(window_bytes_read(part) for job in jobs for part in job.parts)
        return round(read * len(self.table.covered) / max(1, len(jobs)))

    def peak_bytes(self, most: int = 16) -> int:
        """Memory that one task needs at the most."""
        return max((job.peak_bytes for job in self.sample(most)), default=0)


def plan_output(
    output: Output,
    params: FusionParams,
    name: str,
    chunk_vx: Shape | None = None,
    slots: int = 1,
) -> PlannedOutput:
    """Divide an output into super-chunks and find the views that each one overlaps.

    slots : tasks that run at the same time, so that a small output is divided among them.
    """
    to_out = output.grid.to_world.inverse()
    placed = [(v.shape, to_out @ v.view_to_world) for v in output.views]
    chunk = chunk_vx or _automatic_chunk(output, params, slots)
    chunks = ChunkGrid(output.grid.shape, chunk)
    return PlannedOutput(output, params, chunks, overlap_table(placed, chunks), name)


def smaller(planned: PlannedOutput, limit_bytes: int) -> PlannedOutput:
    """The same output in super-chunks that need at most `limit_bytes`, as far as that goes."""
    while planned.peak_bytes() > limit_bytes and max(planned.chunks.chunk) > STORED:
        chunk = list(planned.chunks.chunk)
        longest = chunk.index(max(chunk))
        chunk[longest] = -(-chunk[longest] // (2 * STORED)) * STORED
        planned = plan_output(planned.output, planned.params, planned.name, shape3(chunk))
    return planned


def _automatic_chunk(output: Output, params: FusionParams, slots: int) -> Shape:
    grid = output.grid
    if params.deconvolution is not None:
        psfs = [psf_of(view, params.deconvolution) for view in output.views]
        halo = reach_of(psfs, grid.spacing_um, params.deconvolution).halo
        return halo_chunk(grid.shape, halo, slots)
    oblique = any(not v.view_to_world.is_axis_aligned() for v in output.views)
    first = place_view(output.views[0], grid, params)
    return super_chunk(grid.shape, oblique=oblique, source_factor=int(np.prod(first.factor)))


def _writable(levels: list[Shape], shape: Shape, chunk: Shape) -> tuple[Shape, ...]:
    """The leading levels of which a super-chunk writes whole rows of stored chunks."""
    good = []
    for factor in levels:
        split = [n > c for n, c in zip(shape, chunk, strict=True)]
        whole = [c % (f * STORED) == 0 for c, f in zip(chunk, factor, strict=True)]
        planes = not split[0] or chunk[0] % factor[0] == 0
        if not (planes and all(w or not s for w, s in zip(whole[1:], split[1:], strict=True))):
            break
        good.append(factor)
    return tuple(good)


def _stored_bytes(shape: Shape) -> int:
    """Bytes of a level on disk: whole chunks."""
    padded = [-(-n // min(STORED, n)) * min(STORED, n) for n in shape]
    return int(np.prod(padded)) * 2
