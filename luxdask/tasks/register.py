"""Registration by itself, in memory: for notebooks and scripts."""

from __future__ import annotations

from contextlib import nullcontext
from threading import Event
from typing import TYPE_CHECKING, Any

from luxdask.cluster import connect
from luxdask.errors import TaskStopped
from luxdask.model.stages import stack_kind
from luxdask.tasks.compile import corrected_inputs
from luxdask.tasks.config_fields import value_at
from luxdask.tasks.correction_stage import make_corrections
from luxdask.tasks.registration import measure, solve
from luxdask.tasks.registration_plan import plan_registration
from luxdask.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luxdask.cluster.backend import Backend
    from luxdask.cluster.events import Listener, Progress
    from luxdask.model.experiment import Experiment
    from luxdask.tasks.registration_result import Registration

_STAGES = ("objective_camera", "tiles", "rotation", "landmarks", "time_points")


def register(
    experiment: Experiment,
    values: Mapping[str, Any] | None = None,
    *,
    task: Task | None = None,
    cluster: Backend | None = None,
    listeners: Sequence[Listener] = (),
    stop: Event | None = None,
) -> Registration:
    """Find where the views of an experiment truly lie, beyond what their metadata says.

    Nothing is written but the layers of a flatfield correction, where that is on; `Task.run` or
    ``luxdask register`` keep the result in a task folder.

    Parameters
    ----------
    values
        Settings by dotted key, such as ``{"registration.tiles.maximum_translation_um": 20}``.
        Where no stage is switched on here or in `task`, those that the images call for are on:
        tiles, rotations, objectives and cameras, time points.
    task
        The settings to start from; by default those of ``Task.new(experiment)``.
    cluster
        Workers from `luxdask.connect`; by default the threads of this process.
    listeners
        Called with `luxdask.cluster.events.Progress` after each pair.
    stop
        When set, pairs under way are finished, then `TaskStopped` is raised.

    Returns
    -------
    Registration
        `.links`, `.transforms` (a correction of sample space in µm for every view), `.residuals`,
        `.warnings`, `.to_xarray()`, `.plot()`, and `.apply(experiment)`.

    Raises
    ------
    ConfigError, SelectionError
        Unknown settings, or a selection, landmark file or other task that cannot be used.
    TaskStopped
        After `stop`.
    """
    base = (task or Task.new(experiment)).replace(values or {})
    config = base.replace({"registration.enabled": True, **stages_for(base, experiment)}).config
    chosen, corrections = corrected_inputs(config, experiment)
    planned = plan_registration(config, chosen, experiment)
    stop = stop or Event()

    def tell(progress: Progress) -> None:
        for listener in listeners:
            listener(progress)

    with nullcontext(cluster) if cluster else connect("threads") as backend:
        ready = corrections is None or make_corrections(corrections, backend, stop, tell)
        links = measure(planned.jobs, backend, stop, tell) if ready else None
    if links is None:
        raise TaskStopped("registration was stopped before all pairs were measured")
    return solve(planned, links)


def stages_for(
    task: Task, experiment: Experiment, *, prepared: Iterable[str] = ()
) -> dict[str, Any]:
    """Settings of the stages that the images call for; none where the task has chosen some.

    prepared : keys that say nothing about what was chosen, as automatic defaults may have set them.
    """
    automatic = {change.key for change in task.changed_defaults}
    keys = {f"registration.{stage}.enabled" for stage in _STAGES} - automatic - set(prepared)
    if any(value_at(task.config, key) for key in keys):
        return {}
    views = experiment.views
    lenses = {(v.id.objective, v.id.camera) for v in views}
    first: dict[str, Any] = {}
    for view in views:
        first.setdefault(view.id.stack, view)
    stacks = list(first.values())
    kinds = {stack_kind(stacks[0], other) for other in stacks[1:]}
    angles = {round(v.angle_deg % 360, 2) for v in stacks}
    return {
        "registration.objective_camera": {
            "enabled": len(lenses) > 1,
            "different_objectives": len(experiment.objectives) > 1,
            "different_cameras": len(experiment.cameras) > 1,
        },
        "registration.tiles.enabled": "tiles" in kinds or len(stacks) > len(angles),
        "registration.rotation.enabled": "rotation" in kinds,
        "registration.time_points.enabled": len(experiment.time_points) > 1,
    }
