import pytest

from luxdask.model.geometry import Affine
from luxdask.model.view import Source, View, ViewId, natural_key


def test_natural_order():
    names = ["10", "2", "1-x10-y00", "1-x2-y00", "left", "Right", "1"]
    assert sorted(names, key=natural_key) == [
        "1", "1-x2-y00", "1-x10-y00", "2", "10", "Right", "left",
    ]  # fmt: skip


def test_identities_sort_by_time_channel_stack_objective_camera_pm():
    fields = [
        (0, "0", "0", "l", "a", None),
        (0, "0", "0", "l", "a", "1"),
        (0, "0", "0", "l", "b"),
        (0, "0", "0", "r", "a"),
        (0, "0", "2", "l", "a"),
        (0, "0", "10", "l", "a"),
        (0, "1", "0", "l", "a"),
        (2, "0", "0", "l", "a"),
        (10, "0", "0", "l", "a"),
    ]
    ids = [ViewId(*f) for f in fields]
    assert sorted([*ids[4:], *ids[:4]], key=lambda i: i.sort_key) == ids


@pytest.mark.parametrize(
    ("stack", "number", "tile"),
    [("1-x03-y04", "1", "x03-y04"), ("my-stack-x00-y10", "my-stack", "x00-y10"), ("0", "0", ""),
     ("1-x03", "1-x03", ""), ("", "", "")],
)  # fmt: skip
def test_tile_suffix(stack, number, tile):
    identity = ViewId(0, "0", stack, "left", "long")
    assert (identity.stack_number, identity.tile) == (number, tile)


def test_names_for_people():
    identity = ViewId(3, "1", "0", "left", "long", "5")
    assert str(identity) == "tp:3 ch:1 st:0 obj:left cam:long pm:5"
    view = View(identity, Source("a.lux.h5"), (1, 2, 3), (1, 1, 1), Affine())
    assert "a.lux.h5" in str(view)
    assert "tp:3" in str(view)
