from dataclasses import replace

import pytest

from luxdask.errors import SelectionError
from luxdask.model.experiment import Experiment
from luxdask.model.geometry import Affine
from luxdask.model.select import (
    Reference,
    Selection,
    parse_time_range,
    resolve_reference,
    select_views,
)
from luxdask.model.view import Source, View, ViewId


def experiment(*ids: ViewId) -> Experiment:
    views = [View(i, Source("a.lux.h5"), (4, 4, 4), (1.0, 1.0, 1.0), Affine()) for i in ids]
    return Experiment("/data/a", "/data/a", "experiment", tuple(views))


BASE = ViewId(0, "0", "1-x00-y00", "left", "left")
TILED = experiment(
    *(
        ViewId(t, c, s, o, o)
        for t in range(12)
        for c in ("0", "10", "2")
        for s in ("1-x00-y00", "1-x01-y00", "10-x00-y00", "single")
        for o in ("right", "left")
    )
)


def test_an_empty_selection_is_everything() -> None:
    assert select_views(TILED, Selection()) == TILED


@pytest.mark.parametrize(
    ("selection", "names", "expected"),
    [
        (Selection(time_points=(0, "3-5")), "time_points", (0, 3, 4, 5)),
        (Selection(time_points=("0-11:4",)), "time_points", (0, 4, 8)),
        (Selection(time_points=("10-99",)), "time_points", (10, 11)),
        (Selection(channels=("10", "0")), "channels", ("0", "10")),
        (Selection(stacks=("1",)), "stacks", ("1-x00-y00", "1-x01-y00")),
        (Selection(stacks=("1-x01-y00", "single")), "stacks", ("1-x01-y00", "single")),
        (Selection(tiles=("x00-y00",)), "stacks", ("1-x00-y00", "10-x00-y00")),
        (Selection(objectives=("left",), cameras=("left",)), "objectives", ("left",)),
    ],
)
def test_lists_select(selection: Selection, names: str, expected: tuple[object, ...]) -> None:
    found = select_views(TILED, selection)
    assert getattr(found, names) == expected


def test_lists_combine() -> None:
    found = select_views(TILED, Selection(time_points=(3,), channels=("2",), stacks=("10",)))
    assert {str(v.id) for v in found.views} == {
        "tp:3 ch:2 st:10-x00-y00 obj:left cam:left",
        "tp:3 ch:2 st:10-x00-y00 obj:right cam:right",
    }
    assert found.path == TILED.path


def test_photomanipulation() -> None:
    several = experiment(BASE, replace(BASE, pm="5"), replace(BASE, pm="12"))
    for none in (None, "none"):
        assert select_views(several, Selection(pms=(none,))).pms == (None,)
    assert select_views(several, Selection(pms=("5", None))).pms == (None, "5")
    with pytest.raises(SelectionError, match=r"photomanipulation id '7'.*there are: 5, 12, none"):
        select_views(several, Selection(pms=("7",)))


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(channels=("0", "7")), "channel '7' matches no image; there are: 0, 2, 10"),
        (Selection(stacks=("2",)), "1-x00-y00, 1-x01-y00, 10-x00-y00, single"),
        (Selection(tiles=("x09-y00",)), "there are: x00-y00, x01-y00"),
        (Selection(time_points=("20-30",)), "time point '20-30' matches no image"),
        (Selection(cameras=("top",)), "camera 'top' matches no image; there are: left, right"),
    ],
)
def test_what_matches_nothing_lists_what_exists(selection: Selection, words: str) -> None:
    with pytest.raises(SelectionError) as caught:
        select_views(TILED, selection)
    assert words in str(caught.value)
    assert "/data/a" in str(caught.value)


def test_names_that_exist_but_never_together() -> None:
    two = experiment(BASE, replace(BASE, channel="1", stack="2"))
    with pytest.raises(SelectionError, match="channels 0 and stacks 2 together"):
        select_views(two, Selection(channels=("0",), stacks=("2",)))


def test_a_tile_name_where_nothing_is_tiled() -> None:
    with pytest.raises(SelectionError, match="none at all"):
        select_views(experiment(replace(BASE, stack="1")), Selection(tiles=("x00-y00",)))


def test_long_lists_are_cut() -> None:
    many = experiment(*(replace(BASE, time_point=t) for t in range(50)))
    with pytest.raises(SelectionError, match="19 and 30 more"):
        select_views(many, Selection(time_points=(99,)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [(3, [3]), ("3", [3]), ("0-2", [0, 1, 2]), ("1-7:3", [1, 4, 7]), ("5-5", [5])],
)
def test_ranges(text: int | str, expected: list[int]) -> None:
    assert list(parse_time_range(text)) == expected


@pytest.mark.parametrize("text", [-1, "3-1", "a", "", "1-", "1-2:0", "1:2", "1.5", True, "²"])
def test_bad_ranges(text: int | str) -> None:
    with pytest.raises(SelectionError, match="neither a number from 0 nor an ascending range"):
        parse_time_range(text)


def test_reference_defaults_to_the_first() -> None:
    assert resolve_reference(TILED) == BASE


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (Reference(time_point=4, channel="10"), replace(BASE, time_point=4, channel="10")),
        (Reference(stack="10"), replace(BASE, stack="10-x00-y00")),
        (Reference(stack="1-x01-y00"), replace(BASE, stack="1-x01-y00")),
        # the objective that was not given follows from the camera that was
        (Reference(camera="right"), replace(BASE, objective="right", camera="right")),
    ],
)
def test_given_parts_hold(reference: Reference, expected: ViewId) -> None:
    assert resolve_reference(TILED, reference) == expected


def test_reference_prefers_images_without_photomanipulation() -> None:
    plain = replace(BASE, channel="3")
    several = experiment(replace(BASE, pm="10"), replace(BASE, pm="9"), plain)
    assert resolve_reference(several) == plain
    assert resolve_reference(several, Reference(pm="10")).pm == "10"
    assert resolve_reference(several, Reference(pm="none")) == plain
    with_pm_only = experiment(replace(BASE, pm="10"), replace(BASE, pm="9"))
    assert resolve_reference(with_pm_only).pm == "9"
    with pytest.raises(SelectionError, match="there are: 9, 10"):
        resolve_reference(with_pm_only, Reference(pm="none"))


def test_reference_errors_list_what_exists() -> None:
    with pytest.raises(SelectionError, match=r"reference channel '5'.*there are: 0, 2, 10"):
        resolve_reference(TILED, Reference(channel="5"))
    with pytest.raises(SelectionError, match="it exists, but not together"):
        resolve_reference(TILED, Reference(objective="left", camera="right"))
    with pytest.raises(SelectionError, match="no images"):
        resolve_reference(experiment())
