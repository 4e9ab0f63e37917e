import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.graph.chunks import CUBE, FLAT, LARGE, MOST_SOURCE_VOXELS, ChunkGrid, super_chunk
from luxdask.testing.strategies import chunk_shapes, shapes


@settings(max_examples=60, deadline=None)
@given(shapes(1, 20), st.data())
def test_chunks_cover_every_voxel_once(shape, data):
    grid = ChunkGrid(shape, data.draw(chunk_shapes(shape)))
    painted = np.zeros(shape, int)
    for number, box in enumerate(grid.boxes()):
        painted[box.slices] += 1
        assert box == grid.box(number)
        assert grid.number(*grid.index(number)) == number
        sizes = [d[i] for d, i in zip(grid.dask_chunks, grid.index(number), strict=True)]
        assert box.shape == tuple(sizes)
    assert (painted == 1).all()
    assert number + 1 == len(grid)


@pytest.mark.parametrize("shape", [(1, 4000, 4000), (64, 300, 300), (100, 2048, 2048), (3000,) * 3])
@pytest.mark.parametrize("oblique", [True, False])
@pytest.mark.parametrize("factor", [1, 8, 64, 4096, 10**9])
def test_super_chunks_are_made_of_stored_chunks_and_bounded(shape, oblique, factor):
    chunk = super_chunk(shape, oblique=oblique, source_factor=factor)
    assert all(c % 64 == 0 and c > 0 for c in chunk)
    assert np.prod(chunk) <= max(np.prod(c) for c in (CUBE, FLAT, *(c for _, c in LARGE)))
    assert np.prod(chunk) * factor <= MOST_SOURCE_VOXELS or chunk == (64, 64, 64)


def test_flat_images_get_wide_chunks():
    wide = super_chunk((10, 5000, 5000), oblique=False)
    assert wide[0] == 64
    assert np.prod(wide) == np.prod(FLAT)
    assert super_chunk((10, 100_000, 100_000), oblique=False) == (64, 1024, 512)


def test_large_outputs_get_large_chunks():
    sizes = [np.prod(super_chunk((n, n, n), oblique=False)) for n in (1000, 2000, 5000)]
    assert sizes == sorted(set(sizes))
