"""How one patch lies on another: the entry to everything that measures pairs by their content."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from luxdask.registration.parallel import as_parallel
from luxdask.registration.refine import refine
from luxdask.registration.search import match_rigid
from luxdask.registration.translation import match_translation

if TYPE_CHECKING:
    from luxdask.registration.match import Match, MatchParams
    from luxdask.registration.patch import Patch


def match(fixed: Patch, moving: Patch, params: MatchParams) -> Match:
    """Measure how `moving` lies on `fixed`.

    Patches with parallel axes and equal voxels (mirrored and transposed ones too) are shifted
    against each other; a rigid or affine transform is refined from there. Others are resampled.
    Where that is not to be trusted (thin overlaps hold too little to tell a turn), the shift stays.
    A pair that cannot be measured is an untrusted match with a reason, never an error.
    """
    pair = as_parallel(fixed, moving)
    may_turn = params.maximum_rotation_deg > 0 and params.model != "translation"
    if pair is None or may_turn:
        return match_rigid(fixed, moving, params)
    found = match_translation(pair, params)
    if params.model == "translation" or found.status != "ok":
        return found
    turned = refine(fixed, moving, found.transform, params)
    if turned.status == "ok":
        return turned
    return replace(found, model="translation", reason=f"a shift only: {turned.reason}")
