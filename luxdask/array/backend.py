"""Arrays of the CPU and of a GPU behind one door.

This is the only module that imports cupy, and it does so when a GPU is asked for, not before:
schedulers and login nodes have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSTALL = "pip install 'luxdask[cuda12]' (or cuda13, after the driver's CUDA version)"


def is_device(array: object) -> bool:
    """Whether an array lies in the memory of a GPU."""
    return type(array).__module__.partition(".")[0] == "cupy"


def namespace(*arrays: object) -> Any:
    """The library whose functions take these arrays: numpy, or cupy for arrays on a GPU.

    Raises `TypeError` where some are on the GPU and some are not.
    """
    on_device = [is_device(array) for array in arrays]
    if any(on_device) and not all(on_device):
        raise TypeError(
            "some of the arrays are on the GPU and some are not; use to_device or to_host first"
        )
    return _cupy() if any(on_device) else np


def to_device(array: Any) -> Any:
    """The array in the memory of the current GPU; one that is there already is returned as it is.

    Raises `ClusterError` without CuPy, and `MemoryError` where the GPU has no room.
    """
    return array if is_device(array) else _cupy().asarray(array)


def to_host(array: Any) -> NDArray[Any]:
    """The array in the memory of the CPU; waits until it has been computed."""
    return np.asarray(array.get() if is_device(array) else array)


def address(array: Any) -> int:
    """Where the first element of an array lies in the memory of its device."""
    return int(array.data.ptr if is_device(array) else array.ctypes.data)


def device_memory() -> tuple[int, int]:
    """Free and total bytes of the current GPU; blocks that this process keeps unused are free."""
    cupy = _cupy()
    free, total = cupy.cuda.runtime.memGetInfo()
    return int(free) + int(cupy.get_default_memory_pool().free_bytes()), int(total)


def free_device_memory() -> None:
    """Return blocks that this process keeps for reuse to the GPU; waits for it, so do it rarely."""
    _cupy().get_default_memory_pool().free_all_blocks()


def cuda_is_available() -> bool:
    """Whether arrays can be computed on a GPU here; `cuda_problem` says why not."""
    return cuda_problem() is None


def cuda_problem() -> str | None:
    """Why no GPU can be used in this process, and what to do; None where one can."""
    try:
        cupy = _cupy()
    except ClusterError as error:
        return str(error)
    return _device_problem(cupy) or _compiler_problem(cupy)


def require_cuda() -> None:
    """Raise `ClusterError` with the reason where no GPU can be used in this process."""
    problem = cuda_problem()
    if problem is not None:
        raise ClusterError(problem)


def _cupy() -> Any:
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise ClusterError(f"CuPy cannot be imported: {error}. Use {INSTALL}") from error
        raise ClusterError(f"CuPy is not installed: use {INSTALL}") from error
    except ImportError as error:
        raise ClusterError(f"CuPy cannot be imported: {error}. Use {INSTALL}") from error
    return cupy


def _device_problem(cupy: Any) -> str | None:
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return (
            f"no NVIDIA GPU can be used: {error}. See what nvidia-smi says: the driver may be "
            f"missing, or older than CuPy's CUDA; {INSTALL}"
        )
    if count == 0:
        return "there is no NVIDIA GPU, or CUDA_VISIBLE_DEVICES hides it"
    return None


def _compiler_problem(cupy: Any) -> str | None:
    """CuPy's wheels do not bring the compiler for kernels along."""
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:
        return f"the CUDA compiler NVRTC was not found ({error}): use {INSTALL}"
    return None
