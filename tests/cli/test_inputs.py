"""`luxdask roi`, `luxdask mtf` and `luxdask info --applies` on a small experiment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from luxdask.cli import main
from luxdask.io import open_experiment
from luxdask.io.mtf import read_mtf
from luxdask.model.multi_transform import apply_mtf
from luxdask.tasks import Task
from luxdask.testing import small_experiment

if TYPE_CHECKING:
    from luxdask.testing import Truth


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    return small_experiment(tmp_path / "e", shape=(12, 24, 40), channels=2)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the program; returns exit code and what it printed, with single blanks."""

    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), " ".join((printed.out + printed.err).split())

    return run


def raw_files(truth: Truth) -> dict[str, int]:
    files = (p for p in Path(truth.folder, "raw").rglob("*") if p.is_file())
    return {str(p): p.stat().st_mtime_ns for p in files}


def test_regions_are_added_listed_used_and_removed(truth: Truth, call: Any) -> None:
    before = raw_files(truth)
    folder = Path(truth.folder)
    code, text = call(
        "roi", "add", folder, "--label", "A", "--box", "2:9,:,5:", "--image", "st-0-x00-y00"
    )
    assert code == 0, text
    assert "rois.roi.json" in text
    shapes = folder / "shapes.csv"
    shapes.write_text(
        "index,shape-type,vertex-index,axis-0,axis-1,axis-2\n"
        "0,rectangle,0,3,1,2\n0,rectangle,1,3,1,9\n0,rectangle,2,3,8,9\n0,rectangle,3,3,8,2\n"
    )
    code, text = call("roi", "add", folder, "-l", "A", "--shapes", shapes, "-i", "st-0-x01-y00")
    assert code == 0, text
    code, text = call("roi", "list", folder)
    assert code == 0
    assert "2:9,:,5:" in text
    assert ":,1:9,2:10" in text

    experiment = open_experiment(folder)
    task = Task.new(experiment, values={"input.roi.label": "A"})
    plan = task.compile(experiment)
    assert {v.shape[0] for p in plan.outputs for v in p.output.views} == {7, 12}
    assert "region of interest 'A': 4 of 4 images cropped" in plan.notes

    code, text = call("roi", "remove", folder, "--label", "A", "--image", "st-0-x01-y00")
    assert (code, text) == (0, "Removed 1 of 2 regions.")
    code, text = call("roi", "remove", folder, "--label", "B")
    assert code == 2
    assert "there are: 'A' (stack 0-x00-y00)" in text
    assert raw_files(truth) == before


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--box", "1:2"], "expected z0:z1,y0:y1,x0:x1"),
        (["--box", "1:2,a:3,:"], "expected z0:z1,y0:y1,x0:x1"),
        ([], "with --box or with --shapes"),
        (["--box", ":,:,:", "--image", "st-9"], "'9' matches no image"),
        (["--box", ":,:,:", "--image", "what"], "names no image"),
        (["--box", "50:60,:,:"], "holds no voxel"),
        (["--box", "5:5,:,:"], "holds no voxel"),
    ],
)
def test_regions_that_cannot_be_are_not_written(
    truth: Truth, call: Any, more: list[str], says: str
) -> None:
    code, text = call("roi", "add", truth.folder, "--label", "A", *more)
    assert code == 2
    assert says in text
    assert not Path(truth.folder, "rois.roi.json").exists()


def test_a_second_region_of_one_image_and_the_raw_folder_are_refused(
    truth: Truth, call: Any
) -> None:
    assert call("roi", "add", truth.folder, "-l", "A", "--box", ":,:,:9")[0] == 0
    code, text = call("roi", "add", truth.folder, "-l", "A", "--box", ":,:,:5", "-i", "ch-0")
    assert code == 2
    assert "two regions called 'A'" in text
    inside = Path(truth.folder, "raw", "r.roi.json")
    code, text = call("roi", "add", truth.folder, "-l", "A", "--box", ":,:,:5", "--file", inside)
    assert code == 2
    assert "where nothing is written" in text


def test_no_regions_yet(truth: Truth, call: Any) -> None:
    code, text = call("roi", "list", truth.folder)
    assert code == 2
    assert "luxdask roi add" in text
    task = Path(truth.folder, "task.json")
    Task.new(open_experiment(truth.folder), values={"input.roi.label": "A"}).save(task)
    code, text = call("check", task)
    assert code == 2
    assert "there is no rois.roi.json" in text


def test_a_new_multi_transform_file_does_nothing_yet(truth: Truth, call: Any) -> None:
    before = raw_files(truth)
    code, text = call("mtf", "new", truth.folder, "--channel", "1")
    assert code == 0, text
    path = Path(truth.folder, "transforms.mtf.json")
    assert '"channels": ["1"], // there are: "0", "1"' in path.read_text()
    experiment = open_experiment(truth.folder)
    assert apply_mtf(experiment, read_mtf(path)).views == experiment.views
    code, text = call("mtf", "new", truth.folder)
    assert code == 1
    assert "--force" in text
    assert call("mtf", "new", truth.folder, "--channel", "7")[0] == 2
    assert raw_files(truth) == before


def test_what_a_multi_transform_file_applies_to(truth: Truth, call: Any) -> None:
    path = Path(truth.folder, "transforms.mtf.json")
    code, text = call("mtf", "show", truth.folder)
    assert code == 2
    assert "luxdask mtf new" in text
    shift = {"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "translation": [4, 0, 0]}
    path.write_text(
        json.dumps({"affines": [{"channels": ["1"], "append": [shift]}, {"stacks": ["8"]}]})
    )
    code, text = call("mtf", "show", truth.folder)
    assert code == 0
    assert "2: tp:0 ch:1" in text
    assert "metadata, 1 appended" in text
    assert "stacks that do not exist: 8" in text
    assert call("mtf", "check", path) == (0, f"{path}: 2 entries, all usable.")
    assert "2: tp:0 ch:1" in call("mtf", "check", path, truth.folder)[1]
    flat = {"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 0]], "translation": [0, 0, 0]}
    path.write_text(json.dumps({"affines": [{"prepend": [shift, flat]}]}))
    code, text = call("mtf", "check", path)
    assert code == 2
    assert "entry 1 of 'affines', prepend 2: Affine transform in multi-transform object" in text
    assert "is invalid (not invertible)" in text


def test_what_applies_to_each_image(truth: Truth, call: Any) -> None:
    shift = {"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "translation": [4, 0, 0]}
    Path(truth.folder, "transforms.mtf.json").write_text(
        json.dumps({"affines": [{"channels": ["1"], "prepend": [shift]}]})
    )
    mark = {"label": "M", "image": {"stack": "0-x00-y00", "channel": "0"}, "position_vx": [1, 2, 3]}
    Path(truth.folder, "landmarks.lmk.json").write_text(json.dumps({"landmarks": [mark]}))
    assert call("roi", "add", truth.folder, "-l", "A", "--box", "2:9,:,:", "-i", "ch-0")[0] == 0
    values = {
        "input.roi.label": "A",
        "input.metadata.multi_transform.enabled": True,
        "registration.enabled": True,
        "registration.landmarks.enabled": True,
        "registration.reuse.task_folder": "/somewhere",
    }
    task = Path(truth.folder, "task.json")
    Task.new(open_experiment(truth.folder), values=values).save(task)
    code, text = call("info", truth.folder, "--applies", task)
    assert code == 0, text
    assert "region of interest 'A': 2 of 4 images cropped" in text
    code, text = call("info", truth.folder, "--applies", task, "--json")
    views = {view["image"]: view for view in json.loads(text)["views"]}
    first, _, third, _ = views.values()
    assert first["roi_zyx"] == "2:9,0:24," + first["roi_zyx"].split(",")[2]
    assert first["landmarks"] == ["M"]
    assert first["transforms"][0] == "metadata"
    assert third["transforms"][:2] == ["prepend of entry 1 (1)", "metadata"]
    assert "landmarks) reused from /somewhere" in third["transforms"][2]
    assert third["roi_zyx"] is None
    assert third["landmarks"] == []


def test_thousands_of_tiles_take_one_row(tmp_path: Path, call: Any) -> None:
    for y in range(10):
        for x in range(10):
            folder = tmp_path / f"raw/stack_0-x{x:02}-y{y:02}_channel_0_obj_left"
            folder.mkdir(parents=True)
            information = {
                "time_point": "0",
                "channel": "0",
                "stack": f"0-x{x:02}-y{y:02}",
                "objective": "left",
                "camera": "long",
                "image_size_vx": {"width": 20, "height": 10, "depth": 5},
                "affine_to_sample": {
                    "matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
                    "translation": [20 * x, 10 * y, 0],
                },
            }
            document = json.dumps({"processingInformation": information})
            (folder / "Cam_long_00000.json").write_text(document)
            (folder / "Cam_long_00000.lux.h5").touch()
    code, text = call("info", tmp_path)
    assert code == 0
    assert "0 (100 tiles, x00-y00 to x09-y09)" in text
    assert "100 images" in text
    assert "x03-y04" not in text
