"""The transform that lays landmarks of one image on those of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from luxdask.errors import ConfigError
from luxdask.model.geometry import Affine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

    from luxdask.model.links import Model

Points = NDArray[np.float64]

MOST_FOR_TRANSLATION = 3
"""Up to so many pairs of landmarks give a translation."""

PARAMETERS: dict[Model, int] = {"translation": 3, "rigid": 6, "affine": 12}

# A spread below this part of the largest one counts as none.
_FLAT = 0.01
# Stretching by more is a mix-up of labels, by less than the second worth a remark.
_IMPOSSIBLE_STRETCH = 2.0
_ODD_STRETCH = 1.25
# A landmark is suspect when the others put it this many times farther away than they agree among
# themselves, and by more of its distance from them than a stretch or turn would explain.
_SUSPECT = 6.0
_EXPLAINED = 0.05
_CANDIDATES = 10
_POOR_FIT = 5.0


@dataclass(frozen=True, slots=True)
class LandmarkFit:
    """How landmarks of a moving image are laid on those of a fixed one.

    Attributes
    ----------
    transform
        Moving to fixed, in µm.
    model
        Kind of `transform`.
    residuals_um
        Distance that remains of each pair.
    suspect
        Index of the pair that contradicts all others, so that its label is probably wrong.
    notes
        What the user should know, in sentences.
    """

    transform: Affine
    model: Model
    residuals_um: tuple[float, ...]
    suspect: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def rms_um(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean(np.square(self.residuals_um))))

    @property
    def worst(self) -> int:
        """Index of the pair with the largest residual."""
        return int(np.argmax(self.residuals_um))

    @property
    def spread_um(self) -> float:
        """`rms_um`, made larger for the freedom of the model: what one more pair would have.

        0 where the model has as many parameters as the landmarks have coordinates.
        """
        given = 3 * len(self.residuals_um)
        free = given - PARAMETERS[self.model]
        return self.rms_um * float(np.sqrt(given / free)) if free > 0 else 0.0


def fit_landmarks(
    fixed_um: ArrayLike,
    moving_um: ArrayLike,
    *,
    labels: Sequence[str] = (),
    accuracy_um: float = 0.0,
) -> LandmarkFit:
    """Least-squares transform that maps moving landmarks onto fixed ones.

    Up to three pairs give a translation, more an affine transform. Where these lie in one plane
    there is no affine one, so it is rigid; where they lie on one line or in one point, or where an
    affine transform would mirror or double the image, likewise something simpler, with a note.

    Parameters
    ----------
    fixed_um, moving_um
        (n, 3) positions, (z, y, x) in µm, row by row the same structure.
    labels
        Names for the notes; numbers from 0 by default.
    accuracy_um
        How exactly a landmark can be set, usually the voxel size. Points that leave a plane by
        less lie in it.

    Raises
    ------
    ConfigError
        No landmarks, other shapes, or positions that are not finite.

    Notes
    -----
    Rigid: Kabsch 1976, doi:10.1107/S0567739476001873; without mirroring: Umeyama 1991,
    doi:10.1109/34.88573.
    """
    fixed, moving = _checked(fixed_um, moving_um)
    names = tuple(labels) or tuple(str(i) for i in range(len(fixed)))
    model, notes = _possible_model(fixed, moving, accuracy_um)
    transform = _FITS[model](fixed, moving)
    if model == "affine":
        problem, is_usable = _stretch(transform)
        if not is_usable:
            model, transform = "rigid", _fit_rigid(fixed, moving)
        notes += [problem] if problem else []
    residuals = _distances(transform, fixed, moving)
    suspect = _suspect(fixed, moving, accuracy_um)
    fit = LandmarkFit(transform, model, tuple(residuals.tolist()), suspect)
    notes += _fit_notes(fit, names, accuracy_um)
    return LandmarkFit(transform, model, fit.residuals_um, suspect, tuple(notes))


def _checked(fixed_um: ArrayLike, moving_um: ArrayLike) -> tuple[Points, Points]:
    fixed, moving = (np.asarray(p, dtype=np.float64) for p in (fixed_um, moving_um))
    if fixed.ndim != 2 or fixed.shape != moving.shape or fixed.shape[1] != 3 or not len(fixed):
        raise ConfigError(
            f"landmarks: positions of shapes {fixed.shape} and {moving.shape} given; two arrays of "
            "the same shape (n, 3) are needed, n at least 1"
        )
    if not (np.isfinite(fixed).all() and np.isfinite(moving).all()):
        raise ConfigError("landmarks: a position is not a finite number")
    return fixed, moving


def _possible_model(fixed: Points, moving: Points, accuracy_um: float) -> tuple[Model, list[str]]:
    """What the number of landmarks and their arrangement allow."""
    n = len(fixed)
    if n <= MOST_FOR_TRANSLATION:
        return "translation", []
    dimensions = min(_dimensions(fixed, accuracy_um), _dimensions(moving, accuracy_um))
    if dimensions == 3:
        return "affine", []
    where = ("in one point", "on one line", "in one plane")[dimensions]
    model: Model = "rigid" if dimensions == 2 else "translation"
    return model, [
        f"the {n} landmarks lie (nearly) {where}, which is not enough for an affine transform; "
        f"{_WITH_ARTICLE[model]} is used instead. For an affine one set at least one more landmark "
        "well away from there"
    ]


_WITH_ARTICLE = {"translation": "a translation", "rigid": "a rigid transform"}


def _dimensions(points: Points, accuracy_um: float) -> int:
    """In how many directions the points spread: 0 in one point, 1 on a line, 2 in a plane, 3."""
    centred = points - points.mean(axis=0)
    spreads = np.linalg.svd(centred, compute_uv=False) / np.sqrt(len(points))
    limit = max(accuracy_um, _FLAT * float(spreads[0]), 1e-9)
    return int((spreads > limit).sum())


def _fit_translation(fixed: Points, moving: Points) -> Affine:
    return Affine.translation((fixed - moving).mean(axis=0))


def _fit_rigid(fixed: Points, moving: Points) -> Affine:
    middle_fixed, middle_moving = fixed.mean(axis=0), moving.mean(axis=0)
    u, _, vt = np.linalg.svd((moving - middle_moving).T @ (fixed - middle_fixed))
    turn = vt.T @ np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
    return Affine.from_array(turn, middle_fixed - turn @ middle_moving)


def _fit_affine(fixed: Points, moving: Points) -> Affine:
    """Around the middle and in units of the spread, where the equations are well conditioned."""
    middle_fixed, middle_moving = fixed.mean(axis=0), moving.mean(axis=0)
    scale = np.sqrt(np.mean((moving - middle_moving) ** 2))
    solved = np.linalg.lstsq((moving - middle_moving) / scale, fixed - middle_fixed, rcond=None)
    linear = solved[0].T / scale
    return Affine.from_array(linear, middle_fixed - linear @ middle_moving)


_FITS: dict[Model, Callable[[Points, Points], Affine]] = {
    "translation": _fit_translation,
    "rigid": _fit_rigid,
    "affine": _fit_affine,
}


def _distances(transform: Affine, fixed: Points, moving: Points) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(transform.apply(moving) - fixed, axis=1))


def _stretch(transform: Affine) -> tuple[str, bool]:
    """What is odd about an affine transform, and whether it may be used all the same."""
    linear = np.array(transform.linear)
    factors = np.linalg.svd(linear, compute_uv=False)
    most = float(max(factors[0], 1 / max(factors[-1], 1e-12)))
    check = "check the labels and positions of these landmarks"
    if np.linalg.det(linear) <= 0:
        return f"an affine transform would mirror the image, a rigid one is used; {check}", False
    if most > _IMPOSSIBLE_STRETCH:
        return (
            f"an affine transform would stretch or shrink the image {most:.2g} times, a rigid one "
            f"is used; {check}"
        ), False
    if most > _ODD_STRETCH:
        return f"the transform stretches or shrinks the image {most:.2f} times; {check}", True
    return "", True


def _suspect(fixed: Points, moving: Points, accuracy_um: float) -> int | None:
    """The pair that all others contradict; None where there is none.

    Each pair is predicted from the others, since least squares spread the error of one over all.
    """
    n = len(fixed)
    if n < 3:
        return None
    first_look = _distances(_stiff(fixed, moving, accuracy_um), fixed, moving)
    candidates = np.argsort(first_look)[-_CANDIDATES:].tolist()
    scores = {i: _contradiction(fixed, moving, i, accuracy_um) for i in candidates}
    most = max(scores, key=lambda i: scores[i])
    return most if scores[most] > 1 else None


def _contradiction(fixed: Points, moving: Points, i: int, accuracy_um: float) -> float:
    """How far a pair is from where the others put it; above 1 is more than can be explained."""
    others = np.arange(len(fixed)) != i
    predict = _stiff(fixed[others], moving[others], accuracy_um)
    distances = _distances(predict, fixed, moving)
    # the fit to so few pairs has taken a good part of their scatter
    agreement = float(np.sqrt(2 * np.mean(distances[others] ** 2)))
    away = float(np.linalg.norm(moving[i] - moving[others].mean(axis=0)))
    return float(distances[i]) / max(
        _SUSPECT * agreement, _SUSPECT * accuracy_um / 2, _EXPLAINED * away, 1e-9
    )


def _stiff(fixed: Points, moving: Points, accuracy_um: float) -> Affine:
    """A fit with few parameters: one with many follows a wrong landmark."""
    is_turn_known = len(fixed) >= 3 and _dimensions(moving, accuracy_um) > 1
    return (_fit_rigid if is_turn_known else _fit_translation)(fixed, moving)


def _fit_notes(fit: LandmarkFit, names: Sequence[str], accuracy_um: float) -> list[str]:
    if fit.suspect is not None:
        return [
            f"landmark {names[fit.suspect]!r} contradicts the others; "
            "its label or position is probably wrong in one of the two images"
        ]
    if accuracy_um > 0 and fit.rms_um > _POOR_FIT * accuracy_um:
        return [
            f"the landmarks fit to within {fit.rms_um:.3g} µm (rms) only, worst is "
            f"{names[fit.worst]!r}; check their labels and positions"
        ]
    return []
