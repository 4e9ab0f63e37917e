from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luxdask.errors import ConfigError, LuxdaskError, OutputError, SelectionError
from luxdask.io import open_experiment
from luxdask.io.landmark_file import find_landmark_file, read_landmarks, write_landmarks
from luxdask.model.experiment import Experiment
from luxdask.model.geometry import Affine
from luxdask.model.landmarks import Landmark
from luxdask.model.view import Source, View, ViewId
from luxdask.testing import small_experiment

IDS = [
    ViewId(t, c, s, o, o)
    for t in (0, 1)
    for c in ("0", "1")
    for s in ("1-x00-y00", "1-x01-y00")
    for o in ("left", "right")
]
HOME = {
    "stack": "1-x00-y00",
    "channel": "0",
    "objective": "left",
    "camera": "left",
    "time_point": 0,
}


@pytest.fixture
def experiment() -> Experiment:
    views = [View(i, Source("a"), (9, 9, 9), (1.0, 1.0, 1.0), Affine()) for i in IDS]
    return Experiment("/data/a", "/data/a", "experiment", tuple(views))


def one_of(experiment: Experiment) -> Experiment:
    """With a single image, so that nothing but label and position has to be given."""
    return experiment.with_views(experiment.views[:1])


def write(folder: Path, text: str | bytes, name: str = "landmarks.lmk.json") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def entry(**changes: Any) -> dict[str, Any]:
    return {"label": "A", "image": HOME, "position_vx": [1, 2, 3], **changes}


def document(*entries: dict[str, Any]) -> str:
    return json.dumps({"version": "1.0.0", "landmarks": list(entries)})


def test_what_was_written_is_read(tmp_path: Path, experiment: Experiment) -> None:
    marks = tuple(
        Landmark(label, image, (k + 0.1, 1 / 3, -0.5))
        for k, image in enumerate(IDS)
        for label in "AB"
    )
    path = tmp_path / "landmarks.lmk.json"
    write_landmarks(path, marks)
    assert read_landmarks(path, experiment) == marks


def test_the_written_file_has_the_documented_form(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_landmarks(
        path, [Landmark("A", ViewId(2, "0", "1", "left", "long", "5"), (3.0, 2.0, 1.5))]
    )
    image = {"stack": "1", "channel": "0", "objective": "left", "camera": "long"}
    image |= {"time_point": "2", "pm": "5"}
    expected = {"label": "A", "image": image, "position_vx": [1.5, 2.0, 3.0]}
    assert json.loads(path.read_text()) == {"version": "1.0.0", "landmarks": [expected]}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.json"):
        write_landmarks(tmp_path / "missing" / "a.json", [])


def test_json_as_people_write_it(tmp_path: Path, experiment: Experiment) -> None:
    text = """
    // set in the viewer on Monday
    { "landmarks": [
        {"label": "eye", "image": {"stack": "1", "tile": "x01-y00", "channel": 1, "camera": "left",
            "time_point": "0", "pm": null}, "position_vx": [10, 20, 30]},  /* w, h, d */
        {"label": 7, "image": "tp-1_ch-0_st-1-x00-y00_obj-right", "position_vx": [1.5, 2, 3],},
    ] }"""
    assert read_landmarks(write(tmp_path, text), experiment) == (
        Landmark("eye", ViewId(0, "1", "1-x01-y00", "left", "left"), (30.0, 20.0, 10.0)),
        Landmark("7", ViewId(1, "0", "1-x00-y00", "right", "right"), (3.0, 2.0, 1.5)),
    )


@pytest.mark.parametrize(
    "text",
    [
        "label,stack,channel,objective,camera,time_point,pm,w,h,d\nA,1-x01-y00,1,left,left,0,,1,2,3\n",
        "label,stack,channel,objective,time_point,x,y,z\nA,1-x01-y00,1,left,0,1,2,3\n",
        "# mine\n\nz;y;x;Time Point;label;channel;stack;camera\r\n"
        "3;2,0;1;0; A ;1;1-x01-y00;left\r\n",
        "Label\tdepth\theight\twidth\timage\nA\t3\t2\t1\ttp:0 ch:1 st:1-x01-y00 obj:left\n\n",
        '"label","x","y","z","image","remark"\n"A","1","2.0","3e0","tp-0_ch-1_st-1-x01-y00_cam-left",'
        '"the, eye"\n',
        "\ufefflabel,image,stack,h,d,w\nA,tp-0_ch-1_st-9_cam-left,1-x01-y00,2,3,1\n",
    ],
)
def test_tables(tmp_path: Path, experiment: Experiment, text: str) -> None:
    image = ViewId(0, "1", "1-x01-y00", "left", "left")
    path = write(tmp_path, text, "my points.csv")
    assert read_landmarks(path, experiment) == (Landmark("A", image, (3.0, 2.0, 1.0)),)


def test_a_table_of_an_older_spreadsheet(tmp_path: Path, experiment: Experiment) -> None:
    path = write(tmp_path, "label;x;y;z\nÖhr;1;2;3".encode("latin-1"), "a.csv")
    assert read_landmarks(path, one_of(experiment))[0].label == "Öhr"


def test_points_layers_of_napari_one_file_per_image(tmp_path: Path, experiment: Experiment) -> None:
    left = "index,axis-0,axis-1,axis-2,label\n0.0,3.5,2.0,1.0,1.0\n1.0,6.0,5.0,4.0,2.0\n"
    right = "index,axis-0,axis-1,axis-2\n1,30.0,20.0,10.0\n2,60.0,50.0,40.0\n"
    write(tmp_path, left, "tp-0_ch-0_st-1-x00-y00_obj-left_cam-left.csv")
    write(tmp_path, right, "points of tp-1_ch-1_st-1-x01-y00_obj-right_etc.csv")
    write(tmp_path, "not a landmark file", "readme.txt")
    assert set(read_landmarks(tmp_path, experiment)) == {
        Landmark("1", ViewId(0, "0", "1-x00-y00", "left", "left"), (3.5, 2.0, 1.0)),
        Landmark("2", ViewId(0, "0", "1-x00-y00", "left", "left"), (6.0, 5.0, 4.0)),
        Landmark("1", ViewId(1, "1", "1-x01-y00", "right", "right"), (30.0, 20.0, 10.0)),
        Landmark("2", ViewId(1, "1", "1-x01-y00", "right", "right"), (60.0, 50.0, 40.0)),
    }


def test_a_points_layer_of_napari_with_features(tmp_path: Path, experiment: Experiment) -> None:
    text = (
        "index,axis-0,axis-1,axis-2,label,time_point,channel,stack,objective\n"
        "0,3.0,2.0,1.0,eye,1,0,1-x00-y00,left\n1,6.0,5.0,4.0,ear,1.0,1.0,1-x01-y00,right\n"
    )
    assert read_landmarks(write(tmp_path, text, "points.csv"), experiment) == (
        Landmark("eye", ViewId(1, "0", "1-x00-y00", "left", "left"), (3.0, 2.0, 1.0)),
        Landmark("ear", ViewId(1, "1", "1-x01-y00", "right", "right"), (6.0, 5.0, 4.0)),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"landmarks": [}', r"lmk\.json: line 1, column 16: not JSON"),
        ('{"points": []}', r'not a landmark file; \{"landmarks"'),
        ('{"landmarks": {}}', "not a landmark file"),
        ('{"landmarks": [], "rois": []}', "'rois' is unknown; allowed are version and landmarks"),
        ('{"landmarks": [], "version": "2.0.0"}', "version 2.0.0 given; .* reads 1.x"),
        (
            document(entry(), entry(colour="red")),
            "landmark 2: 'colour' is unknown; allowed are label",
        ),
        (document(entry(image={"chanel": "0"})), "landmark 1: 'image.chanel' .* stack, tile, obj"),
        (document(entry(image="left image")), "landmark 1: image: .*'left image' names no image"),
        (document(entry(label=" ")), "landmark 1: the label is empty"),
        (document(entry(label=None)), "landmark 1: label"),
        (
            document(entry(position_vx=[1, 2])),
            r"landmark 1: .*\[width, height, depth\] is expected",
        ),
        (document(entry(position_vx=[1, 2, "z"])), r"position_vx.2: \[width, height"),
        (document(entry(position_vx={"x": 1})), r"position_vx: \[width, height"),
        ('{"landmarks": [7]}', "landmark 1: this entry"),
        (document({"image": HOME, "position_vx": [1, 2, 3]}), "landmark 1: label: Field required"),
        (
            document(entry(), entry(label="B"), entry()),
            r"landmark 3: the label 'A' is set twice .*tp:0 .*landmark 1",
        ),
    ],
)
def test_bad_json(tmp_path: Path, experiment: Experiment, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_landmarks(write(tmp_path, text), experiment)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty; the columns label"),
        ("\n# nothing\n", "the table is empty"),
        ("label,x,y\nA,1,2", "no columns of positions; there are: label, x, y"),
        ("1,2,3\n4,5,6", "no columns of positions"),
        ("x,y,z\n1,2,3", "no column label"),
        ("label,x,y,z,w,h,d\nA,1,2,3,4,5,6", "several sets of columns"),
        ("label,x,x,y,z\nA,1,2,3,4", "the column 'x' appears twice"),
        ("index,axis-0,axis-1,axis-2,axis-3\n0,1,2,3,4", "more than three axes"),
        ("label,x,y,z\nA,1,2,3\n\nB,1,two,3", "line 4: y: 'two' is not a number"),
        ("label,x,y,z\nA,1,2,nan", "line 2: z: 'nan' is not a number"),
        ("label,x,y,z\nA,1,2", "line 2: z: '' is not a number"),
        ('label,x,y,z\nA,"1,5",2,3', "line 2: x: '1,5' is not a number"),
        ("label,x,y,z\n,1,2,3", "line 2: the label is empty"),
        ("label,x,y,z,image\nA,1,2,3,left one", "line 2: 'left one' names no image"),
        ("label,x,y,z\nA,1,2,3\nA,4,5,6", "line 3: the label 'A' is set twice .* line 2"),
    ],
)
def test_bad_tables(tmp_path: Path, experiment: Experiment, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_landmarks(write(tmp_path, text, "points.csv"), one_of(experiment))
    assert "points.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (
            document(entry(), entry(image={**HOME, "channel": "9"})),
            "a.lmk.json",
            r"landmark 2 \('A'\): the channel '9' matches no image of /data/a; there are: 0, 1",
        ),
        ("label,x,y,z,stack\nA,1,2,3,5", "a.csv", r"line 2 \('A'\): the stack '5' .* 1-x00-y00"),
        ("label,x,y,z\nA,1,2,3", "a.csv", "give also time_point and channel and stack"),
        ("index,axis-0,axis-1,axis-2\n0,1,2,3", "ch-7.csv", "the channel '7' matches no image"),
    ],
)
def test_images_that_do_not_exist(
    tmp_path: Path, experiment: Experiment, text: str, name: str, message: str
) -> None:
    with pytest.raises(SelectionError, match=message):
        read_landmarks(write(tmp_path, text, name), experiment)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n\x00\x00", "columns of positions|not a table"),
        (b"\xff\xfe\x00", "no col|table"),
    ],
)
def test_files_of_another_kind(
    tmp_path: Path, experiment: Experiment, content: bytes, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_landmarks(write(tmp_path, content, "a.lux.h5"), experiment)


def test_an_image_given_by_mistake_is_not_read(tmp_path: Path, experiment: Experiment) -> None:
    with open(tmp_path / "image.csv", "wb") as file:
        file.truncate(2**28 + 1)
    with pytest.raises(ConfigError, match="larger than 256 MiB"):
        read_landmarks(tmp_path / "image.csv", experiment)


def test_files_that_are_not_there(tmp_path: Path, experiment: Experiment) -> None:
    with pytest.raises(ConfigError, match=r"a\.csv: cannot be read: No such file"):
        read_landmarks(tmp_path / "a.csv", experiment)
    with pytest.raises(ConfigError, match="this folder holds no landmark files"):
        read_landmarks(tmp_path, experiment)
    with pytest.raises(ConfigError, match="no such landmark file"):
        find_landmark_file(experiment, tmp_path / "a.csv")


def test_the_file_nearest_to_the_images_is_found(tmp_path: Path) -> None:
    truth = small_experiment(tmp_path / "e", shape=(8, 16, 24))
    for path in (truth.folder, Path(truth.folder, "raw"), truth.path(truth.views[0])):
        assert find_landmark_file(open_experiment(path)) is None
    top = write(Path(truth.folder), document())
    for path in (truth.folder, Path(truth.folder, "raw"), truth.path(truth.views[0])):
        assert find_landmark_file(open_experiment(path)) == top
    in_raw = write(Path(truth.folder, "raw"), document())
    in_stack = write(truth.path(truth.views[0]).parent, document())
    assert find_landmark_file(open_experiment(truth.folder)) == in_raw
    assert find_landmark_file(open_experiment(truth.path(truth.views[0]))) == in_stack
    assert find_landmark_file(open_experiment(truth.path(truth.views[1]))) == in_raw
    other = write(tmp_path, "label,x,y,z\n", "other.csv")
    assert find_landmark_file(open_experiment(truth.folder), str(other)) == other
    assert find_landmark_file(open_experiment(truth.folder), tmp_path) == tmp_path


def test_an_experiment_without_views_has_its_folder(tmp_path: Path) -> None:
    empty = Experiment(str(tmp_path), str(tmp_path), "experiment", ())
    path = write(tmp_path, document())
    assert find_landmark_file(empty) == path
    with pytest.raises(LuxdaskError):
        read_landmarks(write(tmp_path, document(entry())), empty)
