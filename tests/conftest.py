"""What several parts of the tests need: real data, a small experiment, and runs of it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from luxdask.cluster import connect
from luxdask.io import open_experiment
from luxdask.tasks import Task
from luxdask.testing import small_experiment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luxdask.tasks import TaskResult
    from luxdask.testing import Truth

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
CHUNK = [64, 64, 64]


def pytest_configure() -> None:
    """Processes of tests start with SIGINT ignored, which their children would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONG = (
    "test_kill.py", "test_submit.py", "test_runs.py", "test_registration_accuracy.py",
    "test_demo.py", "test_queue.py", "test_dask_backend.py", "test_faults.py",
    "test_registration_landmarks.py",
)  # fmt: skip
"""Files that take longest; where tests run side by side they begin first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file stay together in one process, so that its fixtures are made once.

    But for those that wait for processes for minutes.
    """
    items.sort(key=lambda item: item.path.name not in LONG)
    for item in items:
        group = item.nodeid if item.path.name == "test_kill.py" else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real volumes; tests that need it are skipped where it is missing."""
    folder = SHARED_DATA / "real"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is missing")
    return folder


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps a user's saved defaults and queue out of the tests."""
    monkeypatch.setenv("LUXDASK_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("LUXDASK_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def _leaves_signals_alone() -> Iterator[None]:
    """A test that changed what Ctrl-C does would change the tests after it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    after = signal.signal(signal.SIGINT, before)
    assert after is before, f"SIGINT is handled by {after} after this test"


@pytest.fixture
def tiles(tmp_path: Path) -> Truth:
    """Two channels of two overlapping tiles, cut at whole voxels of a 70 × 130 × 200 volume."""
    return small_experiment(tmp_path / "tiles", shape=(70, 130, 200), channels=2)


@pytest.fixture
def make_task() -> Callable[..., Task]:
    """A task for an experiment with many small chunks; keywords are settings, ``__`` for a dot."""

    def make(truth: Truth | str | Path, **values: Any) -> Task:
        folder = truth if isinstance(truth, (str, Path)) else truth.folder
        given = {key.replace("__", "."): value for key, value in values.items()}
        return Task.new(open_experiment(folder), values={"compute.chunk_vx": CHUNK, **given})

    return make


@pytest.fixture
def run_task(make_task: Callable[..., Task]) -> Callable[..., TaskResult]:
    """Makes a task and runs it on one thread."""

    def run(truth: Truth | str | Path, **values: Any) -> TaskResult:
        task = make_task(truth, **values)
        with connect("threads", threads_per_worker=1) as cluster:
            return task.run(cluster=cluster)

    return run


@pytest.fixture
def one_thread() -> Iterator[Any]:
    """A cluster of a single thread: chunks come one after the other, in order."""
    with connect("threads", threads_per_worker=1) as cluster:
        yield cluster
