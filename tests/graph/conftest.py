"""Views whose voxels lie in memory, and plans made of them."""

from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pytest

import luxdask.graph.background
import luxdask.graph.quality
import luxdask.graph.read
from luxdask.array.pyramid import downsample
from luxdask.graph.fusion import fuse_chunk, fuse_job
from luxdask.graph.params import FusionParams
from luxdask.graph.planned import plan_output
from luxdask.graph.write import compute_chunk
from luxdask.model.bounding_box import group_views, output_grid
from luxdask.model.geometry import Affine, Box
from luxdask.model.levels import FULL
from luxdask.model.output import Output
from luxdask.model.view import Source, View, ViewId


@dataclass(repr=False)
class MemoryReader:
    """A reader of volumes in memory that notes what it reads, as (path, box, level)."""

    images: dict = field(default_factory=dict)
    reads: list = field(default_factory=list)

    def levels(self, source):
        return tuple(self.images[source.path])

    def read_into(self, source, box, out, *, level=FULL):
        image = self.images[source.path][level]
        assert box & Box.of_shape(image.shape) == box, f"{box} is outside of {image.shape}"
        assert box, "an empty read"
        self.reads.append((source.path, box, level))
        out[...] = image[box.slices]


@dataclass(repr=False)
class Memory:
    reader: MemoryReader = field(default_factory=MemoryReader)
    numbers: count = field(default_factory=count)

    def view(self, volume, view_to_world=None, *, spacing=(1, 1, 1), levels=(), **names):
        """A view of an array; `levels` are factors of levels that are stored as well."""
        path = f"memory-{next(self.numbers)}.lux.h5"
        stored = {f: downsample(volume, f) for f in levels}
        self.reader.images[path] = {FULL: volume} | stored
        identity = {"time_point": 0, "channel": "0", "objective": "left", "camera": "long"}
        image = ViewId(**(identity | {"stack": path} | names))
        to_world = view_to_world or Affine.scale(spacing)
        return View(image, Source(path), volume.shape, to_world.column_norms, to_world)

    def plan(self, views, grid=None, chunk=(64, 64, 64), spacing=(1, 1, 1), **params):
        """The views fused on a grid, by default on one around them all."""
        if grid is None:
            grid = output_grid(group_views(views, "UnionAll")[0].box, spacing, views[0])
        output = Output("uni", grid, tuple(views))
        return plan_output(output, FusionParams(**params), "image", chunk)

    def whole(self, planned, quality_folder=None):
        """The image computed as a single chunk, with all views asked."""
        views = range(len(planned.output.views))
        placements = [planned.placement(v) for v in views]
        files = [planned.quality_file(v, quality_folder) for v in views]
        box = Box.of_shape(planned.output.grid.shape)
        return fuse_chunk(fuse_job(box, placements, planned.params, files))

    def chunked(self, planned, quality_folder=None):
        """The image put together from its chunks."""
        out = np.zeros(planned.output.grid.shape, np.uint16)
        for chunk in planned.table.covered.tolist():
            job = planned.job(chunk, quality_folder)
            out[job.box.slices] = compute_chunk(job)
        return out


@pytest.fixture(scope="session")
def memory():
    with pytest.MonkeyPatch.context() as patch:
        memory = Memory()
        original = luxdask.graph.read.reader_for

        def reader_for(source):
            return memory.reader if source.path.startswith("memory-") else original(source)

        patch.setattr(luxdask.graph.read, "reader_for", reader_for)
        patch.setattr(luxdask.graph.quality, "reader_for", reader_for)
        patch.setattr(luxdask.graph.background, "reader_for", reader_for)
        yield memory


@pytest.fixture
def reads(memory):
    """What this test reads."""
    memory.reader.reads.clear()
    return memory.reader.reads
