"""Resolution pyramids: which levels an image has and how large they are.

The rule is that of the Imaris file format, so that a link-only `.ims` file can point at the levels:
halve an axis while ``(10 n_i)^2 > n_j n_k``, stop below 4 Mi voxels; odd sizes round down.
"""

from __future__ import annotations

from math import prod

from luxdask.model.geometry import Shape, shape3

COARSEST_SIZE = 4 * 1024 * 1024
FULL: Shape = (1, 1, 1)


def level_shape(shape: Shape, factor: Shape) -> Shape:
    """Size of the level that averages `factor` voxels per axis; odd remainders are dropped."""
    return shape3([max(1, n // f) for n, f in zip(shape, factor, strict=True)])


def _halved_axes(shape: Shape) -> Shape:
    size = prod(shape)
    return shape3([2 if n > 1 and (10 * n) ** 2 * n > size else 1 for n in shape])


def level_factors(shape: Shape) -> tuple[Shape, ...]:
    """Downsampling factors (z, y, x) of all levels, full resolution first."""
    factors = [FULL]
    current = shape
    while prod(current) >= COARSEST_SIZE:
        step = _halved_axes(current)
        factors.append(shape3([f * s for f, s in zip(factors[-1], step, strict=True)]))
        current = level_shape(shape, factors[-1])
    return tuple(factors)


def level_name(factor: Shape, dataset: str = "Data") -> str:
    """Dataset name of a level; the file format counts factors in width, height, depth order."""
    z, y, x = factor
    return dataset if factor == FULL else f"{dataset}_{x}_{y}_{z}"
