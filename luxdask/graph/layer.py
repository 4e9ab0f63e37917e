"""Fused images as lazy dask arrays whose graph shows every edge: window of a view → chunk.

The layer makes its tasks only when asked, so an array of a million chunks costs nothing to build,
and slicing it keeps just the tasks of the slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.task_spec import List, Task, TaskRef

from luxdask.graph.background import view_background
from luxdask.graph.deconvolution import DeconvolveJob, deconvolve_read
from luxdask.graph.fusion import fuse_read, read_part
from luxdask.graph.quality import estimate_quality

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from dask.typing import Key

    from luxdask.graph.fusion import FuseJob
    from luxdask.graph.planned import PlannedOutput


class FusionLayer(Layer):
    """Tasks of one output: quality maps, backgrounds, windows read, chunks fused."""

    has_legacy_tasks = False
    """Else dask makes every task of the layer to look at its kind, however small a slice is."""

    def __init__(self, name: str, planned: PlannedOutput) -> None:
        super().__init__()
        self.name = name
        self.planned = planned
        token = name.rpartition("-")[2]
        self._read, self._quality = f"read-{token}", f"quality-{token}"
        self._background = f"background-{token}"
        self._last: tuple[int, FuseJob | DeconvolveJob] | None = None

    @property
    def _kinds(self) -> tuple[str, ...]:
        return (self.name, self._read, self._quality, self._background)

    def is_materialized(self) -> bool:
        """Tasks are made on demand."""
        return False

    def get_output_keys(self) -> set[Key]:
        """Keys of all chunks."""
        return set(self._chunk_keys())

    def __iter__(self) -> Iterator[Key]:
        yield from self._chunk_keys()
        for chunk in self.planned.table.covered.tolist():
            for part in range(len(self._job(chunk).parts)):
                yield (self._read, chunk, part)
        if self.planned.weighs_quality:
            for view in range(len(self.planned.output.views)):
                yield (self._quality, view)
        if self.planned.estimates_background:
            for view in range(len(self.planned.output.views)):
                yield (self._background, view)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and key[0] in self._kinds

    def __getitem__(self, key: Any) -> Task:
        kind, *place = key
        if kind == self._read:
            return Task(key, read_part, self._job(place[0]).parts[place[1]])
        if kind == self._quality:
            view = self.planned.output.views[place[0]]
            strength = self.planned.params.quality_strength
            return Task(key, estimate_quality, view.source, view.shape, strength)
        if kind == self._background:
            view = self.planned.output.views[place[0]]
            return Task(key, view_background, view.source, view.shape)
        return self._fuse_task(key, self.planned.chunks.number(place[0], place[1], place[2]))

    def _fuse_task(self, key: Key, chunk: int) -> Task:
        job = self._job(chunk)
        if not job.parts:
            return Task(key, np.zeros, job.box.shape, np.uint16)
        windows = [TaskRef((self._read, chunk, n)) for n in range(len(job.parts))]
        views = self.planned.views_of(chunk)
        quality: list[Any] = [None] * len(views)
        if self.planned.weighs_quality:
            quality = [TaskRef((self._quality, v)) for v in views]
        if isinstance(job, DeconvolveJob):
            dark = List(*self._backgrounds(job, views))
            return Task(key, deconvolve_read, job, List(*windows), List(*quality), dark)
        return Task(key, fuse_read, job, List(*windows), List(*quality))

    def _backgrounds(self, job: DeconvolveJob, views: list[int]) -> list[Any]:
        if self.planned.estimates_background:
            return [TaskRef((self._background, v)) for v in views]
        return list(job.backgrounds)

    def cull(
        self, keys: set[Key], all_hlg_keys: Collection[Key]
    ) -> tuple[Layer, Mapping[Key, set[Key]]]:
        """Make the tasks that `keys` need, and no others."""
        tasks: dict[Key, Task] = {}
        wanted = list(keys)
        while wanted:
            key = wanted.pop()
            if key not in tasks:
                tasks[key] = self[key]
                wanted.extend(tasks[key].dependencies)
        return MaterializedLayer(tasks), {k: set(t.dependencies) for k, t in tasks.items()}

    def _job(self, chunk: int) -> FuseJob | DeconvolveJob:
        """Remember the last chunk: its windows are asked for one after the other."""
        if self._last is None or self._last[0] != chunk:
            self._last = (chunk, self.planned.job(chunk))
        return self._last[1]

    def _chunk_keys(self) -> Iterator[Key]:
        return ((self.name, *self.planned.chunks.index(n)) for n in range(len(self.planned.chunks)))


def lazy_array(planned: PlannedOutput) -> da.Array:
    """(Z, Y, X) uint16 dask array of one output; nothing is read until it is computed."""
    name = f"fused-{tokenize(planned.output, planned.chunks, planned.params)}"
    graph = HighLevelGraph({name: FusionLayer(name, planned)}, {name: set()})
    meta = np.empty((0, 0, 0), dtype=np.uint16)
    return da.Array(graph, name, planned.chunks.dask_chunks, meta=meta)
