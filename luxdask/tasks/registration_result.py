"""What a registration has found, for people: links, transforms, residuals, tables, pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from luxdask.model.corrections import Corrections
    from luxdask.model.experiment import Experiment
    from luxdask.model.geometry import Affine
    from luxdask.model.links import Kind, Link
    from luxdask.model.view import View, ViewId


@dataclass(frozen=True)
class Registration:
    """How views lie to each other, beyond what their metadata says.

    Attributes
    ----------
    views
        The views with the transforms of their metadata.
    links
        All pairs with what was found between them; `Link.status` says whether it was used.
    corrections
        Corrections by objective and camera, stack and time point.
    reference
        The image that stays where it is.
    unlinked
        What keeps its place from the metadata because no link holds it.
    warnings
        Links that were not used or cost unusually much, and the like: sentences for people.
    direct
        Links of single images to the reference image, which stand above all others.
    folder
        Where it is stored; None for a registration in memory.
    """

    views: tuple[View, ...]
    links: tuple[Link, ...]
    corrections: Corrections
    reference: ViewId
    unlinked: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    direct: Mapping[ViewId, Link] = field(default_factory=dict)
    folder: Path | None = None

    @cached_property
    def by_id(self) -> dict[ViewId, View]:
        """The views under their identity."""
        return {view.id: view for view in self.views}

    @cached_property
    def transforms(self) -> dict[ViewId, Affine]:
        """Correction of every view: sample space by the metadata to where it truly lies, µm."""
        return {view.id: self.corrections.of(view) for view in self.views}

    @property
    def residuals(self) -> dict[Link, float]:
        """What the global optimisation leaves of each link that was used, in µm."""
        return {
            link: link.residual_um
            for link in self.links
            if link.residual_um is not None and link.is_trusted
        }

    @property
    def largest_shift_um(self) -> float:
        """How far the middle of a view was moved at the most, in µm."""
        shifts = [
            self.transforms[view.id].apply(middle) - middle
            for view in self.views
            for middle in [view.view_to_world.apply((np.array(view.shape) - 1) / 2)]
        ]
        return float(max((np.linalg.norm(shift) for shift in shifts), default=0.0))

    def apply(self, experiment: Experiment) -> Experiment:
        """The experiment with its views where they truly lie."""
        return experiment.with_views(self.corrections.apply(experiment.views))

    def to_xarray(self) -> xr.Dataset:
        """Transforms per view and figures per link, with names as coordinates.

        `transform` has the dimensions (view, row, column): 3 x 4 matrices for (z, y, x) in µm.
        """
        import xarray as xr

        matrices = [a.to_array() for a in self.transforms.values()]
        figures: dict[str, Any] = {
            name: ("link", np.array([_number(getattr(link, name)) for link in self.links]))
            for name in ("quality", "precision_um", "residual_um", "cost")
        }
        words: dict[str, Any] = {
            name: ("link", [str(getattr(link, name)) for link in self.links])
            for name in ("kind", "fixed", "moving", "model", "source", "status", "reason")
        }
        shifts = [link.transform.to_array() for link in self.links]
        return xr.Dataset(
            {
                "transform": (
                    ("view", "row", "column"),
                    np.array(matrices).reshape(-1, 3, 4),
                ),
                "link_transform": (("link", "row", "column"), np.array(shifts).reshape(-1, 3, 4)),
                **figures,
            },
            coords={
                "view": [str(v) for v in self.transforms],
                "row": ["z", "y", "x"],
                "column": ["z", "y", "x", "offset_um"],
                **words,
            },
            attrs={"reference": str(self.reference)},
        )

    def plot(self, ax: Axes | None = None, *, kind: Kind | None = None) -> Figure:
        """A picture of the views, their links and residuals; or its map alone, on `ax`.

        kind : the stage ("tiles", "rotation", "objective_camera", "time_points"); by default that
            with the most links.
        """
        from luxdask.report.registration import plot_registration

        return plot_registration(self.views, self.links, self.transforms, ax, kind=kind)

    def __str__(self) -> str:
        counts = Counter(link.status for link in self.links)
        used = list(self.residuals.values())
        lines = [f"{len(self.links)} links, {counts['ok']} used"]
        lines += [f"{n} not used: {status}" for status, n in counts.items() if status != "ok"]
        if used:
            lines.append(f"views moved by up to {_um(self.largest_shift_um)}")
            lines.append(f"residual {_um(float(np.median(used)))} median, {_um(max(used))} worst")
        if self.unlinked:
            lines.append(f"{len(self.unlinked)} at their place of the metadata, without links")
        return "; ".join(lines)


def _um(value: float) -> str:
    """A length for people; where nothing speaks against a link, only rounding is left of it."""
    return f"{value:.3g} µm" if value >= 0.001 else "below 0.001 µm"


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
