"""Who the setups of a BigDataViewer file are: stack, channel, objective and camera."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luxdask.io.bdv_document import ATTRIBUTES
from luxdask.io.foreign_view import Described
from luxdask.model.view import ViewId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from luxdask.io.bdv_document import Setup
    from luxdask.model.geometry import Vector

# Names of setups as the vendor's software and luxdask write them.
_LUX_NAME = re.compile(
    r"^ch:(?P<channel>.*?)(?:_pm:(?P<pm>.*?))?_st:(?P<stack>.*?)"
    r"_ang:h(?P<h>\d+)-v(?P<v>\d+)_obj:(?P<objective>.*?)_cam:(?P<camera>.*)$"
)


@dataclass(frozen=True, slots=True)
class SetupIdentity:
    """Identity at time point 0, what is described, and whether the angle is known."""

    id: ViewId
    described: Described
    has_angle: bool


def setup_identities(setups: Mapping[int, Setup]) -> dict[int, SetupIdentity]:
    """Identities of setups by their number."""
    several = {
        name: len({s.attributes[name].name for s in setups.values() if name in s.attributes}) > 1
        for name in ATTRIBUTES
    }
    found = {
        number: _from_name(setup) or _from_attributes(setup, several)
        for number, setup in setups.items()
    }
    if len({identity.id for identity in found.values()}) < len(found):
        # what tells them apart is no attribute that is known here
        return {n: _with_setup(number=n, identity=i) for n, i in found.items()}
    return found


def _with_setup(number: int, identity: SetupIdentity) -> SetupIdentity:
    known = identity.id
    stack = f"{known.stack}-setup{number}"
    changed = ViewId(0, known.channel, stack, known.objective, known.camera, known.pm)
    return SetupIdentity(changed, identity.described, identity.has_angle)


def _from_name(setup: Setup) -> SetupIdentity | None:
    match = _LUX_NAME.match(setup.name)
    if match is None:
        return None
    identity = ViewId(
        0, match["channel"], match["stack"], match["objective"], match["camera"], match["pm"]
    )
    direction = _direction(math.radians(int(match["h"])), math.radians(int(match["v"])))
    return SetupIdentity(identity, Described(directions=(direction,)), has_angle=False)


def _direction(azimuth: float, polar: float) -> Vector:
    """Axis from its angle about y (0 along +z, 90° along +x) and from +y."""
    flat = math.sin(polar)
    z, y, x = flat * math.cos(azimuth), math.cos(polar), flat * math.sin(azimuth)
    return (round(z, 12) + 0.0, round(y, 12) + 0.0, round(x, 12) + 0.0)


def _from_attributes(setup: Setup, several: Mapping[str, bool]) -> SetupIdentity:
    named = {name: entity.name for name, entity in setup.attributes.items()}
    stack = [named[name] for name in ("angle", "tile") if several[name] and name in named]
    channel = [named.get("channel", "0")]
    if several["illumination"] and "illumination" in named:
        channel.append(named["illumination"])
    angle = setup.attributes.get("angle")
    degrees = None if angle is None else angle.degrees
    lit = (named["illumination"],) if "illumination" in named else ()
    described = Described(
        angle_deg=0.0 if degrees is None else degrees,
        stack="" if setup.name.isdigit() else setup.name,
        illuminations=lit,
    )
    identity = ViewId(0, "-".join(channel), "-".join(stack) or "0", "0", "0")
    return SetupIdentity(identity, described, degrees is not None)
