"""The package as a whole: what its name offers, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import luxdask

IMPORT_CHECK = """
import sys, threading, psutil
import luxdask
assert luxdask.__version__
heavy = {"h5py", "zarr", "dask", "distributed", "numba", "cupy", "numpy", "scipy", "pydantic"}
print(sorted(heavy & set(sys.modules)), threading.active_count(), psutil.Process().children())
"""


def test_import_is_light() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_CHECK],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[] 1 []"


def test_a_run_on_threads_needs_no_distributed() -> None:
    code = "import sys, luxdask.tasks.task; print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_names() -> None:
    for name in luxdask.__all__:
        assert getattr(luxdask, name) is not None
        assert name in dir(luxdask)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = luxdask.nothing


def test_main_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "luxdask", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"luxdask {luxdask.__version__}\n"
