"""Memory of a deconvolution, known before it runs."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from luxdask.deconv.line_blur import LineBlur
from luxdask.deconv.wiener_butterworth import wiener_butterworth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luxdask.deconv.blur import Blur
    from luxdask.model.geometry import Shape

_MEGABYTE = 1 << 20


def peak_bytes(
    shape: Shape,
    blurs: Sequence[Blur],
    *,
    weighted: bool = True,
    regularisation: float = 0.0,
    order: str = "joint",
    back_projector: str = "matched",
    acceleration: bool = False,
    on_gpu: bool = False,
    parts: Sequence[Shape] = (),
) -> int:
    """Most bytes that `richardson_lucy` holds at once, its images and weights (Z, Y, X) included.

    For images and weights that are C-contiguous float32; the options are those of
    `richardson_lucy`, `weighted` says whether views come with weights. parts : the shape of each
    view, where it is not that of the whole array.
    """
    backs: list[Blur] = []
    if back_projector == "wiener_butterworth":
        backs = [wiener_butterworth(blur) for blur in blurs]
    sizes = [prod(part) for part in parts or [shape] * len(blurs)]
    voxels = sum(sizes) * (2 if weighted else 1)
    voxels += _volumes(len(blurs), order, acceleration, regularisation) * prod(shape)
    if parts and (order != "joint" or len(blurs) == 1):  # even one view's part may be gathered
        voxels += prod(shape)
    return 4 * voxels + _scratch_bytes(shape, [*blurs, *backs], on_gpu=on_gpu) + 4 * _MEGABYTE


def _volumes(n_views: int, order: str, acceleration: bool, regularisation: float) -> int:
    """Besides the input: the estimate, its scale, what a view misses, and what options need."""
    joint = order == "joint" and n_views > 1
    options = acceleration + (regularisation > 0) + joint
    starting = 2 if order != "joint" else 0
    return 4 + max(options, starting)


def _scratch_bytes(shape: Shape, blurs: Sequence[Blur], *, on_gpu: bool) -> int:
    """The largest call, and what blurs keep; a blur by Fourier transforms adds in a volume."""
    used = [blur.as_array if on_gpu and isinstance(blur, LineBlur) else blur for blur in blurs]
    by_lines = [b.scratch_bytes(shape) for b in used if isinstance(b, LineBlur)]
    by_fourier = [b.scratch_bytes(shape) for b in used if not isinstance(b, LineBlur)]
    kept = sum(b // 6 for b in by_fourier)
    call = max(by_fourier, default=0) + (4 * prod(shape) if by_fourier else 0)
    return max(by_lines, default=0) + kept + call
