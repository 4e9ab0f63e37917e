"""How far registered views and measured links are from the truth of a made experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import ConfigError
from luxdask.model.geometry import Affine, volume_corners

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from luxdask.model.links import Link
    from luxdask.model.view import ViewId
    from luxdask.testing.truth import TrueView, Truth


@dataclass(frozen=True, slots=True)
class PositionError:
    """How far a view is from its true place.

    Attributes
    ----------
    largest_vx, mean_vx
        Distance over the eight outer corners of the view, in voxels of the view.
    angle_deg
        Angle of the rotation that is left, 0 ... 180.
    """

    largest_vx: float
    mean_vx: float
    angle_deg: float


def position_errors(
    truth: Truth, transforms: Mapping[ViewId, Affine], reference: ViewId | None = None
) -> dict[ViewId, PositionError]:
    """Compare corrections with the truth, for each view of `transforms`.

    Parameters
    ----------
    transforms
        Corrections of sample space in µm, as registration finds them: ``transforms[v]`` after the
        metadata's transform of ``v`` puts the view where it belongs. Identity stands for what the
        metadata says.
    reference
        Images tell relative positions only. With a reference everything is moved (and turned) such
        that the reference is where it truly is. Without one everything is shifted such that the
        errors of the views' middles cancel out on average.

    Raises
    ------
    ConfigError
        A view of `transforms`, or the reference, is not in the experiment or was not given.
    """
    views = {identity: _view(truth, identity) for identity in transforms}
    if reference is not None and reference not in views:
        raise ConfigError(f"reference {reference}: no transform was given for this view")
    frame = _frame(views, transforms, reference)
    return {
        identity: _error(view, frame @ view.true_view_to_world, _placed(view, transforms))
        for identity, view in views.items()
    }


def worst_error_vx(errors: Mapping[ViewId, PositionError]) -> float:
    """Largest distance of all views."""
    return max(error.largest_vx for error in errors.values())


def rms_error_vx(errors: Mapping[ViewId, PositionError]) -> float:
    """Root mean square over the views of their mean distances."""
    return float(np.sqrt(np.mean([error.mean_vx**2 for error in errors.values()])))


def true_link(truth: Truth, fixed: ViewId, moving: ViewId) -> Affine:
    """What a link between two views should find: sample space of `moving` to that of `fixed`."""
    there, here = _view(truth, fixed).correction, _view(truth, moving).correction
    return there.inverse() @ here


def link_errors(truth: Truth, links: Iterable[Link]) -> list[float]:
    """Largest error of each link over the corners of its overlap, in voxels of the fixed view."""
    return [_link_error(truth, link) for link in links]


def _link_error(truth: Truth, link: Link) -> float:
    corners = link.overlap.corners
    expected = true_link(truth, link.fixed, link.moving).apply(corners)
    scale = _view(truth, link.fixed).view_to_world
    return float(_distances_vx(scale, link.transform.apply(corners) - expected).max())


def _view(truth: Truth, identity: ViewId) -> TrueView:
    if identity not in truth.by_id:
        raise ConfigError(
            f"{identity}: no such view in {truth.folder}, which holds {len(truth.views)} views, "
            f"for example {truth.views[0].id}"
        )
    return truth.by_id[identity]


def _placed(view: TrueView, transforms: Mapping[ViewId, Affine]) -> Affine:
    return transforms[view.id] @ view.view_to_world


def _frame(
    views: Mapping[ViewId, TrueView],
    transforms: Mapping[ViewId, Affine],
    reference: ViewId | None,
) -> Affine:
    """From true sample space to the one that the corrections lead to."""
    if reference is not None:
        return transforms[reference] @ views[reference].correction.inverse()
    differences = [_shift_um(view, transforms) for view in views.values()]
    return Affine.translation(np.mean(differences, axis=0) if differences else (0.0, 0.0, 0.0))


def _shift_um(view: TrueView, transforms: Mapping[ViewId, Affine]) -> NDArray[np.float64]:
    middle = (np.asarray(view.shape, dtype=np.float64) - 1) / 2
    return _placed(view, transforms).apply(middle) - view.true_view_to_world.apply(middle)


def _error(view: TrueView, expected: Affine, found: Affine) -> PositionError:
    corners = volume_corners(view.shape)
    distances = _distances_vx(expected, found.apply(corners) - expected.apply(corners))
    return PositionError(
        largest_vx=float(distances.max()),
        mean_vx=float(distances.mean()),
        angle_deg=(found @ expected.inverse()).rotation_deg,
    )


def _distances_vx(to_world: Affine, differences_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lengths of differences in sample space, each axis of the view counted in its own voxels."""
    in_voxels = np.linalg.solve(np.array(to_world.linear), differences_um.T)
    return np.asarray(np.linalg.norm(in_voxels, axis=0))
