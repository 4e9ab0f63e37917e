"""The GPU's kernels: compiled for real devices, and run against numba.

Where there is no GPU the text of the kernels runs on the CPU, through the same code as on a GPU.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.array.backend import cuda_problem, is_device, to_device, to_host
from luxdask.fusion.cuda import KERNELS, MAX_PLANES, VIEW, source
from luxdask.fusion.fuse import Quality, Window, empty_windows, fuse_windows, windows_in
from luxdask.model.geometry import Affine
from luxdask.testing.cuda import (
    ARCHITECTURES,
    DeviceArray,
    EmulatedCupy,
    Emulation,
    compile_kernels,
    nvrtc_path,
)
from luxdask.testing.strategies import near_rigid, shapes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARGIN = 2
Volumes = list[np.ndarray[Any, np.dtype[np.uint16]]]

needs_nvrtc = pytest.mark.skipif(nvrtc_path() is None, reason="nvidia-cuda-nvrtc-cu12 is missing")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is missing")
moderate = settings(max_examples=40, deadline=None)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("emulated", marks=needs_compiler),
        pytest.param("gpu", marks=pytest.mark.gpu),
    ],
)
def device(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "emulated":
            folder = tmp_path_factory.mktemp("cuda")
            patch.setitem(sys.modules, "cupy", EmulatedCupy(folder))
        problem = cuda_problem()
        if problem is not None:
            pytest.skip(problem)
        yield request.param


def noise(shape: tuple[int, ...], seed: int = 0, high: int = 65536) -> Any:
    return np.random.default_rng(seed).integers(0, high, shape, dtype=np.uint16)


def windows_of(
    volumes: Volumes, maps: list[Affine], width: Any, quality: list[Quality] | None
) -> tuple[list[Window], Any]:
    """Whole volumes as windows, their border repeated as far as any interpolation reaches."""
    padded = [np.pad(v, MARGIN, mode="edge") for v in volumes]
    pool, parts = empty_windows([p.shape for p in padded])
    windows = []
    for n, (part, volume, out_to_view) in enumerate(zip(parts, volumes, maps, strict=True)):
        part[...] = padded[n]
        upper = tuple(MARGIN + s - 0.5 for s in volume.shape)
        moved = Affine.translation([MARGIN] * 3) @ out_to_view
        map_ = None if quality is None else quality[n]
        windows.append(Window(part, moved, (MARGIN - 0.5,) * 3, upper, width, map_))
    return windows, pool


def fuse_both(
    volumes: Volumes,
    maps: list[Affine],
    shape: tuple[int, int, int],
    width: Any = (0.0, 0.0, 0.0),
    quality: list[Quality] | None = None,
    **options: Any,
) -> tuple[Any, Any]:
    """The same block from numba and from the device."""
    windows, pool = windows_of(volumes, maps, width, quality)
    options["blend"] = max(width) > 0
    expected = fuse_windows(windows, pool, shape, **options)
    moved = to_device(pool)
    parts = windows_in(moved, [w.voxels.shape for w in windows])
    there = [replace(w, voxels=part) for w, part in zip(windows, parts, strict=True)]
    found = fuse_windows(there, moved, shape, **options)
    assert is_device(found)
    return expected, to_host(found)


def difference(expected: Any, found: Any) -> int:
    assert found.dtype == np.uint16
    assert found.shape == expected.shape
    return int(np.abs(found.astype(int) - expected.astype(int)).max(initial=0))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Volumes, list[Affine], tuple[int, int, int]]:
    """Some volumes of noise, laid over a block in all ways."""
    n = draw(st.integers(1, 4))
    volumes = [noise(draw(shapes(2, 14)), seed) for seed in range(n)]
    maps = [draw(near_rigid(angle_deg=180, shift=12, stretch=0.05)) for _ in range(n)]
    return volumes, maps, (draw(st.integers(1, 7)), draw(st.integers(1, 19)), 40)


widths = st.one_of(st.just((0.0, 0.0, 0.0)), st.tuples(*[st.floats(0.5, 8)] * 3))
interpolations = st.sampled_from(["linear", "cubic"])


@needs_nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_and_keep_to_their_registers(architecture: str) -> None:
    """With CuPy's own option; a kernel that spills would be bound by memory."""
    log = compile_kernels(source(), architecture, ["-ftz=true", "--ptxas-options=-v"])
    assert log.count(" 0 bytes spill stores") == len(KERNELS)
    for name in KERNELS.values():
        assert f"'{name}'" in log


@needs_nvrtc
def test_errors_of_the_compiler_are_shown() -> None:
    with pytest.raises(RuntimeError, match=r"for sm_80:\s.*error: this declaration"):
        compile_kernels("nonsense", "sm_80")


@moderate
@given(scene=scenes(), width=widths, interpolation=interpolations, half=st.booleans())
def test_any_views(device: str, scene: Any, width: Any, interpolation: str, half: bool) -> None:
    options = {"interpolation": interpolation, "scale": 0.5 if half else 1.0}
    assert difference(*fuse_both(*scene, width, **options)) <= 1


@moderate
@given(scene=scenes(), width=widths, interpolation=interpolations, data=st.data())
def test_quality_weights(
    device: str, scene: Any, width: Any, interpolation: str, data: st.DataObject
) -> None:
    quality: list[Quality] = []
    for seed in range(len(scene[0])):
        rng = np.random.default_rng(seed + 100)
        weights = rng.uniform(0.01, 100, data.draw(shapes(1, 4))).astype(np.float32)
        out_to_cell = Affine.scale([0.2, 0.15, 0.1], rng.uniform(-1, 1, 3))
        quality.append(Quality(weights, out_to_cell))
    assert difference(*fuse_both(*scene, width, quality, interpolation=interpolation)) <= 1


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_long_rows_far_from_the_origin(device: str, interpolation: str) -> None:
    """Several segments of the CPU's rows, in a smooth image as microscopes make them."""
    z, y, x = np.ogrid[:12, :30, :900]
    volume = 2000 + 1500 * np.sin(z / 3) * np.cos(y / 4) * np.sin(x / 5)
    linear = [[1, 0.001, -0.002], [-0.003, 0.99, 0.02], [0.01, -0.04, 0.997]]
    maps = [
        Affine.from_array(linear, (3.3, 4.6, 2.7)),
        Affine.translation((0.25, 0.75, 33.4)),
        Affine.from_array(np.diag([1, 1, -1]), (0.25, 2.5, 850.2)),
    ]
    views = [(volume + offset).astype(np.uint16) for offset in (0, 40, 90)]
    both = fuse_both(views, maps, (8, 20, 860), (3, 5, 60), interpolation=interpolation)
    assert both[0].max() > 3000
    assert difference(*both) <= 1


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("mirror", [(1, 1, 1), (1, 1, -1), (-1, -1, 1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_whole_voxel_shifts_swaps_and_mirrors_are_exact(
    device: str, interpolation: str, mirror: Any, order: Any
) -> None:
    linear = np.diag(mirror)[list(order)].astype(float)
    corner = linear @ (np.array((6, 6, 6)) - 1)
    there = Affine.from_array(linear, np.where(corner < 0, -corner, 0) + 1)
    for volumes in ([noise((8, 9, 10))], [noise((8, 9, 10))] * 3):
        views = (volumes, [there] * len(volumes), (6, 6, 6), (2, 2, 2))
        expected, found = fuse_both(*views, interpolation=interpolation)
        grid = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), axis=-1)
        at = np.rint(np.moveaxis(there.apply(grid), -1, 0)).astype(int)
        assert np.array_equal(found, volumes[0][tuple(at)])
        assert np.array_equal(found, expected)


def test_equal_views_stay_exact_however_they_are_weighted(device: str) -> None:
    volume = noise((10, 12, 50))
    views = [volume[:8, :9, :35], volume[2:, 3:, 10:], volume]
    maps = [Affine(), Affine.translation((-2, -3, -10)), Affine()]
    quality = [Quality(noise((2, 2, 2), s).astype(np.float32) + 1, Affine()) for s in range(3)]
    _, found = fuse_both(views, maps, volume.shape, (2, 3, 9), quality)
    assert np.array_equal(found, volume)


def test_one_view_is_not_weighted(device: str) -> None:
    views = ([noise((8, 10, 30))], [Affine.translation((0.3, 0.2, 0.7))], (6, 8, 28))
    low = [Quality(np.full((1, 1, 1), 1e-35, np.float32), Affine())]
    assert np.array_equal(fuse_both(*views)[1], fuse_both(*views, (2, 2, 2), low)[1])


def test_uncovered_voxels_are_black(device: str) -> None:
    volume = noise((4, 4, 12), high=60000) + np.uint16(1)
    turned = Affine.from_array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 0.3]], (-4.03, 2.02, -4.1))
    expected, found = fuse_both([volume], [turned], (12, 12, 60))
    assert 0 < (found > 0).mean() < 1
    assert np.array_equal(found > 0, expected > 0)
    assert not fuse_both([volume], [Affine.translation((0, 0, 1000))], (3, 4, 5))[1].any()
    assert not fuse_both([], [], (3, 4, 5))[1].any()
    assert fuse_both([volume], [Affine()], (3, 0, 5))[1].shape == (3, 0, 5)


@pytest.mark.parametrize(
    ("value", "scale", "expected"),
    [(65535, 1, 65535), (65535, 0.5, 32768), (3, 0.5, 2), (1, 0.5, 1), (40000, 2, 65535)],
)
def test_scale_rounds_to_nearest_and_saturates(
    device: str, value: int, scale: float, expected: int
) -> None:
    volume = np.full((3, 3, 3), value, np.uint16)
    for maps in ([Affine()], [Affine(), Affine()]):
        _, found = fuse_both([volume] * len(maps), maps, (3, 3, 3), scale=scale)
        assert (found == expected).all()


def test_cubic_overshoot_saturates_at_both_ends(device: str) -> None:
    volume = np.zeros((4, 4, 12), np.uint16)
    volume[..., 6:] = 65535
    shift = Affine.translation((0, 0, 0.5))
    expected, found = fuse_both([volume], [shift], (1, 1, 11), interpolation="cubic")
    assert found[0, 0, 4] == 0  # would be -4096
    assert found[0, 0, 6] == 65535  # would be 69631
    assert difference(expected, found) <= 1


def test_blocks_with_more_planes_than_a_grid(device: str) -> None:
    shape = (MAX_PLANES + 10, 1, 2)
    both = fuse_both([noise(shape)], [Affine.translation((0, 0, 0.25))], shape)
    assert difference(*both) <= 1
    assert both[1][-10:].any()


def test_the_table_of_views_has_no_gaps() -> None:
    """As in C, where every field is 8 bytes wide."""
    fields = VIEW.fields
    assert fields is not None
    assert VIEW.itemsize == sum(kind.itemsize for kind, *_ in fields.values())


@needs_compiler
def test_arguments_that_a_gpu_would_misread_are_refused(tmp_path: Path) -> None:
    text = 'extern "C" __global__ void add(int* out, int n) { out[threadIdx.x] += n; }'
    kernels = Emulation(text, tmp_path)
    out = DeviceArray(np.zeros(4, np.int32))
    kernels.run("add", (1,), (4,), (out, np.int32(3)))
    assert out.get().tolist() == [3, 3, 3, 3]
    with pytest.raises(TypeError, match="n must be int32, not int"):
        kernels.run("add", (1,), (4,), (out, 3))
    with pytest.raises(TypeError, match="out must be a contiguous array on the GPU"):
        kernels.run("add", (1,), (4,), (np.zeros(4, np.int32), np.int32(3)))
    with pytest.raises(TypeError, match="takes 2 arguments, not 1"):
        kernels.run("add", (1,), (4,), (out,))
