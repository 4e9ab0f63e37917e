"""Stages of the pyramid: complete, equal to iterated means, written without collisions."""

from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luxdask.graph.write
import luxdask.model.levels
from luxdask.array.pyramid import downsample
from luxdask.graph.params import FusionParams
from luxdask.graph.planned import plan_output, smaller
from luxdask.graph.write import coarsen_chunk, write_chunk
from luxdask.io.lux_writer import CHUNK, PAGE, LuxWriter, chunk_shape
from luxdask.model.geometry import Affine, Box, Grid, shape3
from luxdask.model.levels import FULL, level_shape
from luxdask.model.output import Output
from luxdask.model.view import Source, View, ViewId

CHUNKS = [(64, 128, 128), (256, 256, 256), (64, 512, 512), (192, 192, 192), (128, 64, 320)]


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)


def planned_of(shape, chunk=None):
    """An output that one view covers entirely."""
    identity = ViewId(0, "0", "0", "left", "long")
    view = View(identity, Source("a"), shape, (1, 1, 1), Affine())
    return plan_output(Output("uni", Grid(shape, (1, 1, 1), (0, 0, 0)), (view,)),
                       FusionParams(), "n", chunk)  # fmt: skip


def run_all(planned, writers):
    """All stages, one after the other."""
    tasks = list(map(write_chunk, planned.write_jobs(0, writers)))
    for stage in range(1, len(planned.stages)):
        jobs = list(planned.coarsen_jobs(0, stage, writers))
        assert len(jobs) == planned.coarsen_count(stage)
        tasks += map(coarsen_chunk, jobs)
    return tasks


@dataclass
class Regions:
    """A writer that notes the regions of every task and stores nothing."""

    levels: tuple
    shape: tuple
    written: list = field(default_factory=list)
    path: str = ""
    task: int = 0

    def write(self, level, start, block):
        self.written.append((self.task, level, start, shape3(np.add(start, block.shape).tolist())))
        return 0

    def read(self, level, box):
        assert all(b <= n for b, n in zip(box.stop, self.level_shape(level), strict=True))
        self.task += 1
        return np.broadcast_to(np.uint16(0), box.shape)

    def level_shape(self, level):
        return level_shape(self.shape, self.levels[level])


def _blank(shape):
    return np.broadcast_to(np.uint16(0), shape)


def regions_of(planned):
    """What all tasks write; blocks have no memory, so that the image may be huge."""
    writer = Regions(planned.levels, planned.output.grid.shape)

    def fuse(job):
        writer.task += 1
        return _blank(job.box.shape)

    def shrink(block, factor):
        return _blank(level_shape(block.shape, factor))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(luxdask.graph.write, "downsample", shrink)
        patch.setattr(luxdask.graph.write, "fuse_chunk", fuse)
        run_all(planned, (writer,))
    return writer


def paint(regions, shape):
    """How often each voxel of a level is written, on a grid of all region borders."""
    edges = [sorted({0, n} | {r[2][a] for r in regions} | {r[3][a] for r in regions})
             for a, n in enumerate(shape)]  # fmt: skip
    painted = np.zeros([len(e) - 1 for e in edges], int)
    for _, _, start, stop in regions:
        place = [slice(e.index(a), e.index(b)) for e, a, b in zip(edges, start, stop, strict=True)]
        painted[tuple(place)] += 1
    return painted


def pages_by_task(regions, shape):
    """Which pages of the stored chunks each task writes to: (chunk, page) -> tasks."""
    chunk = chunk_shape(shape)
    owners = {}
    for task, _, start, stop in regions:
        ranges = [range(a // c, -(-b // c)) for a, b, c in zip(start, stop, chunk, strict=True)]
        for index in product(*ranges):
            plane = chunk[1] * chunk[2] * 2
            first = max(start[0] - index[0] * chunk[0], 0) * plane
            last = min(stop[0] - index[0] * chunk[0], chunk[0]) * plane
            for page in range(first // PAGE, -(-last // PAGE)):
                owners.setdefault((index, page), set()).add(task)
    return owners


SHAPES = [(64, 2048, 2048), (130, 700, 1100), (500, 500, 500), (1, 5000, 5000), (1025, 513, 257),
          (63, 3001, 777), (40, 40, 9000)]  # fmt: skip


@pytest.fixture(scope="module", params=[(SHAPES[1], (64,) * 3), *product(SHAPES, [*CHUNKS, None])],
                ids=str)  # fmt: skip
def written(request):
    """A plan, and per level what its tasks write."""
    planned = planned_of(*request.param)
    regions = regions_of(planned).written
    return planned, [[r for r in regions if r[1] == n] for n in range(len(planned.levels))]


def test_every_voxel_of_every_level_is_written_by_one_task(written):
    planned, levels = written
    for factor, regions in zip(planned.levels, levels, strict=True):
        assert (paint(regions, level_shape(planned.output.grid.shape, factor)) == 1).all()


def test_no_page_of_a_file_belongs_to_two_tasks(written):
    """Two machines that write into one page of a network file can undo each other's bytes."""
    planned, levels = written
    for factor, regions in zip(planned.levels, levels, strict=True):
        size = level_shape(planned.output.grid.shape, factor)
        if min(size[1:]) >= CHUNK:  # thinner images have planes that are no whole pages
            assert max(map(len, pages_by_task(regions, size).values())) == 1, f"level {factor}"


def test_regions_are_whole_shards(written):
    planned, levels = written
    for factor, shard, regions in zip(planned.levels, planned.shards(), levels, strict=True):
        size = level_shape(planned.output.grid.shape, factor)
        for _, _, start, stop in regions:
            for a, b, s, n in zip(start, stop, shard, size, strict=True):
                assert a % s == 0
                assert b % s == 0 or b == n


@pytest.mark.parametrize("shape", SHAPES)
def test_stages_follow_one_another_and_hold_every_level(shape):
    for chunk in [*CHUNKS, None]:
        planned = planned_of(shape, chunk)
        assert planned.stages[0][0] == FULL
        for earlier, later in pairwise(planned.stages):
            assert later[0] == earlier[-1]
            assert len(later) > 1
        joined = [*planned.stages[0], *(f for s in planned.stages[1:] for f in s[1:])]
        assert tuple(joined) == planned.levels


@pytest.fixture
def many_levels(monkeypatch):
    """Small images with a long pyramid."""
    monkeypatch.setattr(luxdask.model.levels, "COARSEST_SIZE", 2000)


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [((70, 140, 150), (64, 64, 64)), ((65, 129, 193), (64, 128, 64)), ((1, 300, 400), (64,) * 3),
     ((130, 70, 66), (128, 64, 64)), ((50, 131, 260), (64, 64, 128)), ((99, 98, 97), (64,) * 3)],
)  # fmt: skip
def test_levels_are_iterated_means(memory, many_levels, tmp_path, shape, chunk):
    volume = noise(shape)
    planned = memory.plan([memory.view(volume)], chunk=chunk)
    assert len(planned.stages) > 1
    writer = LuxWriter(str(tmp_path / "a.lux.h5"), shape, (1, 1, 1), planned.levels)
    writer.create()
    run_all(planned, (writer,))
    expected = volume
    for number, factor in enumerate(planned.levels):
        if number:
            step = np.floor_divide(factor, planned.levels[number - 1])
            expected = downsample(expected, shape3(step.tolist()))
        size = level_shape(shape, factor)
        expected = expected[: size[0], : size[1], : size[2]]
        box = Box.of_shape(size)
        assert np.array_equal(writer.read(number, box), expected), f"level {number}"


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(*[st.integers(40, 140)] * 3),
    st.sampled_from([(64, 64, 64), (128, 64, 64), (64, 128, 256)]),
)
def test_written_is_lazy_is_fused(memory, tmp_path_factory, shape, chunk):
    views = [memory.view(noise((50, 60, 70), n), Affine.translation((n, 20.5 * n, 30 * n)))
             for n in range(3)]  # fmt: skip
    grid = Grid(shape, (1, 1, 1), (0, 0, 0))
    planned = memory.plan(views, grid, chunk, blend=True)
    path = str(tmp_path_factory.mktemp("out") / "a.lux.h5")
    writer = LuxWriter(path, shape, (1, 1, 1), planned.levels)
    writer.create()
    receipts = [write_chunk(job) for job in planned.write_jobs(0, (writer,))]
    found = writer.read(0, Box.of_shape(shape))
    assert np.array_equal(found, memory.chunked(planned))
    assert np.array_equal(found, planned.array.data.compute(scheduler="sync"))
    assert sum(r.voxels for r in receipts) == sum(
        planned.chunks.box(c).size for c in planned.table.covered.tolist()
    )
    assert sum(r.bytes_read for r in receipts) == planned.bytes_read(10**6)


def test_several_writers_get_the_same(memory, tmp_path):
    planned = memory.plan([memory.view(noise((64, 64, 100)))])
    writers = tuple(
        LuxWriter(str(tmp_path / f"{n}.lux.h5"), (64, 64, 100), (1, 1, 1)) for n in range(2)
    )
    for writer in writers:
        writer.create()
    run_all(planned, writers)
    first, second = (w.read(0, Box.of_shape(w.shape)) for w in writers)
    assert first.any()
    assert np.array_equal(first, second)


def test_size_on_disk_counts_whole_chunks():
    planned = planned_of((64, 100, 2100), (64, 512, 512))
    assert planned.size_bytes >= 64 * 128 * 2112 * 2
    assert planned.levels[1:] == ((2, 2, 2),)[: len(planned.levels) - 1]


def test_chunks_shrink_to_a_memory_limit():
    planned = planned_of((512, 512, 512), (256, 256, 256))
    small = smaller(planned, 30 << 20)
    assert small.peak_bytes() <= 30 << 20
    assert all(c % CHUNK == 0 for c in small.chunks.chunk)
    assert smaller(planned, 0).chunks.chunk == (64, 64, 64)
    assert smaller(planned, 1 << 40) is planned
