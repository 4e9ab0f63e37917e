import numpy as np
import pytest

from luxdask.errors import ConfigError
from luxdask.model.geometry import Affine, BoundingBox
from luxdask.model.links import Link
from luxdask.model.view import ViewId
from luxdask.testing import small_experiment
from luxdask.testing.alignment import (
    link_errors,
    position_errors,
    rms_error_vx,
    true_link,
    worst_error_vx,
)
from luxdask.testing.misalignment import turn_about

SPACING = (4.0, 2.0, 1.0)


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return small_experiment(
        tmp_path_factory.mktemp("experiment"), shape=(8, 24, 30), tiles=(2, 2), spacing_um=SPACING,
        stage_error_um=6.0, rotations_deg=(0.0, 90.0), rotation_error_deg=3.0, objectives=2,
    )  # fmt: skip


def true_corrections(truth):
    return {view.id: view.correction for view in truth.views}


def largest(errors):
    return [error.largest_vx for error in errors.values()]


def test_the_truth_has_no_error_and_the_metadata_has(truth):
    errors = position_errors(truth, true_corrections(truth))
    assert worst_error_vx(errors) < 1e-9
    assert max(error.angle_deg for error in errors.values()) < 1e-5
    metadata = position_errors(truth, {v.id: Affine() for v in truth.views})
    assert worst_error_vx(metadata) > 1
    assert 1.5 <= max(error.angle_deg for error in metadata.values()) <= 3


def test_only_relative_positions_count(truth):
    turn = turn_about((1, 2, 3), 20.0, (100, -5000, 1500))
    moved = {identity: turn @ c for identity, c in true_corrections(truth).items()}
    reference = truth.views[3].id
    assert worst_error_vx(position_errors(truth, moved, reference)) < 1e-6
    shifted = {
        identity: Affine.translation((5, 6, 7)) @ c
        for identity, c in true_corrections(truth).items()
    }
    assert worst_error_vx(position_errors(truth, shifted)) < 1e-6


def test_a_shift_is_counted_in_voxels_along_the_axes_of_the_view(truth):
    found = true_corrections(truth)
    reference, wrong = truth.views[0].id, next(v for v in truth.views if v.angle_deg == 90)
    # 2 voxels in z and 1 in y of the view, in sample space
    offset = wrong.true_view_to_world.apply([2, 1, 0]) - wrong.true_view_to_world.apply([0, 0, 0])
    found[wrong.id] = Affine.translation(offset) @ found[wrong.id]
    errors = position_errors(truth, found, reference)
    assert errors[wrong.id].largest_vx == pytest.approx(np.sqrt(5))
    assert errors[wrong.id].mean_vx == pytest.approx(np.sqrt(5))
    assert sum(error.largest_vx > 1e-6 for error in errors.values()) == 1
    assert rms_error_vx(errors) == pytest.approx(np.sqrt(5 / len(errors)))
    # without a reference all views share the mean shift
    shared = position_errors(truth, found)
    assert shared[wrong.id].largest_vx < np.sqrt(5)
    assert min(largest(shared)) > 0


def test_a_rotation_that_is_left_is_measured_as_an_angle(truth):
    found = true_corrections(truth)
    view = truth.views[-1]
    centre = view.true_view_to_world.apply((np.array(view.shape) - 1) / 2)
    found[view.id] = turn_about((0, 1, 1), 0.5, centre) @ found[view.id]
    error = position_errors(truth, found, truth.views[0].id)[view.id]
    assert error.angle_deg == pytest.approx(0.5)
    assert 0 < error.mean_vx <= error.largest_vx


def test_a_wrong_reference_shows_in_all_others(truth):
    found = true_corrections(truth)
    reference = truth.views[0].id
    found[reference] = Affine.translation((0, 0, 3)) @ found[reference]
    errors = position_errors(truth, found, reference)
    assert errors[reference].largest_vx < 1e-9
    assert min(e.largest_vx for i, e in errors.items() if i != reference) > 0.5


def test_links_are_compared_over_their_overlap(truth):
    fixed, moving = truth.views[0].id, truth.views[-1].id
    box = BoundingBox(
        *(tuple(truth.volume_to_world.apply(at).tolist()) for at in ((0, 0, 0), (7, 9, 9)))
    )
    exact = true_link(truth, fixed, moving)
    off = Affine.translation((4, 0, 0)) @ exact
    links = [Link("tiles", fixed, moving, t, overlap=box) for t in (exact, off)]
    assert link_errors(truth, links) == pytest.approx([0, 1], abs=1e-9)
    # what lies at a place of the moving view lies at the same true place of the fixed one
    a, b = (truth.by_id[i] for i in (fixed, moving))
    place = np.array([3.0, 20.0, 11.0])
    seen = [v.true_view_to_world.inverse().apply(place) for v in (a, b)]
    assert np.allclose(exact.apply(b.view_to_world.apply(seen[1])), a.view_to_world.apply(seen[0]))


def test_unknown_views_are_named(truth):
    stranger = ViewId(7, "9", "nowhere", "left", "left")
    with pytest.raises(ConfigError, match="nowhere"):
        position_errors(truth, {stranger: Affine()})
    with pytest.raises(ConfigError, match="reference"):
        position_errors(truth, {truth.views[0].id: Affine()}, truth.views[1].id)
