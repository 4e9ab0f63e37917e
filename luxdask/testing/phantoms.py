"""Synthetic volumes (Z, Y, X) uint16, the same for the same seed on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape, Vector

KINDS = ("nuclei", "band-limited", "beads")
CAMERA_OFFSET = 100.0
_SOFT_EDGE = 0.18


def phantom(
    kind: str, shape: Shape, *, seed: int, spacing_um: Vector = (1.0, 1.0, 1.0), stain: int = 0
) -> NDArray[np.uint16]:
    """A volume of one of `KINDS`, else `ConfigError`; each `stain` shows something different."""
    if kind not in KINDS:
        raise ConfigError(f"kind {kind!r} of sample: allowed are {', '.join(KINDS)}")
    if kind == "nuclei":
        return nuclei(shape, seed=seed, spacing_um=spacing_um, stain=stain)
    if kind == "band-limited":
        return band_limited(shape, seed=seed + 1000 * stain)
    return beads(shape, seed=seed + 1000 * stain)


def band_limited(shape: Shape, *, seed: int, period_vx: float = 8.0) -> NDArray[np.uint16]:
    """Smooth noise without any wave shorter than `period_vx` voxels.

    Made of cosines that are even about the outer voxel borders, so that the volume continues
    without a kink when it is reflected there: interpolation stays accurate up to the border.
    Values lie in 5000 ... 35000, mean 20000.
    """
    noise = _cosine_noise(shape, seed, (period_vx,) * 3)
    return _rounded(20000 + noise * (15000 / np.abs(noise).max()))


def _rounded(image: NDArray[np.floating]) -> NDArray[np.uint16]:
    return np.asarray(np.rint(np.clip(image, 0, 65535)), dtype=np.uint16)


def _cosine_noise(shape: Shape, seed: int, period_vx: Vector) -> NDArray[np.float32]:
    """Random cosine series (DCT-II basis) with unit standard deviation."""
    highest = [max(1, int(2 * n / p)) for n, p in zip(shape, period_vx, strict=True)]
    rng = np.random.default_rng(seed)
    volume = rng.standard_normal([k + 1 for k in highest]).astype(np.float32)
    volume *= _low_pass(highest)
    volume[0, 0, 0] = 0
    for axis, (n, k) in enumerate(zip(shape, highest, strict=True)):
        waves = np.arange(min(k, n - 1) + 1)
        basis = np.cos(np.pi * np.outer(np.arange(n) + 0.5, waves) / n).astype(np.float32)
        volume = np.moveaxis(np.tensordot(basis, np.take(volume, waves, axis), (1, axis)), 0, axis)
    deviation = float(volume.std())
    return np.ascontiguousarray(volume / (deviation or 1.0), dtype=np.float32)


def _low_pass(highest: list[int]) -> NDArray[np.float32]:
    """Weights that fall smoothly to 0 at the cut-off, so that there is no ringing."""
    axes = np.meshgrid(*(np.arange(k + 1) / k for k in highest), indexing="ij", sparse=True)
    squared = np.minimum(sum(a**2 for a in axes), 1.0)
    return np.asarray((1 - squared) ** 2, dtype=np.float32)


def nuclei(
    shape: Shape, *, seed: int, spacing_um: Vector = (1.0, 1.0, 1.0), stain: int = 0
) -> NDArray[np.uint16]:
    """An embryo-like body filled with textured nuclei, on a dim background.

    `stain` even: the nuclei shine; odd: the cell bodies and the outer layer shine, the nuclei are
    dark holes. Both show the same nuclei for the same seed. Edges are about two voxels soft.
    """
    radius = _nucleus_radius(shape, spacing_um)
    depth = _body_depth(shape, seed)
    inside = 1 / (1 + np.exp(-depth / 0.02))
    nuclear = _draw_nuclei(shape, seed, radius, depth)
    texture = _cosine_noise(shape, seed + 1, _periods(radius, 0.9))
    if stain % 2:
        layer = np.exp(-(((depth - 0.04) / 0.05) ** 2))
        image = inside * (1600 + 250 * texture) * (1 - 0.85 * np.minimum(nuclear, 1))
        image += 5000 * layer * (1 - 0.5 * np.minimum(nuclear, 1))
    else:
        image = inside * (420 + 60 * texture) + 7000 * nuclear * (1 + 0.13 * texture)
    return _rounded(image + CAMERA_OFFSET)


def _nucleus_radius(shape: Shape, spacing_um: Vector) -> Vector:
    lateral = float(np.clip(min(shape[1:]) / 42, 3.0, 8.0))
    size_um = lateral * min(spacing_um[1:])
    z, y, x = (max(size_um / s, 2.0) for s in spacing_um)
    return (z, y, x)


def _periods(radius: Vector, factor: float) -> Vector:
    z, y, x = (max(4.0, factor * r) for r in radius)
    return (z, y, x)


def _body_depth(shape: Shape, seed: int) -> NDArray[np.float32]:
    """How far below the surface of the body, in fractions of its radius; negative outside."""
    z, y, x = (2 * (np.arange(n, dtype=np.float32) + 0.5) / n - 1 for n in shape)
    radius = np.sqrt((z[:, None, None] / 0.92) ** 2 + (y[:, None] / 0.88) ** 2 + (x / 0.93) ** 2)
    slow: Vector = (shape[0] / 1.5, shape[1] / 2.5, shape[2] / 2.5)
    return np.asarray(1 - radius + 0.06 * _cosine_noise(shape, seed + 2, slow), dtype=np.float32)


def _draw_nuclei(
    shape: Shape, seed: int, radius: Vector, depth: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sum of soft ellipsoids of different brightness (0.4 ... 1.6)."""
    rng = np.random.default_rng([seed, 3])
    image = np.zeros(shape, dtype=np.float32)
    for centre in _jittered_grid(shape, radius, rng):
        size, brightness = rng.uniform(0.75, 1.2), rng.uniform(0.4, 1.6)
        at = depth[tuple(np.clip(np.rint(centre), 0, np.subtract(shape, 1)).astype(int))]
        # dense layer under the surface, sparser inside, as in a blastoderm
        if at > 0.06 and (at < 0.3 or rng.random() < 0.85):
            _add_ellipsoid(image, centre, np.multiply(radius, size), brightness)
    return image


def _jittered_grid(shape: Shape, radius: Vector, rng: np.random.Generator) -> NDArray[np.float64]:
    pitch = 2.4 * np.asarray(radius)
    axes = [np.arange(p / 2, n, p) for n, p in zip(shape, pitch, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(points + rng.uniform(-0.28, 0.28, points.shape) * pitch)


def _add_ellipsoid(
    image: NDArray[np.float32],
    centre: NDArray[np.float64],
    radius: NDArray[np.float64],
    value: float,
) -> None:
    low = np.maximum(np.floor(centre - 1.7 * radius).astype(int), 0)
    high = np.minimum(np.ceil(centre + 1.7 * radius).astype(int) + 1, image.shape)
    if (high <= low).any():
        return
    z, y, x = (
        ((np.arange(a, b, dtype=np.float32) - np.float32(c)) / np.float32(r)) ** 2
        for a, b, c, r in zip(low, high, centre, radius, strict=True)
    )
    distance = np.sqrt(z[:, None, None] + y[:, None] + x)
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    image[window] += np.float32(value) / (1 + np.exp((distance - 1) / np.float32(_SOFT_EDGE)))


def bead_positions(shape: Shape, *, seed: int, n: int = 60) -> NDArray[np.float64]:
    """Centres of the beads that `beads` draws, (n, 3) in voxels, fractions included."""
    rng = np.random.default_rng([seed, 4])
    margin = np.minimum(6.0, (np.asarray(shape) - 1) / 4)
    return rng.uniform(margin, np.asarray(shape) - 1 - margin, (n, 3))


def beads(shape: Shape, *, seed: int, n: int = 60, sigma_vx: float = 1.6) -> NDArray[np.uint16]:
    """`n` Gaussian spots at `bead_positions` (peak 20000 each) on an even background of 100."""
    image = np.full(shape, CAMERA_OFFSET, dtype=np.float64)
    reach = int(np.ceil(5 * sigma_vx))
    for centre in bead_positions(shape, seed=seed, n=n):
        middle = np.rint(centre).astype(int)
        low = np.maximum(middle - reach, 0)
        high = np.minimum(middle + reach + 1, shape)
        z, y, x = (
            np.exp(-0.5 * ((np.arange(a, b) - c) / sigma_vx) ** 2)
            for a, b, c in zip(low, high, centre, strict=True)
        )
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        image[window] += 20000 * z[:, None, None] * y[:, None] * x
    return _rounded(image)
