"""Pictures of a registration: one per stage, with its map, its links and some overlaps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError
from luxdask.io.replace_file import replacing
from luxdask.report.drift_plot import draw_drift
from luxdask.report.link_map import draw_map
from luxdask.report.link_style import ResidualScale
from luxdask.report.registration_stage import stage_of, stages_of
from luxdask.report.stage_picture import draw_stage

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from luxdask.model.geometry import Affine
    from luxdask.model.links import Kind, Link
    from luxdask.model.view import View, ViewId
    from luxdask.report.pairs_picture import OverlapPicture
    from luxdask.report.registration_stage import Stage


def write_registration_pictures(
    folder: str | os.PathLike[str],
    views: Sequence[View],
    links: Sequence[Link],
    corrections: Mapping[ViewId, Affine],
    overlaps: Mapping[Kind, Sequence[OverlapPicture]] | None = None,
) -> tuple[Path, ...]:
    """Write a PNG for each stage of a registration.

    A picture shows where the views lie before and after, which links hold them there or were not
    trusted and why, how well all agree, and the overlaps that were given for it.

    Parameters
    ----------
    folder
        Where `registration_<kind>.png` are written; the folder must exist. Without any links this
        is one `registration.png`, which says so.
    views
        All registered views.
    links
        All measured pairs, solved ones with their residual.
    corrections
        Per view sample space to sample space in µm; a missing view keeps its metadata position.
    overlaps
        Small images of some pairs of each kind, see `choose_links`.

    Returns
    -------
    The paths.

    Raises
    ------
    ConfigError
        There are no views.
    OutputError
        A picture cannot be written.
    """
    written = []
    for kind in stages_of(links) or (None,):
        stage = _checked(kind, views, links, corrections)
        shown = (overlaps or {}).get(kind, ()) if kind else ()
        name = f"registration_{kind}.png" if kind else "registration.png"
        canvas = draw_stage(stage, shown)
        with replacing(Path(folder) / name) as temporary:
            canvas.save(temporary)
        written.append(Path(folder) / name)
    return tuple(written)


def plot_registration(
    views: Sequence[View],
    links: Sequence[Link],
    corrections: Mapping[ViewId, Affine],
    ax: Axes | None = None,
    *,
    kind: Kind | None = None,
) -> Figure:
    """Draw a stage of a registration: all of its picture, or its map (or drift) alone on `ax`.

    Parameters
    ----------
    views, links, corrections
        As for `write_registration_pictures`.
    ax
        Axes to draw on; without it a figure is made, which also holds charts and words.
    kind
        The stage; by default that with the most links.

    Returns
    -------
    The figure.

    Raises
    ------
    ConfigError
        There are no views, or no links of that kind.
    """
    present = stages_of(links)
    if kind is not None and kind not in present:
        allowed = ", ".join(present) or "none: nothing was registered"
        raise ConfigError(f"plot: no links of the kind {kind!r}; there are: {allowed}")
    most = max(present, key=lambda k: sum(link.kind == k for link in links), default=None)
    stage = _checked(kind or most, views, links, corrections)
    if ax is None:
        return draw_stage(stage).figure
    if stage.kind == "time_points":
        draw_drift(ax, stage)
    else:
        draw_map(ax, stage, stage.views, ResidualScale.of(stage))
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def _checked(
    kind: Kind | None,
    views: Sequence[View],
    links: Sequence[Link],
    corrections: Mapping[ViewId, Affine],
) -> Stage:
    if not views:
        raise ConfigError("registration pictures: no views given; at least one is needed")
    return stage_of(kind, views, links, corrections)
