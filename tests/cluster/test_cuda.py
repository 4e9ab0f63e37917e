"""Workers on the GPUs of one machine, as far as that goes without a GPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import distributed
import pytest

from luxdask.cluster import connect, cuda
from luxdask.cluster.cuda import chosen_gpus, cuda_options, nanny_specs
from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nothing_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for nvidia-smi."""

    def install(text: str) -> None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


TWO = "echo 'GPU 0: NVIDIA A (UUID: GPU-1)'; echo 'GPU 1: NVIDIA A (UUID: GPU-2)'"


def test_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"no NVIDIA GPU .* No driver is installed"):
        connect("cuda")


def test_driver_that_complains(driver: Any) -> None:
    driver("echo 'cannot communicate with the driver'; exit 9")
    with pytest.raises(ClusterError, match="nvidia-smi says: cannot communicate with the driver"):
        chosen_gpus({})


def test_driver_without_gpus(driver: Any) -> None:
    driver("true")
    with pytest.raises(ClusterError, match="no GPU listed"):
        chosen_gpus({})


@pytest.mark.parametrize(
    ("options", "visible", "expected"),
    [
        ({}, None, ["0", "1"]),
        ({}, "1", ["1"]),
        ({}, "GPU-2,GPU-1", ["GPU-2", "GPU-1"]),
        ({"n_workers": 1}, None, ["0"]),
        ({"CUDA_VISIBLE_DEVICES": [1]}, "0", ["1"]),
        ({"CUDA_VISIBLE_DEVICES": "0, 1"}, None, ["0", "1"]),
    ],
)
def test_chosen_gpus(
    options: dict[str, Any],
    visible: str | None,
    expected: list[str],
    driver: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver(TWO)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert chosen_gpus(options) == expected


def test_hidden_gpus(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(ClusterError, match="CUDA_VISIBLE_DEVICES is '-1'"):
        chosen_gpus({})


def test_options_of_dask_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "find_spec", lambda name: name == "rmm")
    found = cuda_options({"rmm_pool_size": "20 GB", "host": "0.0.0.0"}, ["0", "1"])
    assert found["CUDA_VISIBLE_DEVICES"] == ["0", "1"]
    assert found["n_workers"] == 2
    assert found["device_memory_limit"] == 0
    assert found["rmm_pool_size"] == "20 GB"
    assert found["rmm_allocator_external_lib_list"] == ["cupy"]
    assert found["host"] == "127.0.0.1"
    assert found["dashboard_address"] == "127.0.0.1:0"
    monkeypatch.setattr(cuda, "find_spec", lambda _: None)
    assert "rmm_pool_size" not in cuda_options({}, ["0"])


def test_each_worker_sees_one_gpu() -> None:
    specs = nanny_specs({"env": {"A": "b"}, "memory_limit": "2 GB"}, ["1", "GPU-7"])
    assert [one["options"]["env"] for one in specs.values()] == [
        {"A": "b", "CUDA_VISIBLE_DEVICES": "1"},
        {"A": "b", "CUDA_VISIBLE_DEVICES": "GPU-7"},
    ]
    assert {one["options"]["nthreads"] for one in specs.values()} == {1}


@pytest.mark.slow
def test_workers_without_dask_cuda(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(TWO)
    monkeypatch.setattr(cuda, "find_spec", lambda _: None)
    with connect("cuda", memory_limit=10**9) as backend:
        client = backend.client  # type: ignore[attr-defined]
        client.wait_for_workers(2, timeout=120)
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(seen.values()) == ["0", "1"]
        assert all("127.0.0.1" in address for address in seen)
        assert set(client.nthreads().values()) == {1}


def test_start_that_fails(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(TWO)
    monkeypatch.setattr(cuda, "find_spec", lambda _: None)

    def fail(**_: Any) -> None:
        raise RuntimeError("out of ports")

    monkeypatch.setattr(distributed, "SpecCluster", fail)
    with pytest.raises(ClusterError, match="no workers on the GPUs 0, 1: out of ports"):
        connect("cuda")
