"""Which images of an experiment are meant: selections and the reference image."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from luxdask.errors import SelectionError
from luxdask.model.view import natural_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from luxdask.model.experiment import Experiment
    from luxdask.model.view import View, ViewId

NO_PM = "none"
MOST_NAMES_LISTED = 20

_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Selection:
    """A subset of images; an empty list stands for all.

    Attributes
    ----------
    time_points
        Numbers and ranges: ``"0-9"`` holds its last number, ``"0-9:2"`` every second one.
    stacks
        Full names ("1-x03-y04") or numbers ("1", with all its tiles).
    tiles
        Tile suffixes ("x03-y04").
    pms
        Photomanipulation ids; None or "none" stands for images without one.
    """

    time_points: tuple[int | str, ...] = ()
    channels: tuple[str, ...] = ()
    stacks: tuple[str, ...] = ()
    tiles: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    pms: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """The image that registration starts from; None stands for the first.

    `stack` is a full name or a number. For `pm`, "none" stands for images without a
    photomanipulation id, and None for those if there are any, else for the first id.
    """

    time_point: int | None = None
    channel: str | None = None
    stack: str | None = None
    objective: str | None = None
    camera: str | None = None
    pm: str | None = None


@dataclass(frozen=True, slots=True)
class _Axis:
    """One property by which images are chosen.

    `names` gives all names under which an image is found, the most precise first.
    """

    word: str
    names: Callable[[ViewId], tuple[Any, ...]]


_AXES = {
    "time_points": _Axis("time point", lambda v: (v.time_point,)),
    "channels": _Axis("channel", lambda v: (v.channel,)),
    "stacks": _Axis("stack", lambda v: (v.stack, v.stack_number)),
    "tiles": _Axis("tile", lambda v: (v.tile,) if v.tile else ()),
    "objectives": _Axis("objective", lambda v: (v.objective,)),
    "cameras": _Axis("camera", lambda v: (v.camera,)),
    "pms": _Axis("photomanipulation id", lambda v: (pm_name(v.pm),)),
}
_AXIS_OF_PART = {"pm": "pms", **{a.removesuffix("s"): a for a in _AXES if a != "tiles"}}

# The order in which missing parts of a reference are filled in.
_PARTS = ("time_point", "pm", "channel", "stack", "objective", "camera")


def parse_time_range(given: int | str) -> range:
    """Time points of a number or of a range such as ``"0-9"`` or ``"0-9:2"``, last one included.

    Raises
    ------
    SelectionError
        Where the text is neither, the range runs backwards, or its step is 0.
    """
    match = _RANGE.fullmatch(str(given))
    first, last, step = (int(g) if g else None for g in match.groups()) if match else (None,) * 3
    if first is None or (last is not None and last < first) or step == 0:
        raise SelectionError(
            f"time points: {given!r} is neither a number from 0 nor an ascending range such as "
            '"0-9" or "0-9:2"'
        )
    return range(first, (first if last is None else last) + 1, step or 1)


def pm_name(pm: str | None) -> str:
    """Photomanipulation id, or "none" for images without one."""
    return NO_PM if pm is None else pm


def select_views(experiment: Experiment, selection: Selection) -> Experiment:
    """The images that match every list of the selection.

    Raises
    ------
    SelectionError
        Where a name matches no image, or no image matches all lists; it lists what exists.
    """
    views = experiment.views
    for key, axis in _AXES.items():
        wanted = getattr(selection, key)
        if wanted:
            allowed = _matching_names(experiment, key, wanted)
            views = tuple(v for v in views if not allowed.isdisjoint(axis.names(v.id)))
    if not views:
        raise SelectionError(
            f"{experiment.path}: no image has {_describe(selection)} together; of these lists "
            "each matches some images, but never the same ones. Widen one of them"
        )
    return experiment.with_views(views)


def resolve_reference(experiment: Experiment, reference: Reference | None = None) -> ViewId:
    """Identity of the reference image; missing parts are those of the first matching image.

    Raises
    ------
    SelectionError
        Where a given part, or the given parts together, match no image.
    """
    views = experiment.views
    reference = reference or Reference()
    for part in _PARTS:
        wanted = getattr(reference, part)
        if wanted is not None:
            views = _views_named(experiment, views, part, wanted)
    if not views:
        raise SelectionError(f"{experiment.path}: there are no images to take a reference from")
    return min((v.id for v in views), key=_reference_order)


def _reference_order(view_id: ViewId) -> tuple[object, ...]:
    pm = (view_id.pm is not None, natural_key(view_id.pm or ""))
    return (view_id.time_point, pm, *view_id.sort_key[1:])


def _views_named(
    experiment: Experiment, views: Iterable[View], part: str, wanted: object
) -> tuple[View, ...]:
    axis = _AXES[_AXIS_OF_PART[part]]
    found = tuple(v for v in views if wanted in axis.names(v.id))
    if not found:
        exists = any(wanted in axis.names(v.id) for v in experiment.views)
        hint = "; it exists, but not together with the other parts given" if exists else ""
        raise SelectionError(
            f"{experiment.path}: the reference {axis.word} {wanted!r} matches no image{hint}; "
            f"there are: {_listed(experiment, axis)}"
        )
    return found


def _matching_names(experiment: Experiment, key: str, wanted: Sequence[Any]) -> set[Any]:
    axis = _AXES[key]
    existing = {name for v in experiment.views for name in axis.names(v.id)}
    found: set[Any] = set()
    for item in wanted:
        matches = existing.intersection(_meant_by(key, item))
        if not matches:
            raise SelectionError(
                f"{experiment.path}: the selected {axis.word} {pm_name(item)!r} matches no image; "
                f"there are: {_listed(experiment, axis)}"
            )
        found |= matches
    return found


def _meant_by(key: str, item: Any) -> Iterable[Any]:
    if key == "time_points":
        return parse_time_range(item)
    return (pm_name(item),) if key == "pms" else (item,)


def _listed(experiment: Experiment, axis: _Axis) -> str:
    existing = {name for v in experiment.views for name in axis.names(v.id)[:1]}
    names = sorted((str(name) for name in existing), key=natural_key)
    if not names:
        return "none at all"
    more = len(names) - MOST_NAMES_LISTED
    return ", ".join(names[:MOST_NAMES_LISTED]) + (f" and {more} more" if more > 0 else "")


def _describe(selection: Selection) -> str:
    given = {f.name: getattr(selection, f.name) for f in fields(selection)}
    parts = [
        f"{key} {', '.join(pm_name(n) if key == 'pms' else str(n) for n in names)}"
        for key, names in given.items()
        if names
    ]
    return " and ".join(parts) if parts else "any name (there are no images)"
