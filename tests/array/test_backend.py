"""Which library computes an array, and the reasons why a GPU cannot be used."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from luxdask.array import backend
from luxdask.errors import ClusterError
from luxdask.testing.cuda import EmulatedCupy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def cupy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmulatedCupy:
    module = EmulatedCupy(tmp_path)
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def test_arrays_come_back_from_the_device_as_they_went(cupy: EmulatedCupy) -> None:
    values = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    moved = backend.to_device(values)
    assert backend.is_device(moved)
    assert not backend.is_device(values)
    assert backend.to_device(moved) is moved
    assert np.array_equal(backend.to_host(moved), values)
    assert backend.to_host(values) is values
    assert backend.address(moved[1]) - backend.address(moved) == 24
    assert backend.address(values[1]) - backend.address(values) == 24


def test_the_library_follows_from_the_arrays(cupy: EmulatedCupy) -> None:
    host = np.zeros(3)
    device = backend.to_device(host)
    assert backend.namespace(host, host) is np
    assert backend.namespace(device, device) is cupy
    with pytest.raises(TypeError, match="to_device or to_host"):
        backend.namespace(device, host)


def test_a_device_that_works_has_memory_and_no_problem(cupy: EmulatedCupy) -> None:
    assert backend.cuda_problem() is None
    assert backend.cuda_is_available()
    backend.require_cuda()
    assert backend.device_memory() == (2**30, 2**33)
    backend.free_device_memory()
    assert cupy.freed == 1


def raises(text: str) -> Callable[[], Any]:
    def call() -> Any:
        raise RuntimeError(text)

    return call


def broken(count: Callable[[], int], version: Callable[[], Any]) -> ModuleType:
    module = ModuleType("cupy")
    runtime, nvrtc = SimpleNamespace(getDeviceCount=count), SimpleNamespace(getVersion=version)
    module.__dict__["cuda"] = SimpleNamespace(runtime=runtime, nvrtc=nvrtc)
    return module


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        pytest.param(None, r"CuPy.*pip install 'luxdask\[cuda12\]'", id="no cupy"),
        pytest.param(
            broken(raises("cudaErrorInsufficientDriver"), lambda: (12, 9)),
            "no NVIDIA GPU can be used: cudaErrorInsufficientDriver.*nvidia-smi",
            id="no driver",
        ),
        pytest.param(broken(lambda: 0, lambda: (12, 9)), "CUDA_VISIBLE_DEVICES", id="hidden"),
        pytest.param(
            broken(lambda: 1, raises("no libnvrtc.so.12")), "NVRTC.*no libnvrtc", id="no compiler"
        ),
    ],
)
def test_why_no_gpu_can_be_used(
    module: ModuleType | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", module)
    assert not backend.cuda_is_available()
    with pytest.raises(ClusterError, match=reason):
        backend.require_cuda()


def test_a_cupy_whose_parts_are_missing_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    (tmp_path / "cupy.py").write_text("import cupy_backends_that_are_missing")
    monkeypatch.syspath_prepend(tmp_path)
    problem = backend.cuda_problem()
    assert problem is not None
    assert problem.startswith("CuPy cannot be imported: No module named 'cupy_backends_that")


def test_luxdask_loads_no_cupy_by_itself(tmp_path: Path) -> None:
    """dask.array does, where it is installed; opening images and fusing on the CPU does not."""
    (tmp_path / "cupy.py").write_text("raise SystemExit('cupy was imported')")
    code = "import sys; sys.path.insert(0, sys.argv[1])\n"
    code += "import luxdask, luxdask.cli, luxdask.io, luxdask.fusion.fuse, luxdask.graph.fusion"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@pytest.mark.gpu
def test_a_real_device_holds_arrays() -> None:
    problem = backend.cuda_problem()
    if problem is not None:
        pytest.skip(problem)
    values = np.arange(1000, dtype=np.uint16)
    assert np.array_equal(backend.to_host(backend.to_device(values)), values)
    free, total = backend.device_memory()
    assert 0 < free <= total
