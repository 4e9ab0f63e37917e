"""What several parts of the tests need: real data, a small experiment, and runs of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import luxdask
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


def pytest_configure(config: pytest.Config) -> None:
    """Processes of tests start with SIGINT ignored, which their children would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        _compile_kernels()


KERNELS = Path(__file__).with_name("kernels.py")
_compiling: dict[str, subprocess.Popen[str]] = {}


def _compile_kernels() -> None:
    """On a fresh clone tests that run side by side would each compile what the others do.

    What was found meanwhile is kept for a test.
    """
    package = Path(luxdask.__file__).parent
    if "NUMBA_CACHE_DIR" in os.environ or any(package.rglob("*.nbi")):
        return
    os.environ["LUXDASK_FRESH_KERNELS"] = tempfile.mkdtemp()
    for part in ("registration", "images"):
        _compiling[part] = subprocess.Popen(
            [sys.executable, str(KERNELS), part],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """No test begins before the kernels are there."""
    while _compiling:
        part, process = _compiling.popitem()
        found, said = process.communicate()
        if process.returncode == 0:
            Path(os.environ["LUXDASK_FRESH_KERNELS"], part).write_text(found)
        else:
            node.config.get_terminal_writer().line(f"kernels were not compiled before:\n{said}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Kernels may be compiled still, where no test ran."""
    if hasattr(config, "workerinput"):
        return
    for process in _compiling.values():
        process.kill()
    if "LUXDASK_FRESH_KERNELS" in os.environ:
        shutil.rmtree(os.environ.pop("LUXDASK_FRESH_KERNELS"))


LONG = (
    "test_kill.py", "test_runs.py", "test_submit.py", "test_queue.py",
    "test_registration_accuracy.py", "test_update.py", "test_faults.py", "test_dask_backend.py",
    "test_run.py", "test_status.py", "test_registration_run.py", "test_demo.py",
    "test_registration_landmarks.py",
)  # fmt: skip
"""Files that take longest; where tests run side by side they begin first, in this order."""

SPLIT = ("test_kill.py", "test_registration_accuracy.py")
"""Files whose tests are spread over the processes: they take minutes and share little."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first, so that no process is left with one when the others have ended."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file stay together in one process, so that its fixtures are made once."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return nodeid if file.endswith(SPLIT) else file

    return ByFile(config, log)


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


@pytest.fixture(scope="session")
def copy_experiment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Truth]:
    """`small_experiment`, which is made once with the same options, and then copied."""
    made: dict[str, Truth] = {}

    def copy(folder: Path, **options: Any) -> Truth:
        key = repr(sorted(options.items()))
        if key not in made:
            made[key] = small_experiment(tmp_path_factory.mktemp("made") / "e", **options)
        shutil.copytree(made[key].folder, folder)
        return replace(made[key], folder=str(folder))

    return copy


@pytest.fixture
def tiles(tmp_path: Path, copy_experiment: Callable[..., Truth]) -> Truth:
    """Two channels of two overlapping tiles, cut at whole voxels of a 70 × 130 × 200 volume."""
    return copy_experiment(tmp_path / "tiles", shape=(70, 130, 200), channels=2)


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
