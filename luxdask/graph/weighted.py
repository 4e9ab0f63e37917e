"""Views on the output grid with their weights: sums, means, and the way back to grey values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.array.jit import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from luxdask.model.geometry import Box

SMALLEST_SUM = 1e-37


@dataclass(frozen=True, slots=True)
class Sampled:
    """A view on its part of the region: values, weights, and where the part lies in the output."""

    image: NDArray[np.float32]
    weight: NDArray[np.float32]
    box: Box


def weighted_mean(box: Box, views: Iterator[Sampled], count: int) -> Sampled:
    """The weighted mean of `count` views in a box, where one is; one at a time is in memory."""
    if count == 1:
        return next(views)
    image, weight = (np.zeros(box.shape, np.float32) for _ in range(2))
    for view in views:
        place = inside(view.box, box)
        add_weighted(image[place], view.weight, view.image)
        weight[place] += view.weight
    divide(image, weight)
    return Sampled(image, weight, box)


@kernel
def take_off(image, below):  # type: ignore[no-untyped-def]
    """Take a background off; nothing is below 0."""
    nz, ny, nx = image.shape
    for z in range(nz):
        for y in range(ny):
            values = image[z, y]
            for x in range(nx):
                values[x] = max(values[x] - below, np.float32(0))


def add_weighted(sums: Any, weight: Any, values: Any) -> None:
    """``sums += weight * values``, without a volume for the product."""
    for plane in range(len(sums)):
        sums[plane] += weight[plane] * (values if np.ndim(values) == 0 else values[plane])


@kernel
def divide(values, weight):  # type: ignore[no-untyped-def]
    """Divide by the sum of weights, where there is one."""
    nz, ny, nx = values.shape
    least = np.float32(SMALLEST_SUM)
    for z in range(nz):
        for y in range(ny):
            row, weights = values[z, y], weight[z, y]
            for x in range(nx):
                row[x] /= max(weights[x], least)


@kernel
def round_into(values, removed, scale, out):  # type: ignore[no-untyped-def]
    """Put back what was taken off, and round to nearest, saturating at the ends of uint16."""
    nz, ny, nx = values.shape
    most = np.float32(65535)
    for z in range(nz):
        for y in range(ny):
            row, more, target = values[z, y], removed[z, y], out[z, y]
            for x in range(nx):
                value = min(max(np.rint((row[x] + more[x]) * scale), np.float32(0)), most)
                target[x] = np.uint16(np.int32(value))


def inside(box: Box, larger: Box) -> tuple[slice, slice, slice]:
    """A box as an index into the array of another one."""
    return box.shift([-s for s in larger.start]).slices
