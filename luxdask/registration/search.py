"""Alignment of views in any orientation: all shifts (and some rotations) coarsely, then finely."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from luxdask.model.geometry import Affine, BoundingBox
from luxdask.registration import refine_kernel
from luxdask.registration.align import align
from luxdask.registration.points import border_vx, strong_points
from luxdask.registration.refine import (
    LEAST_CONTRAST,
    finest_um,
    no_texture,
    refine_from,
    scales_um,
)
from luxdask.registration.texture import texture_of
from luxdask.registration.verdict import agreement, common_box, failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from luxdask.model.links import Model
    from luxdask.registration.match import Match, MatchParams
    from luxdask.registration.patch import Patch
    from luxdask.registration.texture import Texture

    Volume = NDArray[np.float32]
    Array = NDArray[np.float64]

_LEAST_SIZE = 3  # voxels per axis
_COARSE = 64  # bins along an edge of the fixed patch; half as many when rotations are tried
_REACH = 0.25  # of the fixed patch's extent, where no maximum translation is given
_LEAST_COMMON = 0.3  # of the largest common volume that some shift leaves
_PEAKS = 4
_PEAK_APART = 3  # voxels
_STARTS = 5
_COARSE_POINTS = 40_000
_AMBIGUOUS = 0.9
_SMALL_TURN_DEG = 2.0  # refinement alone bridges this


@dataclass(frozen=True, slots=True)
class Start:
    """A transform (moving -> fixed, sample space) and the correlation that it gives."""

    transform: Affine
    ncc: float


def match_rigid(fixed: Patch, moving: Patch, params: MatchParams) -> Match:
    """Align two patches in any orientation that may be far from where their metadata says.

    fixed, moving : any orientation and voxel size.
    params : the model may be "translation", "rigid" or "affine".

    All shifts up to the maximum translation are looked at (without one: up to a quarter of the
    fixed patch), and rotations up to the maximum one about each axis. The best few are refined.
    """
    nothing = Affine()
    box = _reachable_box(fixed, moving, params)
    if not box:
        return failed(nothing, params, box, "too little overlap", _no_common(params))
    if min(*fixed.values.shape, *moving.values.shape) < _LEAST_SIZE:
        return failed(nothing, params, box, "too little overlap", _too_thin(fixed, moving))
    scale = _coarse_scale_um(fixed, moving)
    textures = [texture_of(patch, scale, params.background) for patch in (fixed, moving)]
    contrast = min(texture.contrast for texture in textures)
    if contrast < LEAST_CONTRAST:
        return failed(nothing, params, box, "no texture", no_texture(contrast))
    starts = _starts(fixed, moving, textures, box, params, scale)
    settled = _settled(fixed, moving, textures, starts, params, scale)
    if not settled:
        return failed(nothing, params, box, "no match", "no shift makes the views look alike")
    best, *others = settled
    match = refine_from(fixed, moving, best.transform, params, scales_um(fixed, moving, scale))
    rival = next((o for o in others if _differ(best, o, box, scale)), None)
    if match.status == "ok" and rival and rival.ncc > _AMBIGUOUS * best.ncc:
        return replace(match, status="ambiguous", reason=_ambiguous(best, rival, box))
    return match


def _reachable_box(fixed: Patch, moving: Patch, params: MatchParams) -> BoundingBox:
    """What of the fixed patch the moving one may see within the maximum translation."""
    reach = _reach_um(fixed, params)
    z, y, x = fixed.values.shape
    own = BoundingBox.of_volume((z, y, x), fixed.to_world)
    z, y, x = moving.values.shape
    other = BoundingBox.of_volume((z, y, x), moving.to_world)
    lower, upper = np.subtract(other.lower, reach), np.add(other.upper, reach)
    return own & BoundingBox(tuple(lower.tolist()), tuple(upper.tolist()))


def _reach_um(fixed: Patch, params: MatchParams) -> Array:
    """Largest shift along the fixed patch's own axes."""
    extent = np.multiply(fixed.values.shape, fixed.spacing_um)
    if params.maximum_translation_um is None:
        return np.asarray(_REACH * extent)
    return np.minimum(params.maximum_translation_um, extent)


def _coarse_scale_um(fixed: Patch, moving: Patch) -> float:
    volume = np.prod(np.multiply(fixed.values.shape, fixed.spacing_um))
    return max(float(np.cbrt(volume)) / _COARSE, finest_um(fixed, moving))


def _starts(
    fixed: Patch,
    moving: Patch,
    textures: Sequence[Texture],
    box: BoundingBox,
    params: MatchParams,
    scale: float,
) -> list[Start]:
    """The best shifts, of all rotations that are tried, best first."""
    rotations = _rotations(params.maximum_rotation_deg)
    if len(rotations) > 1:
        textures = [texture_of(patch, 2 * scale, params.background) for patch in (fixed, moving)]
    middle = (np.array(box.lower) + box.upper) / 2
    search = _Correlation(textures[0], _reach_um(fixed, params), params.maximum_translation_um)
    found = [
        start for turn in rotations for start in search.peaks(textures[1], _about(turn, middle))
    ]
    return sorted(found, key=lambda start: -start.ncc)[:_STARTS]


def _rotations(maximum_deg: float) -> list[Array]:
    """None and a step of two thirds of the maximum either way about each axis."""
    if maximum_deg <= _SMALL_TURN_DEG:
        return [np.eye(3)]
    step = np.radians(maximum_deg) * 2 / 3
    return [_rotation(np.multiply(step, signs)) for signs in product((0, -1, 1), repeat=3)]


def _rotation(angles: Array) -> Array:
    """About z, then y, then x, in (z, y, x) coordinates."""
    out = np.eye(3)
    for (i, j), angle in zip(((1, 2), (0, 2), (0, 1)), angles, strict=True):
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = np.sin(angle), -np.sin(angle)
        out = turn @ out
    return out


def _about(turn: Array, middle: Array) -> Affine:
    return Affine.from_array(turn, middle - turn @ middle)


class _Correlation:
    """Masked normalised cross-correlation of a fixed texture with others, over all shifts.

    The moving texture is laid on the fixed one's grid, which is extended by the largest shift, so
    that nothing wraps around. Source: Padfield 2012, doi:10.1109/TIP.2011.2181402 (for textures of
    mean 0).
    """

    def __init__(self, fixed: Texture, reach_um: Array, bound_um: float | None) -> None:
        self.to_world = fixed.to_world
        self.reach = np.ceil(reach_um / np.array(fixed.to_world.column_norms)).astype(int)
        self.shape = tuple(
            int(fft.next_fast_len(int(n), real=True))
            for n in np.array(fixed.values.shape) + 2 * self.reach
        )
        self.allowed = self._allowed(bound_um)
        values, known = _within_border(fixed)
        self.values = self._forward(values)
        self.squares = self._forward(values * values)
        self.known = self._forward(known)

    def peaks(self, moving: Texture, start: Affine) -> Iterator[Start]:
        """The few best shifts on top of `start`."""
        values, known = self._lay(moving, start)
        seen = self._forward(known)
        common = self._correlate(self.known, seen)
        common[~self.allowed] = 0
        strength = self._correlate(self.squares, seen)
        strength *= self._correlate(self.known, self._forward(values * values))
        ncc = self._correlate(self.values, self._forward(values))
        enough = (common > _LEAST_COMMON * common.max()) & (strength > 1e-4 * strength.max())
        ncc = np.where(enough, ncc / np.sqrt(np.where(enough, strength, 1)), 0)
        for index in _maxima(ncc):
            shift = self.to_world.linear @ (np.array(index) - self.reach)
            yield Start(Affine.translation(-shift) @ start, float(ncc[index]))

    def _allowed(self, bound_um: float | None) -> NDArray[np.bool_]:
        axes = [np.arange(2 * r + 1) - r for r in self.reach]
        places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        length = np.linalg.norm(places @ np.array(self.to_world.linear).T, axis=-1)
        return np.asarray(length <= (np.inf if bound_um is None else max(bound_um, 1e-9)))

    def _lay(self, moving: Texture, start: Affine) -> tuple[Volume, Volume]:
        to_moving = moving.to_world.inverse() @ start.inverse() @ self.to_world
        matrix = (to_moving @ Affine.translation(-self.reach)).to_array()
        values = np.empty(self.shape, dtype=np.float32)
        known = np.empty(self.shape, dtype=np.float32)
        refine_kernel.sample_grid(moving.values, matrix, border_vx(moving), values, known)
        return values, known

    def _forward(self, volume: Volume) -> NDArray[np.complex64]:
        return np.asarray(fft.rfftn(volume, self.shape, workers=1))

    def _correlate(self, a: NDArray[np.complex64], b: NDArray[np.complex64]) -> Volume:
        z, y, x = 2 * self.reach + 1
        return np.asarray(fft.irfftn(a.conj() * b, self.shape, workers=1)[:z, :y, :x])


def _within_border(texture: Texture) -> tuple[Volume, Volume]:
    """Values without those near the border, and where they are."""
    known = np.zeros_like(texture.values)
    margin = np.ceil(border_vx(texture)).astype(int)
    inner = tuple(slice(m, n - m) for m, n in zip(margin, known.shape, strict=True))
    known[inner] = 1
    return texture.values * known, known


def _maxima(ncc: Volume) -> Iterator[tuple[int, ...]]:
    """Indices of the highest peaks, from high to low, apart from each other."""
    left = ncc.copy()
    highest = float(left.max())
    for _ in range(_PEAKS):
        index = tuple(int(i) for i in np.unravel_index(int(left.argmax()), left.shape))
        if left[index] <= max(0.5 * highest, 0):
            return
        yield index
        left[tuple(slice(max(0, i - _PEAK_APART), i + _PEAK_APART + 1) for i in index)] = 0


def _settled(
    fixed: Patch,
    moving: Patch,
    textures: Sequence[Texture],
    starts: Sequence[Start],
    params: MatchParams,
    scale: float,
) -> list[Start]:
    """The starts, refined at the coarse scale, best first."""
    model: Model = "translation" if params.model == "translation" else "rigid"
    out = []
    for start in starts:
        box = common_box(fixed, moving, start.transform)
        points = strong_points(textures[0], box, _COARSE_POINTS) if box else None
        if points is None:
            continue
        fit = align(textures[0], textures[1], start.transform, model, points, scale)
        if fit is None:
            continue
        found = agreement(
            textures[0], textures[1], fit.transform, common_box(fixed, moving, fit.transform)
        )
        if found is not None and found.ncc > 0:
            out.append(Start(fit.transform, found.ncc))
    return sorted(out, key=lambda start: -start.ncc)


def _differ(a: Start, b: Start, box: BoundingBox, scale: float) -> bool:
    corners = box.corners
    away = a.transform.apply(corners) - b.transform.apply(corners)
    return bool(np.linalg.norm(away, axis=1).max() > 2 * scale)


def _ambiguous(best: Start, rival: Start, box: BoundingBox) -> str:
    middle = (np.array(box.lower) + box.upper) / 2
    away = float(np.linalg.norm(best.transform.apply(middle) - rival.transform.apply(middle)))
    return (
        f"a second place, {away:.0f} µm away, fits almost as well "
        f"(correlation {rival.ncc:.2f} and {best.ncc:.2f}): the structure repeats itself"
    )


def _too_thin(fixed: Patch, moving: Patch) -> str:
    return (
        f"the views have {fixed.values.shape} and {moving.values.shape} voxels (z, y, x) to "
        f"compare, {_LEAST_SIZE} are needed along every axis"
    )


def _no_common(params: MatchParams) -> str:
    bound = params.maximum_translation_um
    within = "" if bound is None else f", even when moved by {bound:g} µm"
    return f"the views have no volume in common{within}"
