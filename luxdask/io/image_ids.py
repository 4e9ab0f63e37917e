"""Which image a file made by people means: its identity, in parts, some of them left out."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError, SelectionError
from luxdask.io.names import safe_name
from luxdask.model.select import MOST_NAMES_LISTED, NO_PM
from luxdask.model.view import ViewId, natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luxdask.model.experiment import Experiment

_KEYS = {
    "tp": "time_point",
    "ch": "channel",
    "pm": "pm",
    "st": "stack",
    "obj": "objective",
    "cam": "camera",
}
_START = rf"(?:{'|'.join(_KEYS)})[-:]"
_PART = re.compile(rf"(?:^|[_\s])({_START})(.*?)(?=[_\s]{_START}|_etc(?:_|$)|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ImageIds:
    """Parts of an image's identity; None where a part is not given.

    `stack` is a full name ("1-x03-y04") or a number, with the tile's name ("x03-y04") in `tile` or
    without.
    """

    time_point: str | None = None
    channel: str | None = None
    stack: str | None = None
    tile: str | None = None
    objective: str | None = None
    camera: str | None = None
    pm: str | None = None

    def __or__(self, other: ImageIds) -> ImageIds:
        """The parts of `other`, completed by those of this one."""
        parts = {f.name: getattr(other, f.name) for f in fields(self)}
        return ImageIds(**{n: getattr(self, n) if v is None else v for n, v in parts.items()})


PARTS = tuple(f.name for f in fields(ImageIds))


def image_ids(values: Mapping[str, object]) -> ImageIds:
    """Parts by name; empty text and null count as not given, other keys are passed over."""
    given = {name: str(values[name]).strip() for name in PARTS if values.get(name) is not None}
    return ImageIds(**{name: text or None for name, text in given.items()})


def parse_image_ids(text: str) -> ImageIds:
    """Parts from ``tp-0_ch-1_st-1-x00-y00_obj-left_cam-left`` or ``tp:0 ch:1 ...``, any of them.

    The first form is that of file names (what stands before and behind does not matter), the second
    that of messages.
    """
    found = {_KEYS[key[:-1].lower()]: value for key, value in _PART.findall(text)}
    return image_ids(found)


def named_image(text: str) -> ImageIds:
    """The same of a text that must name an image; empty text names none in particular.

    Raises `ConfigError`, without the place, where it holds no part at all.
    """
    ids = parse_image_ids(text)
    if text.strip() and ids == ImageIds():
        raise ConfigError(
            f"{text!r} names no image; a text such as 'tp-0_ch-1_st-1-x00-y00_obj-left_cam-left', "
            "or some of these parts, is expected"
        )
    return ids


class ImageLookup:
    """Finds images of an experiment by parts of their identity."""

    def __init__(self, experiment: Experiment) -> None:
        self._path = experiment.path
        self._all = tuple(view.id for view in experiment.views)
        self._known = set(self._all)
        self._has_pm = any(view.pm is not None for view in self._all)
        self._found: dict[ImageIds, ViewId] = {}

    def find(self, ids: ImageIds, where: str) -> ViewId:
        """The one image that is meant; parts that are not given must follow from the others.

        where : file and entry, for messages.

        Raises
        ------
        SelectionError
            No image has these parts, or several have; the message lists what there is.
        ConfigError
            The time point is not a whole number.
        """
        if ids not in self._found:
            self._found[ids] = self._find(ids, where)
        return self._found[ids]

    def find_all(self, ids: ImageIds, where: str) -> frozenset[ViewId]:
        """All images that have the given parts; parts that are not given do not matter.

        Raises as `find` does, but several images are welcome.
        """
        complete = _complete(ids, where)
        if complete in self._known and (ids.pm is not None or not self._has_pm):
            return frozenset({complete})
        left: Sequence[ViewId] = self._all
        for part in PARTS:
            wanted = getattr(ids, part)
            if wanted is None:
                continue
            left = _matching(left, part, wanted)
            if not left:
                raise SelectionError(f"{where}: {self._nothing(part, wanted)}")
        return frozenset(left)

    def _find(self, ids: ImageIds, where: str) -> ViewId:
        complete = _complete(ids, where)
        if complete in self._known:
            return complete
        left: Sequence[ViewId] = self._all
        for part in PARTS:
            wanted = getattr(ids, part)
            if wanted is None and part != "pm":
                continue
            chosen = _matching(left, part, wanted)
            if not chosen:
                raise SelectionError(f"{where}: {self._nothing(part, wanted)}")
            left = chosen
        if len(left) > 1:
            raise SelectionError(f"{where}: {_ambiguous(left)}")
        return left[0]

    def _nothing(self, part: str, wanted: str) -> str:
        hint = ""
        if _matching(self._all, part, wanted):
            hint = "; it exists, but not together with the other parts given"
        word = part.replace("_", " ")
        return (
            f"the {word} {wanted!r} matches no image of {self._path}{hint}; there are: "
            f"{_listed(_names(v, part)[0] for v in self._all)}"
        )


def _complete(ids: ImageIds, where: str) -> ViewId | None:
    """The identity, where every part is given."""
    time = None
    if ids.time_point is not None:
        if not re.fullmatch(r"\d+", ids.time_point, re.ASCII):
            raise ConfigError(
                f"{where}: the time point {ids.time_point!r} is not a whole number from 0"
            )
        time = int(ids.time_point)
    parts = (ids.channel, ids.stack, ids.objective, ids.camera)
    if time is None or ids.tile is not None or any(p is None for p in parts):
        return None
    pm = None if ids.pm in (None, NO_PM) else ids.pm
    channel, stack, objective, camera = (p or "" for p in parts)
    return ViewId(time, channel, stack, objective, camera, pm)


def _names(view: ViewId, part: str) -> tuple[str, ...]:
    """Under what an image is found, the most precise first."""
    if part == "pm":
        return (NO_PM if view.pm is None else view.pm,)
    if part == "stack":
        return (view.stack, view.stack_number)
    return (str(getattr(view, part)),)


def _matching(views: Sequence[ViewId], part: str, wanted: str | None) -> list[ViewId]:
    """Images whose name is the wanted one; if there is none, its form in file names counts."""
    if part == "pm" and wanted is None:
        return [v for v in views if v.pm is None] or list(views)
    if part == "time_point":
        return [v for v in views if wanted is not None and v.time_point == int(wanted)]
    depth = 2 if part == "stack" else 1
    for level in range(depth):
        exact = [v for v in views if _names(v, part)[level] == wanted]
        if exact:
            return exact
    return [v for v in views if wanted in [safe_name(n) for n in _names(v, part)]]


def _ambiguous(views: Sequence[ViewId]) -> str:
    """What has to be given besides."""
    parts = (f for f in PARTS if f != "tile")
    choices = {part: {_names(v, part)[0] for v in views} for part in parts}
    open_parts = {part: names for part, names in choices.items() if len(names) > 1}
    listed = "; ".join(f"{part}: {_listed(names)}" for part, names in open_parts.items())
    return (
        f"{len(views)} images are meant; give also {' and '.join(open_parts)}, one of these: "
        f"{listed}"
    )


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(set(names) - {""}, key=natural_key)
    more = len(ordered) - MOST_NAMES_LISTED
    text = ", ".join(ordered[:MOST_NAMES_LISTED]) or "none at all"
    return f"{text} and {more} more" if more > 0 else text
