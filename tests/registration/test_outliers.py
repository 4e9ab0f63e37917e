from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from luxdask.model.geometry import Affine
from luxdask.model.links import Link
from luxdask.model.view import ViewId
from luxdask.registration.outliers import solve_with_removal
from luxdask.registration.solve import Edge, solve

TILES = [(i, j) for i in range(6) for j in range(6)]
STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


def view_id(tile) -> ViewId:
    return ViewId(0, "0", f"0-x{tile[1]:02d}-y{tile[0]:02d}", "right", "long")


def make_edge(fixed, moving, shift, **known) -> Edge:
    known = {"precision_um": 0.05, **known}
    link = Link("tiles", view_id(fixed), view_id(moving), Affine.translation(shift), **known)
    return Edge(fixed, moving, link)


def hundred_links(rng: np.random.Generator):
    """One hundred links among 6 x 6 tiles, each with noise of 0.05 µm per axis."""
    truth = {tile: rng.normal(0, 5, 3) for tile in TILES}
    pairs = [(t, (t[0] + i, t[1] + j)) for t in TILES for i, j in STEPS]
    pairs = [(f, m) for f, m in pairs if m in truth]
    keep = sorted(rng.choice(len(pairs), 100, replace=False).tolist())
    return truth, [
        make_edge(f, m, truth[m] - truth[f] + rng.normal(0, 0.05, 3))
        for f, m in (pairs[k] for k in keep)
    ]


def spoil(edge: Edge, rng: np.random.Generator, smallest: float, largest: float) -> Edge:
    direction = rng.normal(size=3)
    size = np.exp(rng.uniform(np.log(smallest), np.log(largest)))
    error = size * direction / np.linalg.norm(direction)
    return make_edge(edge.fixed, edge.moving, np.add(edge.link.transform.offset, error))


def parts(edges) -> int:
    ends = [[TILES.index(n) for n in (e.fixed, e.moving)] for e in edges]
    rows, columns = np.array(ends).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), (len(TILES), len(TILES)))
    return int(connected_components(graph, directed=False)[0])


def outnumbered(edges, number: int, rng: np.random.Generator) -> set[int]:
    """Links chosen such that at every tile two more stay right than are chosen."""
    margin = {tile: sum(tile in (e.fixed, e.moving) for e in edges) for tile in TILES}
    chosen: set[int] = set()
    for k in rng.permutation(len(edges)).tolist():
        ends = (edges[k].fixed, edges[k].moving)
        if len(chosen) < number and all(margin[tile] >= 4 for tile in ends):
            chosen.add(k)
            margin.update({tile: margin[tile] - 2 for tile in ends})
    return chosen


def check_each_other(edges, wrong) -> bool:
    right = [e for k, e in enumerate(edges) if k not in wrong]
    return all(parts(right[:k] + right[k + 1 :]) == 1 for k in range(len(right)))


def with_wrong(seed: int, number: int = 15, smallest: float = 5.0, largest: float = 200.0):
    """Links of which some are wrong, such that the others can tell."""
    rng = np.random.default_rng(seed)
    for _ in range(100):
        truth, edges = hundred_links(rng)
        wrong = outnumbered(edges, number, rng)
        if len(wrong) == number and check_each_other(edges, wrong):
            break
    else:
        raise AssertionError("no such network among a hundred")
    spoiled = [spoil(e, rng, smallest, largest) if k in wrong else e for k, e in enumerate(edges)]
    return truth, spoiled, wrong


def errors(solution, truth, reference) -> np.ndarray:
    found = solution.transforms
    return np.array(
        [np.linalg.norm(found[n].offset - t + truth[reference]) for n, t in truth.items()]
    )


def removed(solution) -> set[int]:
    return {k for k, link in enumerate(solution.links) if link.status == "removed"}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("smallest", "largest"),
    [(5.0, 200.0), (1.5, 3.0), (100.0, 110.0)],
    ids=["all", "small", "large"],
)
def test_wrong_links_are_removed(seed: int, smallest: float, largest: float) -> None:
    truth, edges, wrong = with_wrong(seed, smallest=smallest, largest=largest)
    found = solve_with_removal(TILES, edges, (2, 3), threshold=10.0)
    assert removed(found) == wrong
    assert errors(found, truth, (2, 3)).max() < 0.3
    for k in wrong:
        assert "above the threshold of 10" in found.links[k].reason
        assert found.links[k].cost > 10
    assert solve(TILES, edges, (2, 3)).links[min(wrong)].status == "ok"


@pytest.mark.parametrize("seed", range(8))
def test_without_removal_the_warnings_name_them(seed: int) -> None:
    truth, edges, wrong = with_wrong(seed)
    found = solve_with_removal(TILES, edges, (2, 3), threshold=None)
    assert removed(found) == set()
    assert errors(found, truth, (2, 3)).max() < 0.3
    named = found.warnings[:-1]
    assert len(named) == len(wrong)
    for k in wrong:
        assert any(text.startswith(str(edges[k].link)) for text in named)
    costs = [float(text.split("cost ")[1].split(";")[0]) for text in named]
    assert costs == sorted(costs, reverse=True)
    assert (
        "registration.tiles.remove_outliers.mode AutomaticWithCostThreshold" in found.warnings[-1]
    )


def test_least_squares_would_have_been_spoiled() -> None:
    truth, edges, _ = with_wrong(0)
    assert errors(solve(TILES, edges, (2, 3)), truth, (2, 3)).max() > 5


@pytest.mark.parametrize("threshold", [None, 10.0])
def test_good_links_stay_and_nothing_is_said(threshold: float | None) -> None:
    for seed in range(5):
        _, edges = hundred_links(np.random.default_rng(seed))
        found = solve_with_removal(TILES, edges, (0, 0), threshold=threshold)
        assert removed(found) == set()
        linked = [text for text in found.warnings if "No trusted pair" not in text]
        assert linked == []


@pytest.mark.parametrize("precision_um", [0.005, 0.05, 1.0])
def test_precision_that_links_claim_need_not_be_true(precision_um: float) -> None:
    truth, edges, wrong = with_wrong(1)
    edges = [
        make_edge(e.fixed, e.moving, e.link.transform.offset, precision_um=precision_um)
        for e in edges
    ]
    found = solve_with_removal(TILES, edges, (2, 3), threshold=10.0)
    assert removed(found) == wrong
    assert errors(found, truth, (2, 3)).max() < 0.3


@pytest.mark.parametrize("seed", range(4))
def test_several_wrong_links_at_one_tile(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, edges = hundred_links(rng)
    tile = max(TILES, key=lambda t: sum(t in (e.fixed, e.moving) for e in edges))
    at_tile = [k for k, e in enumerate(edges) if tile in (e.fixed, e.moving)]
    wrong = set(at_tile[: len(at_tile) - 3])
    assert len(wrong) >= 3
    edges = [spoil(e, rng, 5, 200) if k in wrong else e for k, e in enumerate(edges)]
    found = solve_with_removal(TILES, edges, TILES[0], threshold=10.0)
    assert removed(found) == wrong
    assert errors(found, truth, TILES[0])[TILES.index(tile)] < 0.5


def test_large_networks_name_the_costliest_and_count_the_rest() -> None:
    _, edges, _ = with_wrong(3)
    nodes = [(k, tile) for k in range(2) for tile in TILES]
    both = [Edge((k, e.fixed), (k, e.moving), e.link) for k in range(2) for e in edges]
    found = solve_with_removal(nodes, both, nodes[0], threshold=None)
    contradicting = [text for text in found.warnings if "contradicts" in text]
    assert len(contradicting) == 20
    assert "… and 10 more such pairs." in found.warnings
    assert any("linked with each other but not with the reference" in t for t in found.warnings)


def test_two_bridges_that_contradict_each_other() -> None:
    rng = np.random.default_rng(0)
    truth, edges = hundred_links(rng)
    crossing = [
        k for k, e in enumerate(edges) if {e.fixed[1] < 3, e.moving[1] < 3} == {True, False}
    ]
    bridges = crossing[:2]
    edges = [e for k, e in enumerate(edges) if k not in crossing[2:]]
    edges[bridges[1]] = spoil(edges[bridges[1]], rng, 150, 160)
    found = solve_with_removal(TILES, edges, (0, 0), threshold=10.0)
    assert removed(found) == {bridges[1]}
    assert errors(found, truth, (0, 0)).max() < 0.5
    alone = [text for text in found.warnings if "nothing checks it" in text]
    assert len(alone) == 1
    assert alone[0].startswith(str(edges[bridges[0]].link))


def test_pair_measured_twice_with_opposite_results_is_not_averaged() -> None:
    a, b = TILES[:2]
    edges = [make_edge(a, b, (0.0, 0.0, 50.0)), make_edge(a, b, (0.0, 0.0, -50.0))]
    found = solve_with_removal([a, b], edges, a, threshold=10.0)
    assert len(removed(found)) == 1
    assert abs(found.transforms[b].offset[2]) == pytest.approx(50.0, abs=0.01)
    assert any("nothing checks it" in text for text in found.warnings)


def test_what_a_removal_cuts_off_keeps_its_metadata_position_and_is_named() -> None:
    a, b, c = TILES[:3]
    edges = [
        make_edge(a, b, (0.0, 0.0, 1.0), quality=0.5),
        make_edge(b, c, (0.0, 0.0, 1.0), quality=0.9),
        make_edge(a, c, (0.0, 0.0, 2.3), quality=0.6),
    ]
    found = solve_with_removal([a, b, c], edges, a, threshold=1e-3)
    assert removed(found) == {0, 1, 2}
    assert found.transforms == dict.fromkeys((a, b, c), Affine())
    cut = [text for text in found.warnings if "metadata position is kept. The best" in text]
    assert [text.split(":")[0] for text in cut] == [str(b), str(c)]
    assert all("The best of the removed pairs is tiles" in text for text in cut)
    assert str(edges[1].link) in cut[0]


def test_tiles_without_links_are_named() -> None:
    a, b, c = TILES[:3]
    found = solve_with_removal([a, b, c], [make_edge(a, b, (0, 0, 1.0))], a, threshold=None)
    assert found.unlinked == (c,)
    assert found.warnings == (f"No trusted pair holds {c}: the metadata position is kept.",)


@pytest.mark.parametrize("threshold", [None, 10.0])
def test_one_view_is_no_reason_to_warn(threshold: float | None) -> None:
    found = solve_with_removal(["only"], [], "only", threshold=threshold)
    assert found.warnings == ()
    assert found.transforms == {"only": Affine()}


def test_single_loop_names_the_implausible_link() -> None:
    corners = [(0, 0), (0, 1), (1, 1), (1, 0)]
    shifts = [(1.0, -2.0, 0.5), (0.3, 2.0, 1.0), (-1.0, 0.5, 60.0), (-0.3, -0.5, 1.5)]
    edges = [
        make_edge(f, m, s)
        for f, m, s in zip(corners, corners[1:] + corners[:1], shifts, strict=True)
    ]
    found = solve_with_removal(corners, edges, (0, 0), threshold=None)
    assert found.warnings[0].startswith(str(edges[2].link))
    assert sum("contradicts" in text for text in found.warnings) == 1
