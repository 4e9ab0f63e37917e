"""The executed face: one task per super-chunk, later stages by themselves, resuming."""

import pickle

import dask
import numpy as np
import pytest

import luxdask.model.levels
from luxdask.graph.params import FusionParams
from luxdask.graph.planned import plan_output
from luxdask.graph.quality import load_quality
from luxdask.graph.tasks import TaskStream, view_tasks, write_graph
from luxdask.graph.write import coarsen_chunk, write_chunk
from luxdask.io.lux_writer import LuxWriter
from luxdask.model.geometry import Affine, Box, Grid
from luxdask.model.output import Output
from luxdask.model.view import Source, View, ViewId


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)


@pytest.fixture
def deep(monkeypatch):
    """Small images get a long pyramid."""
    monkeypatch.setattr(luxdask.model.levels, "COARSEST_SIZE", 500)


@pytest.fixture
def images(memory, deep, tmp_path):
    """Two plans with a gap between their views, and a maker of their files."""
    plans = []
    for n in range(2):
        views = [memory.view(noise((64, 64, 100), n), Affine.translation((0, 0, x)))
                 for x in (0, 280)]  # fmt: skip
        plans.append(memory.plan(views, Grid((64, 64, 400), (1, 1, 1), (0, 0, 0)), blend=True))
    made = []

    def writers(number):
        made.append(number)
        planned = plans[number]
        path = tmp_path / f"{number}.lux.h5"
        writer = LuxWriter(str(path), planned.output.grid.shape, (1, 1, 1), planned.levels)
        if not path.exists():
            writer.create()
        return (writer,)

    writers.made = made
    return plans, writers


def run(stream, most=None, shuffle=None):
    """Run a stream the way that a cluster does: several tasks in flight, any order of ends."""
    random, ahead, receipts = np.random.default_rng(shuffle), [], []
    sent = iter(stream)
    while most is None or len(receipts) < most:
        while len(ahead) < 3 and (task := next(sent, None)) is not None:
            ahead.append(task)
        if not ahead:
            break
        task = ahead.pop(0 if shuffle is None else int(random.integers(len(ahead))))
        assert task.func in (write_chunk, coarsen_chunk)
        receipts.append(task())
        ahead.extend(stream.finished(receipts[-1]))
    return receipts


def test_one_task_per_chunk_that_a_view_covers(images):
    plans, writers = images
    graph = write_graph(plans[0], writers(0))
    # of 7 chunks, two lie in the gap and one beyond the last view
    assert list(graph) == [("write", 0, 0, n) for n in (0, 1, 4, 5)]
    assert all(not task.dependencies for task in graph.values())
    assert all(task.data_producer for task in graph.values())


def test_tasks_are_small(images):
    plans, writers = images
    sizes = [len(pickle.dumps(task)) for task in write_graph(plans[0], writers(0)).values()]
    assert max(sizes) < 8_000


def test_the_graph_runs_on_dask(images):
    plans, writers = images
    files = writers(0)
    graph = write_graph(plans[0], files)
    receipts = dask.get(graph, list(graph))
    assert sum(r.voxels for r in receipts) == 4 * 64**3
    box = Box.of_shape((64, 64, 400))
    assert np.array_equal(files[0].read(0, box), plans[0].array.data.compute(scheduler="sync"))


@pytest.mark.parametrize("shuffle", [None, 1, 2])
def test_stream_makes_every_level_in_any_order(images, memory, shuffle):
    plans, writers = images
    stream = TaskStream(plans, writers)
    receipts = run(stream, shuffle=shuffle)
    assert writers.made == [0, 1]
    assert stream.done == stream.total == len(receipts)
    assert {r.stage for r in receipts} == set(range(len(plans[0].stages)))
    assert len(plans[0].stages) > 2
    for number, planned in enumerate(plans):
        (writer,) = writers(number)
        expected = memory.whole(planned)
        for level, factor in enumerate(planned.levels):
            size = luxdask.model.levels.level_shape(expected.shape, factor)
            found = writer.read(level, Box.of_shape(size))
            means = block_means(expected, factor)[: size[0], : size[1], : size[2]]
            # every level is rounded once more
            assert np.abs(found - means).max() <= 0.5 * level + 0.01


def block_means(volume, factor):
    shape = [n // f for n, f in zip(volume.shape, factor, strict=True)]
    cut = volume[tuple(slice(n * f) for n, f in zip(shape, factor, strict=True))].astype(float)
    pairs = [v for n, f in zip(shape, factor, strict=True) for v in (n, f)]
    return cut.reshape(pairs).mean(axis=(1, 3, 5))


@pytest.mark.parametrize("stopped_after", [0, 1, 5, 8, 12, 15])
def test_resuming_does_what_is_missing(images, stopped_after):
    plans, writers = images
    first = run(TaskStream(plans, writers), most=stopped_after)
    done = {(r.output, r.stage, r.chunk) for r in first}
    stream = TaskStream(plans, writers, done)
    second = run(stream)
    again = {(r.output, r.stage, r.chunk) for r in second}
    assert not done & again
    assert len(done | again) == stream.total == stream.done
    (writer,) = writers(0)
    box = Box.of_shape((64, 64, 400))
    assert np.array_equal(writer.read(0, box), plans[0].array.data.compute(scheduler="sync"))


def test_nothing_is_left_of_a_finished_run(images):
    plans, writers = images
    done = {(r.output, r.stage, r.chunk) for r in run(TaskStream(plans, writers))}
    stream = TaskStream(plans, writers, done)
    assert list(stream) == []
    assert stream.done == stream.total


def test_no_overlap_no_task():
    identity = ViewId(0, "0", "0", "left", "long")
    far = View(identity, Source("a"), (8, 8, 8), (1, 1, 1), Affine.translation((999, 0, 0)))
    grid = Grid((128, 128, 128), (1, 1, 1), (0, 0, 0))
    planned = plan_output(Output("uni", grid, (far,)), FusionParams(), "n", (64, 64, 64))
    assert write_graph(planned, ()) == {}
    assert len(planned.table.covered) == 0
    assert set(planned.array.data.dask) == {
        (planned.array.data.name, *planned.chunks.index(n)) for n in range(8)
    }
    assert not np.asarray(planned.array).any()
    assert list(TaskStream([planned], lambda _: ())) == []


def test_tasks_are_described_in_words(images):
    plans, writers = images
    stream = TaskStream(plans, writers)
    task = next(iter(stream))
    assert stream.describe(task).startswith("image image, chunk 0 (voxels (0, 0, 0) to (64, 64, 64")


def test_quality_maps_are_made_once(images, memory, tmp_path):
    volume = noise((64, 64, 70))
    view = memory.view(volume)
    plans = [memory.plan([view], quality_strength=s) for s in (1.0, 1.0)]
    folder = str(tmp_path)
    tasks = view_tasks(plans, folder)
    assert len(tasks) == 1
    weights = load_quality(tasks[0]())
    assert weights.shape == (1, 1, 2)
    assert (weights > 0).all()
    assert view_tasks(plans, folder) == []
    assert view_tasks([memory.plan([view])], folder) == []
