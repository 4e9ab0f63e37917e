"""Starts one worker of a cluster and looks around there: `luxdask cluster test`."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luxdask.errors import ClusterError
from luxdask.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luxdask.cluster.dask_backend import DaskBackend

COMPARED = ("dask", "distributed", "numpy", "numba", "h5py", "zarr", "cloudpickle")
PATIENCE_S = 600.0
LOOK_S = 0.5
PINGS = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    is_good
        False for what will make a task fail there.
    """

    name: str
    text: str
    is_good: bool = True


def look_around(
    backend: DaskBackend,
    path: str | None = None,
    patience_s: float = PATIENCE_S,
    say: Callable[[str], None] = lambda _: None,
) -> list[Finding]:
    """Wait for one worker, ask it, and judge what it says.

    path : of data that tasks will read and write.
    say : told what is waited for.
    Raises `ClusterError` where no worker comes in time.
    """
    began = time.monotonic()
    address = _first_worker(backend, patience_s, say)
    waited_s = time.monotonic() - began
    client = backend.client
    probe = Path(path).expanduser().absolute() if path else None
    with _mark(probe) as mark:
        there = client.run(survey, str(probe) if probe else None, mark, workers=[address])[address]
    info = client.scheduler_info(n_workers=-1)["workers"].get(address, {})
    return [
        Finding("worker", f"{address} on {there['host']}, after {waited_s:.0f} s"),
        *_resources(there, info),
        *_path_findings(there, probe),
        _latency(client, address),
        _versions(there),
    ]


def _first_worker(backend: DaskBackend, patience_s: float, say: Callable[[str], None]) -> str:
    limit, said = time.monotonic() + patience_s, ""
    while True:
        found = list(backend.client.nthreads())
        if found:
            return str(found[0])
        waits = backend.check()
        if waits != said:
            say(waits)
            said = waits
        if time.monotonic() > limit:
            raise ClusterError(
                f"no worker came within {patience_s:.0f} s ({waits or 'nothing is queued'}). Is "
                "the queue full, or does the batch system refuse what a job asks for?"
            )
        time.sleep(LOOK_S)


@contextmanager
def _mark(folder: Path | None) -> Iterator[str]:
    """Path of a new file, with a name that nobody can guess, in the folder that is looked for."""
    if folder is None or not folder.is_dir() or not os.access(folder, os.W_OK):
        yield ""
        return
    with tempfile.NamedTemporaryFile(prefix=".luxdask-test-", dir=folder) as file:
        yield file.name


# ---- on the worker ----


def survey(path: str | None, mark: str, dask_worker: Any = None) -> dict[str, Any]:
    """What a worker sees; runs there, where dask hands it the worker."""
    scratch = dask_worker.local_directory
    return {
        "host": socket.gethostname(),
        "scratch": scratch,
        "scratch_bytes": shutil.disk_usage(scratch).free,
        "gpus": _gpus(),
        "versions": versions(),
        "is_there": path is not None and Path(path).exists(),
        "is_same": bool(mark) and Path(mark).exists(),
        "is_writable": path is not None and _can_write(path),
    }


def versions() -> dict[str, str]:
    """Versions that must be the same here and there."""
    found = {name: version(name) for name in COMPARED if find_spec(name)}
    return {"python": platform.python_version(), "luxdask": __version__, **found}


def _gpus() -> list[str]:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def _can_write(path: str) -> bool:
    folder = path if Path(path).is_dir() else str(Path(path).parent)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


# ---- the judgement ----


def _resources(there: dict[str, Any], info: dict[str, Any]) -> list[Finding]:
    limit = info.get("memory_limit") or 0
    free = there["scratch_bytes"]
    gpus = there["gpus"]
    return [
        Finding("cores", f"{info.get('nthreads', 0)} threads of the worker"),
        Finding("memory", f"{limit / 1e9:.3g} GB of the worker" if limit else "no limit"),
        Finding("GPUs", "; ".join(gpus) if gpus else "none"),
        Finding("scratch", f"{there['scratch']}, {free / 1e9:.3g} GB free", free > 1e9),
    ]


def _path_findings(there: dict[str, Any], path: Path | None) -> list[Finding]:
    if path is None:
        return []
    if not path.exists():
        return [Finding("data", f"{path} is not there on this machine", False)]
    if not there["is_there"]:
        return [Finding("data", f"{path} is not visible on the worker", False)]
    writable = Finding(
        "writable", "yes" if there["is_writable"] else "no: images go elsewhere, see output.folder"
    )
    if path.is_dir() and os.access(path, os.W_OK) and not there["is_same"]:
        text = f"{path} on the worker is another folder than here, or shows new files late"
        return [Finding("data", text, False), writable]
    return [Finding("data", f"{path} is visible on the worker"), writable]


def _latency(client: Any, address: str) -> Finding:
    times = []
    for n in range(PINGS):
        began = time.monotonic()
        client.submit(abs, -n, workers=[address], pure=False).result(timeout=60)
        times.append(time.monotonic() - began)
    return Finding("latency", f"{sorted(times)[PINGS // 2] * 1e3:.0f} ms for a task to and fro")


def _versions(there: dict[str, Any]) -> Finding:
    here, other = versions(), there["versions"]
    differ = [
        f"{name} {here.get(name, 'none')} here, {other.get(name, 'none')} there"
        for name in sorted(here.keys() | other.keys())
        if here.get(name) != other.get(name)
    ]
    return Finding("versions", "; ".join(differ) or "the same here and there", not differ)
