import pytest

from luxdask.errors import ConfigError, LuxdaskError, SelectionError
from luxdask.io.image_ids import ImageIds, ImageLookup, image_ids, named_image, parse_image_ids
from luxdask.model.experiment import Experiment
from luxdask.model.geometry import Affine
from luxdask.model.view import Source, View, ViewId

IDS = [
    ViewId(t, c, s, o, o)
    for t in (0, 12)
    for c in ("0", "GFP (488 nm)")
    for s in ("1-x00-y00", "1-x01-y00", "2")
    for o in ("left", "right")
]


def lookup(*ids: ViewId) -> ImageLookup:
    views = [View(i, Source("a"), (4, 4, 4), (1.0, 1.0, 1.0), Affine()) for i in ids or IDS]
    return ImageLookup(Experiment("/data/a", "/data/a", "experiment", tuple(views)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "uni_tp-3_ch-1_pm-7_st-1-x00-y02_obj-left_cam-long_etc",
            ImageIds("3", "1", "1-x00-y02", None, "left", "long", "7"),
        ),
        ("tp:3 ch:GFP (488 nm) st:1 obj:left", ImageIds("3", "GFP (488 nm)", "1", None, "left")),
        ("points_ch-0_2_st-a_b", ImageIds(channel="0_2", stack="a_b")),
        ("cam-left", ImageIds(camera="left")),
        ("attempt-1 fetch-2", ImageIds()),
        ("", ImageIds()),
    ],
)
def test_texts_name_parts(text: str, expected: ImageIds) -> None:
    assert parse_image_ids(text) == expected


@pytest.mark.parametrize("view_id", [*IDS, ViewId(3, "0", "1", "left", "long", "5")], ids=str)
def test_the_text_of_an_identity_names_it(view_id: ViewId) -> None:
    assert lookup(*IDS, view_id).find(parse_image_ids(str(view_id)), "here") == view_id


def test_a_text_without_any_part_names_no_image() -> None:
    assert named_image("  ") == ImageIds()
    with pytest.raises(ConfigError, match="'left image' names no image"):
        named_image("left image")


def test_empty_parts_are_not_given() -> None:
    assert image_ids({"stack": "", "channel": None, "time_point": 0, "other": 1}) == ImageIds("0")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"time_point": "012", "channel": "0", "stack": "2", "objective": "left"},
            ViewId(12, "0", "2", "left", "left"),
        ),
        (
            {"time_point": "0", "channel": "0", "stack": "1", "tile": "x01-y00", "camera": "right"},
            ViewId(0, "0", "1-x01-y00", "right", "right"),
        ),
        (
            {"time_point": "0", "channel": "GFP_488_nm_", "stack": "2", "objective": "left"},
            ViewId(0, "GFP (488 nm)", "2", "left", "left"),
        ),
    ],
)
def test_missing_parts_follow_from_the_others(given: dict[str, str], expected: ViewId) -> None:
    assert lookup().find(image_ids(given), "here") == expected


def test_a_single_image_needs_no_parts() -> None:
    assert lookup(IDS[0]).find(ImageIds(), "here") == IDS[0]


@pytest.mark.parametrize(
    ("pms", "given", "expected"),
    [
        ((None, "5"), None, None),
        ((None, "5"), "none", None),
        ((None, "5"), "5", "5"),
        (("5",), None, "5"),
    ],
)
def test_pm_ids(pms: tuple[str | None, ...], given: str | None, expected: str | None) -> None:
    ids = [ViewId(0, "0", "1", "left", "left", pm) for pm in pms]
    assert lookup(*ids).find(ImageIds(pm=given), "here").pm == expected


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"channel": "7"},
            SelectionError,
            r"here: the channel '7' matches no image of /data/a; .*0, GFP",
        ),
        ({"stack": "3"}, SelectionError, "the stack '3' .* 1-x00-y00, 1-x01-y00, 2"),
        ({"time_point": "3"}, SelectionError, "the time point '3' .* there are: 0, 12"),
        ({"tile": "x09-y09"}, SelectionError, "the tile .* x00-y00, x01-y00$"),
        ({"pm": "5"}, SelectionError, "the pm '5' .* there are: none"),
        ({"objective": "left", "camera": "right"}, SelectionError, "exists, but not together with"),
        (
            {"time_point": "first"},
            ConfigError,
            "here: the time point 'first' is not a whole number",
        ),
        ({"time_point": "-1"}, ConfigError, "not a whole number"),
        ({"time_point": "1.5"}, ConfigError, "not a whole number"),
        (
            {"stack": "1", "channel": "0", "time_point": "0", "objective": "left"},
            SelectionError,
            r"2 images are meant; give also stack, one of these: stack: 1-x00-y00, 1-x01-y00",
        ),
        ({}, SelectionError, "give also time_point and channel and stack and objective and camera"),
    ],
)
def test_what_means_no_image_or_several(
    given: dict[str, str], error: type[LuxdaskError], message: str
) -> None:
    with pytest.raises(error, match=message):
        lookup().find(image_ids(given), "here")


def test_pm_ids_that_are_not_given_must_be_one() -> None:
    ids = [ViewId(0, "0", "1", "left", "left", pm) for pm in ("5", "6")]
    with pytest.raises(SelectionError, match="give also pm, one of these: pm: 5, 6"):
        lookup(*ids).find(ImageIds(), "here")
