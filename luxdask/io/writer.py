"""What an output image format must be able to do, for many processes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from luxdask.model.geometry import Box, Shape


class Writer(Protocol):
    """One output image: small, immutable and picklable; every worker gets a copy.

    Exactly one process calls `create` first; then any number of workers call `write` for disjoint
    regions, without a lock.
    """

    @property
    def path(self) -> str:
        """Path or URL of the image."""

    @property
    def levels(self) -> tuple[Shape, ...]:
        """Downsampling factors (z, y, x) of the levels, full resolution first."""

    def create(self) -> None:
        """Make the image complete in structure and metadata, all voxels 0."""

    def write(self, level: int, start: Shape, block: NDArray[np.uint16]) -> int:
        """Store `block` at voxel `start` of a level; returns the bytes written."""

    def files(self, level: int, start: Shape) -> tuple[str, ...]:
        """Local files and folders that hold what was written at `start` of a level.

        They are to be brought to the disk before it counts as done. None where the voxels are safe
        as soon as `write` returns. A worker on another machine than the one that made this writer
        does that itself.
        """

    def read(self, level: int, box: Box) -> NDArray[np.uint16]:
        """Voxels of a level that were written before (to build coarser ones)."""
