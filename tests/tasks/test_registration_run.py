"""Registration within a run: stopped, killed, resumed, with damaged files or nothing to do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import dask
import pytest

from luxdask.cluster import connect
from luxdask.errors import ConfigError, ImageFileError, TaskStopped
from luxdask.graph.fusion import fuse_chunk
from luxdask.io import open_experiment
from luxdask.io.link_log import read_link_log
from luxdask.model.corrections import is_identity
from luxdask.tasks import Task
from luxdask.testing import small_experiment
from luxdask.testing.alignment import position_errors, worst_error_vx
from luxdask.testing.readers import forbid_reads

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.cluster.events import Progress
    from luxdask.tasks import TaskResult
    from luxdask.tasks.registration_result import Registration
    from luxdask.testing import Truth

TILES = {
    "registration__enabled": True,
    "registration__tiles__enabled": True,
    "fusion__blending": True,
}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """2 × 3 tiles with stage errors."""
    return small_experiment(
        tmp_path_factory.mktemp("grid") / "e",
        shape=(20, 90, 130),
        tiles=(2, 3),
        stage_error_um=2.0,
        sub_voxel=True,
    )


@pytest.fixture
def register_task(make_task: Callable[..., Task], tmp_path: Path) -> Callable[..., Task]:
    """A task that registers tiles; its folder lies in the test's own."""

    def make(truth: Truth, **values: Any) -> Task:
        given = {"output__folder": str(tmp_path / "out"), "output__formats": ["lux"], **TILES}
        return make_task(truth, **(given | values))

    return make


@pytest.fixture(scope="module")
def _whole() -> list[TaskResult]:
    return []


@pytest.fixture
def whole(
    _whole: list[TaskResult],
    grid: Truth,
    register_task: Callable[..., Task],
    tmp_path_factory: pytest.TempPathFactory,
) -> TaskResult:
    """The grid, registered and fused in one go; made by the first test that asks for it."""
    if not _whole:
        folder = str(tmp_path_factory.mktemp("whole"))
        _whole.append(register_task(grid, output__folder=folder).run())
    return _whole[0]


def registered(result: TaskResult) -> Registration:
    assert result.registration is not None
    return result.registration


def images(folder: Path) -> dict[str, bytes]:
    found = {p.name: p.read_bytes() for p in folder.glob("uni_*")}
    assert found
    return found


class Stopper:
    """Stops a run when so many tasks of a stage are done; notes the pairs measured by then."""

    def __init__(self, stage: str = "", after: int = 0) -> None:
        self.stage, self.after, self.stop = stage, after, Event()
        self.before: int | None = None
        self.measured = 0

    def __call__(self, progress: Progress) -> None:
        if progress.stage == "registration":
            self.before = progress.done_before
            self.measured = progress.done - progress.done_before
        if progress.stage == self.stage and progress.done >= self.after:
            self.stop.set()


def waits_for(stop: Event, after: int) -> Callable[[Any], Any]:
    """`fuse_chunk`, but after some chunks the next one waits until the run is stopped."""
    begun = count(1)

    def fuse(job: Any) -> Any:
        if next(begun) > after:
            assert stop.wait(60)
        return fuse_chunk(job)

    return fuse


def stopped(task: Task, stopper: Stopper) -> Path:
    with (
        connect("threads", threads_per_worker=1) as cluster,
        pytest.raises(TaskStopped) as caught,
    ):
        task.run(cluster=cluster, listeners=(stopper,), stop=stopper.stop)
    folder = Path(str(caught.value).partition("luxdask run ")[2])
    assert folder.is_dir()
    return folder


def test_stopped_while_measuring(
    grid: Truth, whole: TaskResult, register_task: Callable[..., Task]
) -> None:
    stopper = Stopper("registration", 3)
    folder = stopped(register_task(grid), stopper)
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["stage"]) == ("Stopped", "registration")
    assert not list(folder.glob("uni_*"))
    known = len(read_link_log(folder))
    total = len(registered(whole).links)
    assert 3 <= known == stopper.measured < total

    counter = Stopper()
    resumed = Task.open(folder).run(listeners=(counter,))
    assert (counter.before, counter.measured) == (known, total - known)
    assert registered(resumed).transforms == registered(whole).transforms
    assert registered(resumed).links == registered(whole).links
    assert images(resumed.folder) == images(whole.folder)


def test_stopped_while_fusing(
    grid: Truth,
    whole: TaskResult,
    register_task: Callable[..., Task],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopper = Stopper("fusion", 2)
    with monkeypatch.context() as patched:
        patched.setattr("luxdask.graph.write.fuse_chunk", waits_for(stopper.stop, after=3))
        folder = stopped(register_task(grid), stopper)
    assert list(folder.glob("reg_sti/*.tf.json"))
    counter = Stopper()
    resumed = Task.open(folder).run(listeners=(counter,))
    assert counter.measured == 0
    assert images(resumed.folder) == images(whole.folder)
    assert registered(resumed).transforms == registered(whole).transforms


SLOW_PAIRS = """
import sys, time
import luxdask.graph.registration as graph
match = graph.match
def slow(*given):
    time.sleep(0.2)
    return match(*given)
graph.match = slow
from luxdask.cli import main
main(sys.argv[1:])
"""


def test_killed_while_measuring(
    grid: Truth, whole: TaskResult, register_task: Callable[..., Task], tmp_path: Path
) -> None:
    task = register_task(grid, output__folder=str(tmp_path / "killed"))
    task.save(tmp_path / "task.json")
    command = [sys.executable, "-c", SLOW_PAIRS, "run", str(tmp_path / "task.json")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        folder = _with_links(tmp_path / "killed", 2)
    finally:
        process.kill()
        process.wait()
    known = len(read_link_log(folder))
    assert 2 <= known < len(registered(whole).links)
    counter = Stopper()
    resumed = Task.open(folder).run(listeners=(counter,))
    assert counter.before == known
    assert registered(resumed).transforms == registered(whole).transforms
    assert images(resumed.folder) == images(whole.folder)


def _with_links(parent: Path, count: int) -> Path:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for folder in parent.glob("*_Task_*"):
            if len(read_link_log(folder)) >= count:
                return folder
        time.sleep(0.02)
    raise AssertionError("no pair was measured in a minute")


# ---- what cannot be registered ----


def test_damaged_tile(tmp_path: Path, register_task: Callable[..., Task]) -> None:
    truth = small_experiment(
        tmp_path / "e", shape=(20, 90, 130), tiles=(2, 3), stage_error_um=2.0, sub_voxel=True
    )
    bad = truth.views[4]
    healthy = truth.path(bad).read_bytes()
    truth.path(bad).write_bytes(healthy[: len(healthy) // 8])
    task = register_task(truth, fusion__enabled=False)
    result = task.run()
    found = registered(result)
    broken = [link for link in found.links if bad.id in (link.fixed, link.moving)]
    assert {link.status for link in broken} == {"unreadable"}
    assert all(truth.path(bad).name in link.reason for link in broken)
    assert all(link.is_trusted for link in found.links if link not in broken)
    assert any(truth.path(bad).name in w for w in found.warnings)
    assert [name for name in found.unlinked if bad.id.stack in name]
    good = {v: t for v, t in found.transforms.items() if v != bad.id}
    assert worst_error_vx(position_errors(truth, good, found.reference)) < 0.1


def test_damaged_tile_that_is_back_moves_the_views_of_begun_images(
    tmp_path: Path, register_task: Callable[..., Task]
) -> None:
    truth = small_experiment(tmp_path / "e", stage_error_um=2.0, sub_voxel=True)
    bad = truth.path(truth.views[1])
    healthy = bad.read_bytes()
    bad.write_bytes(healthy[: len(healthy) // 8])
    with pytest.raises(ImageFileError, match=bad.name):
        register_task(truth).run()
    (failed,) = (tmp_path / "out").glob("*_F")
    bad.write_bytes(healthy)
    with pytest.raises(
        ConfigError, match=r"experiment has changed.*registration\).*--update.*or run its config"
    ):
        Task.open(failed, resume=True).run()
    again = Task.open(failed).run()
    errors = position_errors(truth, registered(again).transforms, registered(again).reference)
    assert worst_error_vx(errors) < 0.1


@pytest.mark.parametrize(
    ("options", "values", "said"),
    [
        ({"tiles": (1, 1)}, {}, r"nothing to register \(tiles\)"),
        ({"overlap": 0}, {}, r"nothing to register \(tiles\)"),
        (
            {"tiles": (1, 1)},
            {"registration__tiles__enabled": False, "registration__time_points__enabled": True},
            r"nothing to register \(time_points\)",
        ),
        ({}, {"registration__tiles__enabled": False}, "none of its stages"),
    ],
    ids=["one view", "no overlap", "one time point", "no stage"],
)
def test_nothing_to_register(
    tmp_path: Path,
    register_task: Callable[..., Task],
    options: dict[str, Any],
    values: dict[str, Any],
    said: str,
) -> None:
    truth = small_experiment(tmp_path / "e", **options)
    task = register_task(truth, **values)
    plan = task.compile(task.open_experiment())
    result = task.run()
    found = registered(result)
    for sentences in (plan.notes, found.warnings):
        assert any(re.search(said, s) for s in sentences)
    assert all(is_identity(t) for t in found.transforms.values())
    assert result.images
    assert said_in_log(result.folder, "nothing to register") or "stages" in said


def test_stacks_without_the_reference_objective_are_named(
    tmp_path: Path, register_task: Callable[..., Task]
) -> None:
    truth = small_experiment(tmp_path / "e", tiles=(1, 3), objectives=2, overlap=0.3)
    experiment = open_experiment(tmp_path / "e")
    lost = [v for v in experiment.views if v.id.tile != "x01-y00" or v.id.objective != "left"]
    task = register_task(truth, input__reference__objective="left")
    plan = task.compile(experiment.with_views(lost))
    assert plan.registration is not None
    assert not any("x01" in p.moving.stack for p in plan.registration.pairs if p.kind == "tiles")
    (note,) = (n for n in plan.notes if "input.reference" in n)
    assert note.startswith("stacks 0-x01-y00 have no image of the reference's objective")


def said_in_log(folder: Path, words: str) -> bool:
    return words in (folder / "log.txt").read_text(encoding="utf-8")


def test_blank_images(tmp_path: Path, register_task: Callable[..., Task]) -> None:
    from luxdask.testing.spoil import neighbouring_tiles, spoil_overlaps

    truth = small_experiment(tmp_path / "e", stage_error_um=2.0)
    spoil_overlaps(truth, dict.fromkeys(neighbouring_tiles(truth), "blank"))
    found = registered(register_task(truth).run())
    assert [link.status in ("no texture", "no match") for link in found.links] == [True]
    assert found.links[0].reason
    assert any("not used: tiles" in w for w in found.warnings)
    assert any("metadata position" in w for w in found.warnings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"registration__reuse__task_folder": "/nowhere/20260101_Task_1"}, "no such folder"),
        ({"registration__reuse__task_folder": "{raw}"}, "no registrations in this folder"),
        ({"registration__landmarks__enabled": True}, r"no landmarks\.lmk\.json"),
        (
            {
                "registration__landmarks__enabled": True,
                "input__landmarks_file": "/nowhere/a.lmk.json",
            },
            r"/nowhere/a\.lmk\.json",
        ),
        (
            {
                "input__metadata__multi_transform__enabled": True,
                "input__metadata__multi_transform__file": "/nowhere/a.mtf.json",
            },
            r"/nowhere/a\.mtf\.json",
        ),
    ],
    ids=["no folder", "no registrations", "no landmarks", "no such landmarks", "no such mtf"],
)
def test_wrong_paths_are_told_before_anything_starts(
    grid: Truth,
    register_task: Callable[..., Task],
    tmp_path: Path,
    values: dict[str, Any],
    message: str,
) -> None:
    raw = str(Path(grid.folder) / "raw")
    given = {k: v.replace("{raw}", raw) if isinstance(v, str) else v for k, v in values.items()}
    with pytest.raises(ConfigError, match=message):
        register_task(grid, **given).run()
    assert not (tmp_path / "out").exists()


# ---- plans and backends ----


def test_plan_shows_pairs_and_reads_no_voxel(
    grid: Truth, whole: TaskResult, register_task: Callable[..., Task]
) -> None:
    task = register_task(grid)
    with forbid_reads():
        plan = task.compile(task.open_experiment())
        planned = plan.registration
        assert planned is not None
        graph = planned.graph()
        text = str(planned)
    assert len(planned.pairs) == len(graph) == 11
    assert all(str(pair) in text for pair in planned.pairs)
    assert planned.bytes_read > 0
    links = dask.get(graph, list(graph))
    kept = ("kind", "fixed", "moving", "transform", "quality", "precision_um", "overlap")
    for link, other in zip(links, registered(whole).links, strict=True):
        assert all(getattr(link, name) == getattr(other, name) for name in kept)


def test_processes_find_what_threads_find(
    grid: Truth, whole: TaskResult, register_task: Callable[..., Task]
) -> None:
    task = register_task(grid, fusion__enabled=False)
    with connect("processes", n_workers=2) as cluster:
        processes = registered(task.run(cluster=cluster))
    assert processes.links == registered(whole).links
    assert processes.transforms == registered(whole).transforms
