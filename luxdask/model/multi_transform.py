"""Transforms that are added to those of the images' metadata, chosen by the images' identities."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.errors import ConfigError
from luxdask.model.geometry import Affine, Vector, vector
from luxdask.model.view import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.model.experiment import Experiment
    from luxdask.model.view import View, ViewId

_SAME = 1e-9
_MOST_NAMES = 20


@dataclass(frozen=True, slots=True)
class TransformEntry:
    """Transforms of the images that match every list; an empty list matches all images.

    Attributes
    ----------
    stacks
        Full names ("1-x03-y04"), or the part before the tile ("1") for all tiles of a stack.
    prepend
        Applied to voxel positions before the image's own transform; the first is applied first.
    replace_by
        Stand for the image's own transform where there are any; the first is applied first.
    append
        Applied after the image's own transform, in sample space; the first is applied first.
    """

    time_points: tuple[int, ...] = ()
    channels: tuple[str, ...] = ()
    stacks: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    prepend: tuple[Affine, ...] = ()
    replace_by: tuple[Affine, ...] = ()
    append: tuple[Affine, ...] = ()

    def matches(self, view_id: ViewId) -> bool:
        """Whether the transforms are for this image."""
        stacks = self.stacks
        return (
            (not self.time_points or view_id.time_point in self.time_points)
            and (not self.channels or view_id.channel in self.channels)
            and (not stacks or view_id.stack in stacks or view_id.stack_number in stacks)
            and (not self.objectives or view_id.objective in self.objectives)
            and (not self.cameras or view_id.camera in self.cameras)
        )


@dataclass(frozen=True, slots=True)
class MultiTransform:
    """The content of a multi-transform file; `path` is for messages."""

    path: str
    entries: tuple[TransformEntry, ...] = field(default=())


def apply_mtf(experiment: Experiment, mtf: MultiTransform) -> Experiment:
    """The experiment with the transforms of a multi-transform file added to its images.

    The lists of all entries that match an image are joined in the order of the file; then the new
    transform from voxels to sample space is ``append @ (replace_by or own) @ prepend``. Detection
    directions turn along, and voxel sizes follow where a transform changes the scale. `notes` says
    to how many images the file applies, and what it says of images that do not exist.

    Raises
    ------
    ConfigError
        Two entries replace the transform of one image, or the outcome has no inverse.
    """
    matched: Counter[int] = Counter()
    views = []
    for view in experiment.views:
        numbers = [n for n, entry in enumerate(mtf.entries) if entry.matches(view.id)]
        matched.update(numbers)
        views.append(_with_entries(view, mtf, numbers) if numbers else view)
    changed = sum(new is not old for new, old in zip(views, experiment.views, strict=True))
    notes = [f"{mtf.path}: transforms of {changed} of {len(views)} images changed by this file"]
    notes += [*_notes_on_missing(experiment, mtf, matched), *_notes_on_processed(experiment, mtf)]
    return replace(experiment, views=tuple(views), notes=(*experiment.notes, *notes))


def in_chain(transforms: Iterable[Affine]) -> Affine:
    """One transform from several; the first is applied first."""
    whole = Affine()
    for transform in transforms:
        whole = transform @ whole
    return whole


def voxel_form(view_to_world: Affine, correction: Affine) -> Affine:
    """A correction of sample space as a transform P of the voxels: ``correction @ A == A @ P``.

    P of one stack is right for every other position and rotation of the stage, as long as the
    image has the same crop and voxel size; a correction of sample space is not.
    """
    return view_to_world.inverse() @ correction @ view_to_world


def moved(view: View, view_to_world: Affine) -> View:
    """The view with another transform; detection directions and voxel size follow it."""
    old, new = np.array(view.view_to_world.linear), np.array(view_to_world.linear)
    turn = new @ np.linalg.inv(old)
    return replace(
        view,
        view_to_world=view_to_world,
        spacing_um=_spacing_um(view, view_to_world),
        detection_directions=tuple(_turned(turn, d) for d in view.detection_directions),
    )


def _with_entries(view: View, mtf: MultiTransform, numbers: Sequence[int]) -> View:
    entries = [mtf.entries[n] for n in numbers]
    replacing = [n for n in numbers if mtf.entries[n].replace_by]
    if len(replacing) > 1:
        raise ConfigError(
            f"{mtf.path}: entries {' and '.join(str(n + 1) for n in replacing)} of 'affines' both "
            f"replace the transform of {view.id}; 'replace_by' may hold transforms in one only"
        )
    replaced = mtf.entries[replacing[0]].replace_by if replacing else (view.view_to_world,)
    prepend = [t for entry in entries for t in entry.prepend]
    append = [t for entry in entries for t in entry.append]
    whole = in_chain([*prepend, *replaced, *append])
    if whole == view.view_to_world:
        return view
    if not whole.is_invertible:
        raise ConfigError(
            f"{mtf.path}: Affine transform in multi-transform object is invalid (not invertible): "
            f"all transforms for {view.id} together flatten the image. Rows (z, y, x): "
            f"{whole.linear}"
        )
    return moved(view, whole)


def _spacing_um(view: View, view_to_world: Affine) -> Vector:
    """Voxel size times the change of scale; exactly as stated where there is no such change."""
    change = np.divide(view_to_world.column_norms, view.view_to_world.column_norms)
    if np.allclose(change, 1, rtol=0, atol=_SAME):
        return view.spacing_um
    return vector(np.multiply(view.spacing_um, change))


def _turned(turn: np.ndarray[Any, Any], direction: Vector) -> Vector:
    turned = turn @ np.array(direction)
    return vector(turned / np.linalg.norm(turned))


def _names(view_id: ViewId) -> dict[str, set[Any]]:
    """Names under which the lists of an entry find an image."""
    return {
        "time_points": {view_id.time_point},
        "channels": {view_id.channel},
        "stacks": {view_id.stack, view_id.stack_number},
        "objectives": {view_id.objective},
        "cameras": {view_id.camera},
    }


def _notes_on_missing(
    experiment: Experiment, mtf: MultiTransform, matched: Counter[int]
) -> list[str]:
    """What the file says of images that do not exist."""
    existing: dict[str, set[Any]] = {}
    for view in experiment.views:
        for key, names in _names(view.id).items():
            existing.setdefault(key, set()).update(names)
    notes = []
    for number, entry in enumerate(mtf.entries):
        where = f"{mtf.path}: entry {number + 1} of 'affines'"
        missing = [_missing(entry, key, names) for key, names in existing.items()]
        notes += [f"{where} names {text}" for text in missing if text]
        if not matched[number] and not any(missing):
            notes.append(f"{where} matches no image: no image has all that it names")
    return notes


def _notes_on_processed(experiment: Experiment, mtf: MultiTransform) -> list[str]:
    """Fused images already hold what the file beside `raw` did to the raw ones."""
    folder = Path(mtf.path).parent
    beside_images = any(Path(v.source.path).parent == folder for v in experiment.views)
    if experiment.kind != "task" or beside_images or folder != Path(experiment.root):
        return []
    return [
        f"{mtf.path}: lies beside the raw folder, but the images are processed ones. If it was "
        "used when they were made, its transforms are now applied twice"
    ]


def _missing(entry: TransformEntry, key: str, existing: set[Any]) -> str:
    missing = [name for name in getattr(entry, key) if name not in existing]
    if not missing:
        return ""
    word = key.replace("_", " ")
    return f"{word} that do not exist: {_listed(missing)} (there are: {_listed(existing)})"


def _listed(names: Iterable[Any]) -> str:
    ordered = sorted({str(name) for name in names}, key=natural_key)
    more = f" and {len(ordered) - _MOST_NAMES} more" if len(ordered) > _MOST_NAMES else ""
    return ", ".join(ordered[:_MOST_NAMES]) + more
