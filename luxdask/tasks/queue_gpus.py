"""Which tasks may run side by side, and on which GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.tasks.config import TaskConfig

_QUERY = ("--query-gpu=uuid,compute_cap", "--format=csv,noheader")
_LEAST_CAPABILITY = 5.0
_ANSWER_S = 30.0


def usable_gpus() -> tuple[str, ...]:
    """GPUs of this machine that tasks can use, as CUDA_VISIBLE_DEVICES names them.

    Empty where there is none, or no CuPy. Where CUDA_VISIBLE_DEVICES is set, those that it names.
    No GPU is touched: only the driver's program is asked.
    """
    if find_spec("cupy") is None:
        return ()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = (name.strip() for name in chosen.split(","))
        return tuple(name for name in names if name and name != "-1")
    return _from_driver()


def _from_driver() -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        asked = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=_ANSWER_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = (line.split(",") for line in asked.stdout.splitlines() if "," in line)
    return tuple(uuid.strip() for uuid, power, *_ in rows if _is_able(power))


def _is_able(power: str) -> bool:
    try:
        return float(power) >= _LEAST_CAPABILITY
    except ValueError:
        return False


def wants_gpu(config: TaskConfig) -> bool:
    """Whether a task computes on a GPU of this machine."""
    compute = config.compute
    return compute.cluster == "cuda" or (compute.cluster == "local" and compute.device == "cuda")


def has_room(*, gpu: bool, running: Iterable[str | None], limit: int | None, n_gpus: int) -> bool:
    """Whether one more task may begin beside those that run.

    gpu : whether it computes on a GPU.
    running : the GPU of each running task; None for one without.
    limit : most tasks at a time; None: one per GPU, else one, and at most one without a GPU, since
        such a task takes all cores.
    """
    devices = list(running)
    if len(devices) >= (limit or max(n_gpus, 1)):
        return False
    return limit is not None or gpu or None not in devices


def choose_gpu(gpus: Sequence[str], running: Iterable[str | None]) -> str | None:
    """The GPU with the fewest tasks; None where there is none to choose."""
    devices = list(running)
    return min(gpus, key=devices.count, default=None)
