"""Richardson-Lucy deconvolution of one view, or of several views at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.array.backend import namespace
from luxdask.deconv.steps import Step, add_backward, change, deviation, update
from luxdask.deconv.total_variation import damping
from luxdask.deconv.wiener_butterworth import wiener_butterworth
from luxdask.deconv.workspace import Workspace
from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luxdask.deconv.blur import Blur
    from luxdask.model.geometry import Shape

ORDERS = ("joint", "ordered_subsets")
BACK_PROJECTORS = ("matched", "wiener_butterworth")

UNSEEN = 1e-3
"""Where the weights, projected back, are below this, no view says anything."""

_WEAKEST_FILTERED = 0.5
"""Wiener-Butterworth reaches further than the weights do, so it is never divided by less."""


@dataclass(frozen=True)
class View:
    """One view on the voxels of the output.

    Attributes
    ----------
    image
        (Z, Y, X) float32 and finite, its background subtracted.
    weight
        (Z, Y, X) float32 from 0 (not covered: the image's value does not matter) up; None is 1
        everywhere. Usually the weights of all views add up to 1 wherever one of them covers.
    blur
        What the view does to the sample.
    start
        Where in the whole array its own begins: a view that covers a part of it comes as that part,
        `blur.radius_vx` voxels more on each side as far as the whole array goes.
    """

    image: Any
    weight: Any
    blur: Blur
    start: Shape = (0, 0, 0)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Its place in the whole array."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.image.shape, strict=True))


def richardson_lucy(
    views: Sequence[View],
    *,
    iterations: int = 10,
    regularisation: float = 0.0,
    order: str = "joint",
    back_projector: str = "matched",
    acceleration: bool = False,
    threads: int = 1,
    shape: Shape | None = None,
) -> Any:
    """The sample that, seen by all views, explains their images best.

    One view is deconvolved alone, several jointly; which ones count where, their weights say. Light
    beyond the array, and where a view's weight is 0, is unknown, not dark: what views miss there
    is not asked. Views start from the sum of their images, projected back.

    Parameters
    ----------
    views
        One or more, all on the CPU or all on one GPU.
    iterations
        Each is a step for every view.
    regularisation
        Strength of total variation (Dey et al. 2006, doi:10.1002/jemt.20294); 0.001 to 0.02 damp
        noise.
    order
        "joint": all views, then a step. "ordered_subsets": a step after each view, rescaled so that
        places seen by several views get several (Byrne 1998, doi:10.1109/83.650854).
    back_projector
        "matched": the adjoint of the blur. "wiener_butterworth": a filter that needs very few
        iterations (Guo et al. 2020, doi:10.1038/s41587-020-0560-x).
    acceleration
        Each step goes on in the direction of the one before (Biggs and Andrews 1997,
        doi:10.1364/AO.36.001766), by factors that are fixed, so that chunks agree.
    threads
        Of the CPU.
    shape
        (Z, Y, X) of the whole array; None: that of each view.

    Returns
    -------
    A new (Z, Y, X) float32 array where the images are, not below 0; 0 where no view covers.

    Raises
    ------
    ConfigError
        Shapes differ, there is no view, or an option is not known.
    """
    _check(views, iterations, regularisation, order, back_projector, shape)
    whole = shape or views[0].image.shape
    with Workspace(threads) as work:
        run = _Run(whole, views, order, back_projector, acceleration, regularisation, work)
        for n in range(iterations):
            run.iterate(n / (n + 3))
        return run.result()


class _Run:
    """One deconvolution under way: its estimate and the memory of its steps."""

    def __init__(
        self,
        shape: Shape,
        views: Sequence[View],
        order: str,
        back_projector: str,
        acceleration: bool,
        regularisation: float,
        work: Workspace,
    ) -> None:
        self._shape, self._work, self._regularisation = shape, work, regularisation
        self._joint = order == "joint"
        # the last view's step is that of the whole array: best done by a view that is as large
        self._views = sorted(views, key=lambda v: v.image.size if self._joint else 0)
        matched = back_projector == "matched"
        self._backs = [v.blur if matched else wiener_butterworth(v.blur) for v in self._views]
        self._xp = namespace(*(v.image for v in views))
        most = max(view.image.size for view in views)
        self._missed = self._xp.empty(most, dtype=np.float32)
        self._estimate, self._scale = self._start(0.0 if matched else _WEAKEST_FILTERED)
        self._former = self._estimate.copy() if acceleration else None
        gathers = (self._joint and len(views) > 1) or self._is_part(self._views[-1])
        self._others: Any = self._empty() if gathers else None
        self._damping = self._empty() if regularisation > 0 else None

    def iterate(self, momentum: float) -> None:
        """Let each view say once what it misses."""
        if self._others is not None:
            self._others[...] = 0
        for n in range(len(self._views) - 1):
            self._miss(n)
            if self._joint:
                self._gather(n)
            else:
                self._step(n)
        self._miss(len(self._views) - 1)
        self._damp()
        self._last_step(Step(self._estimate, self._scale, self._former, momentum))

    def result(self) -> Any:
        """The estimate, where a view covers."""
        out = self._estimate if self._former is None else self._former
        if all(view.weight is not None or self._is_part(view) for view in self._views):
            covered = self._xp.zeros(out.shape, dtype=bool)
            for view in self._views:
                covered[view.slices] |= True if view.weight is None else view.weight > 0
            out *= covered
        return out

    def _miss(self, n: int) -> None:
        """What view `n` misses in the estimate."""
        view = self._views[n]
        estimate, missed = self._estimate[view.slices], self._missed_by(view)
        deviation(view.blur, estimate, view.image, view.weight, missed, self._work)

    def _gather(self, n: int) -> None:
        """Add what view `n` misses to that of the others."""
        view = self._views[n]
        missed = self._missed_by(view)
        add_backward(self._backs[n], missed, self._others[view.slices], self._work)

    def _step(self, n: int) -> None:
        """Change the estimate by what view `n` misses."""
        view = self._views[n]
        step = Step(self._estimate[view.slices], self._scale[view.slices])
        update(self._backs[n], self._missed_by(view), None, step, self._work)

    def _last_step(self, step: Step) -> None:
        """Change the whole estimate by what the last view misses, and by what was gathered."""
        last = len(self._views) - 1
        if self._is_part(self._views[last]):
            self._gather(last)
            change(self._others, step, self._work)
        else:
            missed = self._missed_by(self._views[last])
            update(self._backs[last], missed, self._others, step, self._work)

    def _damp(self) -> None:
        if self._damping is not None:
            damping(self._estimate, self._regularisation, self._damping, self._work)
            self._estimate *= self._damping

    def _start(self, weakest: float) -> tuple[Any, Any]:
        """What all views saw, projected back; and the factor on what they miss."""
        xp, least = self._xp, max(weakest, UNSEEN)
        total, strongest, estimate = self._project_all()

        def divide(first: int, last: int) -> None:
            seen, most, start = (a[first:last] for a in (total, strongest, estimate))
            unseen = seen < UNSEEN
            start /= xp.maximum(seen, UNSEEN, out=seen)
            start[unseen] = 0
            xp.maximum(start, 0, out=start)
            xp.maximum(most, least, out=most)
            xp.divide(1, most, out=most)
            most[unseen] = 0

        self._work.run(divide, self._shape[0])
        return estimate, strongest

    def _project_all(self) -> tuple[Any, Any, Any]:
        """All weights, projected back: their sum, and what is divided by; and all images.

        One step for all views is divided by the sum; a step for each, by the strongest one, so that
        the view that sees a place best moves it fully and the others as much less as they see less.
        """
        xp = self._xp
        total, seen = (xp.zeros(self._shape, dtype=np.float32) for _ in range(2))
        strongest = total if self._joint else xp.zeros_like(total)
        for view in self._views:
            missed, where = self._missed_by(view), view.slices
            weight = view.weight
            if weight is None:
                missed[...] = 1
                weight = missed
            if self._joint:
                add_backward(view.blur, weight, total[where], self._work)
            else:
                there = xp.empty_like(missed)
                view.blur.backward(weight, there, self._work)
                total[where] += there
                xp.maximum(strongest[where], there, out=strongest[where])
            xp.multiply(weight, view.image, out=missed)
            add_backward(view.blur, missed, seen[where], self._work)
        return total, strongest, seen

    def _is_part(self, view: View) -> bool:
        return tuple(view.image.shape) != tuple(self._shape)

    def _missed_by(self, view: View) -> Any:
        """Memory for what a view misses."""
        return self._missed[: view.image.size].reshape(view.image.shape)

    def _empty(self) -> Any:
        return self._xp.empty(self._shape, dtype=np.float32)


def _check(
    views: Sequence[View],
    iterations: int,
    regularisation: float,
    order: str,
    back_projector: str,
    shape: Shape | None,
) -> None:
    if not views:
        raise ConfigError("there is no view to deconvolve; give at least one")
    if shape is None:
        _check_shapes(views)
    if order not in ORDERS or back_projector not in BACK_PROJECTORS:
        raise ConfigError(
            f"order {order!r} and back projector {back_projector!r}: the order must be one of "
            f"{ORDERS}, the back projector one of {BACK_PROJECTORS}"
        )
    if iterations < 1 or not 0 <= regularisation < 0.2:
        raise ConfigError(
            f"{iterations} iterations with regularisation {regularisation}: at least 1 iteration "
            "and a regularisation from 0 to below 0.2 are needed"
        )


def _check_shapes(views: Sequence[View]) -> None:
    shapes = {v.image.shape for v in views}
    shapes |= {v.weight.shape for v in views if v.weight is not None}
    if len(shapes) > 1 or len(views[0].image.shape) != 3:
        raise ConfigError(
            f"images and weights have the shapes {sorted(shapes)}; all must have the same (z, y, x)"
        )
