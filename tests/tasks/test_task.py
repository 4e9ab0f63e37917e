"""Tasks as people make them: new, opened, changed, saved; and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import luxdask
from luxdask.errors import (
    ConfigError,
    ExperimentNotFoundError,
    ImageFileError,
    MetadataError,
    SelectionError,
)
from luxdask.io import open_experiment
from luxdask.io.lux_writer import sidecar_path
from luxdask.tasks import Task
from luxdask.testing import small_experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.tasks import TaskResult
    from luxdask.testing import Truth


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Shared by tests that change nothing in it."""
    return small_experiment(tmp_path_factory.mktemp("small") / "e", channels=2, time_points=2)


def test_new_save_open(small: Truth, tmp_path: Path) -> None:
    task = luxdask.Task.new(luxdask.open_experiment(small.folder), values={"output.sampling": 2})
    task.save(tmp_path / "task.json")
    assert Task.open(tmp_path / "task.json").config == task.config
    assert task.config.input.experiment == small.folder


def test_replace_leaves_the_first_as_it_is(small: Truth) -> None:
    task = Task.new(open_experiment(small.folder))
    changed = task.replace({"fusion.blending": True})
    assert changed.config.fusion.blending.enabled
    assert not task.config.fusion.blending.enabled
    assert changed.changed_defaults == task.changed_defaults


def test_level_sets_hidden_settings_back(small: Truth) -> None:
    with pytest.raises(ConfigError, match="allowed: basic, intermediate, advanced"):
        Task.new(open_experiment(small.folder), level="expert")


def test_compile_reads_no_voxel(small: Truth) -> None:
    from luxdask.testing.readers import forbid_reads

    with forbid_reads():
        experiment = open_experiment(small.folder)
        plan = Task.new(experiment).compile(experiment)
        assert len(plan.outputs) == 4
        assert "uni_tp-1_ch-1" in str(plan)
        assert plan.outputs[0].array.dims == ("z", "y", "x")


def test_lazy_image_is_the_written_image(
    small: Truth, make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task = make_task(small, fusion__blending=True, output__folder=str(tmp_path))
    experiment = task.open_experiment()
    lazy = task.compile(experiment).outputs[1].array.compute(scheduler="sync")
    with h5py.File(task.run(experiment).images[1]) as file:
        np.testing.assert_array_equal(file["Data"][:], lazy.values)


# ---- wrong input: each says what was given and what to do ----


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fusion.blendin": True}, "fusion.blendin.*fusion.blending"),
        ({"output.sampling": -1}, r"output\.sampling.*given -1; allowed"),
        ({"output.formats": ["tiff"]}, r'output\.formats.*"ome-zarr"'),
        ({"output.bounding_boxes": "All"}, "UnionAll"),
        ({"compute.chunk_vx": [10, 10, 10]}, "multiples of 64"),
        ({"output.formats": ["bdv"]}, 'without "lux"'),
        ({"output.formats": []}, "output.formats is empty"),
    ],
    ids=["unknown key", "number", "format", "mode", "chunk", "bdv alone", "no format"],
)
def test_impossible_settings(small: Truth, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        Task.new(open_experiment(small.folder), values=values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"fusoin": {}}', "fusoin"),
        ("{", r"task\.json is not valid JSON: line 1"),
        ("\0\1\2", "not valid JSON"),
        ('{"version": 9}', "newer luxdask"),
        ("[]", "expected an object"),
    ],
    ids=["unknown key", "cut", "binary", "newer", "list"],
)
def test_unusable_task_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "task.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Task.open(tmp_path / "task.json")


def test_open_what_is_no_task(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        Task.open(tmp_path / "task.json")
    with pytest.raises(ConfigError, match=r"no config_task\.json in here"):
        Task.open(tmp_path)


def test_task_without_experiment() -> None:
    from luxdask.tasks.config import parse_config

    with pytest.raises(ExperimentNotFoundError, match=r"input\.experiment is empty"):
        Task(parse_config({})).run()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("input.select.channels", ["7"], r"channel.*7.*0, 1"),
        ("input.select.time_points", ["5-9"], r"time point.*0, 1|0-1"),
        ("input.select.stacks", ["none"], "none"),
        ("input.reference.channel", "9", "9"),
    ],
)
def test_selection_that_matches_nothing(
    small: Truth, make_task: Callable[..., Task], key: str, value: Any, message: str
) -> None:
    task = make_task(small).replace({key: value})
    with pytest.raises(SelectionError, match=message):
        task.run()
    assert not Path(small.folder, "processed").exists()


def test_chunk_that_does_not_fit_into_memory(small: Truth, make_task: Callable[..., Task]) -> None:
    task = make_task(small, compute__memory_limit="1 MB")
    with pytest.raises(ConfigError, match=r"a worker has 1 MB.*compute\.chunk_vx"):
        task.compile(task.open_experiment())


def test_no_such_cluster(small: Truth, make_task: Callable[..., Task]) -> None:
    with pytest.raises(ConfigError, match="no such cluster"):
        luxdask.connect("somewhere")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (None, None, "no such file or folder"),
        ("empty", None, "there was: nothing"),
        ("foreign/note.txt", "hello", "'note.txt'"),
        ("parent/a/raw/note.txt", "hello", "It holds experiments; open one of them: 'a'"),
    ],
    ids=["missing", "empty", "foreign", "parent"],
)
def test_folder_without_images(
    tmp_path: Path, name: str | None, text: str | None, message: str
) -> None:
    target = tmp_path / "none"
    if name is not None and text is None:
        target = tmp_path / name
        target.mkdir()
    elif name is not None and text is not None:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
        target = tmp_path / name.split("/")[0]
    with pytest.raises(ExperimentNotFoundError, match=message) as caught:
        open_experiment(target)
    assert str(target) in str(caught.value)


@pytest.mark.parametrize("damage", ["not json", "{}", None], ids=["not JSON", "empty", "missing"])
def test_metadata_of_an_image(tiles: Truth, damage: str | None) -> None:
    image = tiles.path(tiles.views[0])
    sidecar = sidecar_path(str(image))
    sidecar.unlink() if damage is None else sidecar.write_text(damage)
    noted = open_experiment(tiles.folder).notes
    assert any(image.name.removesuffix(".lux.h5") in note for note in noted)
    with h5py.File(image, "a") as file:
        del file["metadata"]
        if damage is not None:
            file["metadata"] = damage
    with pytest.raises(MetadataError) as caught:
        open_experiment(tiles.folder)
    assert str(image) in str(caught.value)


def test_truncated_image_without_sidecar(tiles: Truth) -> None:
    image = tiles.path(tiles.views[0])
    sidecar_path(str(image)).unlink()
    image.write_bytes(image.read_bytes()[:1000])
    with pytest.raises(
        ImageFileError, match=r"1000 bytes; truncated or damaged.*\.lux\.h5"
    ) as caught:
        open_experiment(tiles.folder)
    assert str(image) in str(caught.value)


def test_missing_time_points_are_listed(
    tmp_path: Path, run_task: Callable[..., TaskResult], make_task: Callable[..., Task]
) -> None:
    truth = small_experiment(tmp_path / "e", time_points=3)
    gone = truth.views[2]
    assert gone.id.time_point == 1
    truth.path(gone).unlink()
    sidecar_path(str(truth.path(gone))).unlink()
    task = make_task(truth)
    plan = task.compile(task.open_experiment())
    assert [n for n in plan.notes if "missing at time points 1" in n and gone.id.stack in n]
    result = run_task(truth)
    assert len(result.images) == 3
    with h5py.File(result.images[1]) as file:
        data, volume = file["Data"][:], truth.read_volume()
        covered = data > 0
        np.testing.assert_array_equal(data[covered], volume[covered])
        assert covered.any()
        assert not covered.all()


def test_names_from_metadata_cannot_leave_the_folder(
    tiles: Truth, run_task: Callable[..., TaskResult]
) -> None:
    for view in tiles.views:
        sidecar = sidecar_path(str(tiles.path(view)))
        document = json.loads(sidecar.read_text())
        information = document["processingInformation"]
        information["channel"] = f"../../../{information['channel']}"
        information["stack"] = f"/etc/{information['stack']}"
        sidecar.write_text(json.dumps(document))
    before = {p for p in Path(tiles.folder).rglob("*") if "processed" not in p.parts}
    result = run_task(tiles, output__formats=["lux", "bdv", "imaris", "ome-zarr"])
    assert len(result.images) == 2
    for path in (*result.images, *result.main_files, *map(Path, result.ome_zarr)):
        assert path.parent == result.folder
        assert ".." not in path.name
    assert {p for p in Path(tiles.folder).rglob("*") if "processed" not in p.parts} == before


def test_image_that_is_a_link_out_of_the_experiment_is_read_and_never_written(
    tiles: Truth, run_task: Callable[..., TaskResult], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for view in tiles.views:
        image = tiles.path(view)
        target = elsewhere / f"{image.parent.name}.lux.h5"
        image.rename(target)
        image.symlink_to(target)
    before = {p: p.read_bytes() for p in elsewhere.iterdir()}
    result = run_task(tiles)
    with h5py.File(result.images[0]) as file:
        np.testing.assert_array_equal(file["Data"][:], tiles.read_volume(0))
    assert {p: p.read_bytes() for p in elsewhere.iterdir()} == before
