"""Views per chunk against the positions of all voxel centres."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.graph.chunks import ChunkGrid
from luxdask.graph.overlap import overlap_table, touched_chunks
from luxdask.model.geometry import Affine
from luxdask.testing.strategies import chunk_shapes, near_rigid, shapes

moderate = settings(max_examples=80, deadline=None)


def covered_chunks(shape, view_to_out, chunks, slack=0.0):
    """Chunks with a voxel centre inside the view, from all voxel centres."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in chunks.shape), indexing="ij"), axis=-1)
    at = view_to_out.inverse().apply(grid)
    inside = (at >= -0.5 - slack).all(axis=-1) & (at <= np.array(shape) - 0.5 + slack).all(axis=-1)
    return {n for n, box in enumerate(chunks.boxes()) if inside[box.slices].any()}


@moderate
@given(shapes(1, 20), near_rigid(angle_deg=180, shift=25, stretch=0.1), shapes(4, 24), st.data())
def test_no_chunk_is_missed(shape, view_to_out, out, data):
    chunks = ChunkGrid(out, data.draw(chunk_shapes(out)))
    found = touched_chunks(shape, view_to_out, chunks).tolist()
    assert found == sorted(set(found))
    assert covered_chunks(shape, view_to_out, chunks) <= set(found)


@moderate
@given(near_rigid(angle_deg=180, shift=30))
def test_few_chunks_are_asked_in_vain(view_to_out):
    """Only chunks whose hull touches the view without a voxel centre in it."""
    chunks = ChunkGrid((48, 48, 48), (8, 8, 8))
    shape = (20, 30, 40)
    found = set(touched_chunks(shape, view_to_out, chunks).tolist())
    assert found <= covered_chunks(shape, view_to_out, chunks, slack=1.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_aligned_views_are_exact(sign):
    chunks = ChunkGrid((4, 4, 40), (4, 4, 10))
    for start in np.arange(-12, 42, 0.25):
        linear = np.diag([1, 1, sign])
        view_to_out = Affine.from_array(linear, (0, 0, start if sign > 0 else start + 9))
        found = set(touched_chunks((4, 4, 10), view_to_out, chunks).tolist())
        assert found == covered_chunks((4, 4, 10), view_to_out, chunks, slack=1e-6)


def test_rotation_selects_far_less_than_its_bounding_box():
    turn = np.array([[1, 0, 0], [0, np.sqrt(0.5), np.sqrt(0.5)], [0, -np.sqrt(0.5), np.sqrt(0.5)]])
    view_to_out = Affine.from_array(turn, (0, 0, 140))
    chunks = ChunkGrid((16, 288, 288), (16, 16, 16))
    found = touched_chunks((16, 200, 200), view_to_out, chunks)
    assert len(found) < 0.65 * len(chunks)


def test_table_lists_views_per_chunk_in_order():
    chunks = ChunkGrid((4, 4, 40), (4, 4, 10))
    placed = [((4, 4, 10), Affine.translation((0, 0, x))) for x in (15, 100, 5, 0)]
    table = overlap_table(placed, chunks)
    assert [table.views_of(c) for c in range(4)] == [[2, 3], [0, 2], [0], []]
    assert table.covered.tolist() == [0, 1, 2]


def test_no_views_no_chunks():
    table = overlap_table([], ChunkGrid((4, 4, 4), (2, 2, 2)))
    assert table.covered.size == 0
    assert table.views_of(7) == []


def test_thin_views_between_voxel_centres():
    chunks = ChunkGrid((4, 4, 40), (4, 4, 10))
    thin = Affine.from_array(np.diag([1, 1, 0.1]), (0, 0, 9.5))
    assert covered_chunks((4, 4, 2), thin, chunks) == set()
    assert set(touched_chunks((4, 4, 2), thin, chunks).tolist()) <= {0, 1}


def test_time_is_linear_in_views():
    chunks = ChunkGrid((256, 40_000, 40_000), (128, 512, 512))
    spent = {}
    for n in (20, 80):
        placed = [
            ((256, 512, 512), Affine.translation((0, 450 * i, 450 * j)))
            for i in range(n)
            for j in range(20)
        ]
        spent[n] = []
        for _ in range(3):  # the machine may be busy with something else
            begin = time.process_time()
            table = overlap_table(placed, chunks)
            spent[n].append(time.process_time() - begin)
        assert len(table.covered) >= len(placed)
    assert min(spent[80]) < 12 * min(spent[20]) + 0.1
