"""One graph node per pair of views: it reads what both see, at the level that suffices."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, floor, prod
from typing import TYPE_CHECKING

import numpy as np
from dask.task_spec import Task

from luxdask.errors import ImageFileError
from luxdask.graph.read import read_binned
from luxdask.model.geometry import Affine, Box, shape3
from luxdask.model.levels import FULL
from luxdask.model.links import Link
from luxdask.registration.match import MatchParams
from luxdask.registration.measure import match
from luxdask.registration.patch import Patch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dask.typing import Key
    from numpy.typing import NDArray

    from luxdask.model.geometry import BoundingBox, Shape, Vector
    from luxdask.model.links import Model, Pair
    from luxdask.model.stages import StageRules
    from luxdask.model.view import Source, View, ViewId

BUDGET_VX = 6_000_000
"""Voxels per view that a pair is measured with: finer ones add no accuracy that counts."""

LEAST_MARGIN_VX, MARGIN_PART = 16, 0.5
"""How far beyond the common volume is read: contents may lie that far from where they should."""

BYTES_PER_VOXEL = 30
"""Memory that measuring takes per voxel of one patch: both patches, filtered copies, spectra."""

WIDE_SEARCH_DEG = 5.0
"""How far rotated views may be turned against their metadata."""


@dataclass(frozen=True, slots=True)
class PairRules:
    """How pairs are measured.

    Attributes
    ----------
    model
        Which transforms may be found; "auto": rigid between rotated views and between objectives
        and cameras, shifts otherwise.
    maximum_translation_um
        Bound of the shift of tiles; None for twice what their overlap is thick.
    prealigned
        Rotated views are searched near their metadata only, in their common volume.
    fine
        Whether the last, finest step is done.
    background
        Grey value that counts as nothing.
    """

    model: str = "auto"
    maximum_translation_um: float | None = None
    prealigned: bool = False
    fine: bool = True
    background: float = 0.0


@dataclass(frozen=True, slots=True)
class PatchJob:
    """What is read of one view: a box of bins."""

    source: Source
    shape: Shape
    factor: Shape
    bins: Box
    bin_to_world: Affine

    @property
    def phase(self) -> Shape:
        """Bins begin at the first voxel."""
        return (0, 0, 0)


@dataclass(frozen=True, slots=True)
class PairJob:
    """Everything one task needs to measure a pair; some hundred bytes."""

    pair: Pair
    fixed: PatchJob
    moving: PatchJob
    params: MatchParams

    @property
    def bytes_read(self) -> int:
        """Input bytes at full resolution."""
        return sum(2 * p.bins.size * prod(p.factor) for p in (self.fixed, self.moving))

    @property
    def peak_bytes(self) -> int:
        """Memory of the task."""
        return BYTES_PER_VOXEL * max(self.fixed.bins.size, self.moving.bins.size)


@dataclass(frozen=True)
class PlannedRegistration:
    """The registration of a task before anything is measured.

    Attributes
    ----------
    views
        All selected views, with the transforms of their metadata.
    reference
        The image that stays where it is.
    rules
        Which stages there are.
    jobs
        Pairs that will be measured.
    known
        Links that need no measuring: by landmarks, or from another task.
    direct
        Links of single images to the reference image, by landmarks; they stand above all others.
    threshold
        Cost above which tile pairs are removed; None removes none.
    notes
        What is unusual about the pairs.
    """

    views: tuple[View, ...]
    reference: ViewId
    rules: StageRules
    jobs: tuple[PairJob, ...] = ()
    known: tuple[Link, ...] = ()
    direct: Mapping[ViewId, Link] = field(default_factory=dict)
    threshold: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs that will be measured."""
        return tuple(job.pair for job in self.jobs)

    @property
    def bytes_read(self) -> int:
        """Input bytes of all pairs, at full resolution."""
        return sum(job.bytes_read for job in self.jobs)

    @property
    def peak_bytes(self) -> int:
        """Memory that one task needs at the most."""
        return max((job.peak_bytes for job in self.jobs), default=0)

    def graph(self) -> dict[Key, Task]:
        """The pairs as a dask graph without edges; every value is a `Link`."""
        return {task.key: task for task in pair_tasks(self.jobs)}

    def __str__(self) -> str:
        lines = [str(p) for p in (*self.pairs, *self.known)]
        head = (
            f"{len(self.jobs)} pairs to measure ({self.bytes_read / 1e9:.3g} GB to read), "
            f"{len(self.known)} links known"
        )
        return "\n".join([head, *lines])


def plan_pairs(
    pairs: Iterable[Pair], views: Mapping[ViewId, View], rules: PairRules
) -> tuple[PairJob, ...]:
    """What each pair reads; nothing is read yet."""
    return tuple(pair_job(p, views[p.fixed], views[p.moving], rules) for p in pairs)


def pair_job(
    pair: Pair, fixed: View, moving: View, rules: PairRules, *, budget_vx: int = BUDGET_VX
) -> PairJob:
    """The regions of both views that a pair compares, and how finely."""
    params = _params(pair, fixed, rules)
    seen = [_Seen.of(pair, v, params) for v in (fixed, moving)]
    factor = _factor([s.region(FULL) for s in seen], fixed, moving, budget_vx)
    patches = [
        PatchJob(v.source, v.shape, f, s.region(f), _bin_to_world(v.view_to_world, f))
        for v, s, f in zip((fixed, moving), seen, factor, strict=True)
    ]
    return PairJob(pair, patches[0], patches[1], params)


def _params(pair: Pair, fixed: View, rules: PairRules) -> MatchParams:
    wide = pair.kind == "rotation" and not rules.prealigned
    return MatchParams(
        model=model_of(pair, rules.model),
        maximum_translation_um=_bound_um(pair, fixed, rules) if pair.kind == "tiles" else None,
        maximum_rotation_deg=WIDE_SEARCH_DEG if wide else 0.0,
        fine_alignment=rules.fine,
        background=rules.background,
    )


def _bound_um(pair: Pair, fixed: View, rules: PairRules) -> float:
    """How far a tile may be off: as given, or twice what its overlap is thick.

    Stages are set up such that tiles still overlap when they are off; without any bound, distant
    places that look alike would be taken for the right one.
    """
    if rules.maximum_translation_um is not None:
        return rules.maximum_translation_um
    extent = np.array(pair.overlap.extent_um)
    least = extent + 2 * LEAST_MARGIN_VX * np.array(fixed.spacing_um)
    return float(np.maximum(2 * extent, least).min())


def model_of(pair: Pair, given: str) -> Model:
    """Kind of transform that a pair may have."""
    models: dict[str, Model] = {"translation": "translation", "rigid": "rigid", "affine": "affine"}
    automatic: Model = "rigid" if pair.kind in ("rotation", "objective_camera") else "translation"
    return models.get(given, automatic)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What of a view a pair reads: between two voxel coordinates, or all of it."""

    shape: Shape
    lower: tuple[float, ...] | None = None
    upper: tuple[float, ...] | None = None

    @classmethod
    def of(cls, pair: Pair, view: View, params: MatchParams) -> _Seen:
        """The common volume and its margin."""
        if params.maximum_rotation_deg:
            return cls(view.shape)
        inside = _in_view(pair.overlap, view)
        margin = _margin_vx(inside, view, params.maximum_translation_um)
        lower, upper = (inside[0] - margin + 0.5).tolist(), (inside[1] + margin + 0.5).tolist()
        return cls(view.shape, tuple(lower), tuple(upper))

    def region(self, factor: Shape) -> Box:
        """The same in bins of so many voxels."""
        ends = [max(1, n // f) for n, f in zip(self.shape, factor, strict=True)]
        if self.lower is None or self.upper is None:
            return Box.of_shape(ends)
        start = [max(0, floor(v / f)) for v, f in zip(self.lower, factor, strict=True)]
        stop = [min(n, ceil(v / f)) for v, f, n in zip(self.upper, factor, ends, strict=True)]
        return Box(shape3(start), shape3(stop))


def _in_view(box: BoundingBox, view: View) -> NDArray[np.float64]:
    """Least and greatest voxel coordinate of a box in sample space."""
    inside = box.moved(_inverse(view.view_to_world))
    return np.array([inside.lower, inside.upper])


_inverse = lru_cache(maxsize=4096)(Affine.inverse)


def _margin_vx(
    inside: NDArray[np.float64], view: View, bound_um: float | None
) -> NDArray[np.float64]:
    margin = np.asarray(np.maximum((inside[1] - inside[0]) * MARGIN_PART, LEAST_MARGIN_VX))
    if bound_um is None:
        return margin
    return np.asarray(np.minimum(margin, np.ceil(bound_um / np.array(view.spacing_um)) + 1))


@lru_cache(maxsize=4096)
def _column_norms(view_to_world: Affine) -> Vector:
    return view_to_world.column_norms


def _factor(regions: list[Box], fixed: View, moving: View, budget_vx: int) -> tuple[Shape, Shape]:
    """Voxels per bin of both views, so that both stay below the budget with like voxel sizes."""
    sizes = [list(_column_norms(v.view_to_world)) for v in (fixed, moving)]
    factors = [[1, 1, 1], [1, 1, 1]]
    while True:
        coarser = max(min(size) for size in sizes)
        for size, factor in zip(sizes, factors, strict=True):
            # views of different sampling: the finer one is averaged to the coarser one
            while min(size) * 2 < coarser * 1.5:
                _double_finest(size, factor)
        counts = [
            prod(-(-n // f) for n, f in zip(region.shape, factor, strict=True))
            for region, factor in zip(regions, factors, strict=True)
        ]
        if max(counts) <= budget_vx:
            return shape3(factors[0]), shape3(factors[1])
        for size, factor in zip(sizes, factors, strict=True):
            _double_finest(size, factor)


def _double_finest(size: list[float], factor: list[int]) -> None:
    """Bins twice as long along the axis on which they are shortest."""
    axis = size.index(min(size))
    size[axis] *= 2
    factor[axis] *= 2


@lru_cache(maxsize=4096)  # a view has several pairs, most of them soon after each other
def _bin_to_world(view_to_world: Affine, factor: Shape) -> Affine:
    f = np.array(factor)
    return view_to_world @ Affine.scale(f, (f - 1) / 2)


def pair_tasks(jobs: Iterable[PairJob]) -> Iterator[Task]:
    """One task per pair; its value is a `Link`."""
    for number, job in enumerate(jobs):
        yield Task(("pair", number), measure_pair, job, _data_producer=True)


def measure_pair(job: PairJob) -> Link:
    """Read both patches and compare them; a file that cannot be read gives a link that says so."""
    pair = job.pair
    try:
        fixed, moving = read_patch(job.fixed), read_patch(job.moving)
    except ImageFileError as error:
        return Link(
            pair.kind,
            pair.fixed,
            pair.moving,
            Affine(),
            quality=0.0,
            overlap=pair.overlap,
            status="unreadable",
            reason=str(error),
        )
    found = match(fixed, moving, job.params)
    return Link(
        pair.kind,
        pair.fixed,
        pair.moving,
        found.transform,
        found.model,
        found.quality,
        found.precision_um,
        found.overlap,
        status=found.status,
        reason=found.reason,
    )


def read_patch(job: PatchJob) -> Patch:
    """The grey values of a region, averaged over bins."""
    voxels = np.empty(job.bins.shape, dtype=np.uint16)
    read_binned(job, job.bins, voxels)
    to_world = job.bin_to_world @ Affine.translation(job.bins.start)
    return Patch(voxels.astype(np.float32), to_world)
