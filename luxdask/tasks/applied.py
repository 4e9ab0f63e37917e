"""What the settings of a task do to each input image, for people: nothing is read but metadata."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luxdask.io.landmark_file import find_landmark_file, read_landmarks
from luxdask.io.mtf import find_mtf, read_mtf
from luxdask.tasks.compile import select_inputs

if TYPE_CHECKING:
    from luxdask.model.experiment import Experiment
    from luxdask.model.multi_transform import MultiTransform
    from luxdask.model.view import View, ViewId
    from luxdask.tasks.config import TaskConfig

_STAGES = ("objective_camera", "tiles", "rotation", "landmarks", "time_points")


@dataclass(frozen=True, slots=True)
class Applied:
    """What applies to one image.

    Attributes
    ----------
    view
        The image as the task takes it: with its transforms, cropped.
    transforms
        What makes up its transform to sample space, in this order.
    roi
        The box that is left of it (z, y, x); empty where it is whole.
    corrections
        What is done to its grey values.
    landmarks
        Labels of the landmarks set in it, where landmarks are used.
    """

    view: View
    transforms: tuple[str, ...]
    roi: str = ""
    corrections: tuple[str, ...] = ()
    landmarks: tuple[str, ...] = ()


def applied_inputs(
    config: TaskConfig, experiment: Experiment
) -> tuple[tuple[Applied, ...], tuple[str, ...]]:
    """What applies to each selected image, and what is to be said about it.

    Raises `SelectionError` and `ConfigError` as compiling would.
    """
    chosen = select_inputs(config, experiment)
    content = _multi_transform(config, chosen)
    last = _registration(config)
    marks = _landmarks(config, experiment)
    corrections = _corrections(config)
    applied = tuple(
        Applied(
            view,
            (*_chain(content, view.id), *last),
            _box(view),
            corrections,
            tuple(marks.get(view.id, ())),
        )
        for view in chosen.views
    )
    return applied, chosen.notes[len(experiment.notes) :]


def _multi_transform(config: TaskConfig, chosen: Experiment) -> MultiTransform | None:
    wanted = config.input.metadata.multi_transform
    if not wanted.enabled or config.input.only_create_main_files:
        return None
    path = find_mtf(chosen, wanted.file)
    return None if path is None else read_mtf(path)


def _chain(content: MultiTransform | None, view: ViewId) -> tuple[str, ...]:
    """The transforms of an image before registration, first to last."""
    steps: dict[str, list[str]] = defaultdict(list)
    for number, entry in enumerate(content.entries if content else (), 1):
        if not entry.matches(view):
            continue
        for name in ("prepend", "replace_by", "append"):
            if count := len(getattr(entry, name)):
                steps[name].append(f"{name} of entry {number} ({count})")
    own = steps["replace_by"] or ["metadata"]
    return (*steps["prepend"], *own, *steps["append"])


def _registration(config: TaskConfig) -> tuple[str, ...]:
    """Corrections that come last, in sample space."""
    r = config.registration
    if not r.enabled or config.input.only_create_main_files:
        return ()
    stages = [stage for stage in _STAGES if getattr(r, stage).enabled]
    text = f"registration ({', '.join(stages) or 'no stage is on'})"
    return (text if r.reuse.task_folder is None else f"{text} reused from {r.reuse.task_folder}",)


def _landmarks(config: TaskConfig, experiment: Experiment) -> dict[ViewId, list[str]]:
    if not (config.registration.enabled and config.registration.landmarks.enabled):
        return {}
    path = find_landmark_file(experiment, config.input.landmarks_file)
    found: dict[ViewId, list[str]] = defaultdict(list)
    for mark in read_landmarks(path, experiment) if path is not None else ():
        found[mark.image].append(mark.label)
    return found


def _corrections(config: TaskConfig) -> tuple[str, ...]:
    switches = {
        "flatfield": config.input.flatfield.enabled,
        "camera pixels": config.input.camera_pixels.enabled,
    }
    return tuple(name for name, is_on in switches.items() if is_on)


def _box(view: View) -> str:
    crop = view.source.crop
    if crop is None:
        return ""
    return ",".join(f"{a}:{b}" for a, b in zip(crop.start, crop.stop, strict=True))
