"""A blur that is a few one-dimensional filters along whole-voxel directions, on the CPU.

The steps of Richardson-Lucy that follow a blur are done on each row as soon as it is blurred.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import pairwise
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.array.backend import is_device
from luxdask.array.lanes import LANES
from luxdask.deconv.fourier_blur import FourierBlur
from luxdask.deconv.lattice import Line, line_kernel
from luxdask.deconv.line_rows import filter_slabs
from luxdask.deconv.row_sum import ACCELERATE, ADD, DEVIATION, STORE, UPDATE
from luxdask.deconv.workspace import Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape

DARK = 1e-12
"""Where an estimate predicts less light than this, it is taken to predict this much."""

VOXELS_AT_ONCE = 2048
"""Where rows are planes apart, neighbouring ones are filtered in turn, so that memory is read in
larger pieces; what the filters keep should still fit the CPU's cache."""


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
        back, action = _reverse(self._passes), UPDATE if estimate is None else ACCELERATE
        _run(back, deviation, out, work, action, others, scale, estimate, momentum=momentum)


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
    ring_rows: int


@lru_cache(maxsize=64)
def _plan(steps: tuple[Pass, ...], shape: Shape) -> tuple[_Table, ...]:
    """All passes on a volume of a shape.

    Between passes, light outside the volume that later filters may bring back is kept as well:
    `wide` is that larger volume, `inner` the given one in it, as corner and shape.
    """
    margin = _margin(steps)
    return tuple(_table(one, margin, shape) for one in steps)


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
    filters: list[tuple[int, int, int, int, int]] = []
    taps: list[float] = []
    lag = reach = 0
    for line in _with_copy(one):
        dz, dy, dx = line.step
        rows, pairs = dz // one.step[0] if one.step[0] else dy // one.step[1], len(line.taps) - 1
        lag, reach = lag + rows * pairs, max(reach, rows * pairs)
        filters.append((rows, dx, len(taps), pairs, lag))
        taps.extend(line.taps)
    beside = max(abs(dx) * pairs for _, dx, _, pairs, _ in filters)
    nz, ny, nx = wide.tolist()
    pitch = aligned(nx + 2 * aligned(beside))
    y_cuts = (0, int(margin[1]), ny - int(margin[1]), ny)
    at_once = max(1, VOXELS_AT_ONCE // pitch)
    return _Table(
        _slabs(one.step, nz, ny) if one.step != (1, 0) else _upright_slabs(nz, y_cuts, at_once),
        np.array(one.step, dtype=np.int64),
        np.array(filters, dtype=np.int64),
        np.array(taps, dtype=np.float32),
        np.array([nx, aligned(beside), pitch]),
        np.concatenate([[0, 0, 0], wide]),
        np.concatenate([margin, shape]),
        1 << (2 * reach).bit_length(),
    )


def aligned(size: int) -> int:
    """As many voxels or a few more, so that what follows them begins on a line of the cache."""
    return -(-size // LANES) * LANES


def aligned_zeros(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Zeros that begin on a line of the cache."""
    memory = np.zeros(shape[0] * shape[1] + LANES, dtype=np.float32)
    first = -memory.ctypes.data % (4 * LANES) // 4
    return memory[first : first + shape[0] * shape[1]].reshape(shape)


def _with_copy(one: Pass) -> tuple[Line, ...]:
    """With a first filter that changes nothing, where rows are better copied to the ring first.

    Filters along x need dark voxels beside a row; and rows that are planes apart share the same
    few places of the CPU's cache.
    """
    if one.step[0] == 0 and one.lines[0].step[2] == 0:
        return one.lines
    return (Line((0, 0, 0), (1.0,)), *one.lines)


def _slabs(step: tuple[int, int], nz: int, ny: int) -> NDArray[np.int64]:
    """First row, number of rows, and 1, of all slabs that make up nz x ny rows."""
    dz, dy = step
    return np.array(
        [
            (z, y, _count(z, dz, nz, y, dy, ny), 1)
            for z in range(nz)
            for y in range(ny)
            if not (0 <= z - dz < nz and 0 <= y - dy < ny)
        ],
        dtype=np.int64,
    )


def _upright_slabs(nz: int, y_cuts: tuple[int, ...], at_once: int) -> NDArray[np.int64]:
    """The same along z, with the number of neighbours in y that are taken together.

    They lie between the same two of `y_cuts`.
    """
    return np.array(
        [
            (0, y, nz, min(at_once, end - y))
            for begin, end in pairwise(y_cuts)
            for y in range(begin, end, at_once)
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
    source, extra = _readable(source), [_readable(array) for array in (a, b, c)]
    used = [array for array in (source, out, *extra) if array is not None]
    assert all(array.shape == out.shape and array.strides[2] == 4 for array in used)
    assert all(array is None or array.strides == out.strides for array in extra)
    tables = _plan(steps, out.shape)
    between = work.memory(int(tables[0].wide[3:].prod()) if len(steps) > 1 else 0).ctypes.data
    nothing = [0, 0, 0]
    for n, table in enumerate(tables):
        first, last = n == 0, n == len(steps) - 1
        arrays = (
            source.ctypes.data if first else between,
            out.ctypes.data if last else between,
            *([0 if array is None else array.ctypes.data for array in extra] if last else nothing),
        )
        source_box = _laid_out(table.inner, source) if first else _laid_out(table.wide)
        arguments = (
            table.slabs,
            table.step,
            table.filters,
            table.taps,
            table.lane,
            np.array(arrays),
            source_box,
            _laid_out(table.inner, out) if last else _laid_out(table.wide),
            action if last else STORE,
            np.float32(momentum),
            np.float32(DARK),
        )
        work.run(partial(_filter, table, int(source_box[7]), arguments), len(table.slabs))


def _readable(array: Any) -> Any:
    """As float32 whose rows are in one piece; as it is, where it is such."""
    if array is None or (array.dtype == np.float32 and array.strides[2] == 4):
        return array
    return np.ascontiguousarray(array, dtype=np.float32)


def _laid_out(box: NDArray[np.int64], array: Any = None) -> NDArray[np.int64]:
    """A box, and voxels from plane to plane and from row to row of its array."""
    plane, row = int(box[4] * box[5]), int(box[5])
    if array is not None and not array.flags.c_contiguous:
        plane, row = array.strides[0] // 4, array.strides[1] // 4
    return np.array([*box.tolist(), plane, row])


def _filter(
    table: _Table, source_pitch: int, arguments: tuple[Any, ...], first: int, last: int
) -> None:
    nx, _, pitch = table.lane.tolist()
    at_once = int(table.slabs[:, 3].max())
    rings = aligned_zeros((len(table.filters), table.ring_rows * at_once * pitch))
    rows = np.empty(2 * int(table.filters[:, 3].max()) + 1, dtype=np.int64)
    offsets = np.empty((len(rings), table.ring_rows, len(rows)), dtype=np.int64)
    constants = np.zeros((2, nx + (at_once - 1) * max(pitch, source_pitch)), dtype=np.float32)
    constants[1] = 1
    filter_slabs(first, last, *arguments, rings, offsets, rows, constants)
