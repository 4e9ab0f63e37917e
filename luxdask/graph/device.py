"""Chunks on a GPU: whether there is one, how many use it at a time, and what when it is full."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import TYPE_CHECKING, TypeVar

from dask.task_spec import Task

from luxdask.array.backend import device_memory, free_device_memory, require_cuda

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

CHUNKS_ON_DEVICE = 2
"""Chunks of one process on its GPU: one is moved while the other is computed, others are read."""

_turns = BoundedSemaphore(CHUNKS_ON_DEVICE)


def device_check() -> Task:
    """A task that raises `ClusterError` with the reason where a worker has no GPU."""
    return Task("device", require_cuda)


def on_device(compute: Callable[[], Result]) -> Result:
    """Run a step on the GPU when it is this chunk's turn, and again after making room if needed.

    Raises `ClusterError` without a GPU, and `MemoryError` where not even the second try fits.
    """
    with _turns:
        try:
            return compute()
        except MemoryError:
            pass  # the error holds the arrays of the first try: let go of it before the second
        free_device_memory()
        try:
            return compute()
        except MemoryError as error:
            free, total = device_memory()
            raise MemoryError(
                f"a chunk does not fit on the GPU, which has {free / 1e9:.1f} of "
                f"{total / 1e9:.1f} GB free: end other programs that use it, make "
                'compute.chunk_vx smaller, or set compute.device to "cpu"'
            ) from error
