"""All images of an input directory, and what can be asked of them without reading a voxel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from luxdask.model.view import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luxdask.model.view import View, ViewId


def _natural(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names), key=natural_key))


@dataclass(frozen=True)
class Experiment:
    """The images found at a path, sorted by identity.

    Attributes
    ----------
    path
        What was opened.
    root
        The experiment folder that holds `raw` and `processed`; task folders are made there.
    kind
        "experiment", "task" (an output folder), "main" (one nested file) or "files"; for images of
        other formats "ome-zarr", "bdv" or "tiff".
    notes
        What the reader noticed and coped with (incomplete files, duplicates, missing sidecars).
    """

    path: str
    root: str
    kind: str
    views: tuple[View, ...]
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def by_id(self) -> dict[ViewId, View]:
        """The views under their identity."""
        return {view.id: view for view in self.views}

    @property
    def time_points(self) -> tuple[int, ...]:
        """Time points, ascending."""
        return tuple(sorted({v.id.time_point for v in self.views}))

    @property
    def channels(self) -> tuple[str, ...]:
        """Channel names in natural order."""
        return _natural(v.id.channel for v in self.views)

    @property
    def stacks(self) -> tuple[str, ...]:
        """Full stack names (with tile suffix) in natural order."""
        return _natural(v.id.stack for v in self.views)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Detection objectives in natural order."""
        return _natural(v.id.objective for v in self.views)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras in natural order."""
        return _natural(v.id.camera for v in self.views)

    @property
    def pms(self) -> tuple[str | None, ...]:
        """Photomanipulation ids; None stands for images without one."""
        present = {v.id.pm for v in self.views}
        named = _natural(p for p in present if p is not None)
        return (None, *named) if None in present else named

    def with_views(self, views: Iterable[View]) -> Experiment:
        """The same experiment with these views only."""
        return replace(self, views=tuple(views))

    def __len__(self) -> int:
        return len(self.views)
