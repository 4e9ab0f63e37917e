import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.model.geometry import Box
from luxdask.testing import strategies


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_boxes_lie_in_their_volume(data):
    shape = data.draw(strategies.shapes())
    box = data.draw(strategies.boxes(shape))
    assert box
    assert (box & Box.of_shape(shape)) == box
    chunk = data.draw(strategies.chunk_shapes(shape))
    assert all(1 <= c <= n for c, n in zip(chunk, shape, strict=True))


@given(strategies.near_rigid(angle_deg=10, shift=5))
@settings(max_examples=100, deadline=None)
def test_near_rigid_transforms_stay_near(affine):
    linear = np.array(affine.linear)
    assert np.abs(np.linalg.det(linear) - 1) < 0.2
    assert np.abs(linear - np.eye(3)).max() < 0.25
    assert np.abs(affine.offset).max() <= 5
    there_and_back = affine.inverse() @ affine
    assert np.allclose(there_and_back.to_array(), np.eye(3, 4))
