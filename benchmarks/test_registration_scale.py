"""Pairs from geometry and global optimisation on many tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from luxdask.model.bounding_box import view_box
from luxdask.model.geometry import Affine, BoundingBox, vector
from luxdask.model.links import Link
from luxdask.model.pairs import overlapping_pairs
from luxdask.model.view import Source, View, ViewId
from luxdask.registration.outliers import solve_with_removal
from luxdask.registration.solve import Edge, solve

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

PITCH_UM = 90.0
TILE_UM = 100.0


def tile_view(row: int, column: int) -> View:
    to_world = Affine.translation((0.0, PITCH_UM * row, PITCH_UM * column))
    view_id = ViewId(0, "0", f"0-x{column:03d}-y{row:03d}", "right", "long")
    return View(view_id, Source(""), (100, 100, 100), (1.0, 1.0, 1.0), to_world)


def tiles(rows: int, columns: int) -> list[View]:
    return [tile_view(i, j) for i in range(rows) for j in range(columns)]


def linked(views: list[View], wrong: float = 0.05) -> tuple[list[Edge[ViewId]], list[np.ndarray]]:
    """Links of all overlapping tiles with noise of 0.05 µm; a part of them are tens of µm off."""
    rng = np.random.default_rng(0)
    truth = [rng.normal(0, 5, 3) for _ in views]
    edges = []
    boxes = [view_box(view) for view in views]
    for i, j in overlapping_pairs(boxes).tolist():
        overlap = boxes[i] & boxes[j]
        shift = truth[j] - truth[i] + rng.normal(0, 0.05, 3)
        if rng.random() < wrong:
            shift += rng.normal(0, 50, 3)
        link = Link(
            "tiles",
            views[i].id,
            views[j].id,
            Affine.translation(shift),
            precision_um=0.05,
            overlap=overlap,
        )
        edges.append(Edge(views[i].id, views[j].id, link))
    return edges, truth


@pytest.mark.parametrize("rows", [32, 100])
def test_pairs(benchmark: BenchmarkFixture, rows: int) -> None:
    corners = [(0.0, PITCH_UM * i, PITCH_UM * j) for i in range(rows) for j in range(rows)]
    boxes = [BoundingBox(vector(c), vector(np.add(c, TILE_UM))) for c in corners]
    pairs = benchmark(overlapping_pairs, boxes)
    assert len(pairs) == 2 * rows * (rows - 1) + 2 * (rows - 1) ** 2


def test_solve_a_thousand_tiles(benchmark: BenchmarkFixture) -> None:
    views = tiles(32, 32)
    edges, truth = linked(views)
    found = benchmark(
        solve, [v.id for v in views], edges, views[0].id, model="translation", robust=True
    )
    errors = [
        np.subtract(found.transforms[v.id].offset, t) for v, t in zip(views, truth, strict=True)
    ]
    errors = np.linalg.norm(np.add(errors, truth[0]), axis=1)
    assert np.median(errors) < 0.3


def test_remove_outliers_of_a_thousand_tiles(benchmark: BenchmarkFixture) -> None:
    views = tiles(32, 32)
    edges, _ = linked(views)
    found = benchmark(solve_with_removal, [v.id for v in views], edges, views[0].id, threshold=10.0)
    removed = sum(link.status == "removed" for link in found.links)
    assert 0.03 * len(edges) < removed < 0.07 * len(edges)


def test_solve_a_thousand_turned_tiles(benchmark: BenchmarkFixture) -> None:
    views = tiles(16, 64)
    edges, _ = linked(views, wrong=0.0)
    found = benchmark.pedantic(
        solve, ([v.id for v in views], edges, views[0].id), {"model": "rigid"}, rounds=1
    )
    assert len(found.components[0]) == len(views)
