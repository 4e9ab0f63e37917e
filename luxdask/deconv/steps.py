"""The steps of Richardson-Lucy, each in one pass over memory where the blur can do that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from luxdask.array.backend import is_device, namespace
from luxdask.deconv.lattice import Line
from luxdask.deconv.line_blur import DARK, LineBlur

if TYPE_CHECKING:
    from luxdask.deconv.blur import Blur
    from luxdask.deconv.workspace import Workspace

_NO_BLUR = LineBlur([Line((0, 1, 0), (1.0,))])


@dataclass(frozen=True)
class Step:
    """How an estimate is changed by what views miss in it.

    Attributes
    ----------
    estimate
        (Z, Y, X) float32: where the step starts; changed in place.
    scale
        (Z, Y, X) float32: factor on what the views say.
    former
        (Z, Y, X) float32: the estimate without momentum; becomes the new one. None: there is no
        momentum, `estimate` itself becomes the new one.
    momentum
        How far `estimate` goes on beyond the new one, in distances from `former`.
    """

    estimate: Any
    scale: Any
    former: Any = None
    momentum: float = 0.0


def deviation(
    blur: Blur, estimate: Any, image: Any, weight: Any, out: Any, work: Workspace
) -> None:
    """``weight * (image / forward(estimate) - 1)`` into `out`; weight None is 1."""
    if _is_fused(blur, out):
        blur.deviation(estimate, image, weight, out, work)
        return
    xp = namespace(out)
    blur.forward(estimate, out, work)
    xp.maximum(out, DARK, out=out)
    xp.divide(image, out, out=out)
    out -= 1
    if weight is not None:
        out *= weight


def add_backward(blur: Blur, image: Any, out: Any, work: Workspace) -> None:
    """``out += backward(image)``."""
    if _is_fused(blur, out):
        blur.add_backward(image, out, work)
        return
    part = namespace(out).empty_like(out)
    blur.backward(image, part, work)
    out += part


def update(blur: Blur, missed: Any, others: Any, step: Step, work: Workspace) -> None:
    """``estimate *= max(0, 1 + (others + backward(missed)) * scale)``, and momentum on top.

    `missed` may be overwritten. others : what other views say, projected back; None for nothing.
    """
    if _is_fused(blur, missed):
        out, estimate = _changed(step)
        blur.update(missed, others, step.scale, out, estimate, step.momentum, work)
        return
    factor = namespace(missed).empty_like(missed)
    blur.backward(missed, factor, work)
    if others is not None:
        factor += others
    change(factor, step, work)


def change(said: Any, step: Step, work: Workspace) -> None:
    """``estimate *= max(0, 1 + said * scale)``, and momentum on top; `said` may be overwritten."""
    if not is_device(said):
        out, estimate = _changed(step)
        _NO_BLUR.update(said, None, step.scale, out, estimate, step.momentum, work)
        return
    xp, factor = namespace(said), said
    factor *= step.scale
    factor += 1
    step.estimate[...] *= xp.maximum(factor, 0, out=factor)
    if step.former is not None:
        new, ahead = step.estimate, factor
        xp.subtract(new, step.former, out=ahead)
        step.former[...] = new
        ahead *= step.momentum
        new += ahead
        xp.maximum(new, 0, out=new)


def _changed(step: Step) -> tuple[Any, Any]:
    """Where the new estimate goes, and the one that goes on beyond it."""
    return (step.estimate, None) if step.former is None else (step.former, step.estimate)


def _is_fused(blur: Blur, array: Any) -> TypeGuard[LineBlur]:
    return isinstance(blur, LineBlur) and not is_device(array)
