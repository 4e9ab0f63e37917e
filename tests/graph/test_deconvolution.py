"""Deconvolution of chunks: the same as of the whole image, in both faces of a plan."""

import tracemalloc

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from luxdask.graph.background import load_background, save_background, view_background
from luxdask.graph.chunks import ChunkGrid, halo_chunk
from luxdask.graph.params import DeconvolutionParams, PsfFile
from luxdask.graph.planned import smaller
from luxdask.graph.write import compute_chunk
from luxdask.io.psf_file import read_stack
from luxdask.model.geometry import Affine, Box, Grid

SPACING = (2.0, 1.0, 1.0)


def spots(shape=(40, 60, 90), ground=100, height=30000, sigma=(1.3, 1.3, 1.3), seed=0):
    """Bright spots on a dark ground, hundreds of times as bright, with photon noise."""
    rng = np.random.default_rng(seed)
    light = np.zeros(shape)
    at = tuple(rng.integers(0, n, 60) for n in shape)
    light[at] = height * 20 * rng.uniform(0.1, 1, 60)
    light = ndimage.gaussian_filter(light, sigma) + 30
    return np.clip(rng.poisson(light) + ground, 0, 65535).astype(np.uint16)


def gaussian(iterations=10, **given):
    return DeconvolutionParams(3.0, 6.0, iterations=iterations, **given)


def two_tiles(memory, volume=None):
    """Two overlapping cuts of a volume."""
    volume = spots() if volume is None else volume
    cuts = (volume[:, :, :60], volume[:, :, 40:])
    return [
        memory.view(cut.copy(), Affine.scale(SPACING, (0, 0, start)))
        for cut, start in zip(cuts, (0, 40), strict=True)
    ]


def turned_views(memory, apart=0):
    """Two views of which one is turned by 40 degrees about y, and moved along x."""
    a = np.deg2rad(40)
    turn = Affine.from_array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    middle = [Affine.translation((20, 30, 45 + shift)) for shift in (0, apart)]
    away = Affine.translation((-20, -30, -45))
    return [
        memory.view(spots(seed=n), middle[n] @ turn @ away)
        for n, turn in enumerate((Affine(), turn))
    ]


def relative(one, other):
    """Largest difference by the local value; rounding to grey values does not count."""
    difference = np.abs(one.astype(float) - other)
    return float((np.maximum(difference - 1, 0) / np.maximum(other, 1)).max())


CASES = {"tiles": two_tiles, "turned": turned_views}


@pytest.fixture(scope="module")
def wholes(memory):
    """Per case the views, and the image computed as a single chunk."""
    made = {}
    for name, make in CASES.items():
        views = make(memory)
        grid = Grid((40, 60, 90), SPACING if name == "tiles" else (1, 1, 1), (0, 0, 0))
        for iterations in (10, 30):
            given = {"deconvolution": gaussian(iterations, background=100.0), "blend": True}
            planned = memory.plan(views, grid, (64, 64, 128), **given)
            assert len(planned.chunks) == 1
            made[name, iterations] = (views, grid, given, memory.chunked(planned))
    return made


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(CASES)), st.sampled_from([10, 30]), st.data())
def test_chunks_are_as_the_whole(memory, wholes, case, iterations, data):
    """No seams: within 0.5 % of the local value, for chunks of any size."""
    views, grid, params, whole = wholes[case, iterations]
    chunk = tuple(data.draw(st.integers(n // 2, n)) for n in grid.shape)
    planned = memory.plan(views, grid, chunk, **params)
    assert relative(memory.chunked(planned), whole) < 0.005


def test_lazy_is_executed(memory, tmp_path):
    """Backgrounds are estimated in both faces alike, and so is the rest."""
    views = two_tiles(memory)
    grid = Grid((40, 60, 90), SPACING, (0, 0, 0))
    planned = memory.plan(views, grid, (40, 60, 50), deconvolution=gaussian(3), blend=True)
    for view, file in planned.background_jobs(str(tmp_path)):
        save_background(view.source, view.shape, file)
        assert load_background(file) == pytest.approx(100 + 30, abs=10)
    executed = memory.chunked(planned, str(tmp_path))
    with dask.config.set(scheduler="sync"):
        lazy = np.asarray(planned.array)
        part = np.asarray(planned.array[5:10, :, 40:60])
    assert np.array_equal(lazy, executed)
    assert np.array_equal(part, executed[5:10, :, 40:60])
    again = memory.plan(views, grid, (40, 60, 50), deconvolution=gaussian(4), blend=True)
    assert again.array.data.name != planned.array.data.name


def test_only_what_the_region_needs_is_read(memory, reads):
    volume = np.full((40, 64, 400), 500, np.uint16)
    view = memory.view(volume, Affine.scale(SPACING))
    planned = memory.plan([view], chunk=(40, 64, 64), deconvolution=gaussian(background=100.0),
                          spacing=SPACING)  # fmt: skip
    job = planned.job(2)
    halo, margin = planned.reach.halo, planned.reach.margin
    assert all(0 < m <= h < 64 for m, h in zip(margin, halo, strict=True))
    inside = Box((0, 0, 128 - halo[2]), (40, 64, 192 + halo[2]))
    assert job.region & Box.of_shape(volume.shape) == inside
    assert job.region.start[:2] == (-margin[0], -margin[1])
    compute_chunk(job)
    assert [box for _, box, _ in reads] == [inside]


def test_light_beyond_the_output_counts_where_views_saw_it(memory):
    """An output that is cut out of the views is a part of the whole one."""
    view = memory.view(spots((24, 60, 90)), Affine.scale((1, 1, 1)))
    given = {"deconvolution": gaussian(background=100.0)}
    whole = memory.chunked(memory.plan([view], chunk=(64, 64, 128), **given))
    inner = Grid((24, 30, 40), (1, 1, 1), (0, 20, 30))
    part = memory.chunked(memory.plan([view], inner, (64, 64, 64), **given))
    assert relative(part, whole[:, 20:50, 30:70]) < 0.005


@pytest.fixture
def psf_file(tmp_path):
    """A measured stack: narrow in y and x, long in z, off its middle, on a background."""
    psf = np.full((15, 13, 11), 20.0, np.float32)
    z, y, x = np.indices(psf.shape)
    psf += 900 * np.exp(-0.5 * (((z - 8) / 2) ** 2 + ((y - 6) / 1.1) ** 2 + ((x - 4) / 1.1) ** 2))
    path = tmp_path / "psf.npy"
    np.save(path, psf)
    return PsfFile(str(path), read_stack(str(path)).digest, (2.0, 1.0, 1.0))


def test_measured_psfs_with_chunks_that_see_fewer_views(memory, psf_file):
    """Each view has its own, turned its own way; chunks see none, one or both of them."""
    views = turned_views(memory, apart=60)
    grid = Grid((40, 60, 312), (1, 1, 1), (0, 0, -112))
    given = {"deconvolution": DeconvolutionParams(file=psf_file, background=100.0, iterations=5)}
    planned = memory.plan(views, grid, (40, 60, 52), **given)
    seen = {len(planned.job(n).parts) for n in range(len(planned.chunks))}
    assert seen >= {0, 1, 2}
    assert len(set(planned.psfs)) == 2
    whole = memory.chunked(memory.plan(views, grid, (64, 64, 384), **given))
    assert whole.max() > spots().max()
    assert relative(memory.chunked(planned), whole) < 0.005


def test_a_file_that_has_changed_is_not_used(memory, psf_file):
    from luxdask.errors import ConfigError

    np.save(psf_file.path, np.ones((3, 3, 3), np.float32))
    with pytest.raises(ConfigError, match="has changed since the task was made"):
        memory.plan(two_tiles(memory), deconvolution=DeconvolutionParams(file=psf_file)).job(0)


def test_bright_voxels_saturate(memory):
    """A deconvolved spot is brighter than the file can say: 65535, never a small value."""
    volume = spots(height=60000)
    bright = volume > 40000
    views = two_tiles(memory, volume)
    planned = memory.plan(views, chunk=(40, 60, 50), spacing=SPACING,
                          deconvolution=gaussian(background=100.0))  # fmt: skip
    made = memory.chunked(planned)
    assert made.max() == 65535
    assert (made == 65535).sum() > 20
    assert made[bright].min() > 20000


def test_pieces_of_a_chunk_are_as_the_chunk(memory):
    """What is done again with less memory."""
    planned = memory.plan(two_tiles(memory), chunk=(64, 64, 128), spacing=SPACING,
                          deconvolution=gaussian(background=100.0))  # fmt: skip
    job = planned.job(0)
    less = job.in_pieces()
    assert less.in_pieces() is None
    assert less.peak_bytes < job.peak_bytes
    assert relative(compute_chunk(less), compute_chunk(job)) < 0.005


def test_no_border_where_views_begin_and_end(memory):
    """A smooth sample stays smooth across the places where another view begins."""
    volume = np.full((30, 60, 90), 1000.0)
    volume *= 1 + 0.2 * np.sin(np.arange(90) / 7)
    volume = np.random.default_rng(0).poisson(volume + 100).astype(np.uint16)
    made = {}
    for name, views in (
        ("one", [memory.view(volume, Affine.scale(SPACING))]),
        ("two", two_tiles(memory, volume)),
    ):
        given = {"deconvolution": gaussian(background=100.0), "blend": True}
        planned = memory.plan(views, chunk=(64, 64, 128), spacing=SPACING, **given)
        made[name] = memory.chunked(planned).astype(float)
    assert relative(made["two"], made["one"]) < 1e-3


def test_background_is_put_back_and_kept(memory):
    """An image without light stays as it is; half intensity halves all of it."""
    dark = np.full((20, 30, 40), 321, np.uint16)
    view = memory.view(dark)
    for background in (None, 0.0, 100.0, 321.0, 500.0):
        given = gaussian(2, background=background)
        folder_free = memory.plan([view], chunk=(64, 64, 64), deconvolution=given)
        with dask.config.set(scheduler="sync"):
            made = np.asarray(folder_free.array)
        expected = 500 - 16 if background == 500 else 321
        assert np.abs(made.astype(int) - expected).max() <= 1
    half = memory.plan([view], chunk=(64, 64, 64), deconvolution=given, half_intensity=True)
    assert np.abs(memory.chunked(half).astype(int) - 242).max() <= 1


def test_background_of_a_view(memory):
    rng = np.random.default_rng(0)
    volume = rng.normal(200, 10, (40, 80, 100)).clip(1).astype(np.uint16)
    volume[10:30, 20:60, 30:70] += 3000
    view = memory.view(volume, levels=[(1, 2, 2)])
    assert view_background(view.source, view.shape) == pytest.approx(195, abs=5)
    volume[:, :40] = 0
    empty_half = memory.view(volume)
    assert view_background(empty_half.source, view.shape) == pytest.approx(195, abs=5)
    nothing = memory.view(np.zeros((5, 3, 2), np.uint16))
    assert view_background(nothing.source, nothing.shape) == 0


def test_chunks_hold_little_halo():
    shape, halo = (2000, 4000, 4000), (20, 10, 10)
    chunk = halo_chunk(shape, halo)
    region = [c + 2 * h for c, h in zip(chunk, halo, strict=True)]
    assert np.prod(region) <= 1 << 25
    assert np.prod(region) < 1.4 * np.prod(chunk)
    assert all(c % 64 == 0 for c in chunk)
    assert halo_chunk((70, 50, 300), halo) == (128, 64, 320)
    assert halo_chunk(shape, (400, 400, 400), most_voxels=1 << 22) == (64, 64, 64)


def test_small_outputs_are_divided_among_the_workers():
    halo = (14, 14, 14)
    assert halo_chunk((64, 355, 355), halo, slots=2) == (64, 192, 384)
    assert len(ChunkGrid((64, 355, 355), halo_chunk((64, 355, 355), halo, slots=4))) == 4


def test_smaller_chunks_need_less_memory(memory):
    volume = np.zeros((130, 260, 260), np.uint16)
    planned = memory.plan([memory.view(volume)], chunk=None, deconvolution=gaussian())
    assert planned.chunks.chunk != (64, 64, 64)
    least = smaller(planned, 0)
    assert least.chunks.chunk == (64, 64, 64)
    limit = planned.peak_bytes() // 2
    assert smaller(planned, limit).peak_bytes() <= limit


@pytest.mark.parametrize(
    "given",
    [{}, {"acceleration": True}, {"order": "ordered_subsets"}, {"regularisation": 0.01}],
    ids=str,
)
def test_memory_is_known_before(memory, given):
    """Arrays alone: what is forecast is enough, and not several times as much."""
    volume = np.full((70, 100, 130), 500, np.uint16)
    views = [memory.view(volume, Affine.translation((0, 0, 40 * n))) for n in range(2)]
    params = gaussian(2, background=100.0, **given)
    job = memory.plan(views, chunk=(128, 128, 192), deconvolution=params).job(0)
    tracemalloc.start()
    try:
        compute_chunk(job)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.3 * job.peak_bytes < peak < job.peak_bytes


def test_on_a_gpu_all_arrays_of_the_iterations_are_there(memory, monkeypatch):
    """With a stand-in: arrays are moved before the iterations, and the result comes back."""
    import luxdask.graph.deconvolution as module

    moved = []

    def to_device(array):
        moved.append(array.shape)
        return array.copy()

    monkeypatch.setattr(module, "require_cuda", lambda: None)
    monkeypatch.setattr(module, "to_device", to_device)
    plans = [
        memory.plan(two_tiles(memory), chunk=(64, 64, 128), spacing=SPACING, device=device,
                    deconvolution=gaussian(2, background=100.0))
        for device in ("cpu", "cuda")
    ]  # fmt: skip
    on_cpu, on_gpu = (compute_chunk(planned.job(0)) for planned in plans)
    assert np.array_equal(on_cpu, on_gpu)
    assert len(moved) == 2  # image and weight of two views that see alike
    assert plans[1].job(0).peak_bytes < plans[0].job(0).peak_bytes


def test_chunks_that_touch_a_box():
    grid = ChunkGrid((10, 20, 30), (4, 8, 16))
    assert grid.touching(Box((-5, -5, -5), (1, 1, 1))) == [0]
    assert grid.touching(Box((0, 0, 0), (10, 20, 30))) == list(range(len(grid)))
    assert grid.touching(Box((4, 8, 16), (5, 9, 99))) == [grid.number(1, 1, 1)]
    assert grid.touching(Box((10, 0, 0), (12, 1, 1))) == []
