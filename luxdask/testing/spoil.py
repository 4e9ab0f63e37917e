"""Spoil overlaps of a made experiment, so that registration meets pairs that cannot be trusted.

The truth of the experiment stays as it is: it says where the views lie, and links through spoiled
overlaps contradict it, or tell nothing.
"""

from __future__ import annotations

from itertools import combinations
from math import ceil, floor
from typing import TYPE_CHECKING, Literal

import numpy as np

from luxdask.errors import ConfigError
from luxdask.io.lux_reader import read_box
from luxdask.io.lux_writer import LuxWriter
from luxdask.model.geometry import Affine, BoundingBox, Box, shape3

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from luxdask.model.view import ViewId
    from luxdask.testing.truth import TrueView, Truth

Fault = Literal["blank", "repeated", "moved"]
FAULTS: tuple[Fault, ...] = ("blank", "repeated", "moved")
Neighbours = tuple["ViewId", "ViewId"]

_BACKGROUND = 100.0
_READ_NOISE = 4.0
_PERIOD_VX = 10.0


def neighbouring_tiles(truth: Truth) -> tuple[Neighbours, ...]:
    """Pairs of tiles that share a side, not only a corner; nothing else differs between the two."""
    groups: dict[tuple[object, ...], list[TrueView]] = {}
    for view in truth.views:
        identity = view.id
        key = (identity.time_point, identity.channel, identity.stack_number, identity.objective)
        groups.setdefault((*key, identity.camera, identity.pm), []).append(view)
    return tuple(
        (a.id, b.id)
        for views in groups.values()
        for a, b in combinations(views, 2)
        if _steps_between(a.id.tile, b.id.tile) == 1
    )


def _steps_between(first: str, second: str) -> int:
    """Steps along rows and columns between tiles such as "x01-y02"."""
    a, b = ([int(part[1:]) for part in tile.split("-") if part] for tile in (first, second))
    return sum(abs(p - q) for p, q in zip(a, b, strict=True))


def choose_faults(pairs: Sequence[Neighbours], count: int, *, seed: int) -> dict[Neighbours, Fault]:
    """`count` of the pairs at random, a third of them with each of `FAULTS`."""
    if not 0 <= count <= len(pairs):
        raise ConfigError(f"{count} pairs to be spoiled, but there are {len(pairs)}")
    chosen = np.random.default_rng([seed, 30]).choice(len(pairs), count, replace=False)
    return {pairs[n]: FAULTS[k % len(FAULTS)] for k, n in enumerate(chosen)}


def spoil_overlaps(
    truth: Truth, faults: Mapping[Neighbours, Fault], *, moved_um: float = 20.0, seed: int = 1
) -> None:
    """Overwrite what two views have in common, in their files, for each pair of `faults`.

    - "blank": both views show background with camera noise there.
    - "repeated": both show the same stripes that come again after 10 voxels along each axis.
    - "moved": in the second view everything there lies up to `moved_um` and at least half of it
      away along each axis (whole voxels; none along an axis that is too short), as if a piece of
      the sample had moved between the exposures.

    Where spoiled overlaps cross, the later ones in `faults` win.
    Raises `ConfigError` for unknown views, and for pairs that have nothing in common.
    """
    for number, ((first, second), fault) in enumerate(faults.items()):
        views = [_view(truth, identity) for identity in (first, second)]
        common = _true_box(views[0]) & _true_box(views[1])
        boxes = [_voxels(view, common) for view in views]
        if not all(boxes):
            raise ConfigError(f"{first} and {second} have nothing in common that could be spoiled")
        rng = np.random.default_rng([seed, 31, number])
        if fault == "moved":
            _move(truth, views[1], boxes[1], moved_um, rng)
            continue
        for view, box in zip(views, boxes, strict=True):
            image = _blank(box) if fault == "blank" else _stripes(view, box)
            _overwrite(truth, view, box, _noisy(image, rng))


def _view(truth: Truth, identity: ViewId) -> TrueView:
    if identity not in truth.by_id:
        raise ConfigError(f"{identity}: no such view in {truth.folder}")
    return truth.by_id[identity]


def _true_box(view: TrueView) -> BoundingBox:
    return BoundingBox.of_volume(view.shape, view.true_view_to_world)


def _voxels(view: TrueView, box: BoundingBox) -> Box:
    """Voxels of a view around a box of true sample space."""
    if not box:
        return Box((0, 0, 0), (0, 0, 0))
    extent = BoundingBox.of_volume((1, 1, 1), _unit_to_view(view, box))
    start = shape3([floor(v + 0.5) for v in extent.lower])
    stop = shape3([ceil(v + 0.5) for v in extent.upper])
    return Box(start, stop) & Box.of_shape(view.shape)


def _unit_to_view(view: TrueView, box: BoundingBox) -> Affine:
    middle = np.add(box.lower, box.upper) / 2
    return view.true_view_to_world.inverse() @ Affine.scale(box.extent_um, middle)


def _blank(box: Box) -> NDArray[np.float64]:
    return np.full(box.shape, _BACKGROUND)


def _stripes(view: TrueView, box: Box) -> NDArray[np.float64]:
    """A lattice that is fixed in true sample space, with the view's voxels as its measure."""
    index = np.stack(np.meshgrid(*map(np.arange, box.start, box.stop), indexing="ij"), axis=-1)
    places = view.true_view_to_world.apply(index) / np.multiply(view.spacing_um, _PERIOD_VX)
    waves = 1 + np.cos(2 * np.pi * places)
    return np.asarray(_BACKGROUND + 400 * waves.prod(axis=-1))


def _noisy(image: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint16]:
    noise = rng.standard_normal(image.shape) * np.sqrt(image + _READ_NOISE**2)
    return np.asarray(np.rint(np.clip(image + noise, 0, 65535)), dtype=np.uint16)


def _move(
    truth: Truth, view: TrueView, box: Box, moved_um: float, rng: np.random.Generator
) -> None:
    """Fill the region with what lies beside it, towards the inside of the view where there is one.

    Where the view ends it goes on as its own mirror image.
    """
    whole = read_box(str(truth.path(view)), "Data", Box.of_shape(view.shape))
    size = rng.uniform(0.5, 1, 3) * moved_um / view.spacing_um
    parts = []
    for start, stop, n, step, sign in zip(
        box.start, box.stop, view.shape, size, rng.choice([-1, 1], 3), strict=True
    ):
        steps = round(step) if round(step) < n / 4 else 0
        inward = 1 if start < steps else -1 if stop + steps > n else int(sign)
        at = (np.arange(start, stop) + inward * steps) % (2 * n)
        parts.append(np.minimum(at, 2 * n - 1 - at))
    _overwrite(truth, view, box, whole[np.ix_(*parts)])


def _overwrite(truth: Truth, view: TrueView, box: Box, values: NDArray[np.uint16]) -> None:
    writer = LuxWriter(str(truth.path(view)), view.shape, view.spacing_um)
    writer.write(0, box.start, values)
