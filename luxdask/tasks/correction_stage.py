"""The first stage of a run that corrects images: mean projections, layers, and their picture."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from luxdask.cluster.events import Progress
from luxdask.cluster.execute import execute
from luxdask.graph.flatfield import flat_planes, make_layers, mean_tasks
from luxdask.io.correction_file import write_plane
from luxdask.report.flatfield import Profile, draw_profiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event
    from typing import Any

    from dask.task_spec import Task

    from luxdask.cluster.backend import Backend
    from luxdask.graph.flatfield import LayersJob, PlannedCorrections

log = logging.getLogger(__name__)

STAGE = "flatfield"
PICTURE = "flatfield.png"


def make_corrections(
    planned: PlannedCorrections,
    backend: Backend,
    stop: Event,
    tell: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Make the layers that do not exist yet; False where it was stopped before the end."""
    tasks = mean_tasks(planned.jobs)
    done = 0

    def finished(_: object) -> list[Task]:
        nonlocal done
        done += 1
        tell(Progress(STAGE, done, len(tasks)))
        return []

    def waiting(text: str) -> None:
        tell(Progress(STAGE, done, len(tasks), waiting=text))

    if tasks and not execute(tasks, backend, finished, stop, _describe, waiting=waiting):
        return False
    for job in planned.jobs:
        if not Path(job.path).exists():
            make_layers(job)
            log.info("correction of %s: %s", job.name, job.path)
    return True


def show_corrections(planned: PlannedCorrections, folder: Path) -> None:
    """The picture of the centre lines, and the layers as TIFF where asked, in the task folder."""
    profiles = []
    for name, job in _named(planned.jobs):
        if job.flat is None or not all(mean.is_done for mean in job.flat.means):
            continue
        mean, layer = flat_planes(job)
        profiles.append(Profile(name, mean[mean.shape[0] // 2], layer[mean.shape[0] // 2]))
        if planned.save_layers:
            write_plane(folder / f"flatfield_{name}_mean.tiff", mean)
            write_plane(folder / f"flatfield_{name}_layer.tiff", layer)
    if profiles:
        draw_profiles(profiles).save(folder / PICTURE)


def _named(jobs: tuple[LayersJob, ...]) -> list[tuple[str, LayersJob]]:
    """A name for each; those that several would share are numbered."""
    names = [job.name for job in jobs]
    seen: dict[str, int] = {}
    result = []
    for job in jobs:
        seen[job.name] = seen.get(job.name, 0) + 1
        shared = names.count(job.name) > 1
        result.append((f"{job.name}_{seen[job.name]}" if shared else job.name, job))
    return result


def _describe(task: Task) -> str:
    job: Any = task.args[0]
    return f"mean projection of {Path(job.source.path).name}"
