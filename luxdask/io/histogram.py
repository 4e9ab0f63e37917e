"""Histograms of grey values, counted exactly and in pieces, as Imaris files hold them."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from luxdask.io.lux_reader import read_box
from luxdask.io.stored_levels import level_source, stored_levels
from luxdask.model.geometry import Box, Shape, shape3
from luxdask.model.levels import level_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from luxdask.model.view import View

GREY_VALUES = 65536
PIECE = (32, 256, 256)
"""Voxels read at a time; counting needs eight bytes for each."""
READ_AT_MOST = 1 << 29
"""Voxels read from one image; of a larger one without a pyramid only every n-th piece is read."""


def count_values(block: NDArray[np.uint16]) -> NDArray[np.int64]:
    """How often each of the 65536 grey values occurs."""
    return np.bincount(block.ravel(), minlength=GREY_VALUES).astype(np.int64, copy=False)


def coarsest_counts(view: View) -> NDArray[np.int64]:
    """Counts of all grey values in the coarsest level that the file of an image holds.

    Padding beyond the level's true size does not count. Raises `ImageFileError` naming the file.
    """
    factor = stored_levels(view.source)[-1]
    path, dataset = level_source(view.source, factor)
    counts = np.zeros(GREY_VALUES, dtype=np.int64)
    for box in _sampled_boxes(level_shape(view.shape, factor)):
        counts += count_values(read_box(path, dataset, box))
    return counts


def _sampled_boxes(shape: Shape) -> Iterator[Box]:
    boxes = list(blocks_of(shape, shape3(PIECE)))
    step = -(-Box.of_shape(shape).size // READ_AT_MOST)
    return iter(boxes[::step])


def blocks_of(shape: Shape, block: Shape) -> Iterator[Box]:
    """The blocks an array divides into, in storage order; those at the far ends are smaller."""
    whole = Box.of_shape(shape)
    for start in product(*(range(0, n, b) for n, b in zip(shape, block, strict=True))):
        corner = shape3(start)
        yield Box((0, 0, 0), block).shift(corner) & whole


def value_range(counts: NDArray[np.int64]) -> tuple[int, int]:
    """Smallest and largest grey value; a constant image gets a range of one, within uint16."""
    present = np.flatnonzero(counts)
    low, high = (int(present[0]), int(present[-1])) if present.size else (0, 0)
    if low == high:
        low, high = (low, low + 1) if low < GREY_VALUES - 1 else (low - 1, low)
    return low, high


def binned(counts: NDArray[np.int64], bins: int, total: int | None = None) -> NDArray[np.uint64]:
    """Counts in equal bins over `value_range`, scaled to the sum `total` where it is given.

    Scaling rounds the running sums down, so that the bins add up to `total` exactly.
    """
    low, high = value_range(counts)
    index = (np.arange(high - low + 1) * bins) // (high - low)
    sums = np.bincount(np.minimum(index, bins - 1), weights=counts[low : high + 1], minlength=bins)
    whole = [int(n) for n in sums]
    counted = sum(whole)
    if total is None or counted in (0, total):
        return np.array(whole, dtype=np.uint64)
    running = np.cumsum(np.array([0, *whole], dtype=object)) * total // counted
    return np.diff(running).astype(np.uint64)


def quantile_range(counts: NDArray[np.int64], tail: float = 0.001) -> tuple[int, int]:
    """Grey values between which all but a `tail` at each end lies: good limits for a display."""
    running = np.cumsum(counts)
    low, high = np.searchsorted(running, [running[-1] * tail, running[-1] * (1 - tail)])
    return int(low), int(max(high, low + 1))
