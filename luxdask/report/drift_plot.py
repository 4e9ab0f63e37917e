"""Time points: how far the sample has moved, and what each link in time is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luxdask.report.canvas import BACKGROUND, MUTED, TEXT
from luxdask.report.link_charts import dress
from luxdask.report.link_style import SIGNS, WARNING
from luxdask.report.registration_stage import residual_um

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from luxdask.report.link_style import ResidualScale
    from luxdask.report.registration_stage import Stage

AXES = (("z", "#ffd166", "o"), ("y", "#4cc9f0", "s"), ("x", "#ff7ab6", "^"))
"""Name, colour and marker of the lines."""


def drift_um(
    stage: Stage,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Correction of each time point relative to the first one.

    Returns
    -------
    The time points (T,), and the mean, smallest and largest displacement (T, 3) over their views.
    """
    times = np.array([v.id.time_point for v in stage.views])
    keys = [(v.id.channel, v.id.stack, v.id.objective, v.id.camera, v.id.pm) for v in stage.views]
    first: dict[object, NDArray[np.float64]] = {}
    moved = []
    for key, displacement in zip(keys, stage.displacements_um, strict=True):
        moved.append(displacement - first.setdefault(key, displacement))
    values, points = np.array(moved), np.unique(times)
    per_time = [values[times == t] for t in points]
    mean, low, high = (
        np.array([reduce(v, axis=0) for v in per_time]) for reduce in (np.mean, np.min, np.max)
    )
    return points, mean, low, high


def draw_drift(axes: Axes, stage: Stage) -> None:
    """Three lines over time: the corrections along z, y and x."""
    from matplotlib.ticker import MaxNLocator

    times, mean, low, high = drift_um(stage)
    dress(axes)
    for n, (name, colour, marker) in enumerate(AXES):
        axes.fill_between(times, low[:, n], high[:, n], color=colour, alpha=0.2, lw=0)
        axes.plot(times, mean[:, n], color=colour, marker=marker, ms=4, lw=1.6, label=name)
    _shade(axes, stage)
    axes.set_ylabel(f"correction since time point {times[0]} (µm)", color=TEXT, size=9)
    axes.legend(frameon=False, labelcolor=TEXT, fontsize=9, ncols=4, loc="upper left")
    axes.xaxis.set_major_locator(MaxNLocator(20, integer=True))
    axes.margins(y=0.15)


def draw_steps(axes: Axes, stage: Stage, scale: ResidualScale) -> None:
    """Residual of each link at the time point that it places; failed links stand out on top."""
    dress(axes)
    used = stage.trusted
    if used:
        times = [k.moving.time_point for k in used]
        heights = np.nan_to_num([residual_um(k) for k in used])
        axes.vlines(times, 0, heights, colors=MUTED, lw=1)
        dots = axes.scatter(times, heights, 28, scale.colours(used), zorder=3)
        dots.set_gid("links ok")
    top = 1.25 * scale.most_um
    for link in stage.untrusted:
        colour, marker = SIGNS[link.status]
        at = link.moving.time_point
        axes.axvline(at, color=colour, lw=1, ls=(0, (2, 1.5)))
        axes.scatter(
            [at], [top], 70, colour, marker=marker, edgecolors=BACKGROUND, zorder=4, clip_on=False
        )
    _shade(axes, stage)
    for status, count in stage.reasons.items():
        colour, marker = SIGNS[status]
        axes.scatter([], [], 50, colour, marker=marker, label=f"{status}: {count}")
    axes.axhline(stage.voxel_um, color=MUTED, lw=0.8, ls=":", label="1 voxel", zorder=1)
    axes.set_ylim(0, top)
    axes.set_xlabel("time point", color=TEXT, size=9)
    axes.set_ylabel("residual of its link (µm)", color=TEXT, size=9)
    axes.legend(
        frameon=False, labelcolor=TEXT, fontsize=8, ncols=5, loc="upper left",
        bbox_to_anchor=(0, -0.22), borderaxespad=0,
    )  # fmt: skip


def _shade(axes: Axes, stage: Stage) -> None:
    """Mark time points that no link holds."""
    for n, time in enumerate(sorted({i.time_point for i in stage.unlinked})):
        label = "no link holds it" if n == 0 else None
        axes.axvspan(time - 0.5, time + 0.5, color=WARNING, alpha=0.25, lw=0, label=label)
