"""The lazy face: what it computes, what it reads, how it is named."""

import pickle
import subprocess
import sys
import time

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.graph.fusion import fuse_read, read_part
from luxdask.graph.params import FusionParams
from luxdask.graph.planned import plan_output
from luxdask.io.lux_writer import LuxWriter
from luxdask.model.geometry import Affine, Grid
from luxdask.model.output import Output
from luxdask.model.view import Source, View, ViewId
from luxdask.testing.readers import VoxelsRead, forbid_reads, record_reads
from luxdask.testing.strategies import boxes, chunk_shapes, near_rigid, shapes


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)


def computed(array, scheduler="sync"):
    with dask.config.set(scheduler=scheduler):
        return np.asarray(array)


@settings(max_examples=30, deadline=None)
@given(shapes(4, 20), st.data())
def test_lazy_is_executed(memory, out, data):
    """Both faces, for every chunk size, and slices of the lazy one."""
    transforms = [data.draw(near_rigid(angle_deg=90, shift=10)) for _ in range(3)]
    views = [memory.view(noise((12, 13, 14), n), t) for n, t in enumerate(transforms)]
    chunk = data.draw(chunk_shapes(out))
    planned = memory.plan(views, Grid(out, (1, 1, 1), (-2, -2, -2)), chunk, blend=True)
    expected = memory.chunked(planned)
    box = data.draw(boxes(out))
    assert np.array_equal(computed(planned.array[box.slices].data), expected[box.slices])


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_schedulers_agree_also_with_quality(memory, tmp_path, scheduler):
    from luxdask.graph.quality import save_quality

    views = [memory.view(noise((20, 70, 130), n), Affine.translation((0, n, 30 * n)))
             for n in range(3)]  # fmt: skip
    planned = memory.plan(views, chunk=(16, 32, 64), blend=True, quality_strength=1.5)
    for view, file in planned.quality_jobs(str(tmp_path)):
        save_quality(view.source, view.shape, 1.5, file)
    expected = memory.chunked(planned, str(tmp_path))
    assert np.array_equal(computed(planned.array, scheduler), expected)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two real files, 130 voxels wide, that overlap by 30."""
    folder, views = tmp_path_factory.mktemp("files"), []
    for n in range(2):
        path = str(folder / f"{n}.lux.h5")
        writer = LuxWriter(path, (64, 64, 130), (1, 1, 1))
        writer.create()
        writer.write(0, (0, 0, 0), noise((64, 64, 130), n))
        identity = ViewId(0, "0", str(n), "left", "long")
        to_world = Affine.translation((0, 0, 100 * n))
        views.append(View(identity, Source(path), (64, 64, 130), (1, 1, 1), to_world))
    return views


def plan(views, width=300, **params):
    grid = Grid((64, 64, width), (1, 1, 1), (0, 0, 0))
    return plan_output(Output("uni", grid, tuple(views)), FusionParams(**params), "n", (64, 64, 64))


def test_compiling_reads_nothing(files):
    with forbid_reads():
        planned = plan(files, blend=True, quality_strength=1.0)
        array = planned.array
        sliced = array[3:5, ::2, 10]
        assert array.dtype == np.uint16
        assert sliced.shape == (2, 32)
        assert len(list(planned.write_jobs(0, ()))) == 4
        assert planned.bytes_read() > 0
        assert planned.peak_bytes() > 0
        repr(array)
        with pytest.raises(VoxelsRead):
            computed(sliced)


def test_slices_read_only_their_windows(files):
    planned = plan(files)
    with record_reads() as reads:
        computed(planned.array[:, :, 10])
    assert [(r.path, r.box.start, r.box.stop) for r in reads] == [
        (files[0].source.path, (0, 0, 0), (64, 64, 64))
    ]
    with record_reads() as reads:
        computed(planned.array[:, :, 64:128])
    assert sorted((r.path, r.box.start[2], r.box.stop[2]) for r in reads) == [
        (files[0].source.path, 64, 128),
        (files[1].source.path, 0, 28),
    ]
    with record_reads() as reads:
        assert not computed(planned.array[:, :, 256:]).any()
    assert reads == []


def test_graph_shows_every_edge(files):
    planned = plan(files)
    graph = planned.array.data.__dask_graph__()
    name = planned.array.data.name
    edges = [len(graph[(name, 0, 0, x)].dependencies) for x in range(5)]
    assert edges == [1, 2, 2, 1, 0]
    functions = {k: graph[k].func for k in graph}
    assert sum(f is read_part for f in functions.values()) == 6
    assert sum(f is fuse_read for f in functions.values()) == 4
    weighted = plan(files, quality_strength=1.0)
    graph = weighted.array.data.__dask_graph__()
    keys = graph[(weighted.array.data.name, 0, 0, 1)].dependencies
    assert sorted(k[0].partition("-")[0] for k in keys) == ["quality"] * 2 + ["read"] * 2


def test_quality_is_estimated_once_per_view(memory, reads):
    views = [memory.view(noise((64, 128, 128), n)) for n in range(2)]
    planned = memory.plan(views, chunk=(64, 64, 64), quality_strength=1.0)
    computed(planned.array)
    planes = [r for r in reads if r[1].shape == (1, 128, 128)]
    assert len(planes) == 2 * 16


def test_many_chunks_cost_nothing_until_they_are_needed(memory):
    view = memory.view(np.broadcast_to(np.uint16(7), (64, 64, 64)))
    grid = Grid((64 * 100, 64 * 100, 64 * 100), (1, 1, 1), (0, 0, 0))
    begin = time.process_time()
    array = memory.plan([view], grid).array
    assert array.data.npartitions == 1_000_000
    assert computed(array[5:9, 60:70, 3]).max() == 7
    assert time.process_time() - begin < 4


def test_coordinates_are_in_um(files):
    grid = Grid((4, 5, 6), (2.0, 1.0, 0.5), (10, 20, 30))
    array = plan_output(Output("uni", grid, tuple(files)), FusionParams(), "name").array
    assert array.dims == ("z", "y", "x")
    assert array.name == "name"
    assert array.z.to_numpy().tolist() == [10, 12, 14, 16]
    assert array.x.to_numpy()[[0, -1]].tolist() == [30, 32.5]
    assert array.x.attrs["units"] == "µm"


NAME = """
from luxdask.graph.params import FusionParams
from luxdask.graph.planned import plan_output
from luxdask.model.geometry import Affine, Grid
from luxdask.model.output import Output
from luxdask.model.view import Source, View, ViewId
view = View(ViewId(0, "0", "1-x00", "left", "long"), Source("/a.lux.h5"), (64, 64, 64), (1, 1, 1),
            Affine.translation((0.5, 0.25, 1 / 3)))
output = Output("uni", Grid((64, 64, 300), (1, 1, 1), (0, 0, 0)), (view,))
data = plan_output(output, FusionParams(blend=True), "n", (64, 64, 64)).array.data
name = [data.name, *sorted(map(str, data.__dask_graph__()))]
"""


def test_keys_are_the_same_in_every_process():
    here = {}
    exec(NAME, here)
    there = subprocess.run(
        [sys.executable, "-c", NAME + "print(name)"], capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == str(here["name"])


def test_names_tell_apart_what_differs(files):
    plans = [plan(files), plan(files, 301), plan(files, blend=True), plan(files[:1]),
             plan(files, interpolation="cubic"), plan(files, half_intensity=True)]  # fmt: skip
    assert len({p.array.data.name for p in plans}) == len(plans)
    assert plan(files).array.data.name == plans[0].array.data.name


def test_graphs_travel_to_other_processes(files):
    array = plan(files).array.data
    again = pickle.loads(pickle.dumps(array))
    assert np.array_equal(computed(again), computed(array))
