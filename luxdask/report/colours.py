"""Grey values of several channels as one colour picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Colour = tuple[float, float, float]

GREY: Colour = (1.0, 1.0, 1.0)
# The first two add up to white, and people who confuse red and green tell them apart.
CHANNELS: tuple[Colour, ...] = (
    (0.15, 0.75, 1.0),
    (1.0, 0.42, 0.05),
    (0.45, 1.0, 0.3),
    (1.0, 0.3, 0.9),
)
FRAMES = ("#ffd166", "#95d5b2", "#ff8fa3", "#cdb4db", "#f1f5f9", "#e07a5f")
"""Colours of tile outlines."""

DARK_PERCENTILE, BRIGHT_PERCENTILE = 5.0, 99.8


def channel_colours(count: int) -> tuple[Colour, ...]:
    """One colour per channel; a single channel is grey."""
    return (GREY,) if count == 1 else tuple(CHANNELS[n % len(CHANNELS)] for n in range(count))


def display_range(image: NDArray[np.float32]) -> tuple[float, float]:
    """Grey values shown as black and as full colour; where nothing was imaged (0) is left out."""
    values = image[image > 0]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (DARK_PERCENTILE, BRIGHT_PERCENTILE)).tolist()
    return low, max(high, low + 1.0)


def composite(
    images: Sequence[NDArray[np.float32]],
    ranges: Sequence[tuple[float, float]],
    colours: Sequence[Colour],
) -> NDArray[np.float32]:
    """Add the channels (Y, X), each in its colour: (Y, X, 3) in 0 ... 1."""
    picture = np.zeros((*images[0].shape, 3), dtype=np.float32)
    for image, (low, high), colour in zip(images, ranges, colours, strict=True):
        bright = np.clip((image - low) / (high - low), 0, 1)
        picture += bright[..., None] * np.array(colour, dtype=np.float32)
    return np.clip(picture, 0, 1)
