"""Where the parts of an overview stand, in inches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HEIGHT, MARGIN, STRIP = 6.4, 0.25, 0.55
"""Of all pictures together, around them, and of the words above each."""

WIDEST = 16.0
TITLE_SIZE = 10.0
_INCHES_PER_POINT = 0.62 / 72
"""Width of a letter over the font size, rather too wide than too narrow."""


@dataclass(frozen=True, slots=True)
class Rect:
    """A part of the figure in inches; (left, top) counts from the upper left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Block:
    """A part that wants a place: its height over its width, and the words above it."""

    ratio: float
    words: str


def place(blocks: Sequence[Block], columns: int, left: float) -> tuple[list[Rect], float]:
    """Rows of blocks from `left` on, and how far to the right they reach."""
    columns = min(columns, len(blocks)) or 1
    rows = -(-len(blocks) // columns)
    height = (HEIGHT - (rows - 1) * (STRIP + MARGIN)) / max(rows, 1)
    widths = [min(height / block.ratio, WIDEST / columns) for block in blocks]
    needed = [max(w, words_width(b.words)) for w, b in zip(widths, blocks, strict=True)]
    starts, right = [], left
    for column in range(columns):
        starts.append(right)
        right += max(needed[column::columns], default=0.0) + 2 * MARGIN
    rects = [
        Rect(
            starts[n % columns],
            MARGIN + STRIP + n // columns * (height + STRIP + MARGIN),
            width,
            width * block.ratio,
        )
        for n, (block, width) in enumerate(zip(blocks, widths, strict=True))
    ]
    return rects, right - 2 * MARGIN


def words_width(words: str, size: float = TITLE_SIZE) -> float:
    """Inches that a line of words takes, about."""
    return len(words) * size * _INCHES_PER_POINT
