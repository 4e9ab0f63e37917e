"""Multi-transform files; expected matrices are computed here with 4×4 matrices in x, y, z order."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from luxdask.errors import ConfigError
from luxdask.io import open_experiment
from luxdask.io.mtf import find_mtf, read_mtf
from luxdask.model.experiment import Experiment
from luxdask.model.geometry import Affine
from luxdask.model.multi_transform import apply_mtf
from luxdask.model.view import Source, View, ViewId
from luxdask.testing import small_experiment

if TYPE_CHECKING:
    from collections.abc import Callable

# The guide's example, with its missing brace and comma put right, as people type it.
GUIDE = """
{
   "affines": [
      {
         "time_points": [0, 1], // <- If empty, apply to all.
         "channels": ["2", "3"],
         "stacks": ["1", "2", "3"],
         "objectives": ["left"],
         "cameras": ["left"],
         "prepend": [
            {
              "matrix": [
                                    // Rows of affine matrix.
                  [1.0, 0.0, 0.0], // Order: image width, height, depth.
                  [0.0, 1.0, 0.0], // <- "Identity" transform matrix
                  [0.0, 0.0, 1.0]
              ],
              "translation": [4.12, 0.34, 1.17]
            },
            {
              "matrix": [[0.5, 0.0, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 1.2]],
              "translation": [3.56, 1.12, -0.45]
            }
         ],
         "SPELLING": [
           {
              "matrix": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
              "translation": [5.23, 8.3, -11.07]
            }
         ],
         "append": [
            {
              "matrix": [[0.71, -0.71, 0.0], [0.71, 0.71, 0.0], [0.0, 0.0, 1.0]],
              "translation": [0.0, 0.0, 0.0]
            },
            {
              "matrix": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
              "translation": [2.23, 0.11, -1.03]
            },
         ]
      }
   ]
}
"""
IDENTITY = np.eye(3).tolist()


def step(matrix: Any = IDENTITY, translation: Any = (0, 0, 0)) -> dict[str, Any]:
    return {"matrix": np.asarray(matrix).tolist(), "translation": list(translation)}


def xyz4(transform: dict[str, Any]) -> np.ndarray:
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = transform["matrix"], transform["translation"]
    return whole


def zyx_as_xyz4(affine: Affine) -> np.ndarray:
    swap = np.eye(4)[[2, 1, 0, 3]]
    whole = np.vstack([affine.to_array(), [0, 0, 0, 1]])
    return swap @ whole @ swap


def view(
    tp: int = 0, channel: str = "0", stack: str = "1-x00-y00", camera: str = "left", **more: Any
) -> View:
    identity = ViewId(tp, channel, stack, "left", camera)
    affine = Affine.from_array([[2.0, 0.1, 0], [0, 0.5, 0.02], [0.3, 0, 0.5]], (10.0, -20.0, 30.0))
    return View(
        identity, Source("/data/x.lux.h5"), (9, 8, 7), (2.0, 0.5, 0.5), affine, ((1.0, 0.0, 0.0),),
        **more,
    )  # fmt: skip


def experiment(*views: View) -> Experiment:
    return Experiment("/data", "/data", "files", views or (view(),))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_file(content: Any, name: str = "some.mtf.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write_file


@pytest.fixture
def transformed(write: Callable[..., Path]) -> Callable[..., Experiment]:
    """Applies entries to an experiment."""

    def apply(entries: list[dict[str, Any]], *views: View) -> Experiment:
        return apply_mtf(experiment(*views), read_mtf(write({"affines": entries})))

    return apply


@pytest.mark.parametrize("spelling", ["replace_by", "replace by"])
def test_the_guides_example(write: Callable[..., Path], spelling: str) -> None:
    text = GUIDE.replace("SPELLING", spelling)
    mtf = read_mtf(write(text))
    chosen = [view(t, c, s) for t in (0, 2) for c in "13" for s in ("1-x03-y04", "3", "31")]
    done = apply_mtf(experiment(*chosen), mtf)
    # voxel -> prepend 1 -> prepend 2 -> replacement -> append 1 -> append 2, by hand
    x, y, z = 7.0, 5.0, 3.0
    x, y, z = x + 4.12, y + 0.34, z + 1.17
    x, y, z = 0.5 * x + 3.56, 0.4 * y + 1.12, 1.2 * z - 0.45
    x, y, z = x + 5.23, y + 8.3, z - 11.07
    x, y = 0.71 * x - 0.71 * y, 0.71 * x + 0.71 * y
    x, y, z = x + 2.23, y + 0.11, z - 1.03
    for before, after in zip(chosen, done.views, strict=True):
        if before.id.time_point == 0 and before.id.channel == "3" and before.id.stack != "31":
            np.testing.assert_allclose(after.view_to_world.apply((3, 5, 7)), (z, y, x))
        else:
            assert after is before
    assert "2 of 12 images" in done.notes[0]
    assert any("channels that do not exist: 2 (there are: 1, 3)" in n for n in done.notes)
    assert any(
        "stacks that do not exist: 2 (there are: 1, 1-x03-y04, 3, 31)" in n for n in done.notes
    )
    assert any("time points that do not exist: 1 (there are: 0, 2)" in n for n in done.notes)


def test_own_transform_is_kept_between_prepend_and_append(
    transformed: Callable[..., Experiment],
) -> None:
    rng = np.random.default_rng(3)
    steps = [
        step(np.eye(3) + 0.2 * rng.standard_normal((3, 3)), rng.normal(0, 9, 3)) for _ in range(5)
    ]
    entry = {"prepend": steps[:2], "replace_by": [], "append": steps[2:]}
    (after,) = transformed([entry]).views
    p1, p2, a1, a2, a3 = map(xyz4, steps)
    expected = a3 @ a2 @ a1 @ zyx_as_xyz4(view().view_to_world) @ p2 @ p1
    np.testing.assert_allclose(zyx_as_xyz4(after.view_to_world), expected, atol=1e-12)


def test_several_entries_join_their_lists_in_file_order(
    transformed: Callable[..., Experiment],
) -> None:
    rng = np.random.default_rng(4)
    steps = [
        step(np.eye(3) + 0.2 * rng.standard_normal((3, 3)), rng.normal(0, 9, 3)) for _ in range(5)
    ]
    p1, a1, r2, p3, a3 = map(xyz4, steps)
    entries = [
        {"prepend": [steps[0]], "append": [steps[1]]},
        {"channels": ["0"], "replace_by": [steps[2]]},
        {"channels": ["9"], "replace_by": [steps[3]]},
        {"cameras": ["left"], "prepend": [steps[3]], "append": [steps[4]]},
    ]
    (after,) = transformed(entries).views
    np.testing.assert_allclose(zyx_as_xyz4(after.view_to_world), a3 @ a1 @ r2 @ p3 @ p1, atol=1e-12)


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ({}, True),
        ({"time_points": [], "channels": None}, True),
        ({"time_points": ["00002"]}, True),
        ({"time_points": [20]}, False),
        ({"stacks": ["1"]}, True),
        ({"stacks": [1]}, True),
        ({"stacks": ["1-x03-y04"]}, True),
        ({"stacks": ["1-x03"]}, False),
        ({"stacks": ["01"]}, False),
        ({"channels": ["GFP", "0"]}, True),
        ({"channels": ["gfp"]}, False),
        ({"objectives": ["left"], "cameras": ["right"]}, False),
    ],
)
def test_which_images_an_entry_is_for(
    transformed: Callable[..., Experiment], filters: dict[str, Any], matches: bool
) -> None:
    before = view(2, "GFP", "1-x03-y04")
    entry = {**filters, "append": [step(translation=(1, 2, 3))]}
    (after,) = transformed([entry], before).views
    moved = np.subtract(after.view_to_world.offset, before.view_to_world.offset)
    np.testing.assert_allclose(moved, (3, 2, 1) if matches else 0)


def test_directions_turn_and_voxel_sizes_follow_the_scale(
    transformed: Callable[..., Experiment],
) -> None:
    quarter_about_y = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # x, y, z order: z goes to x
    before = replace(view(), view_to_world=Affine.scale((2.0, 0.5, 0.5)))
    (turned,) = transformed([{"append": [step(quarter_about_y)]}], before).views
    np.testing.assert_allclose(turned.detection_directions, [(0, 0, 1)], atol=1e-15)
    assert turned.spacing_um == before.spacing_um
    (scaled,) = transformed([{"prepend": [step(np.diag([1.1, 1, 1.5]))]}], before).views
    np.testing.assert_allclose(scaled.detection_directions, [(1, 0, 0)])
    np.testing.assert_allclose(scaled.spacing_um, (3.0, 0.5, 0.55))


def test_entries_that_match_nothing_together_are_told(
    transformed: Callable[..., Experiment],
) -> None:
    entry = {"channels": ["1"], "stacks": ["2"], "append": [step(translation=(1, 1, 1))]}
    done = transformed([entry], view(channel="0", stack="2"), view(channel="1", stack="1"))
    assert "0 of 2 images" in done.notes[0]
    assert "entry 1 of 'affines' matches no image" in done.notes[1]


SINGULAR = step(np.diag([1.0, 0.0, 1.0]))
GOOD = step()
INFINITE = json.dumps({"affines": [{"append": [step(translation=[7, 7, 7])]}]}).replace(
    "7", "1e999"
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{ affines", ["line 1", "not JSON"]),
        ("[]", ["Allowed are: one list 'affines'"]),
        ({}, ["affines: this key is missing"]),
        ({"affines": {}}, ["affines: input should be a valid list"]),
        ({"affines": [], "x": 1}, ["x: this key is unknown"]),
        ({"affines": [{}, {"channel": ["1"]}]}, ["entry 2 of 'affines', channel: this key is unk"]),
        ({"affines": [{"channels": "1"}]}, ["entry 1 of 'affines', channels: input should be"]),
        ({"affines": [{"time_points": ["a"]}]}, ["'affines', time_points 1: ", "integer"]),
        ({"affines": [{"time_points": [True]}]}, ["whole number"]),
        ({"affines": [{"append": [GOOD, {"matrix": IDENTITY}]}]}, ["append 2 translation: this"]),
        ({"affines": [{"append": [step(np.eye(4))]}]}, ["append 1 matrix"]),
        ({"affines": [{"append": [step(np.eye(3)[:2])]}]}, ["append 1 matrix 3: this key is mis"]),
        ({"affines": [{"append": [step(translation=[1, 2])]}]}, ["append 1 translation 3"]),
        (INFINITE, ["finite"]),
        ({"affines": [{"replace_by": [], "replace by": []}]}, ["entry 1", "both"]),
        (
            {"affines": [{}, {"prepend": [GOOD, SINGULAR]}]},
            [
                "entry 2 of 'affines', prepend 2: Affine transform in multi-transform object is "
                "invalid (not invertible)"
            ],
        ),
    ],
)  # fmt: skip
def test_bad_files_are_explained(write: Callable[..., Path], content: Any, said: list[str]) -> None:
    path = write(content)
    with pytest.raises(ConfigError) as error:
        read_mtf(path)
    for text in [str(path), *said]:
        assert text in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_mtf(tmp_path / "gone.mtf.json")
    (tmp_path / "latin.mtf.json").write_bytes(b'{"affines": [{"channels": ["\xe4"]}]}')
    with pytest.raises(ConfigError, match=r"latin\.mtf\.json: .*utf-8"):
        read_mtf(tmp_path / "latin.mtf.json")


def test_two_replacements_of_one_image_are_refused(transformed: Callable[..., Experiment]) -> None:
    entries = [{"replace_by": [GOOD]}, {}, {"channels": ["0"], "replace_by": [GOOD]}]
    with pytest.raises(ConfigError, match=r"entries 1 and 3 of 'affines' both replace .* ch:0 "):
        transformed(entries)
    assert len(transformed(entries, view(channel="1"))) == 1


def test_transforms_that_only_together_flatten_are_refused(
    transformed: Callable[..., Experiment],
) -> None:
    flat = step(np.diag([1, 1, 1e-7]))
    with pytest.raises(ConfigError, match="not invertible"):
        transformed([{"prepend": [flat, flat]}])


def test_where_the_file_is_looked_for(tmp_path: Path) -> None:
    small_experiment(tmp_path / "exp", shape=(8, 16, 24))
    opened = open_experiment(tmp_path / "exp")
    assert find_mtf(opened) is None
    root = tmp_path / "exp" / "transforms.mtf.json"
    root.write_text('{"affines": []}')
    assert find_mtf(opened) == root
    (tmp_path / "exp" / "raw" / "other.mtf.json").write_text("deactivated")
    folders = sorted({Path(v.source.path).parent for v in opened.views})
    (folders[0] / "transforms.mtf.json").write_text('{"affines": []}')
    with pytest.raises(ConfigError, match="different folders have different multi-transform") as e:
        find_mtf(opened)
    assert str(root) in str(e.value)
    only = opened.with_views(v for v in opened.views if Path(v.source.path).parent == folders[0])
    assert find_mtf(only) == folders[0] / "transforms.mtf.json"
    explicit = tmp_path / "mine.mtf.json"
    with pytest.raises(ConfigError, match=r"mine\.mtf\.json: no such multi-transform file"):
        find_mtf(opened, explicit)
    explicit.write_text("{}")
    assert find_mtf(opened, str(explicit)) == explicit


def test_processed_images_are_warned_of_a_second_application(tmp_path: Path) -> None:
    task = tmp_path / "processed" / "task"
    images = replace(view(), source=Source(str(task / "uni.lux.h5")))
    opened = Experiment(str(task), str(tmp_path), "task", (images,))
    for folder, warned in ((tmp_path, True), (task, False)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "transforms.mtf.json").write_text('{"affines": []}')
        path = find_mtf(opened)
        assert path == folder / "transforms.mtf.json"
        assert any("twice" in n for n in apply_mtf(opened, read_mtf(path)).notes) == warned


def test_scanner_like_text_survives(write: Callable[..., Path]) -> None:
    mtf = read_mtf(write('\ufeff/* mine */ {"affines": [],} // end'))
    assert mtf.entries == ()
