"""Pictures of point-spread functions: from the three directions of the output's axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.report.canvas import MUTED, Canvas, draw_scale_bar
from luxdask.report.layout import MARGIN, Rect, words_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from luxdask.model.geometry import Vector

DIRECTIONS = (("along z", 0, "y x"), ("along y", 1, "z x"), ("along x", 2, "z y"))
"""Title, axis that is looked along, and the axes that go down and to the right."""

HEAD, STRIP, LONGEST = 0.62, 0.46, 3.0
"""Inches: of the title, of the words above each row, of the longest side of a picture."""

_FAINT = 0.005
_FEWEST_VOXELS = 9
_LINE, _SMALL = 0.2, 9.0


@dataclass(frozen=True, slots=True)
class PsfPicture:
    """One point-spread function to draw.

    Attributes
    ----------
    words
        What stands above it.
    psf
        (Z, Y, X), odd shape, its origin in the middle.
    spacing_um
        Voxel size (z, y, x).
    """

    words: str
    psf: NDArray[np.floating]
    spacing_um: Vector


def draw_psfs(title: str, pictures: Sequence[PsfPicture]) -> Canvas:
    """Maximum projections of point-spread functions, one row each, all on one scale.

    The line goes around what is brighter than half of the greatest value.
    """
    half_um = _half_um(pictures)
    inches = LONGEST / (2 * max(half_um))
    z, y, x = (2 * h * inches for h in half_um)
    sizes = ((y, x), (z, x), (z, y))
    row = max(height for height, _ in sizes) + STRIP + MARGIN
    wide = sum(width for _, width in sizes) + 4 * MARGIN
    words = max(words_width(p.words, _SMALL) for p in pictures)
    width = max(wide, words + 2 * MARGIN, words_width(title, 13) + 2 * MARGIN, 6.0)
    canvas = Canvas(width, HEAD + _LINE + len(pictures) * row)
    canvas.words(MARGIN, 0.18, title, size=13)
    for n, picture in enumerate(pictures):
        _draw_row(canvas, picture, HEAD + n * row, half_um, sizes)
    return canvas


def _draw_row(
    canvas: Canvas,
    picture: PsfPicture,
    top: float,
    half_um: Vector,
    sizes: Sequence[tuple[float, float]],
) -> None:
    canvas.words(MARGIN, top, picture.words, size=_SMALL)
    left = MARGIN
    for (name, axis, axes_names), (height, width) in zip(DIRECTIONS, sizes, strict=True):
        down, right = (a for a in range(3) if a != axis)
        image, extent_um = _projection(picture, axis, half_um)
        rect = Rect(left, top + STRIP, width, height)
        axes = canvas.picture(rect, _coloured(image), extent_um)
        _draw_half(axes, image, (picture.spacing_um[down], picture.spacing_um[right]))
        draw_scale_bar(axes, extent_um)
        label = f"{name} ({axes_names.replace(' ', ' down, ')} right)"
        canvas.words(left, top + 0.22, label, size=7.5, colour=MUTED)
        left += width + MARGIN


def _half_um(pictures: Sequence[PsfPicture]) -> Vector:
    """What is shown on each side of the middle: all that is not faint in any picture."""
    halves = []
    for p in pictures:
        bright = np.argwhere(p.psf >= _FAINT * p.psf.max())
        reach = np.abs(bright - np.array(p.psf.shape) // 2).max(axis=0) + 1
        halves.append((np.maximum(reach, _FEWEST_VOXELS // 2) + 0.5) * p.spacing_um)
    z, y, x = np.max(halves, axis=0).tolist()
    least = max(z, y, x) / 4  # words and scale bar need some room
    return (max(z, least), max(y, least), max(x, least))


def _projection(
    picture: PsfPicture, axis: int, half_um: Vector
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Greatest values along an axis, cut or filled up to the shown size; and that size."""
    image = picture.psf.max(axis=axis).astype(np.float64)
    kept = [a for a in range(3) if a != axis]
    for n, a in enumerate(kept):
        half = int(half_um[a] / picture.spacing_um[a])
        lack = half - image.shape[n] // 2
        if lack > 0:
            image = np.pad(image, [(lack, lack) if k == n else (0, 0) for k in range(2)])
        elif lack < 0:
            image = image[tuple(slice(-lack, lack) if k == n else slice(None) for k in range(2))]
    height, width = (n * picture.spacing_um[a] for n, a in zip(image.shape, kept, strict=True))
    return image / image.max(), (height, width)


def _coloured(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours in which faint light is seen as well."""
    from matplotlib import colormaps

    colours: NDArray[np.float64] = colormaps["magma"](np.sqrt(np.clip(image, 0, 1)))
    return colours[..., :3]


def _draw_half(axes: object, image: NDArray[np.float64], spacing_um: tuple[float, float]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    y, x = ((np.arange(n) + 0.5) * s for n, s in zip(image.shape, spacing_um, strict=True))
    if min(image.shape) > 1 and image.min() < 0.5:
        axes.contour(x, y, image, levels=[0.5], colors="#4cc9f0", linewidths=1.2)
