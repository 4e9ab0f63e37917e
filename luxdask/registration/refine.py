"""Fine alignment of two patches in any orientation, from coarse to fine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luxdask.registration.align import align
from luxdask.registration.points import strong_points
from luxdask.registration.texture import texture_of
from luxdask.registration.verdict import Aligned, common_box, failed, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luxdask.model.geometry import Affine, BoundingBox
    from luxdask.model.links import Model
    from luxdask.registration.match import Match, MatchParams
    from luxdask.registration.patch import Patch

POINTS = 1_000_000
"""Voxels that are compared at most, at each scale."""
LEAST_CONTRAST = 1.4
"""Structure weaker than this many times the noise is none."""
_SCALES = 3
_LEAST_SIZE = 16  # bins along an edge of the common volume


def refine(fixed: Patch, moving: Patch, start: Affine, params: MatchParams) -> Match:
    """Align two patches that `start` has laid on each other to within a few voxels.

    fixed, moving : any orientation and voxel size.
    start : sample space to sample space in µm, moving -> fixed.

    A result that is not to be trusted has a status and a reason; then its transform may be `start`.
    """
    box = common_box(fixed, moving, start)
    if not box:
        return failed(start, params, box, "too little overlap", "the views do not overlap")
    edge = float(np.cbrt(np.prod(box.extent_um)))
    scales = scales_um(
        fixed, moving, min(edge / _LEAST_SIZE, finest_um(fixed, moving) * 2**_SCALES)
    )
    return refine_from(fixed, moving, start, params, scales)


def finest_um(fixed: Patch, moving: Patch) -> float:
    """The smallest voxel edge of two patches."""
    return min(*fixed.spacing_um, *moving.spacing_um)


def scales_um(fixed: Patch, moving: Patch, coarsest_um: float) -> list[float]:
    """Scales from `coarsest_um` at most, by halves, to the voxel size; always this last one."""
    finest = finest_um(fixed, moving)
    count = int(np.floor(np.log2(max(coarsest_um / finest, 1)) + 0.1))
    return [finest * 2**k for k in range(count, -1, -1)]


def refine_from(
    fixed: Patch, moving: Patch, start: Affine, params: MatchParams, scales: Sequence[float]
) -> Match:
    """As `refine`, at the given scales in µm; the last is left out without fine alignment."""
    if not params.fine_alignment and len(scales) > 1:
        scales = scales[:-1]
    found: Aligned | None = None
    for scale in scales:
        transform = found.fit.transform if found else start
        box = common_box(fixed, moving, transform)
        textures = [texture_of(patch, scale, params.background) for patch in (fixed, moving)]
        contrast = min(texture.contrast for texture in textures)
        if contrast < LEAST_CONTRAST:
            if found is None:
                return failed(start, params, box, "no texture", no_texture(contrast))
            break  # finer structure drowns in noise
        points = strong_points(textures[0], box, POINTS)
        if points is None:
            return failed(start, params, box, "too little overlap", _too_thin(box))
        model = _model(params.model, scale, scales)
        fit = align(textures[0], textures[1], transform, model, points, scale)
        if fit is None:
            return failed(start, params, box, "no match", "the views drift apart when aligned")
        found = Aligned(fit, textures[0], textures[1], scale)
    assert found is not None
    return judge(found, fixed, moving, start, params)


def _model(model: Model, scale: float, scales: Sequence[float]) -> Model:
    """Affine only once the views lie on each other well."""
    return "rigid" if model == "affine" and scale == scales[0] and len(scales) > 1 else model


def no_texture(contrast: float) -> str:
    """Sentence for a pair whose weaker patch has this contrast."""
    return (
        "the common volume holds no structure to align: what there is is "
        f"{contrast:.2f} times as strong as the noise, {LEAST_CONTRAST} are needed"
    )


def _too_thin(box: BoundingBox) -> str:
    z, y, x = box.extent_um
    return f"the common volume of {z:.0f} x {y:.0f} x {x:.0f} µm (z, y, x) is too small"
