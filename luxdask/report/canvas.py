"""A dark figure measured in inches, from the upper left corner, with the few things drawn on it."""

from __future__ import annotations

from math import floor, log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.patheffects import AbstractPathEffect
    from numpy.typing import NDArray

    from luxdask.report.colours import Colour
    from luxdask.report.layout import Rect

BACKGROUND, TEXT, MUTED = "#0e1116", "#e9edf2", "#98a2b0"
DPI = 100


class Canvas:
    """A figure without any global state, for pictures, lines and words."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor=BACKGROUND)

    def picture(self, rect: Rect, image: NDArray[Any], extent_um: tuple[float, float]) -> Axes:
        """Show an image that is `extent_um` (height, width) large in a rectangle of that shape."""
        bounds = (
            rect.left / self.width,
            1 - (rect.top + rect.height) / self.height,
            rect.width / self.width,
            rect.height / self.height,
        )
        axes = self.figure.add_axes(bounds)
        axes.set_axis_off()
        height, width = extent_um
        axes.imshow(image, extent=(0, width, height, 0), aspect="auto", interpolation="antialiased")
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        return axes

    def words(self, left: float, top: float, text: str, *, size: float, colour: str = TEXT) -> None:
        """Write a line whose upper left corner lies at a point."""
        self.figure.text(
            left / self.width,
            1 - top / self.height,
            text,
            size=size,
            color=colour,
            ha="left",
            va="top",
        )

    def names(self, left: float, top: float, names: Sequence[str], colours: Sequence[Any]) -> None:
        """Write names beside each other, each in its colour."""
        from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea

        areas: list[Artist] = [
            TextArea(name, textprops={"color": colour, "size": 9})
            for name, colour in zip(names, colours, strict=True)
        ]
        packed = HPacker(children=areas, sep=10, pad=0)
        at = (left / self.width, 1 - top / self.height)
        box = AnnotationBbox(
            packed, at, xycoords="figure fraction", box_alignment=(0, 1), frameon=False, pad=0
        )
        self.figure.add_artist(box)

    def save(self, path: Path) -> None:
        """Write the figure as PNG."""
        self.figure.savefig(path, format="png", facecolor=BACKGROUND)


def draw_frame(
    axes: Axes, upper: tuple[float, float], size: tuple[float, float], colour: str, label: str = ""
) -> None:
    """Outline a rectangle given by its upper left corner and size (y, x), in the axes' µm."""
    from matplotlib.patches import Rectangle

    (y, x), (height, width) = upper, size
    axes.add_patch(
        Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=1.1, clip_on=False)
    )
    if label:
        axes.annotate(
            label, (x, y), (4, -4), textcoords="offset points", color=colour, size=8,
            ha="left", va="top", path_effects=[_dark_rim()],
        )  # fmt: skip


def draw_scale_bar(axes: Axes, extent_um: tuple[float, float]) -> None:
    """A white bar of a round length in the lower left corner."""
    height, width = extent_um
    length = round_length(width / 4)
    x, y = 0.035 * width, height - 0.035 * width
    axes.plot([x, x + length], [y, y], color="white", linewidth=3, solid_capstyle="butt")
    axes.annotate(
        length_text(length), (x, y), (0, 4), textcoords="offset points",
        color="white", size=9, ha="left", va="bottom", path_effects=[_dark_rim()],
    )  # fmt: skip


def _dark_rim() -> AbstractPathEffect:
    """Makes words legible on bright tissue."""
    from matplotlib.patheffects import withStroke

    return withStroke(linewidth=2.5, foreground="black")


def round_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, 20 ... (and 0.5, 0.2 ...) that is not above `most`."""
    power = 10.0 ** floor(log10(most))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= most * (1 + 1e-9))


def length_text(length_um: float) -> str:
    """A length with a fitting unit."""
    return f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"


def mixed(colour: Colour) -> Colour:
    """A channel's colour as text: a little lighter, so that it is legible on the dark ground."""
    r, g, b = (0.25 + 0.75 * part for part in colour)
    return (r, g, b)
