"""Local image quality of a view: how much fine structure each 64-voxel cell holds.

The measure is the mean squared difference between neighbouring averages of 4 × 4 voxels in a
sample of planes: blur and scattering lower it, camera noise hardly raises it (averaged 16-fold).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luxdask.array.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELL = 64
"""Edge of a cell in voxels, the file format's chunk size."""

LATERAL = 4
"""Voxels averaged per lateral axis before differences are taken."""

PLANE_STEP = 4
"""One plane in this many is looked at."""

FLOOR = 1e-3
"""Smallest weight relative to the best cell of a view: what covers always counts."""

REFERENCE = 1e4
"""Energy that has weight 1: a common factor, which keeps the weights in the middle of float32."""

RANGE = 1e12
"""Largest weight, and the inverse of the smallest: with blending, sums stay in float32's range."""


def cell_energy(planes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Structure per cell of one layer of cells.

    planes : (N, Y, X) uint16, a sample of planes from one 64-voxel layer.
    Returns (cells in y, cells in x) float32, the mean squared difference of neighbours.
    """
    _, ny, nx = planes.shape
    cells = np.zeros((-(-ny // CELL), -(-nx // CELL)), dtype=np.float32)
    _accumulate(planes, cells)
    return cells


@kernel
def _accumulate(planes, cells):  # type: ignore[no-untyped-def]
    n, ny, nx = planes.shape
    rows, columns = max(ny // LATERAL, 1), max(nx // LATERAL, 1)
    step_y, step_x = min(LATERAL, ny), min(LATERAL, nx)
    mean = np.empty((rows, columns), np.float32)
    per_cell = CELL // LATERAL
    counts = np.zeros(cells.shape, np.float32)
    for k in range(n):
        for j in range(rows):
            for i in range(columns):
                total = np.float32(0)
                for y in range(j * step_y, (j + 1) * step_y):
                    for x in range(i * step_x, (i + 1) * step_x):
                        total += np.float32(planes[k, y, x])
                mean[j, i] = total / np.float32(step_y * step_x)
        for j in range(rows - 1):
            for i in range(columns - 1):
                dy, dx = mean[j + 1, i] - mean[j, i], mean[j, i + 1] - mean[j, i]
                cells[j // per_cell, i // per_cell] += dy * dy + dx * dx
                counts[j // per_cell, i // per_cell] += np.float32(1)
    for j in range(cells.shape[0]):
        for i in range(cells.shape[1]):
            # the last cells may be too thin to hold two averages: they take their neighbour's
            if counts[j, i] > 0:
                cells[j, i] /= counts[j, i]
            elif i > 0:
                cells[j, i] = cells[j, i - 1]
            elif j > 0:
                cells[j, i] = cells[j - 1, i]


def quality_weights(energy: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    """Fusion weights of a view's cells: energy to the power of `strength`, never 0.

    energy : (Z, Y, X) float32 from `cell_energy`, layer by layer. The weights of all views of an
    output are on one scale, so that the sharper view wins. strength : 0 to 4.
    """
    floor = max(float(energy.max(initial=0)), 1.0) * FLOOR
    relative = (energy.astype(np.float64) + floor) / REFERENCE
    return np.clip(relative**strength, 1 / RANGE, RANGE).astype(np.float32)
