"""Imaris files: which images fit into one, and files that only link to the images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from luxdask.errors import ConfigError
from luxdask.io.histogram import coarsest_counts, quantile_range
from luxdask.io.imaris_info import (
    channel_path,
    extent_um,
    lies_in_world,
    write_info,
    write_level,
    write_root,
)
from luxdask.io.links import relative_link
from luxdask.io.replace_file import replacing
from luxdask.io.stored_levels import level_source, stored_levels
from luxdask.io.view_setups import view_setups
from luxdask.model.levels import level_shape

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from luxdask.io.view_setups import ViewSetup
    from luxdask.model.view import View


def imaris_groups(views: Iterable[View]) -> tuple[tuple[View, ...], ...]:
    """Split images into groups that each fit into one Imaris file.

    All channels of a file share size, place (to half a voxel), levels and time points. Images that
    Imaris cannot show at their place (mirrored or rotated ones) share a file only within a stack.
    Every image is in exactly one group; groups and their images keep their natural order.
    """
    by_frame: dict[object, list[View]] = {}
    for view in sorted(views, key=lambda v: v.id.sort_key):
        by_frame.setdefault(_frame(view), []).append(view)
    groups: list[tuple[View, ...]] = []
    for members in by_frame.values():
        by_times: dict[tuple[int, ...], list[View]] = {}
        for setup in view_setups(members):
            by_times.setdefault(tuple(sorted(setup.views)), []).extend(setup.views.values())
        groups.extend(tuple(group) for group in by_times.values())
    return tuple(groups)


def imaris_paths(folder: Path, stem: str, count: int) -> tuple[Path, ...]:
    """File names for so many groups: ``<stem>.ims``, ``<stem>_2.ims`` and so on."""
    numbers = ("" if n == 1 else f"_{n}" for n in range(1, count + 1))
    return tuple(folder / f"{stem}{number}.ims" for number in numbers)


def fitting_setups(path: Path, views: Sequence[View]) -> tuple[ViewSetup, ...]:
    """The channels of one file, in natural order, PM ids like extra channels.

    Raises `ConfigError` naming the file and two images that do not fit together.
    """
    if not views:
        raise ConfigError(f"{path}: there is no image for this Imaris file")
    setups = view_setups(views)
    first = setups[0]
    for setup in setups:
        if sorted(setup.views) != sorted(first.views):
            raise ConfigError(
                f"{path}: all channels of an Imaris file need the same time points; {setup.name} "
                f"has {sorted(setup.views)}, {first.name} has {sorted(first.views)}. "
                "Split the images with imaris_groups, or leave out time points."
            )
    for view in views:
        if _frame(view) != _frame(first.first):
            raise ConfigError(
                f"{path}: all images of an Imaris file need the same size, place and levels; "
                f"{view} is {view.shape} voxels, {first.first} is {first.first.shape}. "
                "Split the images with imaris_groups."
            )
    return setups


def write_imaris_links(path: str | os.PathLike[str], views: Sequence[View]) -> None:
    """Write an `.ims` file that links to images that exist, with paths relative to it.

    It has the levels the images have. Histograms come from the coarsest level, counted exactly and
    scaled to the voxels of the finer ones, so voxels of a finer level may lie outside of the range.

    Parameters
    ----------
    path
        The file to write; an existing one is replaced.
    views
        Images of one group of `imaris_groups`.

    Raises
    ------
    ConfigError
        Where the images do not fit into one file.
    OutputError
        Where the file cannot be written.
    ImageFileError
        Naming the image that cannot be read.
    """
    main = Path(path)
    setups = fitting_setups(main, views)
    with replacing(main) as temporary, h5py.File(temporary, "w") as file:
        write_root(file)
        ranges = []
        for channel, setup in enumerate(setups):
            for time, (_, view) in enumerate(sorted(setup.views.items())):
                counts = _link_image(file, main, view, (time, channel))
                if time == 0:
                    ranges.append(quantile_range(counts))
        write_info(file, setups, ranges)


def _link_image(
    file: h5py.File, main: Path, view: View, place: tuple[int, int]
) -> NDArray[np.int64]:
    counts = coarsest_counts(view)
    for level, factor in enumerate(stored_levels(view.source)):
        group = file.create_group(channel_path(level, *place))
        group["Data"] = relative_link(main, *level_source(view.source, factor))
        write_level(group, level_shape(view.shape, factor), counts)
    return counts


def _frame(view: View) -> tuple[object, ...]:
    """What must agree within one file; places are rounded to whole voxels.

    Borders lie on whole or half voxels in practice, so the rounding switches at a quarter.
    """
    in_world = lies_in_world(view)
    corner = extent_um(view).lower
    voxels = [math.floor(c / s + 0.75) for c, s in zip(corner, view.spacing_um, strict=True)]
    spacing = tuple(float(f"{s:.5g}") for s in view.spacing_um)
    stack = "" if in_world else view.id.stack
    return view.shape, spacing, tuple(voxels), stored_levels(view.source), in_world, stack
