"""How links look: a colour for the residual, a colour and a sign for every reason of distrust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.report.registration_stage import residual_um

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.colors import Colormap, Normalize
    from numpy.typing import NDArray

    from luxdask.model.links import Link
    from luxdask.report.registration_stage import Stage

UNSOLVED = "#c3cad3"
"""Links that are trusted but have no residual yet."""

WARNING = "#ff9f1c"
"""Views that no link holds."""

SIGNS: dict[str, tuple[str, str]] = {
    "no texture": ("#8b95a5", "o"),
    "too little overlap": ("#b9a3e3", "D"),
    "ambiguous": ("#ffb347", "s"),
    "at the limit": ("#ff8c42", "^"),
    "no match": ("#ff5d5d", "X"),
    "unreadable": ("#d66bff", "v"),
    "removed": ("#ff4fa0", "P"),
}
"""Colour and marker of links that are not used; unlike in shape too, not only in colour."""

_STOPS = ("#2f6db5", "#3fb8b0", "#c9e265", "#fff7a8")


@dataclass(frozen=True, slots=True)
class ResidualScale:
    """Colours for residuals from 0 to `most_um`."""

    most_um: float

    @classmethod
    def of(cls, stage: Stage) -> ResidualScale:
        """At least one voxel wide, so that good registrations look calm and alike."""
        known = known_residuals(stage.trusted)
        high = float(np.percentile(known, 98)) if known.size else 0.0
        return cls(max(stage.voxel_um, high))

    @property
    def norm(self) -> Normalize:
        """As matplotlib wants it."""
        from matplotlib.colors import Normalize

        return Normalize(0, self.most_um, clip=True)

    @property
    def colormap(self) -> Colormap:
        """From blue through green to a bright yellow; lightness grows with the residual."""
        from matplotlib.colors import LinearSegmentedColormap

        return LinearSegmentedColormap.from_list("residual", _STOPS)

    def colours(self, links: Sequence[Link]) -> NDArray[np.float64]:
        """RGBA of each link, (links, 4)."""
        from matplotlib.colors import to_rgba

        values = np.array([residual_um(link) for link in links])
        painted = np.array(self.colormap(self.norm(np.nan_to_num(values))))
        painted[np.isnan(values)] = to_rgba(UNSOLVED)
        return painted


def known_residuals(links: Sequence[Link]) -> NDArray[np.float64]:
    """Residuals in µm of the links that have one."""
    values = np.array([residual_um(link) for link in links], dtype=np.float64)
    return values[np.isfinite(values)]
