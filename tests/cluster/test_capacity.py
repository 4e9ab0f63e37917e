"""Plans are made for the workers, not for the machine from which they are started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import distributed
import pytest

from luxdask.cluster import connect
from luxdask.cluster.backend import usable_cores
from luxdask.cluster.capacity import MEMORY_PART, Capacity, capacity_of
from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from luxdask.tasks import Task
    from luxdask.testing import Truth

SITE = """
system = "slurm"
[workers]
cores = 32
memory = "128 GB"
processes = 4
walltime = "04:00:00"
[scale]
"""


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., str]:
    def write(scale: str = "jobs = 3", more: str = "") -> str:
        (tmp_path / "site.toml").write_text(f"{SITE}{scale}\n{more}")
        return str(tmp_path / "site.toml")

    return write


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=3,
        memory_limit="6 GB",
        processes=False,
        dashboard_address="127.0.0.1:0",
    ) as made:
        yield made.scheduler_address


def test_this_machine() -> None:
    assert capacity_of("local") == Capacity(usable_cores())
    assert capacity_of("processes", 3, 2) == Capacity(2, workers=3)


def test_jobs(site: Callable[..., str]) -> None:
    found = capacity_of(site())
    assert (found.threads, found.workers) == (8, 12)
    assert found.memory_bytes == int(128e9 * MEMORY_PART) // 4
    assert found.note.startswith("planned for 12 workers with 8 threads and 22.4 GB for chunks")
    assert capacity_of(site(), n_workers=5).workers == 5
    assert "up to 80 workers" in capacity_of(site("maximum = 20")).note


def test_jobs_with_gpus(site: Callable[..., str]) -> None:
    found = capacity_of(site(more="[gpus]\nper_job = 2\n"))
    assert (found.threads, found.workers) == (1, 6)
    assert found.memory_bytes == int(128e9 * MEMORY_PART) // 2


def test_running_scheduler(scheduler: str) -> None:
    found = capacity_of(scheduler)
    assert (found.threads, found.workers) == (3, 1)
    assert found.memory_bytes == int(6e9 / 3 * 3 * MEMORY_PART)
    assert scheduler in found.note


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luxdask.cluster.capacity.ASK_TIMEOUT_S", 1)
    found = capacity_of("tcp://127.0.0.1:9")
    assert found.threads == usable_cores()
    assert "planned for this machine: no dask scheduler answers" in found.note


def test_unknown() -> None:
    with pytest.raises(ConfigError, match="no such cluster"):
        capacity_of("moon")


def test_plans(site: Callable[..., str], tiles: Truth, make_task: Callable[..., Task]) -> None:
    task = make_task(tiles).replace({"compute.cluster": site()})
    plan = task.compile(task.open_experiment())
    assert plan.slots == 96
    assert any("12 workers with 8 threads" in note for note in plan.notes)


def test_plans_for_workers_that_are_given(
    scheduler: str, tiles: Truth, make_task: Callable[..., Task]
) -> None:
    task = make_task(tiles)
    with connect(scheduler) as cluster:
        plan = task.compile(task.open_experiment(), cluster)
    assert plan.slots == 3


def test_chunk_that_does_not_fit_there(tmp_path: Path, tiles: Truth, make_task: Any) -> None:
    """The machine here has memory enough, a worker has not."""
    small = SITE.replace("128 GB", "64 MB")
    (tmp_path / "site.toml").write_text(small)
    task = make_task(tiles).replace({"compute.cluster": str(tmp_path / "site.toml")})
    with pytest.raises(ConfigError, match="a worker has 11 MB"):
        task.compile(task.open_experiment())
