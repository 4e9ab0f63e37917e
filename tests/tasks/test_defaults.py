import math
from dataclasses import replace

import pytest

from luxdask.errors import SelectionError
from luxdask.model.experiment import Experiment
from luxdask.model.geometry import Affine, Vector
from luxdask.model.view import Source, View, ViewId
from luxdask.tasks.config import TaskConfig, set_values
from luxdask.tasks.defaults import ChangedDefault, are_parallel, automatic_defaults

FUSE = "fusion.fuse_different_cams"
MERGE = "fusion.merge_all_channels"
PAIR = "registration.tiles.register_channels"
ISOTROPIC = "output.sampling.isotropic"
OBJECTIVE_CAMERA = tuple(
    f"registration.objective_camera.{name}"
    for name in ("enabled", "different_cameras", "different_objectives")
)
Z: Vector = (1.0, 0.0, 0.0)
X: Vector = (0.0, 0.0, 1.0)


def view(
    objective: str = "left",
    camera: str = "left",
    *,
    channel: str = "0",
    time_point: int = 0,
    stack: str = "0",
    directions: tuple[Vector, ...] = (Z,),
    lights: tuple[str, ...] = (),
) -> View:
    return View(
        ViewId(time_point, channel, stack, objective, camera),
        Source("a.lux.h5"),
        (4, 4, 4),
        (1.0, 1.0, 1.0),
        Affine(),
        detection_directions=directions,
        illuminations=lights,
    )


def changes_of(*views: View, **base: object) -> dict[str, ChangedDefault]:
    start = set_values(TaskConfig(), {k.replace("__", "."): v for k, v in base.items()})
    experiment = Experiment("/data/a", "/data/a", "experiment", views)
    config, changes = automatic_defaults(experiment, start)
    assert config == set_values(start, {c.key: c.new for c in changes})
    assert not config.registration.enabled
    assert all(c.old != c.new and c.reason for c in changes)
    return {c.key: c for c in changes}


LEFT, RIGHT = view(), view("right", "right", directions=((-1.0, 0.0, 0.0),))
TILTED = view(directions=(X,), stack="1")


def test_two_objectives_with_one_camera_each_are_fused_and_registered() -> None:
    found = changes_of(LEFT, RIGHT)
    assert set(found) == {FUSE, *OBJECTIVE_CAMERA, ISOTROPIC}
    assert found[FUSE] == ChangedDefault(
        FUSE, False, True, "there are 2 detection objectives with one camera each"
    )


@pytest.mark.parametrize(
    "views",
    [
        (LEFT,),
        (LEFT, view("left", "long")),
        (LEFT, RIGHT, view("right", "long")),
        (LEFT, RIGHT, view("left", "long", channel="1")),
    ],
    ids=["one objective", "one objective, two cameras", "three cameras", "camera per channel"],
)
def test_otherwise_cameras_are_not_fused(views: tuple[View, ...]) -> None:
    assert FUSE not in changes_of(*views)


def test_one_camera_shared_by_two_objectives_counts_as_one_each() -> None:
    assert FUSE in changes_of(view("top", "main"), view("bottom", "main"))


def test_registration_follows_fusion_that_was_on_before() -> None:
    found = changes_of(TILTED, LEFT, fusion__fuse_different_cams=True)
    assert set(found) == set(OBJECTIVE_CAMERA)


def test_different_cameras_are_switched_off_where_they_are_not_fused() -> None:
    found = changes_of(LEFT, TILTED, registration__objective_camera__different_cameras=True)
    assert set(found) == {"registration.objective_camera.different_cameras"}
    other = {"registration__objective_camera__different_objectives": True}
    assert changes_of(LEFT, TILTED, **other) == {}


def test_depth_keeps_its_sampling_where_all_look_along_one_axis() -> None:
    assert changes_of(LEFT)[ISOTROPIC].new is False
    assert ISOTROPIC not in changes_of(LEFT, TILTED)
    assert ISOTROPIC not in changes_of(view(directions=(Z, X)))
    assert ISOTROPIC not in changes_of(LEFT, view(directions=(), stack="1"))
    assert ISOTROPIC not in changes_of(LEFT, output__sampling__isotropic=False)


@pytest.mark.parametrize(
    ("angle_rad", "expected"), [(0, True), (9e-4, True), (1.1e-3, False), (0.1, False)]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_parallel_within_a_thousandth_of_a_radian(
    angle_rad: float, expected: bool, sign: int
) -> None:
    turned = (sign * math.cos(angle_rad), sign * math.sin(angle_rad), 0.0)
    assert are_parallel([Z, turned]) is expected
    assert are_parallel([tuple(5 * c for c in turned), Z]) is expected  # type: ignore[list-item]


@pytest.mark.parametrize("bad", [(0.0, 0.0, 0.0), (math.nan, 0.0, 0.0), (math.inf, 0.0, 0.0)])
def test_unusable_directions_are_not_parallel(bad: Vector) -> None:
    assert not are_parallel([Z, bad])
    assert not are_parallel([])


def lit(channel: str, *lights: str) -> View:
    return view(channel=channel, lights=lights, directions=(Z, X))


def test_single_sided_illumination_merges_channels_and_pairs_them() -> None:
    found = changes_of(lit("0", "west"), lit("1", "east"))
    assert set(found) == {MERGE, PAIR}
    assert found[PAIR].new == "RegisterDifferentChannels"
    assert "2 sides" in found[MERGE].reason


@pytest.mark.parametrize(
    "views",
    [
        (lit("0", "west"), lit("1", "west")),
        (lit("0", "west", "east"), lit("1", "east")),
        (lit("0", "west"), lit("0", "east"), lit("1", "east")),
        (lit("0", "west"), lit("1", "east"), lit("2")),
    ],
    ids=["one side only", "an image lit twice", "a channel lit twice", "unknown light"],
)
def test_other_illumination_leaves_channels_apart(views: tuple[View, ...]) -> None:
    assert changes_of(*views) == {}


def test_register_channels_follows_merging_that_was_on_before() -> None:
    assert set(changes_of(lit("0"), fusion__merge_all_channels=True)) == {PAIR}


def test_only_the_reference_time_point_counts() -> None:
    later = (view("right", "right", time_point=1), view(time_point=1))
    assert FUSE not in changes_of(LEFT, *later)
    assert FUSE in changes_of(LEFT, *later, input__reference__time_point=1)


def test_the_selection_does_not_count() -> None:
    assert FUSE in changes_of(LEFT, RIGHT, input__select__objectives=["left"])


def test_a_missing_reference_time_point_is_named() -> None:
    with pytest.raises(SelectionError, match=r"reference time point 7.*there are: 0"):
        changes_of(LEFT, input__reference__time_point=7)
    with pytest.raises(SelectionError, match="no images"):
        changes_of()


def test_other_settings_stay() -> None:
    start = set_values(TaskConfig(), {"output.sampling": 4, "description": "x"})
    experiment = Experiment("/data/a", "/data/a", "experiment", (LEFT, replace(RIGHT)))
    config, changes = automatic_defaults(experiment, start)
    assert config.output.sampling.width == 4
    assert config.description == "x"
    assert [c.key for c in changes] == [FUSE, *OBJECTIVE_CAMERA, ISOTROPIC]
