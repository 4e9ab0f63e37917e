"""Defaults that follow from the images: fused cameras, sampling in depth, merged channels.

They look at all images of the reference time point in the whole directory, not at the selected
ones, and are applied once, when a directory is opened for a new task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.errors import SelectionError
from luxdask.model.select import Reference, resolve_reference
from luxdask.tasks.config import TaskConfig, set_values
from luxdask.tasks.config_fields import value_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.model.experiment import Experiment
    from luxdask.model.geometry import Vector
    from luxdask.model.view import View

# Directions are printed as float32; a thousandth of a radian is far above that and far below any
# angle at which views are taken.
PARALLEL_TOLERANCE_RAD = 1e-3


@dataclass(frozen=True, slots=True)
class ChangedDefault:
    """A default that was changed because of the images, and why."""

    key: str
    old: Any
    new: Any
    reason: str


def automatic_defaults(
    experiment: Experiment, base: TaskConfig
) -> tuple[TaskConfig, tuple[ChangedDefault, ...]]:
    """Settings adapted to the images, with the list of what was changed and why.

    Parameters
    ----------
    experiment
        All images of the directory (not a selection).
    base
        The settings to start from; its reference time point is the one looked at, by default the
        first. `registration.enabled` is never changed, only what stands below it.

    Raises
    ------
    SelectionError
        Where the reference time point does not exist, or there are no images.
    """
    views = _reference_views(experiment, base)
    config, changes = base, []
    for rule in (_fuse_cameras, _register_cameras, _depth, _merge_channels, _register_channels):
        for key, new, reason in rule(views, config):
            old = value_at(config, key)
            if old != new:
                changes.append(ChangedDefault(key, old, new, reason))
                config = set_values(config, {key: new})
    return config, tuple(changes)


_Setting = tuple[str, Any, str]


def _reference_views(experiment: Experiment, base: TaskConfig) -> tuple[View, ...]:
    if not experiment.views:
        raise SelectionError(f"{experiment.path}: there are no images to take defaults from")
    reference = Reference(time_point=base.input.reference.time_point)
    time_point = resolve_reference(experiment, reference).time_point
    return tuple(v for v in experiment.views if v.id.time_point == time_point)


def _fuse_cameras(views: Sequence[View], config: TaskConfig) -> Iterable[_Setting]:
    cameras: dict[str, set[str]] = {}
    for view in views:
        cameras.setdefault(view.id.objective, set()).add(view.id.camera)
    if len(cameras) > 1 and all(len(found) == 1 for found in cameras.values()):
        reason = f"there are {len(cameras)} detection objectives with one camera each"
        yield "fusion.fuse_different_cams", True, reason


def _register_cameras(views: Sequence[View], config: TaskConfig) -> Iterable[_Setting]:
    group = "registration.objective_camera"
    if config.fusion.fuse_different_cams:
        reason = "different objectives and cameras are fused; used once registration is switched on"
        for name in ("enabled", "different_cameras", "different_objectives"):
            yield f"{group}.{name}", True, reason
    else:
        yield f"{group}.different_cameras", False, "different cameras are not fused"


def _depth(views: Sequence[View], config: TaskConfig) -> Iterable[_Setting]:
    if all_parallel(views):
        reason = "all images look along one axis, so the plane distance of the input is kept"
        yield "output.sampling.isotropic", False, reason


def _merge_channels(views: Sequence[View], config: TaskConfig) -> Iterable[_Setting]:
    sides: dict[str, set[str]] = {}
    for view in views:
        sides.setdefault(view.id.channel, set()).update(view.illuminations)
    one_per_image = all(len(view.illuminations) == 1 for view in views)
    one_per_channel = all(len(found) == 1 for found in sides.values())
    n_objectives = len(set().union(*sides.values()))
    if one_per_image and one_per_channel and n_objectives > 1:
        reason = (
            f"each channel is lit from one of {n_objectives} sides (single-sided illumination); "
            "with several colours, process one at a time: input.select.channels"
        )
        yield "fusion.merge_all_channels", True, reason


def _register_channels(views: Sequence[View], config: TaskConfig) -> Iterable[_Setting]:
    if config.fusion.merge_all_channels:
        reason = "all channels are merged, so tiles of different channels are registered"
        yield "registration.tiles.register_channels", "RegisterDifferentChannels", reason


def all_parallel(views: Sequence[View]) -> bool:
    """Whether all detection directions of all views are parallel or antiparallel.

    False where a view does not know its direction.
    """
    if not all(view.detection_directions for view in views):
        return False
    return are_parallel([d for view in views for d in view.detection_directions])


def are_parallel(directions: Sequence[Vector]) -> bool:
    """Whether vectors are parallel or antiparallel to the first within a thousandth of a radian."""
    vectors = np.asarray(directions, dtype=np.float64).reshape(-1, 3)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not len(vectors) or not np.isfinite(lengths).all() or not lengths.all():
        return False
    units = vectors / lengths
    sines = np.linalg.norm(np.cross(units, units[0]), axis=1)
    return bool(sines.max() <= PARALLEL_TOLERANCE_RAD)
