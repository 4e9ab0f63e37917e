from collections import Counter

import h5py
import numpy as np
import pytest

from luxdask.errors import ConfigError
from luxdask.testing import small_experiment
from luxdask.testing.spoil import (
    FAULTS,
    choose_faults,
    neighbouring_tiles,
    spoil_overlaps,
)

OPTIONS = {"shape": (12, 60, 80), "tiles": (2, 3), "overlap": 0.3}


def voxels(truth, identity):
    with h5py.File(truth.path(truth.by_id[identity])) as file:
        return file["Data"][:].astype(float)


def common(truth, a, b):
    """The common region of two views in truth, in voxels of each; no rotation, whole voxels."""
    boxes = []
    for view in (truth.by_id[a], truth.by_id[b]):
        start = np.array(view.true_view_to_world.offset) / view.spacing_um
        boxes.append((start, start + view.shape))
    low, high = np.max([b[0] for b in boxes], axis=0), np.min([b[1] for b in boxes], axis=0)
    return [
        tuple(slice(*v) for v in np.rint([low - b[0], high - b[0]]).astype(int).T) for b in boxes
    ]


def test_neighbours_share_a_side(tmp_path):
    truth = small_experiment(tmp_path, **OPTIONS, channels=2)
    pairs = neighbouring_tiles(truth)
    assert len(pairs) == 2 * (2 * 2 + 3)
    for a, b in pairs:
        assert a.channel == b.channel
        assert (a.tile[:3] == b.tile[:3]) != (a.tile[4:] == b.tile[4:])


def test_faults_are_chosen_in_equal_parts_and_by_the_seed(tmp_path):
    pairs = neighbouring_tiles(small_experiment(tmp_path, **OPTIONS))
    chosen = choose_faults(pairs, 6, seed=3)
    assert Counter(chosen.values()) == dict.fromkeys(FAULTS, 2)
    assert choose_faults(pairs, 6, seed=3) == chosen
    assert any(choose_faults(pairs, 6, seed=s) != chosen for s in (4, 5, 6))
    with pytest.raises(ConfigError, match="there are 7"):
        choose_faults(pairs, 8, seed=1)


@pytest.mark.parametrize("fault", FAULTS)
def test_only_the_common_part_is_spoiled(tmp_path, fault):
    truth = small_experiment(tmp_path, **OPTIONS)
    a, b = neighbouring_tiles(truth)[0]
    before = {v.id: voxels(truth, v.id) for v in truth.views}
    spoil_overlaps(truth, {(a, b): fault}, moved_um=6.0)
    for identity, box in zip((a, b), common(truth, a, b), strict=True):
        changed = voxels(truth, identity) != before[identity]
        touched = fault != "moved" or identity == b
        assert changed[box].mean() > 0.9 if touched else not changed.any()
        changed[box] = False
        assert not changed.any()
    for identity in set(before) - {a, b}:
        assert np.array_equal(voxels(truth, identity), before[identity])


def test_blank_is_noise_that_differs_between_views(tmp_path):
    truth = small_experiment(tmp_path, **OPTIONS)
    a, b = neighbouring_tiles(truth)[0]
    spoil_overlaps(truth, {(a, b): "blank"})
    parts = [voxels(truth, i)[s] for i, s in zip((a, b), common(truth, a, b), strict=True)]
    assert [p.mean() for p in parts] == pytest.approx([100, 100], abs=0.5)
    assert abs(np.corrcoef(*(p.ravel() for p in parts))[0, 1]) < 0.05


def test_stripes_agree_between_the_views_and_repeat(tmp_path):
    truth = small_experiment(tmp_path, **OPTIONS)
    a, b = neighbouring_tiles(truth)[0]
    spoil_overlaps(truth, {(a, b): "repeated"})
    first, second = (voxels(truth, i)[s] for i, s in zip((a, b), common(truth, a, b), strict=True))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9
    assert np.corrcoef(first[:, 10:].ravel(), second[:, :-10].ravel())[0, 1] > 0.9


def test_a_moved_piece_lies_elsewhere(tmp_path):
    truth = small_experiment(tmp_path, **OPTIONS, stage_error_um=2.0, sub_voxel=True)
    a, b = neighbouring_tiles(truth)[1]
    before = voxels(truth, b)
    spoil_overlaps(truth, {(a, b): "moved"}, moved_um=8.0)
    after = voxels(truth, b)
    changed = np.argwhere(after != before)
    low, high = changed.min(axis=0), changed.max(axis=0) + 1
    # the middle of the piece is a whole shift of what was there before
    window = tuple(slice(lo + (hi - lo) // 3, hi - (hi - lo) // 3)
                   for lo, hi in zip(low, high, strict=True))  # fmt: skip
    hits = [
        (dy, dx)
        for dy in range(-9, 10)
        for dx in range(-9, 10)
        if np.array_equal(beside(before, window, dy, dx), after[window])
    ]
    assert len(hits) == 1
    assert all(4 <= abs(step) <= 8 for step in hits[0])


def beside(image, window, dy, dx):
    """The region that lies some rows and columns further on; as far as the image goes."""
    z, y, x = window
    rows = slice(max(0, y.start + dy), y.stop + dy)
    return image[z, rows, max(0, x.start + dx) : x.stop + dx]


def test_distant_views_and_unknown_ones_are_refused(tmp_path):
    truth = small_experiment(tmp_path, **OPTIONS)
    first, last = truth.views[0].id, truth.views[-1].id
    with pytest.raises(ConfigError, match="nothing in common"):
        spoil_overlaps(truth, {(first, last): "blank"})
