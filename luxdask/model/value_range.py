"""Which stored values become 0 and 65535, for images that are not of unsigned 8 or 16 bits."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from luxdask.model.experiment import Experiment
    from luxdask.model.view import View

NATIVE = ("bool", "uint8", "uint16")
"""Types of voxels that are taken as they are."""
SETTING = "input.value_range"


def check_value_range(low: float, high: float) -> tuple[float, float]:
    """A range that can be used; raises `ValueError` in words for the user otherwise."""
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ValueError(f"a range needs two finite numbers, the lower first; got [{low}, {high}]")
    return low, high


def needed_for(type_name: str) -> str:
    """What to say about voxels that need a range."""
    return (
        f"voxels are {type_name}, the output is uint16. Set {SETTING} to the values that become 0 "
        "and 65535, for example [0, 65535] to keep values as they are (rounded), or [0, 1]"
    )


def with_value_range(experiment: Experiment, value_range: tuple[float, float] | None) -> Experiment:
    """The same images with a range where their voxels can use one and have none of their own.

    Raises `ConfigError` naming an image of floating point that is left without.
    """
    return experiment.with_views([_with_range(view, value_range) for view in experiment.views])


def _with_range(view: View, value_range: tuple[float, float] | None) -> View:
    foreign = view.source.foreign
    if foreign is None or foreign.voxel_type in NATIVE or foreign.value_range is not None:
        return view
    if value_range is not None:
        found = replace(foreign, value_range=value_range)
        return replace(view, source=replace(view.source, foreign=found))
    if foreign.voxel_type.startswith("float"):
        raise ConfigError(f"{view}: {needed_for(foreign.voxel_type)}")
    return view
