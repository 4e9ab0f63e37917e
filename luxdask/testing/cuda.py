"""CUDA without a GPU: compile kernels for real devices, and run their text on the CPU.

`compile_kernels` hands a text to NVRTC, NVIDIA's compiler, which needs no driver. `emulate` builds
the same text with g++ behind a few macros, and `EmulatedCupy` stands in for the part of cupy that
luxdask uses, so that whole tasks run through the code that a GPU would run.
Kernels that share memory between threads, or wait for each other, cannot be run this way.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

ARCHITECTURES = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_89", "sm_90")
"""Volta, Turing, Ampere (A100; RTX 30), Ada and Hopper."""

_KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')

_SHIM = """
#include <cmath>
using std::floor; using std::fmin; using std::fmax;
#define __global__
#define __device__
struct Index { unsigned x, y, z; };
static thread_local Index blockIdx, threadIdx, blockDim, gridDim;
"""

_RUNNER = """
extern "C" void run_{name}(const unsigned* grid, const unsigned* block, {parameters}) {{
    gridDim = {{grid[0], grid[1], grid[2]}};
    blockDim = {{block[0], block[1], block[2]}};
    for (unsigned b = 0; b < grid[0] * grid[1] * grid[2]; ++b)
        for (unsigned t = 0; t < block[0] * block[1] * block[2]; ++t) {{
            blockIdx = {{b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]}};
            threadIdx = {{t % block[0], t / block[0] % block[1], t / block[0] / block[1]}};
            {name}({names});
        }}
}}
"""

_SCALARS: Mapping[str, tuple[type[np.generic], Callable[[Any], Any]]] = {
    "int": (np.int32, ctypes.c_int),
    "long long": (np.int64, ctypes.c_longlong),
    "float": (np.float32, ctypes.c_float),
    "double": (np.float64, ctypes.c_double),
}


def nvrtc_path() -> Path | None:
    """NVIDIA's runtime compiler from the wheel nvidia-cuda-nvrtc-cu12; None without it."""
    try:
        spec = find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        return None
    folders = [] if spec is None else spec.submodule_search_locations or []
    found = [path for folder in folders for path in Path(folder).glob("lib/libnvrtc.so.*")]
    return found[0] if found else None


def compile_kernels(source: str, architecture: str, options: Sequence[str] = ()) -> str:
    """Compile a CUDA text to machine code for a device such as "sm_80"; returns the compiler's log.

    Raises `RuntimeError` with the log where the text is wrong, and `FileNotFoundError` without
    NVRTC.
    """
    path = nvrtc_path()
    if path is None:
        raise FileNotFoundError("NVRTC is missing: pip install nvidia-cuda-nvrtc-cu12")
    nvrtc = ctypes.CDLL(str(path))
    program = ctypes.c_void_p()
    text = ctypes.c_char_p(source.encode())
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, b"kernels.cu", 0, None, None)
    given = [f"--gpu-architecture={architecture}", *options]
    array = (ctypes.c_char_p * len(given))(*(option.encode() for option in given))
    try:
        failed = nvrtc.nvrtcCompileProgram(program, len(given), array)
        log = _compiler_log(nvrtc, program)
        size = ctypes.c_size_t()
        if failed or nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)) or not size.value:
            raise RuntimeError(f"kernels do not compile for {architecture}:\n{log}")
        return log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _compiler_log(nvrtc: ctypes.CDLL, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(max(size.value, 1))
    nvrtc.nvrtcGetProgramLog(program, log)
    return log.value.decode(errors="replace").strip()


class Emulation:
    """Kernels of a CUDA text as a library for the CPU, built with g++ in `folder`."""

    def __init__(self, source: str, folder: Path) -> None:
        if shutil.which("g++") is None:
            raise FileNotFoundError("g++ is missing")
        self._parameters = {name: _split(text) for name, text in _KERNEL.findall(source)}
        runners = [_runner(name, parameters) for name, parameters in self._parameters.items()]
        text, library = folder / "kernels.cpp", folder / "kernels.so"
        text.write_text(_SHIM + source + "".join(runners), encoding="utf-8")
        build = ["g++", "-std=c++17", "-O2", "-shared", "-fPIC", str(text), "-o", str(library)]
        done = subprocess.run(build, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"g++ refuses the kernels:\n{done.stderr}")
        self._library = ctypes.CDLL(str(library))

    def run(
        self, name: str, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any]
    ) -> None:
        """Run a kernel, thread by thread; arrays are numpy arrays.

        Raises `TypeError` where an argument is not of the type that the kernel declares: a GPU
        would take its bytes for something else.
        """
        parameters = self._parameters[name]
        if len(arguments) != len(parameters):
            raise TypeError(f"{name} takes {len(parameters)} arguments, not {len(arguments)}")
        given = [_as_c(*p, value) for p, value in zip(parameters, arguments, strict=True)]
        sizes = [(ctypes.c_uint * 3)(*(*s, 1, 1)[:3]) for s in (grid, block)]
        self._library[f"run_{name}"](*sizes, *given)


def _split(parameters: str) -> list[tuple[str, str]]:
    """(type, name) of each parameter."""
    words = [" ".join(parameter.split()).rpartition(" ") for parameter in parameters.split(",")]
    return [(kind, name) for kind, _, name in words]


def _runner(name: str, parameters: Sequence[tuple[str, str]]) -> str:
    declared = ", ".join(f"{kind} {variable}" for kind, variable in parameters)
    return _RUNNER.format(name=name, parameters=declared, names=", ".join(v for _, v in parameters))


def _as_c(kind: str, name: str, value: Any) -> Any:
    if kind.endswith("*"):
        if not isinstance(value, DeviceArray) or not value.flags.c_contiguous:
            raise TypeError(f"{name} must be a contiguous array on the GPU, not {type(value)}")
        return ctypes.c_void_p(value.data.ptr)
    wanted, convert = _SCALARS[kind]
    if type(value) is not wanted:
        raise TypeError(f"{name} must be {wanted.__name__}, not {type(value).__name__}")
    return convert(value.item())


class DeviceArray:
    """An array of the emulated cupy; like cupy's, it never turns into a numpy array by itself."""

    def __init__(self, host: NDArray[Any]) -> None:
        self._host = host
        self.shape, self.strides, self.size = host.shape, host.strides, host.size
        self.dtype, self.flags = host.dtype, host.flags
        self.data = SimpleNamespace(ptr=host.ctypes.data)

    def __getitem__(self, index: Any) -> DeviceArray:
        return DeviceArray(self._host[index])

    def reshape(self, shape: Sequence[int]) -> DeviceArray:
        """The same elements in another shape."""
        return DeviceArray(self._host.reshape(shape))

    def get(self) -> NDArray[Any]:
        """Copy to the memory of the CPU."""
        return self._host.copy()

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("implicit conversion to a NumPy array is not allowed; use .get()")


DeviceArray.__module__ = "cupy"


class EmulatedCupy(ModuleType):
    """The part of cupy that luxdask uses, on the CPU; set it as ``sys.modules["cupy"]`` in tests.

    folder : where kernels are built.
    failures : errors that the next transfers to the device raise, one by one.
    """

    def __init__(self, folder: Path, failures: Sequence[Exception] = ()) -> None:
        super().__init__("cupy")
        self.failures = list(failures)
        self.launches = self.freed = 0
        self.ndarray = DeviceArray
        pool = SimpleNamespace(free_bytes=lambda: 0, free_all_blocks=self._free)
        self.get_default_memory_pool = lambda: pool
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(getDeviceCount=lambda: 1, memGetInfo=lambda: (2**30, 2**33)),
            nvrtc=SimpleNamespace(getVersion=lambda: (12, 9)),
        )
        self._folder = folder
        self._built: dict[str, Emulation] = {}

    def asarray(self, array: Any) -> DeviceArray:
        """Copy to the device."""
        if self.failures:
            raise self.failures.pop(0)
        return DeviceArray(np.array(array))

    def empty(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        """Memory on the device, filled with a pattern that no test expects."""
        return DeviceArray(np.full(shape, 0xA5A5, dtype=dtype))

    def RawKernel(self, source: str, name: str) -> Callable[..., None]:
        """A kernel of a text, to be called with (grid, block, arguments)."""
        if source not in self._built:
            folder = self._folder / f"kernels{len(self._built)}"
            folder.mkdir(parents=True, exist_ok=True)
            self._built[source] = Emulation(source, folder)

        def launch(grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any]) -> None:
            self.launches += 1
            self._built[source].run(name, grid, block, arguments)

        return launch

    def _free(self) -> None:
        self.freed += 1
