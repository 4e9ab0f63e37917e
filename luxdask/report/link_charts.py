"""Numbers of a stage: residuals and qualities as charts, and the most important ones in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luxdask.report.canvas import BACKGROUND, MUTED, TEXT
from luxdask.report.link_style import SIGNS, UNSOLVED, WARNING, known_residuals
from luxdask.report.registration_stage import residual_um

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from luxdask.model.links import Link
    from luxdask.report.link_style import ResidualScale
    from luxdask.report.registration_stage import Stage

SMALLEST_VX = 2e-3
"""Residuals below this part of a voxel are drawn there: two views alone always fit exactly."""

BINS = 24

Line = tuple[str, str]
"""Words and their colour."""


def dress(axes: Axes) -> None:
    """Make a chart fit the dark figure."""
    axes.set_facecolor(BACKGROUND)
    axes.tick_params(colors=MUTED, labelsize=8)
    axes.grid(color=MUTED, alpha=0.18, lw=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)


def draw_quality(axes: Axes, stage: Stage, scale: ResidualScale) -> None:
    """Quality of each link against its residual; links without one stand on the upper edge."""
    low, high = _limits(stage)
    _residual_axis(axes, low, high)
    used = stage.trusted
    if used:
        heights = np.clip([_height(k, high) for k in used], low, high)
        size = 26 if len(used) < 200 else 9
        dots = axes.scatter(
            [k.quality for k in used], heights, size, scale.colours(used), clip_on=False
        )
        dots.set_gid("links ok")
    for status in stage.reasons:
        colour, marker = SIGNS[status]
        members = [k for k in stage.untrusted if k.status == status]
        heights = np.clip([_height(k, high) for k in members], low, high)
        dots = axes.scatter(
            [k.quality for k in members], heights, 46, colour, marker=marker, clip_on=False,
            edgecolors=BACKGROUND, linewidths=0.6, zorder=3,
        )  # fmt: skip
        dots.set_gid(f"links {status}")
    axes.axhline(stage.voxel_um, color=MUTED, lw=0.9, ls=":")
    axes.annotate(
        "1 voxel", (0, stage.voxel_um), (3, 2), textcoords="offset points", color=MUTED, size=7.5
    )
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("quality (correlation)", color=TEXT, size=9)
    axes.set_ylabel("residual (µm)", color=TEXT, size=9)
    if any(np.isnan(residual_um(k)) for k in stage.links):
        axes.set_title(
            "upper edge: links without a residual", color=MUTED, size=7.5, loc="left", pad=7
        )


def draw_histogram(axes: Axes, stage: Stage, scale: ResidualScale) -> None:
    """How many trusted links have which residual, beside the chart with the same upright axis."""
    from matplotlib.ticker import MaxNLocator

    low, high = _limits(stage)
    _residual_axis(axes, low, high)
    axes.tick_params(labelleft=False)
    edges = np.geomspace(low, high, BINS + 1)
    counts, _ = np.histogram(np.clip(known_residuals(stage.trusted), low, high), edges)
    middles = np.sqrt(edges[1:] * edges[:-1])
    axes.barh(
        edges[:-1], counts, np.diff(edges) * 0.92, align="edge",
        color=scale.colormap(scale.norm(middles)),
    )  # fmt: skip
    axes.axhline(stage.voxel_um, color=MUTED, lw=0.9, ls=":")
    axes.set_xlim(0, 1.08 * max(counts.max(), 1))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel("links", color=TEXT, size=9)


def summary(stage: Stage) -> list[Line]:
    """The few sentences that one wants to know first."""
    return [*_about_links(stage), *_about_views(stage), *_about_residuals(stage), *_largest(stage)]


def problems(stage: Stage, most: int) -> list[Line]:
    """The links that were not used, by name, one a line; the last line counts those left out."""
    failed = stage.untrusted
    shown = failed if len(failed) <= most else failed[: most - 1]
    lines = [(f"{stage.name(k)}: {k.status}{_why(k)}", SIGNS[k.status][0]) for k in shown]
    left = len(failed) - len(shown)
    return lines + ([(f"… and {left} more", MUTED)] if left else [])


def _limits(stage: Stage) -> tuple[float, float]:
    """Range of residuals that is drawn: round powers of ten around what there is and a voxel."""
    low = SMALLEST_VX * stage.voxel_um
    known = known_residuals(stage.links)
    return low, 1.6 * max(float(known.max(initial=0.0)), 2 * stage.voxel_um)


def _residual_axis(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    dress(axes)
    axes.set_yscale("log")
    axes.set_ylim(low * 0.85, high)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)


def _height(link: Link, high: float) -> float:
    value = residual_um(link)
    return high if np.isnan(value) else value


def _about_links(stage: Stage) -> list[Line]:
    total, used = len(stage.links), len(stage.trusted)
    if not total:
        return [("no pairs of views to register: metadata positions are kept", WARNING)]
    if used == total:
        return [("1 link, used" if total == 1 else f"{total} links, all used", TEXT)]
    reasons = ", ".join(f"{count} {status}" for status, count in stage.reasons.items())
    colour = WARNING if used else SIGNS["no match"][0]
    return [
        (
            f"{total} link{'s' if total > 1 else ''}: {used} used, {total - used} not ({reasons})",
            colour,
        )
    ]


def _about_views(stage: Stage) -> list[Line]:
    n, lonely = len(stage.views), stage.unlinked
    lines = [(f"{n} view{'s' if n > 1 else ''}", TEXT)]
    if lonely and stage.links:
        names = ", ".join(stage.names[v.id] for v in stage.views if v.id in lonely)
        text = f"{n} views, {len(lonely)} without a link (as the metadata says): {names}"
        lines = [(text, WARNING)]
    sizes = [len(g) for g in stage.groups if len(g) > 1]
    if len(sizes) > 1:
        parts = " + ".join(map(str, sizes))
        lines.append(
            (f"in {len(sizes)} groups without a link between them ({parts} views)", WARNING)
        )
    return lines


def _about_residuals(stage: Stage) -> list[Line]:
    solved = [k for k in stage.trusted if np.isfinite(residual_um(k))]
    if not solved:
        return []
    worst = max(solved, key=residual_um)
    if len(solved) == 1:
        return [(f"residual: {_both(residual_um(worst), stage)}", TEXT)]
    usual = _both(float(np.median(known_residuals(solved))), stage)
    text = f"residual: median {usual}, worst {_both(residual_um(worst), stage)}"
    return [(text, TEXT), (f"worst link: {stage.name(worst)}", UNSOLVED)]


def _both(length_um: float, stage: Stage) -> str:
    """A length in µm and in voxels; rounding errors are not spelt out."""
    if length_um < SMALLEST_VX * stage.voxel_um:
        return f"below {SMALLEST_VX:g} voxel"
    return f"{length_um:.2g} µm ({length_um / stage.voxel_um:.2g} voxel)"


def _largest(stage: Stage) -> list[Line]:
    lengths: NDArray[np.float64] = np.linalg.norm(stage.displacements_um, axis=1)
    n = int(lengths.argmax())
    name = stage.names[stage.views[n].id]
    lines = [(f"largest correction: {lengths[n]:.3g} µm ({name})", TEXT)]
    angles = [stage.correction(v).rotation_deg for v in stage.views]
    if max(angles) > 0.01:
        turned = stage.names[stage.views[int(np.argmax(angles))].id]
        lines.append((f"largest rotation: {max(angles):.2g}° ({turned})", TEXT))
    return lines if lengths[n] > 0 or len(lines) > 1 else [("no corrections", TEXT)]


def _why(link: Link) -> str:
    return f", {link.reason}" if link.reason else ""
