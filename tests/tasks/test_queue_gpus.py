"""Whose turn it is, and on which GPU; without any GPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from luxdask.tasks import queue_gpus
from luxdask.tasks.config import TaskConfig, set_values
from luxdask.tasks.queue_gpus import choose_gpu, has_room, usable_gpus, wants_gpu
from luxdask.tasks.queue_task import QueuedTask
from luxdask.tasks.queue_turn import Turn, next_turn

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for nvidia-smi that prints a file; CuPy seems to be installed."""
    monkeypatch.setattr(queue_gpus, "find_spec", lambda _: object())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncat "{tmp_path}/gpus.csv"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "gpus.csv"


def test_gpus_of_the_driver(driver: Path) -> None:
    driver.write_text("GPU-aa, 9.0\nGPU-bb, 3.5\nGPU-cc, 8.6\nGPU-dd, [N/A]\n")
    assert usable_gpus() == ("GPU-aa", "GPU-cc")


def test_driver_that_does_not_work(driver: Path) -> None:
    assert not driver.exists()  # cat fails
    assert usable_gpus() == ()


def test_no_driver(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(driver.parent / "empty"))
    assert usable_gpus() == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [("0,1", ("0", "1")), (" 3 ", ("3",)), ("", ()), ("-1", ()), ("GPU-aa,2", ("GPU-aa", "2"))],
)
def test_gpus_that_were_chosen(
    driver: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: tuple[str, ...]
) -> None:
    driver.write_text("GPU-aa, 9.0\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert usable_gpus() == expected


def test_no_cupy(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.write_text("GPU-aa, 9.0\n")
    monkeypatch.setattr(queue_gpus, "find_spec", lambda _: None)
    assert usable_gpus() == ()


@pytest.mark.parametrize(
    ("cluster", "device", "expected"),
    [
        ("local", "cpu", False),
        ("local", "cuda", True),
        ("cuda", "cpu", True),
        ("slurm", "cuda", False),
        ("tcp://host:8786", "cuda", False),
    ],
)
def test_who_wants_a_gpu(cluster: str, device: str, expected: bool) -> None:
    values = {"compute.cluster": cluster, "compute.device": device}
    assert wants_gpu(set_values(TaskConfig(), values)) is expected


@pytest.mark.parametrize(
    ("gpu", "running", "limit", "n_gpus", "expected"),
    [
        (False, [], None, 0, True),
        (False, [None], None, 0, False),
        (True, [], None, 0, True),
        (True, [None], None, 0, False),
        (True, ["a"], None, 2, True),
        (True, ["a", "b"], None, 2, False),
        (True, ["a", None], None, 2, False),
        (False, ["a"], None, 2, True),
        (False, [None], None, 2, False),
        (False, [None], 2, 0, True),
        (True, ["a", "a"], 3, 1, True),
        (False, [None, None], 2, 4, False),
    ],
)
def test_room(
    gpu: bool, running: list[str | None], limit: int | None, n_gpus: int, expected: bool
) -> None:
    assert has_room(gpu=gpu, running=running, limit=limit, n_gpus=n_gpus) is expected


def test_gpu_with_the_fewest_tasks() -> None:
    assert choose_gpu(("a", "b"), []) == "a"
    assert choose_gpu(("a", "b"), ["a", None]) == "b"
    assert choose_gpu(("a", "b"), ["a", "b", "b"]) == "a"
    assert choose_gpu((), []) is None


def queued(number: int, settings: str = "{}", **values: Any) -> QueuedTask:
    given = {"state": "Queuing", "position": number, "source": "", "cwd": "/", **values}
    return QueuedTask(id=number, settings=settings, **given)


def test_turn_of_a_gpu_task_comes_before_that_of_one_that_must_wait() -> None:
    tasks = [
        queued(1, state="Running", device=None),
        queued(2),
        queued(3, '{"compute": {"device": "cuda"}}'),
    ]
    assert next_turn(tasks) is None
    assert next_turn(tasks, ("a", "b")) == Turn(tasks[2], "a")
    assert next_turn(tasks, ("a", "b"), 1) is None
    assert next_turn(tasks, ("a", "b"), 2) == Turn(tasks[1], None)


def test_task_with_damaged_settings_gets_its_turn_and_fails_then() -> None:
    task = queued(1, "{")
    assert next_turn([task], ("a",)) == Turn(task, None)
