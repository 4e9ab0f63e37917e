"""A plan: all outputs of a task with their graphs, made without reading a voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from luxdask.graph.planned import SAMPLES, plan_output, smaller
from luxdask.io.names import output_stems
from luxdask.model.links import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luxdask.graph.flatfield import PlannedCorrections
    from luxdask.graph.params import FusionParams
    from luxdask.graph.planned import PlannedOutput
    from luxdask.graph.registration import PlannedRegistration
    from luxdask.model.geometry import Grid, Shape, Vector
    from luxdask.model.output import Output

SPARE = 1.02
"""Disk needed over the bytes of the images: metadata, main files, log."""


@dataclass(frozen=True, slots=True)
class OutputSummary:
    """One line of a plan."""

    name: str
    shape: Shape
    spacing_um: Vector
    n_views: int
    n_chunks: int
    size_bytes: int
    view_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a task will do and need; sizes in bytes, None where unknown."""

    outputs: tuple[OutputSummary, ...]
    n_tasks: int
    chunk_vx: Shape
    bytes_read: int
    bytes_written: int
    disk_needed_bytes: int
    disk_free_bytes: int | None
    peak_bytes_per_task: int
    peak_bytes: int
    folder: str
    notes: tuple[str, ...]
    n_pairs: int = 0
    pair_kinds: tuple[tuple[str, int], ...] = ()
    n_known_links: int = 0
    registration_bytes_read: int = 0


@dataclass(frozen=True)
class Plan:
    """All outputs of a task.

    Attributes
    ----------
    outputs
        Per output image: `.array` (lazy `xarray.DataArray`), `.output` (grid and views) and jobs.
    slots
        Tasks that will run at the same time, for the memory forecast.
    copies
        How often each voxel is stored (formats with images of their own).
    notes
        What is unusual: missing time points, and the like.
    registration
        The pairs that are measured first, None where the task does not register. `outputs` lie
        where the metadata says until that is done.
    corrections
        What corrects the images, made before anything else; None where they are taken as they are.
    """

    outputs: tuple[PlannedOutput, ...]
    slots: int = 1
    copies: int = 1
    folder: str = ""
    disk_free_bytes: int | None = None
    notes: tuple[str, ...] = ()
    registration: PlannedRegistration | None = None
    corrections: PlannedCorrections | None = None

    def summary(self) -> PlanSummary:
        """Sizes, tasks, memory and disk; reading is estimated from a sample of the chunks."""
        most = max(2, SAMPLES // max(1, len(self.outputs)))
        written = sum(p.size_bytes for p in self.outputs) * self.copies
        peak = self.peak_bytes_per_task()
        return PlanSummary(
            outputs=tuple(_summary(p) for p in self.outputs),
            n_tasks=sum(len(p.table.covered) for p in self.outputs),
            chunk_vx=self.outputs[0].chunks.chunk if self.outputs else (0, 0, 0),
            bytes_read=sum(p.bytes_read(most) for p in self.outputs),
            bytes_written=written,
            disk_needed_bytes=int(written * SPARE),
            disk_free_bytes=self.disk_free_bytes,
            peak_bytes_per_task=peak,
            peak_bytes=peak * self.slots,
            folder=self.folder,
            notes=self.notes,
            n_pairs=len(self.registration.jobs) if self.registration else 0,
            pair_kinds=_kinds(self.registration),
            n_known_links=len(self.registration.known) if self.registration else 0,
            registration_bytes_read=self.registration.bytes_read if self.registration else 0,
        )

    def peak_bytes_per_task(self) -> int:
        """Memory that one task needs at the most."""
        fusion = max((p.peak_bytes(2) for p in self.outputs), default=0)
        return max(fusion, self.registration.peak_bytes if self.registration else 0)

    def __str__(self) -> str:
        s = self.summary()
        lines = [
            f"{o.name}: {o.shape} voxels (z, y, x), {o.n_views} views, "
            f"{o.n_chunks} chunks, {o.size_bytes / 1e9:.3g} GB"
            for o in s.outputs
        ]
        if self.registration is not None:
            lines.insert(0, f"registration: {s.n_pairs} pairs to measure, {s.n_known_links} known")
        lines.append(
            f"{s.n_tasks} tasks; reads {s.bytes_read / 1e9:.3g} GB, writes "
            f"{s.bytes_written / 1e9:.3g} GB, at most {s.peak_bytes_per_task / 1e6:.0f} MB per task"
        )
        return "\n".join(lines)


def make_plan(
    outputs: Sequence[Output],
    params: FusionParams,
    *,
    chunk_vx: Shape | None = None,
    limit_bytes: int | None = None,
    slots: int = 1,
    chosen: Mapping[Grid, Shape] | None = None,
) -> tuple[PlannedOutput, ...]:
    """Plan every output; chunks shrink until one fits into `limit_bytes`, unless given.

    slots : tasks that run at the same time.
    chosen : chunks of outputs on these grids, which were chosen before.
    """
    planned: list[PlannedOutput] = []
    chosen = dict(chosen or {})
    for output, name in zip(outputs, output_stems(outputs), strict=True):
        one = plan_output(output, params, name, chosen.get(output.grid) or chunk_vx, slots)
        if output.grid not in chosen:
            if chunk_vx is None and limit_bytes is not None:
                one = smaller(one, limit_bytes)
            chosen[output.grid] = one.chunks.chunk
        planned.append(one)
    return tuple(planned)


def _kinds(registration: PlannedRegistration | None) -> tuple[tuple[str, int], ...]:
    """How many pairs of each kind will be measured."""
    kinds = [pair.kind for pair in registration.pairs] if registration else []
    return tuple((kind, kinds.count(kind)) for kind in KINDS if kind in kinds)


def _summary(planned: PlannedOutput) -> OutputSummary:
    output = planned.output
    return OutputSummary(
        planned.name,
        output.grid.shape,
        output.grid.spacing_um,
        len(output.views),
        len(planned.table.covered),
        planned.size_bytes,
        tuple(str(v.id) for v in output.views),
    )
