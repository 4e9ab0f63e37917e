"""A blur that is a few one-dimensional filters along whole-voxel directions, on the CPU.

The steps of Richardson-Lucy that follow a blur are done on each row as soon as it is blurred.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.array.backend import is_device
from luxdask.deconv.fourier_blur import FourierBlur
from luxdask.deconv.lattice import Line, line_kernel
from luxdask.deconv.line_rows import ADD, DEVIATION, STORE, UPDATE, filter_slabs
from luxdask.deconv.workspace import Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape

DARK = 1e-12
"""Where an estimate predicts less light than this, it is taken to predict this much."""

_NOTHING = np.empty(0, dtype=np.float32)

LONGEST_ROW = 2048
"""Voxels that are filtered in one go; the rows of a filter should still fit the CPU's cache."""


@dataclass(frozen=True)
class Pass:
    """Filters whose directions lie in slabs of rows ``step`` apart (z, y)."""

    step: tuple[int, int]
    lines: tuple[Line, ...]


class LineBlur:
    """Symmetric filters one after the other; `backward` goes through them in reverse order."""

    def __init__(self, lines: list[Line]) -> None:
        self._passes = passes(lines)

    @property
    def lines(self) -> list[Line]:
        """The filters in the order of `forward`."""
        return [line for one in self._passes for line in one.lines]

    @property
    def radius_vx(self) -> Shape:
        """The reach of all filters together."""
        z, y, x = np.sum([line.reach for line in self.lines], axis=0).tolist()
        return z, y, x

    def kernel(self) -> NDArray[np.float64]:
        """The point-spread function."""
        return line_kernel(self.lines)

    def scratch_bytes(self, shape: Shape) -> int:
        """Memory for what lies between passes over a volume of this shape."""
        if len(self._passes) < 2:
            return 0
        return 4 * int(_plan(self._passes, shape)[0].wide[3:].prod())

    def forward(self, image: Any, out: Any, work: Workspace | None = None) -> None:
        """Convolution with the point-spread function."""
        if is_device(image):
            self.as_array.forward(image, out)
        else:
            _run(self._passes, image, out, work or Workspace(), STORE)

    def backward(self, image: Any, out: Any, work: Workspace | None = None) -> None:
        """The adjoint of `forward`."""
        if is_device(image):
            self.as_array.backward(image, out)
        else:
            _run(_reverse(self._passes), image, out, work or Workspace(), STORE)

    @cached_property
    def as_array(self) -> FourierBlur:
        """The same blur for a GPU."""
        return FourierBlur(self.kernel())

    def deviation(self, estimate: Any, image: Any, weight: Any, out: Any, work: Workspace) -> None:
        """``weight * (image / forward(estimate) - 1)`` into `out`."""
        _run(self._passes, estimate, out, work, DEVIATION, image, weight)

    def add_backward(self, image: Any, out: Any, work: Workspace) -> None:
        """``out += backward(image)``."""
        _run(_reverse(self._passes), image, out, work, ADD)

    def update(
        self,
        deviation: Any,
        others: Any,
        scale: Any,
        out: Any,
        estimate: Any,
        momentum: float,
        work: Workspace,
    ) -> None:
        """``new = estimate * max(0, 1 + (others + backward(deviation)) * scale)`` into `out`.

        `estimate` goes beyond it by `momentum` times its distance from the former `out`; None: it
        is `out` itself.
        """
        back = _reverse(self._passes)
        _run(back, deviation, out, work, UPDATE, others, scale, estimate, momentum=momentum)


def passes(lines: list[Line]) -> tuple[Pass, ...]:
    """Filters in as few passes over memory as their directions allow.

    Those along x lie in any slab: they go with the pass that has the fewest taps. Slabs of planes
    of constant z come last: their rows follow each other in memory.
    """
    groups: dict[tuple[int, int], list[Line]] = {}
    for line in lines:
        dz, dy, _ = line.step
        if (dz, dy) != (0, 0):
            divisor = gcd(dz, dy)
            groups.setdefault((dz // divisor, dy // divisor), []).append(line)
    within = [line for line in lines if line.step[:2] == (0, 0)]
    shortest = min(groups, key=lambda step: sum(len(line.taps) for line in groups[step]))
    groups[shortest] += within
    order = sorted(groups, key=lambda step: (step == (0, 1), step != (1, 0), step))
    return tuple(Pass(step, tuple(_straight_first(groups[step]))) for step in order)


def _straight_first(lines: list[Line]) -> list[Line]:
    """A filter without a part along x can read a volume's rows where they are."""
    return sorted(lines, key=lambda line: line.step[2] != 0)


@lru_cache(maxsize=64)
def _reverse(forward: tuple[Pass, ...]) -> tuple[Pass, ...]:
    return tuple(Pass(one.step, one.lines[::-1]) for one in forward[::-1])


@dataclass(frozen=True)
class _Table:
    """A pass as the compiled code takes it."""

    slabs: NDArray[np.int64]
    step: NDArray[np.int64]
    filters: NDArray[np.int64]
    taps: NDArray[np.float32]
    lane: NDArray[np.int64]
    wide: NDArray[np.int64]
    inner: NDArray[np.int64]


@lru_cache(maxsize=64)
def _plan(steps: tuple[Pass, ...], shape: Shape) -> tuple[_Table, ...]:
    """All passes on a volume of a shape.

    Between passes, light outside the volume that later filters may bring back is kept as well:
    `wide` is that larger volume, `inner` the given one in it, as corner and shape.
    """
    margin = _margin(steps)
    if not margin.any():
        return tuple(_table(one, margin, _long_rows(one, shape)) for one in steps)
    return tuple(_table(one, margin, shape) for one in steps)


def _long_rows(one: Pass, shape: Shape) -> Shape:
    """Filters along z alone take several rows as one: there are fewer, longer ones to fetch."""
    nz, ny, nx = shape
    if any(line.step != (1, 0, 0) for line in one.lines):
        return shape
    most = max(1, LONGEST_ROW // nx)
    merged = max(n for n in range(1, most + 1) if ny % n == 0)
    return nz, ny // merged, nx * merged


def _margin(steps: tuple[Pass, ...]) -> NDArray[np.int64]:
    """Voxels beyond the volume that light reaches by one filter and comes back from by others.

    No more than the point-spread function's own width: what was further out does not come back.
    """
    lines = [line for one in steps for line in one.lines]
    reach = np.array([line.reach for line in lines])
    before = np.cumsum(reach, axis=0)
    after = before[-1] - before
    width = np.ceil(np.sqrt((reach**2).sum(axis=0))).astype(np.int64)
    return np.asarray(np.minimum(np.minimum(before, after).max(axis=0), width))


def _table(one: Pass, margin: NDArray[np.int64], shape: Shape) -> _Table:
    wide = np.array(shape) + 2 * margin
    filters: list[tuple[int, int, int, int]] = []
    taps: list[float] = []
    for line in _with_copy(one):
        dz, dy, dx = line.step
        rows = dz // one.step[0] if one.step[0] else dy // one.step[1]
        filters.append((rows, dx, len(taps), len(line.taps) - 1))
        taps.extend(line.taps)
    beside = max(abs(dx) * count for _, dx, _, count in filters)
    return _Table(
        _slabs(one.step, int(wide[0]), int(wide[1])),
        np.array(one.step, dtype=np.int64),
        np.array(filters, dtype=np.int64),
        np.array(taps, dtype=np.float32),
        np.array([wide[2], beside], dtype=np.int64),
        np.concatenate([[0, 0, 0], wide]),
        np.concatenate([margin, shape]),
    )


def _with_copy(one: Pass) -> tuple[Line, ...]:
    """With a first filter that changes nothing, where rows are better copied to the ring first.

    Filters along x need dark voxels beside a row; and rows that are planes apart share the same
    few places of the CPU's cache.
    """
    if one.step[0] == 0 and one.lines[0].step[2] == 0:
        return one.lines
    return (Line((0, 0, 0), (1.0,)), *one.lines)


def _slabs(step: tuple[int, int], nz: int, ny: int) -> NDArray[np.int64]:
    """First row and number of rows of all slabs that make up nz x ny rows."""
    dz, dy = step
    return np.array(
        [
            (z, y, _count(z, dz, nz, y, dy, ny))
            for z in range(nz)
            for y in range(ny)
            if not (0 <= z - dz < nz and 0 <= y - dy < ny)
        ],
        dtype=np.int64,
    )


def _count(z: int, dz: int, nz: int, y: int, dy: int, ny: int) -> int:
    """Rows from (z, y) on that lie in nz x ny."""
    along_z = (nz - 1 - z) // dz if dz else nz + ny
    along_y = (ny - 1 - y) // dy if dy > 0 else y // -dy if dy else nz + ny
    return min(along_z, along_y) + 1


def _run(
    steps: tuple[Pass, ...],
    source: Any,
    out: Any,
    work: Workspace,
    action: int,
    a: Any = None,
    b: Any = None,
    c: Any = None,
    momentum: float = 0.0,
) -> None:
    assert out.flags.c_contiguous
    tables = _plan(steps, out.shape)
    between = work.memory(int(tables[0].wide[3:].prod()) if len(steps) > 1 else 0)
    extra = tuple(_flat(array) for array in (a, b, c))
    nothing = (_NOTHING,) * 3
    for n, table in enumerate(tables):
        first, last = n == 0, n == len(steps) - 1
        arguments = (
            table.slabs,
            table.step,
            table.filters,
            table.taps,
            table.lane,
            _flat(source) if first else between,
            table.inner if first else table.wide,
            out.reshape(-1) if last else between,
            table.inner if last else table.wide,
            action if last else STORE,
            *(extra if last else nothing),
            np.float32(momentum),
            np.float32(DARK),
        )
        work.run(partial(_filter, arguments), len(table.slabs))


def _filter(arguments: tuple[Any, ...], first: int, last: int) -> None:
    filter_slabs(first, last, *arguments)


def _flat(array: Any) -> NDArray[np.float32]:
    """All values in one row, writeable ones, since compiled code tells the kinds apart."""
    if array is None:
        return _NOTHING
    flat: NDArray[np.float32] = np.require(array, np.float32, ["C", "W"]).reshape(-1)
    return flat
