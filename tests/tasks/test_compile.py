"""From settings to a plan: what is planned, and whether its forecasts hold."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest

from luxdask.graph.tasks import TaskStream
from luxdask.tasks.compile import free_disk
from luxdask.tasks.images import ImageFiles
from luxdask.testing import DemoSpec, small_experiment, write_experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from luxdask.tasks import Task
    from luxdask.testing import Truth


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return small_experiment(
        tmp_path_factory.mktemp("c") / "e", channels=2, time_points=3, objectives=2, pms=2
    )


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 12),
        ({"fusion.merge_all_channels": True}, 6),
        ({"fusion.fuse_different_cams": False}, 24),
        ({"output.bounding_boxes": "Separate"}, 24),
        ({"output.views_separately": True}, 12 + 48),
        ({"input.select.time_points": ["1-2"], "input.select.channels": ["0"]}, 4),
        ({"input.only_create_main_files": True}, 0),
    ],
)
def test_number_of_images(
    truth: Truth, make_task: Callable[..., Task], values: dict[str, Any], count: int
) -> None:
    task = make_task(truth).replace(values)
    plan = task.compile(task.open_experiment())
    assert len(plan.outputs) == count
    assert len({p.name for p in plan.outputs}) == count


@pytest.mark.parametrize(
    ("formats", "imaris", "copies"),
    [
        (["lux"], "links", 1),
        (["ome-zarr"], "links", 1),
        (["lux", "ome-zarr"], "links", 2),
        (["lux", "bdv", "imaris", "ome-zarr"], "copy", 3),
    ],
)
def test_disk_forecast_counts_copies(
    truth: Truth, make_task: Callable[..., Task], formats: list[str], imaris: str, copies: int
) -> None:
    task = make_task(truth, output__formats=formats).replace({"output.imaris": imaris})
    plan = task.compile(task.open_experiment())
    once = sum(p.size_bytes for p in plan.outputs)
    assert plan.summary().disk_needed_bytes == int(once * copies * 1.02)


def test_disk_forecast_holds(truth: Truth, make_task: Callable[..., Task], tmp_path: Path) -> None:
    task = make_task(truth, output__folder=str(tmp_path), output__formats=["lux"])
    task = task.replace({"input.select.time_points": [0]})
    forecast = task.compile(task.open_experiment()).summary()
    result = task.run()
    written = sum(p.stat().st_size for p in result.images)
    assert forecast.bytes_written <= written <= forecast.bytes_written + 200_000 * 4


def test_free_disk_of_a_folder_to_be_made(tmp_path: Path) -> None:
    assert free_disk(tmp_path / "not" / "there" / "yet") == pytest.approx(
        free_disk(tmp_path), rel=0.1
    )


def test_chunks_shrink_to_the_memory(truth: Truth, make_task: Callable[..., Task]) -> None:
    shapes = []
    for limit in ("4 GB", "19 MB"):
        task = make_task(truth, compute__memory_limit=limit, compute__threads_per_worker=1)
        task = task.replace({"compute.chunk_vx": None, "output.sampling": 0.25})
        plan = task.compile(task.open_experiment())
        assert plan.peak_bytes_per_task() <= plan.outputs[0].peak_bytes()
        shapes.append(np.prod(plan.outputs[0].chunks.chunk))
    assert shapes[1] < shapes[0]


@pytest.mark.parametrize(
    ("shape", "spec", "chunk"),
    [
        ((96, 300, 400), DemoSpec(tiles=(2, 2), overlap=0.3, cameras=2), None),
        ((60, 110, 130), DemoSpec(rotations_deg=(0.0, 30.0), cameras=2), [128, 128, 128]),
    ],
    ids=["tiles", "rotated"],
)
def test_a_task_needs_no_more_memory_than_planned(
    tmp_path: Path,
    make_task: Callable[..., Task],
    shape: tuple[int, int, int],
    spec: DemoSpec,
    chunk: list[int] | None,
) -> None:
    volume = np.random.default_rng(1).integers(0, 60000, shape, dtype=np.uint16)
    truth = write_experiment(tmp_path / "e", volume, spec)
    task = make_task(truth, fusion__blending=True, compute__chunk_vx=chunk)
    plan = task.compile(task.open_experiment())
    files = ImageFiles(plan, tmp_path, task.config.output)
    used = [_allocated(one) for one in TaskStream(plan.outputs, files.writers)]
    planned = plan.peak_bytes_per_task()
    # far below, the forecast would make chunks smaller than they need to be
    assert planned / 10 < max(used) <= planned


def _allocated(task: Any) -> int:
    """Most memory that NumPy arrays of a task take at once."""
    tracemalloc.start()
    try:
        task()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
