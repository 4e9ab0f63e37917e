"""What both views of a pair see, before and after registration, small enough to look at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from luxdask.graph.registration import PairRules, pair_job, read_patch
from luxdask.model.geometry import Affine, Box, shape3
from luxdask.model.links import Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Vector
    from luxdask.model.links import Link
    from luxdask.model.view import View
    from luxdask.registration.patch import Patch

BUDGET_VX = 1_000_000
"""Voxels of a picture; finer detail would not be seen."""

Images = tuple["NDArray[np.float32]", "NDArray[np.float32]", "NDArray[np.float32]"]


def overlap_images(
    link: Link, fixed: View, moving: View, fixed_correction: Affine, moving_correction: Affine
) -> tuple[Vector, Images]:
    """Voxel size, and the fixed view, the moving one by its metadata and the corrected one.

    All three are (Z, Y, X) float32 on the fixed view's voxels, 0 where the moving one has nothing;
    empty where one view lies elsewhere by its metadata, as landmarks may have found out.
    Raises `ImageFileError` where a file cannot be read.
    """
    pair = Pair(link.kind, link.fixed, link.moving, link.overlap)
    job = pair_job(pair, fixed, moving, PairRules(), budget_vx=BUDGET_VX)
    if not (job.fixed.bins and job.moving.bins):
        nothing = np.zeros((0, 0, 0), dtype=np.float32)
        return fixed.spacing_um, (nothing, nothing, nothing)
    here, there = read_patch(job.fixed), read_patch(job.moving)
    inside = _inside(here, link)
    here = replace(
        here,
        values=here.values[inside.slices],
        to_world=here.to_world @ Affine.translation(inside.start),
    )
    moved = fixed_correction.inverse() @ moving_correction
    before, after = (_laid_on(here, there, by) for by in (Affine(), moved))
    return here.spacing_um, (here.values, before, after)


def _inside(patch: Patch, link: Link) -> Box:
    """The voxels of a patch in the volume that was compared."""
    whole = Box.of_shape(patch.values.shape)
    box = link.overlap.moved(patch.to_world.inverse())
    start, stop = np.floor(box.lower), np.ceil(box.upper) + 1
    inside = Box(shape3(start.astype(int).tolist()), shape3(stop.astype(int).tolist())) & whole
    return inside or whole


def _laid_on(fixed: Patch, moving: Patch, correction: Affine) -> NDArray[np.float32]:
    """The moving patch on the voxels of the fixed one."""
    to_moving = (correction @ moving.to_world).inverse() @ fixed.to_world
    return np.asarray(
        ndimage.affine_transform(
            moving.values,
            np.array(to_moving.linear),
            np.array(to_moving.offset),
            fixed.values.shape,
            order=1,
        ),
        dtype=np.float32,
    )
