"""Reading and fusing chunks: against scipy, and chunked against whole."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from luxdask.graph.fusion import PIECES, fuse_chunk
from luxdask.model.geometry import Affine, Grid
from luxdask.testing.phantoms import band_limited
from luxdask.testing.strategies import chunk_shapes, near_rigid, shapes

moderate = settings(max_examples=60, deadline=None)


def noise(shape, seed=0, high=65536):
    return np.random.default_rng(seed).integers(0, high, shape, dtype=np.uint16)


def out_to_view_positions(view, grid):
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    at = (view.view_to_world.inverse() @ grid.to_world).apply(index)
    return np.moveaxis(at, -1, 0)


def inside(at, shape, margin=-0.5):
    return np.logical_and.reduce(
        [(a >= margin) & (a <= n - 1 - margin) for a, n in zip(at, shape, strict=True)]
    )


@moderate
@given(shapes(2, 24), near_rigid(angle_deg=180, shift=8, stretch=0.1))
def test_like_affine_transform_of_scipy(memory, shape, view_to_world):
    volume = noise(shape)
    view = memory.view(volume, view_to_world)
    grid = Grid((14, 15, 40), (1, 1, 1), (-3, -2, -10))
    out_to_view = view_to_world.inverse() @ grid.to_world
    expected = ndimage.affine_transform(
        volume.astype(float), np.array(out_to_view.linear), out_to_view.offset,
        output_shape=grid.shape, order=1, mode="nearest",
    )  # fmt: skip
    at = out_to_view_positions(view, grid)
    found = memory.whole(memory.plan([view], grid))
    assert np.abs(found - expected)[inside(at, shape)].max(initial=0) <= 1
    assert not found[~inside(at, shape, -0.5001)].any()


@settings(max_examples=25, deadline=None)
@given(shapes(5, 20), near_rigid(angle_deg=180, shift=5))
def test_cubic_differs_from_linear_only_between_voxels(memory, shape, view_to_world):
    """Cubic convolution of a plane of constant slope is that plane: so is linear."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    view = memory.view((1000 + 200 * z + 300 * y + 400 * x).astype(np.uint16), view_to_world)
    grid = Grid((12, 12, 20), (1, 1, 1), (0, 0, 0))
    at = out_to_view_positions(view, grid)
    expected = 1000 + 200 * at[0] + 300 * at[1] + 400 * at[2]
    for interpolation, margin in (("linear", 0), ("cubic", 1)):
        found = memory.whole(memory.plan([view], grid, interpolation=interpolation))
        assert np.abs(found - expected)[inside(at, shape, margin)].max(initial=0) <= 0.51


@st.composite
def scenes(draw):
    """Volumes of noise, their transforms, an output shape and a chunk size."""
    n = draw(st.integers(1, 4))
    volumes = [noise(draw(shapes(1, 24)), seed) for seed in range(n)]
    kind = draw(st.sampled_from(["turned", "shifted", "whole"]))
    transforms = []
    for _ in range(n):
        if kind == "turned":
            transforms.append(draw(near_rigid(angle_deg=180, shift=15, stretch=0.1)))
            continue
        number = st.integers(-15, 15) if kind == "whole" else st.floats(-15, 15)
        mirror = draw(st.tuples(*[st.sampled_from([1.0, -1.0])] * 3))
        transforms.append(Affine.scale(mirror, draw(st.tuples(number, number, number))))
    out = draw(shapes(1, 24))
    return volumes, transforms, out, draw(chunk_shapes(out))


@settings(max_examples=150, deadline=None)
@given(
    scenes(),
    st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]),
    st.fixed_dictionaries(
        {
            "interpolation": st.sampled_from(["linear", "cubic"]),
            "blend": st.booleans(),
            "blend_width_um": st.sampled_from([None, 3.0]),
            "half_intensity": st.booleans(),
        }
    ),
)
def test_chunked_is_whole(memory, scene, spacing, params):
    volumes, transforms, out, chunk = scene
    views = [memory.view(v, t) for v, t in zip(volumes, transforms, strict=True)]
    grid = Grid(out, (spacing,) * 3, (-4.0, -4.0, -4.0))
    planned = memory.plan(views, grid, chunk, **params)
    assert np.array_equal(memory.chunked(planned), memory.whole(planned))


@moderate
@given(scenes(), st.booleans(), st.sampled_from(["linear", "cubic"]))
def test_pieces_give_the_same_block(memory, scene, blend, interpolation):
    """What a chunk that ran out of memory is made of."""
    volumes, transforms, out, _ = scene
    views = [memory.view(v, t) for v, t in zip(volumes, transforms, strict=True)]
    grid = Grid(out, (1, 1, 1), (0, 0, 0))
    planned = memory.plan(views, grid, out, blend=blend, interpolation=interpolation)
    job = planned.job(0)
    assert np.array_equal(fuse_chunk(replace(job, pieces=PIECES)), fuse_chunk(job))


def test_pieces_need_less_memory(memory):
    c, s = np.cos(0.5), np.sin(0.5)
    turned = Affine.from_array([[c, 0, s], [0, c, -s], [-s, s, c]])
    volume = noise((200, 200, 200))
    views = [memory.view(volume, t) for t in (Affine(), turned)]
    job = memory.plan(views, Grid((128,) * 3, (1, 1, 1), (0, 0, 0)), (128,) * 3).job(0)
    less = job.in_pieces()
    assert less.windows_bytes == job.windows_bytes
    own, own_less = (j.peak_bytes - job.box.size * 2 * 8 // 7 - (16 << 20) for j in (job, less))
    assert own_less < own / 3
    assert less.in_pieces() is None


@settings(max_examples=10, deadline=None)
@given(st.floats(-30, 30), st.tuples(*[st.integers(20, 90)] * 3), st.booleans())
def test_chunked_is_whole_with_image_quality(memory, tmp_path_factory, angle, chunk, blend):
    from luxdask.graph.quality import save_quality

    folder = str(tmp_path_factory.mktemp("quality"))
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turned = Affine.from_array([[c, 0, s], [0, 1, 0], [-s, 0, c]], (10, -7, 30))
    views = [memory.view(band_limited((70, 80, 150), seed=n), t)
             for n, t in enumerate((Affine(), turned))]  # fmt: skip
    grid = Grid((80, 80, 170), (1, 1, 1), (0, -3, 0))
    planned = memory.plan(views, grid, chunk, blend=blend, quality_strength=1.0)
    for view, file in planned.quality_jobs(folder):
        save_quality(view.source, view.shape, 1.0, file)
    whole = memory.whole(planned, folder).astype(int)
    assert np.array_equal(memory.chunked(planned, folder), whole)
    job = planned.job(int(planned.table.covered[0]), folder)
    assert np.array_equal(fuse_chunk(replace(job, pieces=PIECES)), fuse_chunk(job))
    plain = memory.whole(memory.plan(views, grid, chunk, blend=blend)).astype(int)
    assert np.abs(plain - whole).max() > 100


@pytest.fixture(scope="module")
def two_sided(memory):
    """The same object twice: sharp on the left in one view, on the right in the other."""
    truth = band_limited((64, 128, 512), seed=3, period_vx=10)
    blurred = ndimage.gaussian_filter(truth.astype(float), 5).astype(np.uint16)
    left, right = truth.copy(), truth.copy()
    left[..., 256:], right[..., :256] = blurred[..., 256:], blurred[..., :256]
    return truth, blurred, [memory.view(left), memory.view(right)]


def fused_by_quality(memory, views, folder, strength=2.0):
    from luxdask.graph.quality import save_quality

    planned = memory.plan(views, chunk=(64, 128, 128), quality_strength=strength)
    for view, file in planned.quality_jobs(str(folder)):
        save_quality(view.source, view.shape, strength, file)
    return memory.chunked(planned, str(folder))


def test_the_sharper_view_wins(memory, two_sided, tmp_path):
    truth, blurred, views = two_sided
    found = fused_by_quality(memory, views, tmp_path)
    gap = np.abs(truth.astype(float) - blurred).mean()
    for part in (np.s_[..., :200], np.s_[..., 312:]):
        assert np.abs(found[part].astype(float) - truth[part]).mean() < 0.1 * gap
    mean = memory.whole(memory.plan(views))
    assert np.abs(mean.astype(float) - truth).mean() > 0.4 * gap


def test_no_seam_at_cell_borders(memory, tmp_path):
    """Two even views of different brightness show the weights themselves: they have no steps."""
    rng = np.random.default_rng(0)
    contrast = np.repeat(np.repeat(rng.uniform(1, 60, (2, 2, 8)), 64, axis=2), 64, axis=1)
    texture = np.sin(np.arange(512) * 0.3)[None, None, :] * np.repeat(contrast, 64, axis=0)
    dark = (1000 + texture).astype(np.uint16)
    bright = (3000 + texture[..., ::-1]).astype(np.uint16)
    found = fused_by_quality(memory, [memory.view(dark), memory.view(bright)], tmp_path, 1.0)
    smooth = ndimage.uniform_filter1d(found.astype(float), 21, axis=2)
    for axis in range(3):
        step = np.abs(np.diff(smooth if axis == 2 else found.astype(float), axis=axis))
        at_border = np.take(step, np.arange(63, found.shape[axis] - 1, 64), axis).max()
        assert at_border <= 1.1 * step.max(initial=0)
        assert at_border < 110  # a jump between neighbouring cells would be up to 2000


def test_equal_quality_is_the_plain_mean(memory, tmp_path):
    volume = band_limited((64, 64, 128), seed=5)
    views = [memory.view(volume), memory.view(volume + np.uint16(2000))]
    found = fused_by_quality(memory, views, tmp_path)
    expected = memory.whole(memory.plan(views))
    assert np.abs(found.astype(int) - expected).max() <= 1


GUARDED = """
import ctypes, mmap, sys
from itertools import product
import numpy as np
import luxdask.graph.fusion as fusion
from luxdask.graph.params import FusionParams
from luxdask.graph.placement import place_view
from luxdask.model.geometry import Affine, Box, Grid
from luxdask.model.view import Source, View, ViewId
from scipy.spatial.transform import Rotation

libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
PAGE, SIZE = mmap.PAGESIZE, 1 << 24
memory = mmap.mmap(-1, SIZE + 2 * PAGE)
bytes_ = np.frombuffer(memory, np.uint8)
assert bytes_.ctypes.data % PAGE == 0
for guard in (0, PAGE + SIZE):
    assert libc.mprotect(bytes_.ctypes.data + guard, PAGE, 0) == 0
inner = bytes_[PAGE : PAGE + SIZE].view(np.uint16)
at_the_end = True

def guarded(shapes):
    sizes = [int(np.prod(s)) for s in shapes]
    n = sum(sizes) + 1
    pool = inner[-n:] if at_the_end else inner[:n]
    ends = np.cumsum(sizes)
    return pool, [pool[e - k : e].reshape(s) for e, k, s in zip(ends, sizes, shapes)]

def fill(part, out):
    out[...] = 1000

fusion.empty_windows, fusion.read_window = guarded, fill
rng = np.random.default_rng(int(sys.argv[1]))
for n in range(250):
    turn = Rotation.random(random_state=n).as_matrix() * rng.choice([0.4, 0.6, 1, 1.9], (3, 1))
    if n % 3 == 0:
        turn = np.diag(rng.choice([1.0, -1.0, 1.5, 0.5], 3))
    offset = rng.uniform(-60, 60, 3) if n % 2 else rng.integers(-60, 60, 3) + rng.choice([0, 0.5])
    shape = tuple(rng.integers(1, 150, 3).tolist())
    view = View(ViewId(0, "0", "0", "l", "c"), Source("a"), shape, (1, 1, 1),
                Affine.from_array(turn, offset))
    grid = Grid((60, 60, 200), (1, 1, 1), (-20, -20, -60))
    for interpolation, at_the_end in product(("linear", "cubic"), (True, False)):
        params = FusionParams(interpolation=interpolation)
        job = fusion.fuse_job(Box((0, 0, 0), grid.shape), [place_view(view, grid, params)], params)
        out = fusion.fuse_chunk(job)
        assert set(np.unique(out)) <= {0, 1000}, (n, np.unique(out))
print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="mprotect is POSIX")
def test_nothing_is_read_beyond_the_buffer():
    """The buffer ends at a page without access: any read beyond it kills the process."""
    result = subprocess.run(
        [sys.executable, "-c", GUARDED, "1"], capture_output=True, text=True, check=False
    )
    assert result.stdout == "done\n", f"exit code {result.returncode}: {result.stderr[-2000:]}"
