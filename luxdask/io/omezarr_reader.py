"""Read voxels of OME-Zarr images, some planes of chunks at a time."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import ImageFileError, LuxdaskError
from luxdask.io.grey_values import store
from luxdask.io.omezarr_levels import ZarrImage, zarr_image
from luxdask.io.omezarr_store import open_level
from luxdask.model.geometry import Box
from luxdask.model.levels import FULL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import zarr
    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape
    from luxdask.model.view import Source

SLAB_BYTES = 1 << 25
"""Decoded voxels held at a time, beside what is asked for; always whole chunks along z."""


@dataclass(frozen=True, slots=True)
class OmeZarrReader:
    """Images of OME-Zarr 0.4 and 0.5."""

    def levels(self, source: Source) -> tuple[Shape, ...]:
        """Downsampling factors (z, y, x) of the levels that hold means, full resolution first."""
        return tuple(zarr_image(source.path).levels)

    def read_into(
        self, source: Source, box: Box, out: NDArray[np.uint16], *, level: Shape = FULL
    ) -> None:
        """Fill `out` (shape of `box`, any strides) with a region of a stored level.

        Chunks that do not exist hold the image's fill value. Each is decoded once. Raises
        `ImageFileError` naming the image.
        """
        image = zarr_image(source.path)
        if level not in image.levels:
            raise ImageFileError(
                f"{source.path}: no level of factors (z, y, x) {level}; it has {list(image.levels)}"
            )
        array = open_level(source.path, image.levels[level])
        for part in _slabs(image, array, box):
            target = out[part.start[0] - box.start[0] : part.stop[0] - box.start[0]]
            store(_read(image, array, source, part), target, source)


def _slabs(image: ZarrImage, array: zarr.Array[Any], box: Box) -> Iterator[Box]:
    """The region cut along z at borders of chunks, so that memory stays bounded."""
    depth = array.chunks[image.axes.index("z")] if "z" in image.axes else 1
    plane = prod(box.shape[1:]) * array.dtype.itemsize
    step = depth * max(1, SLAB_BYTES // max(1, depth * plane))
    for first in range(box.start[0] // step * step, box.stop[0], step):
        z0, z1 = max(first, box.start[0]), min(first + step, box.stop[0])
        yield Box((z0, *box.start[1:]), (z1, *box.stop[1:]))


def _read(
    image: ZarrImage, array: zarr.Array[Any], source: Source, box: Box
) -> NDArray[np.generic]:
    """Stored voxels as (z, y, x)."""
    index = iter(source.foreign.index if source.foreign else ())
    ranges = dict(zip("zyx", box.slices, strict=True))
    selection = tuple(ranges[axis] if axis in ranges else next(index) for axis in image.axes)
    try:
        values = np.asarray(array[selection])
    except LuxdaskError:
        raise
    except Exception as error:  # stores and codecs have no common error class
        raise ImageFileError(
            f"{source.path}: cannot read {box} of {array.store_path} (truncated or damaged?): "
            f"{error or type(error).__name__}"
        ) from error
    kept = [axis for axis in image.axes if axis in "zyx"]
    if "z" not in kept:
        return values.transpose([kept.index(axis) for axis in "yx"])[np.newaxis]
    return values.transpose([kept.index(axis) for axis in "zyx"])
