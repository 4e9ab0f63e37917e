"""One image volume with its channels, and the colours of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.report.colours import composite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from luxdask.model.geometry import Vector
    from luxdask.model.view import View
    from luxdask.report.colours import Colour
    from luxdask.report.projection import Projections

Channel = tuple[str, str]
"""Name of a channel and PM id ("" where there is none)."""


def channel_of(view: View) -> Channel:
    """Which channel a view shows."""
    return (view.id.channel, view.id.pm or "")


@dataclass(frozen=True, slots=True)
class Palette:
    """Colour and grey-value range of every channel, the same in all parts of the picture."""

    colours: Mapping[Channel, Colour]
    ranges: Mapping[Channel, tuple[float, float]]

    def paint(self, images: Mapping[Channel, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Channels (Y, X) as one colour picture (Y, X, 3)."""
        rows, columns = np.min([image.shape for image in images.values()], axis=0).tolist()
        return composite(
            [image[:rows, :columns] for image in images.values()],
            [self.ranges[channel] for channel in images],
            [self.colours[channel] for channel in images],
        )


@dataclass(frozen=True, slots=True)
class Panel:
    """One image volume; `view` is its first channel."""

    view: View
    channels: Mapping[Channel, Projections]
    names: Mapping[Channel, str]

    @property
    def extent_um(self) -> Vector:
        """Size (z, y, x)."""
        return next(iter(self.channels.values())).extent_um


def channel_name(view: View) -> str:
    """How a channel is called in the picture."""
    pm = "" if view.id.pm is None else f" pm {view.id.pm}"
    return f"channel {view.id.channel}{pm} {view.channel_description}".rstrip()
