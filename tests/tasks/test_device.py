"""Tasks whose chunks are fused on a GPU, which is emulated here."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from luxdask.cluster import connect
from luxdask.cluster.failures import RETRIES
from luxdask.errors import ClusterError, ConfigError, TaskFailedError
from luxdask.testing.cuda import EmulatedCupy

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.tasks import Task, TaskResult
    from luxdask.testing import Truth

WEIGHTED = {"fusion__blending": True, "fusion__image_quality_weighting": True}
FULL = MemoryError("Out of memory allocating 1,000 bytes")

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is missing")


@pytest.fixture
def cupy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmulatedCupy:
    module = EmulatedCupy(tmp_path / "cuda")
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def images(result: TaskResult) -> list[np.ndarray[Any, Any]]:
    found = []
    for path in result.images:
        with h5py.File(path) as file:
            found.append(file["Data"][...])
    return found


@needs_compiler
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_task_gives_the_same_image_on_both_devices(
    cupy: EmulatedCupy, tiles: Truth, run_task: Callable[..., TaskResult], interpolation: str
) -> None:
    options = dict(WEIGHTED, fusion__interpolation=interpolation, output__sampling__width=0.9)
    expected = images(run_task(tiles, **options))
    assert cupy.launches == 0
    found = images(run_task(tiles, **options, compute__device="cuda"))
    assert cupy.launches > len(expected)
    for a, b in zip(expected, found, strict=True):
        assert a.any()
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


@needs_compiler
def test_the_lazy_image_is_fused_there_as_well(
    cupy: EmulatedCupy, tiles: Truth, make_task: Callable[..., Task]
) -> None:
    task = make_task(tiles, **WEIGHTED)
    there = task.replace({"compute.device": "cuda"})
    experiment = task.open_experiment()
    lazy = [t.compile(experiment).outputs[0].array.data for t in (task, there)]
    assert lazy[0].name != lazy[1].name
    expected, found = (array[:70, :64, :70].compute(scheduler="sync") for array in lazy)
    assert cupy.launches > 0
    assert isinstance(found, np.ndarray)
    assert np.abs(expected.astype(int) - found.astype(int)).max() <= 1


@needs_compiler
def test_a_full_device_is_cleared_once_and_tried_again(
    cupy: EmulatedCupy, tiles: Truth, run_task: Callable[..., TaskResult]
) -> None:
    expected = images(run_task(tiles))
    cupy.failures.append(FULL)
    found = images(run_task(tiles, compute__device="cuda"))
    assert cupy.freed == 1
    for a, b in zip(expected, found, strict=True):
        assert np.array_equal(a, b)


def test_a_chunk_that_does_not_fit_says_what_to_do(
    cupy: EmulatedCupy, tiles: Truth, run_task: Callable[..., TaskResult]
) -> None:
    cupy.failures += [FULL] * 1000
    with pytest.raises(
        TaskFailedError, match=r"chunk .*GPU, which has 1.1 of 8.6 GB free"
    ) as failed:
        run_task(tiles, compute__device="cuda")
    assert 'compute.device to "cpu"' in str(failed.value)
    assert cupy.freed > RETRIES


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_without_a_gpu_nothing_starts(
    tiles: Truth, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    """Decided where the chunks are fused: the machine that compiles the task needs no GPU."""
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    task = make_task(tiles, compute__device="cuda")
    task.compile(task.open_experiment())
    with (
        connect(workers, n_workers=1, threads_per_worker=1) as cluster,
        pytest.raises(ClusterError, match=r'compute\.device "cuda": '),
    ):
        task.run(cluster=cluster)
    assert not (Path(tiles.folder) / "processed").exists()


def test_other_devices_are_refused(tiles: Truth, make_task: Callable[..., Task]) -> None:
    with pytest.raises(ConfigError, match=r"compute\.device"):
        make_task(tiles, compute__device="gpu")
