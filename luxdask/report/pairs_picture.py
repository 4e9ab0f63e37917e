"""Overlaps of pairs before and after registration: one view green, the other one magenta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.report.canvas import MUTED, draw_scale_bar
from luxdask.report.colours import composite
from luxdask.report.layout import Rect, words_width

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Vector
    from luxdask.report.canvas import Canvas
    from luxdask.report.colours import Colour

    Window = tuple[slice, slice, slice]

FIXED: Colour = (0.1, 1.0, 0.1)
MOVING: Colour = (1.0, 0.1, 1.0)
"""Together they give white; also people who confuse red and green tell them apart."""

HEIGHT, WIDTH, GAP, WORDS = 2.35, 3.2, 0.1, 0.5
"""Inches: most of one section, between sections, and of the words above."""

MOST_VOXELS = 160
"""Longer sides are cropped: double contours of a voxel must stay visible."""

MOST_RATIO = 2.0
_DARK, _BRIGHT = 15.0, 99.7


@dataclass(frozen=True, slots=True)
class OverlapPicture:
    """The volume that both views of a pair see, on one grid, before and after registration.

    Attributes
    ----------
    title
        Which pair, and why it is shown.
    spacing_um
        Voxel size (z, y, x).
    fixed, moving_before, moving_after
        (Z, Y, X) arrays of equal shape; 0 or NaN where a view has nothing.
    """

    title: str
    spacing_um: Vector
    fixed: NDArray[np.float32]
    moving_before: NDArray[np.float32]
    moving_after: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part is shown: the window, its plane and its row (both counted in the whole array)."""

    window: Window
    plane: int
    row: int

    def sections(self, image: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """The lateral section (y, x) and the one in depth (z, x)."""
        z, y, x = self.window
        return np.nan_to_num(image[self.plane, y, x]), np.nan_to_num(image[z, self.row, x])

    def sizes_um(self, spacing_um: Vector) -> tuple[tuple[float, float], ...]:
        """Height and width of both sections."""
        z, y, x = ((s.stop - s.start) * u for s, u in zip(self.window, spacing_um, strict=True))
        return (y, x), (z, x)


def pair_size(picture: OverlapPicture) -> tuple[float, float]:
    """Inches (width, height) that the pictures and words of a pair take."""
    cut = best_cut(picture)
    scale, sizes = _scale(cut, picture), cut.sizes_um(picture.spacing_um)
    across = 2 * sum(w * scale + GAP for _, w in sizes) + GAP
    return max(across, words_width(picture.title, 9)), WORDS + max(h for h, _ in sizes) * scale


def draw_pair(canvas: Canvas, picture: OverlapPicture, left: float, top: float) -> None:
    """Draw a pair in a row: before (lateral, depth), after (lateral, depth)."""
    cut = best_cut(picture)
    scale, sizes = _scale(cut, picture), cut.sizes_um(picture.spacing_um)
    canvas.words(left, top, picture.title, size=9)
    place = left
    for name, moving in (("before", picture.moving_before), ("after", picture.moving_after)):
        score = correlation(picture.fixed, moving)
        text = name if np.isnan(score) else f"{name}: correlation {score:.2f}"
        canvas.words(place, top + 0.22, text, size=8, colour=MUTED)
        for n, (image, size) in enumerate(zip(_paint(picture, moving, cut), sizes, strict=True)):
            rect = Rect(place, top + WORDS, size[1] * scale, size[0] * scale)
            axes = canvas.picture(rect, image, size)
            if n == 0:
                draw_scale_bar(axes, size)
            place += rect.width + GAP
        place += GAP


def correlation(fixed: NDArray[np.float32], moving: NDArray[np.float32]) -> float:
    """Pearson correlation where both have something; NaN where that is nothing or uniform."""
    both = _covered(fixed) & _covered(moving)
    a, b = fixed[both].astype(np.float64), moving[both].astype(np.float64)
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def best_cut(picture: OverlapPicture) -> Cut:
    """The part with most structure, of a shape that fits a picture, and its best sections."""
    structure = _structure(picture)
    profiles = [structure.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    sides = _window_shape(picture)
    start = [_best_start(profile, side) for profile, side in zip(profiles, sides, strict=True)]
    z, y, x = (slice(a, a + n) for a, n in zip(start, sides, strict=True))
    inside = structure[z, y, x]
    plane, row = inside.sum(axis=(1, 2)).argmax(), inside.sum(axis=(0, 2)).argmax()
    return Cut((z, y, x), start[0] + int(plane), start[1] + int(row))


def _covered(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(image) & (image != 0))


def _structure(picture: OverlapPicture) -> NDArray[np.float32]:
    """Size of the grey-value steps between voxels, where both views have something, before too."""
    image = np.nan_to_num(picture.fixed)
    total = np.zeros(image.shape, dtype=np.float32)
    for axis in range(3):
        total += np.abs(np.diff(image, axis=axis, append=np.take(image, [-1], axis=axis)))
    after = _covered(picture.fixed) & _covered(picture.moving_after)
    always = after & _covered(picture.moving_before)
    return total * (always if always.any() else after)


def _window_shape(picture: OverlapPicture) -> tuple[int, int, int]:
    """Lateral sides at most twice the shorter one, the depth at most the longer of them."""
    shape, spacing = picture.fixed.shape, picture.spacing_um
    _, y_um, x_um = np.multiply(np.minimum(shape, MOST_VOXELS), spacing).tolist()
    y_um, x_um = min(y_um, MOST_RATIO * x_um), min(x_um, MOST_RATIO * y_um)
    z_um = min(shape[0] * spacing[0], max(x_um, y_um))
    sides = np.divide((z_um, y_um, x_um), spacing).round().astype(int)
    z, y, x = np.clip(sides, 1, shape).tolist()
    return z, y, x


def _best_start(profile: NDArray[np.float32], side: int) -> int:
    sums = np.convolve(profile, np.ones(side, dtype=np.float32), mode="valid")
    return int(sums.argmax())


def _paint(
    picture: OverlapPicture, moving: NDArray[np.float32], cut: Cut
) -> list[NDArray[np.float32]]:
    """Both sections as colours (rows, columns, 3)."""
    ranges = _ranges(picture)
    pairs = zip(cut.sections(picture.fixed), cut.sections(moving), strict=True)
    return [composite(pair, ranges, (FIXED, MOVING)) for pair in pairs]


def _ranges(picture: OverlapPicture) -> list[tuple[float, float]]:
    """Grey values of both views shown as black and as full colour.

    They are taken where both see the same, so that what agrees comes out white.
    """
    same = _covered(picture.fixed) & _covered(picture.moving_after)
    images = (picture.fixed, picture.moving_after)
    return [_range(image[same if same.any() else _covered(image)]) for image in images]


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (_DARK, _BRIGHT)).tolist()
    return (low, high) if high > low else (low - 1.0, low + 1.0)


def _scale(cut: Cut, picture: OverlapPicture) -> float:
    """Inches per µm, the same for both sections."""
    sizes = cut.sizes_um(picture.spacing_um)
    return min(min(HEIGHT / h, WIDTH / w) for h, w in sizes)
