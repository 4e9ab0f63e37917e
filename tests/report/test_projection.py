from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from luxdask.errors import ImageFileError
from luxdask.io.lux_metadata import read_view
from luxdask.io.lux_reader import read_box
from luxdask.io.lux_writer import LuxWriter, sidecar_path
from luxdask.model.geometry import Affine, Box
from luxdask.model.view import Source, View, ViewId
from luxdask.report import projection
from luxdask.report.projection import choose_level, project

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.model.experiment import Experiment

FULL = (1, 1, 1)


def _stored(folder: Path, volume: np.ndarray, levels=(FULL,), spacing=(2.0, 1.0, 1.0)) -> View:
    path = folder / "image.lux.h5"
    writer = LuxWriter(str(path), volume.shape, spacing, levels)
    writer.create()
    writer.write(0, (0, 0, 0), volume)
    source = Source(str(path), sidecar=str(sidecar_path(str(path))))
    return View(ViewId(0, "0", "0", "left", "left"), source, volume.shape, spacing, Affine())


def test_projections_are_the_maxima(opposed: Experiment) -> None:
    view = opposed.views[0]
    voxels = read_box(view.source.path, "Data", Box.of_shape(view.shape))
    made = project(view)
    np.testing.assert_array_equal(made.front, voxels.max(axis=0))
    np.testing.assert_array_equal(made.top, voxels.max(axis=1))
    np.testing.assert_array_equal(made.side, voxels.max(axis=2))
    assert made.extent_um == tuple(np.multiply(view.shape, view.spacing_um))


@pytest.mark.parametrize("piece", [1, 700, 10_000])
def test_reading_in_pieces_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    volume = np.random.default_rng(1).integers(0, 9000, (13, 50, 70)).astype(np.uint16)
    view = _stored(tmp_path, volume)
    whole = project(view, 25)
    monkeypatch.setattr(projection, "PIECE_VOXELS", piece)
    pieces = project(view, 25)
    for name in ("front", "top", "side"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))


def test_large_images_are_averaged_after_the_projection(tmp_path: Path) -> None:
    volume = np.random.default_rng(2).integers(0, 9000, (5, 41, 62)).astype(np.uint16)
    made = project(_stored(tmp_path, volume), 30)
    expected = volume.max(axis=0)[:40].reshape(20, 2, 31, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(made.front, expected, rtol=1e-6)
    assert made.top.shape == (5, 31)
    assert made.side.shape == (5, 20)


def test_planes_are_left_out_where_the_image_is_too_large(tmp_path: Path) -> None:
    volume = np.zeros((10, 20, 20), np.uint16)
    volume[np.arange(10), 3, 4] = np.arange(10)
    made = project(_stored(tmp_path, volume), 100, read_voxels=4 * 400)
    assert made.top[:, 4].tolist() == [0, 3, 6, 9]
    assert made.front[3, 4] == 9


def test_a_single_plane_and_a_single_row_work(tmp_path: Path) -> None:
    made = project(_stored(tmp_path, np.full((1, 1, 90), 7, np.uint16)), 20)
    assert made.front.shape == (1, 22)
    assert made.front.max() == 7


@pytest.mark.parametrize(
    ("side_px", "expected"),
    [(5000, FULL), (900, FULL), (500, (1, 2, 2)), (256, (2, 4, 4)), (10, (2, 4, 4))],
)
def test_the_smallest_sufficient_level_is_taken(side_px: int, expected: tuple[int, ...]) -> None:
    assert choose_level((FULL, (1, 2, 2), (2, 4, 4)), (100, 1024, 700), side_px) == expected


def test_a_stored_level_is_read_instead_of_the_full_image(tmp_path: Path) -> None:
    view = _stored(tmp_path, np.full((4, 64, 64), 9, np.uint16), levels=(FULL, (1, 2, 2)))
    LuxWriter(view.source.path, view.shape, view.spacing_um, (FULL, (1, 2, 2))).write(
        1, (0, 0, 0), np.full((4, 32, 32), 5, np.uint16)
    )
    assert project(view, 32).front.max() == 5
    assert project(view, 64).front.max() == 9


def test_an_unreadable_image_is_named(tmp_path: Path, fused: tuple[Path, ...]) -> None:
    broken = tmp_path / "broken.lux.h5"
    broken.write_bytes(fused[0].read_bytes()[:5000])
    source = Source(str(broken), sidecar=str(sidecar_path(str(fused[0]))))
    with pytest.raises(ImageFileError, match=r"broken\.lux\.h5"):
        project(read_view(source)[0])
