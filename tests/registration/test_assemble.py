"""Corrections composed of stages: exact links of a made-up experiment give its true transforms."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from luxdask.model.bounding_box import view_box
from luxdask.model.geometry import Affine, volume_corners
from luxdask.model.links import Link
from luxdask.model.stages import Optics, StageRules, optics_of
from luxdask.model.view import Source, View, ViewId
from luxdask.registration.assemble import assemble
from luxdask.testing.layout import rotation

TIMES, CHANNELS, LENSES = (0, 1, 2), ("0", "1"), (("left", "left"), ("right", "right"))
STACKS = {"0-x00-y00": 0.0, "0-x01-y00": 0.0, "1-x00-y00": 90.0}
CLOSE_UM = 0.05  # the optimiser holds everything weakly at its metadata
RIGID_AND_MORE = StageRules(
    objectives=True, cameras=True, tiles=True, rotations=True, time_points=True
)


def small_turn(rng: np.random.Generator, shift: float) -> Affine:
    turn = np.linalg.qr(np.eye(3) + rng.normal(0, 0.01, (3, 3)))[0]
    turn *= np.sign(np.diag(turn))
    return Affine.from_array(turn, rng.uniform(-shift, shift, 3))


def shift(rng: np.random.Generator, size: float) -> Affine:
    return Affine.translation(rng.uniform(-size, size, 3))


def metadata(view: ViewId) -> Affine:
    mirror = -1.0 if view.objective == "right" else 1.0
    tile = 34.0 if "x01" in view.stack else 0.0
    stage = Affine.scale((2.0, 1.0, mirror), (0.0, 0.0, tile))
    return rotation(STACKS[view.stack]) @ stage @ Affine.translation((0.0, -19.5, -19.5))


class Truth:
    """Optics corrections in voxels, stacks and times in sample space."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        lenses = {lens: small_turn(rng, 3) for lens in LENSES[1:]} | {LENSES[0]: Affine()}
        # a colour's own shift, in voxels, is the same for both objectives
        colours = {"0": Affine(), "1": shift(rng, 1)}
        home = ViewId(0, "0", "0-x00-y00", "left", "left")
        self.optics = {}
        for (objective, camera), channel in product(LENSES, CHANNELS):
            a = metadata(replace(home, objective=objective, camera=camera))
            lens = a.inverse() @ lenses[objective, camera] @ a
            self.optics[Optics(objective, channel, camera)] = lens @ colours[channel]
        self.stacks = {name: small_turn(rng, 5) for name in STACKS} | {"0-x00-y00": Affine()}
        self.times = {t: small_turn(rng, 4) for t in TIMES} | {0: Affine()}
        self.reference = home

    def views(self) -> list[View]:
        ids = [
            ViewId(t, c, s, o, k) for t, c, s, (o, k) in product(TIMES, CHANNELS, STACKS, LENSES)
        ]
        return [View(i, Source(f"/{i}"), (20, 40, 40), (2.0, 1.0, 1.0), metadata(i)) for i in ids]

    def correction(self, view: ViewId) -> Affine:
        a = metadata(view)
        optics = a @ self.optics[optics_of(view)] @ a.inverse()
        return self.times[view.time_point] @ self.stacks[view.stack] @ optics

    def link(self, kind: str, fixed: ViewId, moving: ViewId, **more: object) -> Link:
        view = next(v for v in self.views() if v.id == fixed)
        transform = self.correction(fixed).inverse() @ self.correction(moving)
        return Link(  # type: ignore[arg-type]
            kind, fixed, moving, transform, "rigid", 0.9, 0.1, view_box(view), **more
        )


def links_of(truth: Truth, *, all_times: bool = True) -> list[Link]:
    home = truth.reference
    right = replace(home, objective="right", camera="right")
    links = [
        truth.link("objective_camera", home, right),
        truth.link("objective_camera", home, replace(home, channel="1"), source="landmarks"),
    ]
    for t in TIMES if all_times else TIMES[:1]:
        at = replace(home, time_point=t)
        links.append(truth.link("tiles", at, replace(at, stack="0-x01-y00")))
        links.append(truth.link("rotation", at, replace(at, stack="1-x00-y00")))
    links += [
        truth.link("time_points", replace(home, time_point=t - 1), replace(home, time_point=t))
        for t in TIMES[1:]
    ]
    return links


def misplaced_um(view: View, found: Affine, true: Affine) -> float:
    """Largest distance at the corners of a view."""
    points = view.view_to_world.apply(volume_corners(view.shape))
    return float(np.abs(found.apply(points) - true.apply(points)).max())


@pytest.mark.parametrize("one_time_point", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_all_views_come_to_their_true_places(seed: int, one_time_point: bool) -> None:
    truth = Truth(seed)
    rules = replace(RIGID_AND_MORE, one_time_point=one_time_point)
    views = truth.views()
    found = assemble(views, truth.reference, rules, links_of(truth, all_times=not one_time_point))
    for view in views:
        assert misplaced_um(view, found.corrections.of(view), truth.correction(view.id)) < CLOSE_UM
    assert found.unlinked == ()
    assert found.warnings == ()
    assert max(link.residual_um or 0 for link in found.links) < CLOSE_UM


def test_the_reference_keeps_its_place_whatever_it_is() -> None:
    truth = Truth(5)
    reference = ViewId(1, "0", "1-x00-y00", "left", "left")
    found = assemble(truth.views(), reference, RIGID_AND_MORE, links_of(truth))
    by_id = {v.id: v for v in truth.views()}
    back = truth.correction(reference).inverse()
    assert found.corrections.of(by_id[reference]) == Affine()
    for identity in (
        replace(reference, time_point=0),
        replace(reference, stack="0-x00-y00"),
    ):
        expected = back @ truth.correction(identity)
        assert (
            misplaced_um(by_id[identity], found.corrections.of(by_id[identity]), expected)
            < CLOSE_UM
        )


def test_pm_ids_share_their_corrections() -> None:
    truth = Truth(1)
    views = truth.views()
    with_pm = [replace(v, id=replace(v.id, pm="7")) for v in views]
    found = assemble([*views, *with_pm], truth.reference, RIGID_AND_MORE, links_of(truth))
    for plain, marked in zip(views, with_pm, strict=True):
        assert found.corrections.of(plain) == found.corrections.of(marked)


def test_direct_links_stand_above_all_others() -> None:
    truth = Truth(2)
    views = truth.views()
    odd = ViewId(2, "1", "0-x01-y00", "right", "right")
    given = Link("tiles", truth.reference, odd, Affine.translation((1.0, 2.0, 3.0)))
    found = assemble(views, truth.reference, RIGID_AND_MORE, links_of(truth), direct={odd: given})
    by_id = {v.id: v for v in views}
    assert found.corrections.of(by_id[odd]) == given.transform
    other = replace(odd, time_point=1)
    assert (
        misplaced_um(by_id[other], found.corrections.of(by_id[other]), truth.correction(other))
        < CLOSE_UM
    )


def test_untrusted_links_are_named_with_their_reasons_and_their_views_stay() -> None:
    truth = Truth(3)
    links = links_of(truth)
    bad = {
        n: replace(link, status="no texture", reason="nothing to see")
        for n, link in enumerate(links)
        if "x01" in link.moving.stack
    }
    links = [bad.get(n, link) for n, link in enumerate(links)]
    found = assemble(truth.views(), truth.reference, RIGID_AND_MORE, links)
    assert sum("no texture: nothing to see" in w for w in found.warnings) == len(bad) == 3
    assert sorted(found.unlinked) == [f"tp:{t} st:0-x01-y00" for t in TIMES]
    view = next(v for v in truth.views() if v.id == replace(truth.reference, stack="0-x01-y00"))
    assert found.corrections.of(view) == Affine()


def test_a_broken_series_goes_on_where_the_sample_was() -> None:
    reference = ViewId(0, "0", "0", "left", "left")
    times = range(8)
    views = [
        View(replace(reference, time_point=t), Source(f"/{t}"), (9, 9, 9), (1, 1, 1), Affine())
        for t in times
    ]
    box = view_box(views[0])
    drift = Affine.translation((0.0, 1.0, 2.0))
    links = [
        Link("time_points", views[t - 1].id, views[t].id, drift, precision_um=0.1, overlap=box)
        for t in times[1:]
        if t not in (4, 5)
    ]
    found = assemble(views, reference, StageRules(time_points=True), links)
    places = [found.corrections.of(v).offset[2] for v in views]
    # time point 4 has no link, 5 none to the one before
    assert places == pytest.approx([0, 2, 4, 6, 6, 6, 8, 10], abs=CLOSE_UM)
    assert found.unlinked == ("4",)
