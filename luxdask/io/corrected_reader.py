"""A reader whose voxels come out corrected: camera pixels and field of view are undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.array.correct import correct_in_place, replace_hot
from luxdask.errors import ImageFileError
from luxdask.io.correction_file import Layers, read_binned_layers, read_layers
from luxdask.model.geometry import Box
from luxdask.model.levels import FULL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.io.reader import Reader
    from luxdask.model.geometry import Shape
    from luxdask.model.view import Correction, Source


@dataclass(frozen=True, slots=True)
class CorrectedReader:
    """Reads with the reader of the stored voxels, then corrects them in one pass."""

    stored: Reader

    def levels(self, source: Source) -> tuple[Shape, ...]:
        """Factors of the stored levels; only the full one where hot pixels were averaged in."""
        if _layers(source).hot is not None:
            return (FULL,)
        return self.stored.levels(source)

    def read_into(
        self, source: Source, box: Box, out: NDArray[np.uint16], *, level: Shape = FULL
    ) -> None:
        """Fill `out` with corrected voxels of a region."""
        correction, layers = _correction(source), _layers(source)
        hot = layers.hot
        if hot is not None and hot[box.slices[1:]].any():
            self._read_cool(source, box, out, hot)
        else:
            self.stored.read_into(source, box, out, level=level)
        at, bins = box.slices[1:], (level[1], level[2])
        offset, factor = read_binned_layers(correction.path, correction.digest, bins)
        if offset[at].shape != out.shape[1:]:
            raise ImageFileError(
                f"{correction.path}: layers of {offset.shape[0]} x {offset.shape[1]} pixels do not "
                f"cover the image {source.path}; delete this file, so that it is made again"
            )
        correct_in_place(out, offset[at], factor[at])

    def _read_cool(
        self, source: Source, box: Box, out: NDArray[np.uint16], hot: NDArray[np.bool_]
    ) -> None:
        """Read one pixel more around, so that hot pixels see the same neighbours in any window."""
        (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
        first = (z0, max(y0 - 1, 0), max(x0 - 1, 0))
        last = (z1, min(y1 + 1, hot.shape[0]), min(x1 + 1, hot.shape[1]))
        wider = Box(first, last)
        voxels = np.empty(wider.shape, dtype=np.uint16)
        self.stored.read_into(source, wider, voxels)
        replace_hot(voxels, hot[wider.slices[1:]])
        out[...] = voxels[box.shift([-s for s in first]).slices]


def _correction(source: Source) -> Correction:
    assert source.correction is not None
    return source.correction


def _layers(source: Source) -> Layers:
    correction = _correction(source)
    return read_layers(correction.path, correction.digest)
