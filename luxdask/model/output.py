"""What one output image is: which views go into it, and on which grid of sample space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from luxdask.model.view import natural_key

if TYPE_CHECKING:
    from luxdask.model.geometry import Grid
    from luxdask.model.view import View


@dataclass(frozen=True, slots=True)
class Output:
    """One output image: time point × channel × PM id × box.

    Attributes
    ----------
    mode
        File-name prefix of the bounding-box mode: "uni", "int" or "sep".
    grid
        Output voxels in sample space.
    views
        The inputs to fuse, in the order of their identity; the first gives the names.
    separate_view
        Whether this is one view added separately beside the fused image.
    group
        Number of the box; the images of one box share main files.
    """

    mode: str
    grid: Grid
    views: tuple[View, ...]
    separate_view: bool = False
    group: int = 0

    @property
    def time_point(self) -> int:
        """Time point of the first input."""
        return self.views[0].id.time_point

    @property
    def pm(self) -> str | None:
        """Photomanipulation id, the same for all inputs."""
        return self.views[0].id.pm

    @property
    def channel(self) -> str:
        """Channel name; merged channels are joined."""
        return joined([v.id.channel for v in self.views])

    @property
    def stack(self) -> str:
        """Name of the first stack, joined with the second where several are fused."""
        return joined([v.id.stack for v in self.views])

    @property
    def objective(self) -> str:
        """Detection objective; fused ones are joined."""
        return joined([v.id.objective for v in self.views])

    @property
    def camera(self) -> str:
        """Camera; fused ones are joined."""
        return joined([v.id.camera for v in self.views])


def joined(names: list[str], at_most: int = 2) -> str:
    """The first distinct names in natural order, joined with "-" as the vendor's outputs are."""
    distinct = sorted(set(names), key=natural_key)
    return "-".join(distinct[:at_most])
