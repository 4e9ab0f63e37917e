"""What registration has found, and what that means for each view.

A view's correction C (sample space to sample space) is made of three parts,
``C = time @ stack @ optics``: first an image is laid on the reference's way of looking at the same
stack, then the stack on its neighbours, then the time point on the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.geometry import IDENTITY, Affine, volume_corners
from luxdask.model.stages import Optics, StackAt, optics_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from luxdask.model.view import View, ViewId

_SAME = 1e-12
_UNSEEN_VX = 0.01


@dataclass(frozen=True)
class Corrections:
    """Transforms by node; what is not listed stays where its metadata puts it.

    Attributes
    ----------
    optics
        In voxels, before the metadata's transform: it holds for every stack and time point,
        wherever the stages stand (``P = A^-1 T A``).
    stacks, times
        In sample space, µm.
    direct
        Corrections of single images, which stand above all others; without PM id.
    all_times
        The time point whose stacks and single images stand for all, None where each has its own.
    different_channels
        Whether stacks are told apart by channel as well.
    """

    optics: Mapping[Optics, Affine] = field(default_factory=dict)
    stacks: Mapping[StackAt, Affine] = field(default_factory=dict)
    times: Mapping[int, Affine] = field(default_factory=dict)
    direct: Mapping[ViewId, Affine] = field(default_factory=dict)
    all_times: int | None = None
    different_channels: bool = False

    def of(self, view: View) -> Affine:
        """Correction of a view in sample space; a turn too small to be seen is left out."""
        return _without_noise(self._composed(view), view)

    def _composed(self, view: View) -> Affine:
        plain = replace(view.id, pm=None)
        given = self.direct.get(plain)
        if given is not None:
            return given
        time = self.times.get(view.id.time_point)
        parts = [time, self.stacks.get(self._stack(view.id)), self._optics(view)]
        if self.all_times is not None:
            given = self.direct.get(replace(plain, time_point=self.all_times))
            parts = parts if given is None else [time, given]
        found = Affine()
        for part in parts:
            found = found if part is None else found @ part
        return found

    def _stack(self, view: ViewId) -> StackAt:
        time = view.time_point if self.all_times is None else self.all_times
        return StackAt(time, view.channel if self.different_channels else "", view.stack)

    def _optics(self, view: View) -> Affine | None:
        part = self.optics.get(optics_of(view.id))
        if part is None or is_identity(part):
            return None
        return view.whole_to_world @ part @ view.whole_to_world.inverse()

    def apply(self, views: Iterable[View]) -> tuple[View, ...]:
        """The views where they truly lie; those without a correction are the same objects."""
        return tuple(corrected(view, self.of(view)) for view in views)


def _without_noise(correction: Affine, view: View) -> Affine:
    """A shift, where turning or stretching moves no corner of the view by more than the least.

    Fusion copies or shifts the rows of a view that is not turned, many times as fast.
    """
    if correction.linear == IDENTITY:
        return correction
    corners = view.view_to_world.apply(volume_corners(view.shape))
    moves = correction.apply(corners) - corners
    shift = moves.mean(axis=0)
    rest_vx = np.linalg.solve(np.array(view.view_to_world.linear), (moves - shift).T)
    return Affine.translation(shift) if np.abs(rest_vx).max() < _UNSEEN_VX else correction


def corrected(view: View, correction: Affine) -> View:
    """A view that a correction has moved; its detection directions turn with it."""
    if is_identity(correction):
        return view
    return replace(
        view,
        view_to_world=correction @ view.view_to_world,
        detection_directions=tuple(_turned(d, correction) for d in view.detection_directions),
    )


def _turned(direction: tuple[float, float, float], by: Affine) -> tuple[float, float, float]:
    turned = np.array(by.linear) @ direction
    z, y, x = (turned / np.linalg.norm(turned)).tolist()
    return (z, y, x)


def is_identity(affine: Affine) -> bool:
    """Whether a transform leaves everything where it is."""
    return bool(np.abs(affine.to_array() - Affine().to_array()).max() < _SAME)
