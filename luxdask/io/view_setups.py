"""Images sorted into setups: what a viewer shows as one source over all time points."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from luxdask.model.view import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from luxdask.model.view import View, ViewId


@dataclass(frozen=True, slots=True)
class ViewSetup:
    """The images of one identity at all their time points.

    `names` are those of the BigDataViewer attributes channel, angle and tile; `views` lie under
    their time points.
    """

    name: str
    names: tuple[str, str, str]
    views: Mapping[int, View]

    @property
    def first(self) -> View:
        """The image of the first time point; size and voxel size of the setup are its."""
        return self.views[min(self.views)]


def view_setups(views: Iterable[View]) -> tuple[ViewSetup, ...]:
    """Sort images into setups, in natural order of channel, PM id, stack, objective and camera.

    Two images of one identity (several boxes of one output) become two setups.
    """
    by_key: dict[tuple[ViewId, int], dict[int, View]] = {}
    for view in sorted(views, key=lambda v: v.id.sort_key):
        box = 0
        while view.id.time_point in by_key.get(_key(view.id, box), ()):
            box += 1
        by_key.setdefault(_key(view.id, box), {})[view.id.time_point] = view
    keys = sorted(by_key, key=_setup_order)
    angles = {key: _angle(next(iter(by_key[key].values()))) for key in keys}
    names = {key: (_channel(key[0]), angles[key], _tile(*key)) for key in keys}
    if len(set(names.values())) < len(keys):
        # Two cameras behind one objective: the angle must tell them apart.
        names = {k: (c, f"{a}_cam:{k[0].camera}", t) for k, (c, a, t) in names.items()}
    return tuple(ViewSetup(_name(k, angles[k]), names[k], by_key[k]) for k in keys)


def _name(key: tuple[ViewId, int], angle: str) -> str:
    return f"{_channel(key[0])}_{_tile(*key)}_{angle}_cam:{key[0].camera}"


def _key(identity: ViewId, box: int) -> tuple[ViewId, int]:
    return replace(identity, time_point=0), box


def _setup_order(key: tuple[ViewId, int]) -> tuple[object, ...]:
    identity, box = key
    rest = (identity.pm or "", identity.stack, identity.objective, identity.camera)
    return (natural_key(identity.channel), *(natural_key(name) for name in rest), box)


def _channel(identity: ViewId) -> str:
    return f"ch:{identity.channel}" + ("" if identity.pm is None else f"_pm:{identity.pm}")


def _tile(identity: ViewId, box: int) -> str:
    return f"st:{identity.stack}" + (f"_box:{box + 1}" if box else "")


def _angle(view: View) -> str:
    """Where the (first) detection axis points, in whole degrees, and the objective.

    h is the azimuth about y, 0 along +z and 90 along +x; v is the angle from +y.
    """
    z, y, x = view.detection_directions[0] if view.detection_directions else (1.0, 0.0, 0.0)
    horizontal = round(math.degrees(math.atan2(x, z))) % 360
    vertical = round(math.degrees(math.atan2(math.hypot(x, z), y)))
    return f"ang:h{horizontal}-v{vertical}_obj:{view.id.objective}"
