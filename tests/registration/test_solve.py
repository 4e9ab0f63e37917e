from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from luxdask.errors import SelectionError
from luxdask.model.geometry import Affine, BoundingBox, vector
from luxdask.model.links import Link
from luxdask.model.view import ViewId
from luxdask.registration.network import build_network
from luxdask.registration.solve import Edge, solve

PITCH = 90.0
HALF = {True: (50.0, 45.0, 8.0), False: (50.0, 8.0, 45.0)}


def view_id(node) -> ViewId:
    return ViewId(0, "0", f"0-x{node[1]:02d}-y{node[0]:02d}", "right", "long")


def centre(node) -> np.ndarray:
    return np.array([50.0, PITCH * node[0] + 50.0, PITCH * node[1] + 50.0])


def make_edge(fixed, moving, transform, **known) -> Edge:
    middle = (centre(fixed) + centre(moving)) / 2
    half = HALF[fixed[0] == moving[0]]
    box = BoundingBox(vector(middle - half), vector(middle + half))
    known = {"precision_um": 0.05, **known}
    if not isinstance(transform, Affine):
        transform = Affine.translation(transform)
    return Edge(
        fixed,
        moving,
        Link("tiles", view_id(fixed), view_id(moving), transform, overlap=box, **known),
    )


def neighbours(rows: int, columns: int):
    tiles = [(i, j) for i in range(rows) for j in range(columns)]
    below = [((i, j), (i + 1, j)) for i, j in tiles if i + 1 < rows]
    return tiles, below + [((i, j), (i, j + 1)) for i, j in tiles if j + 1 < columns]


def shifted_grid(rows: int, columns: int, seed: int, noise: float = 0.05):
    """Tiles with stage errors of several µm and links that measure them with noise."""
    rng = np.random.default_rng(seed)
    tiles, pairs = neighbours(rows, columns)
    truth = {tile: rng.normal(0, 5, 3) for tile in tiles}
    edges = [make_edge(f, m, truth[m] - truth[f] + rng.normal(0, noise, 3)) for f, m in pairs]
    return tiles, edges, truth


def position_errors(solution, truth, reference) -> np.ndarray:
    """Distance of corrections from the truth, which for shifts is the same all over a tile."""
    return np.array(
        [
            np.linalg.norm(solution.transforms[n].offset - t + truth[reference])
            for n, t in truth.items()
        ]
    )


def offsets(solution) -> np.ndarray:
    return np.array([t.offset for t in solution.transforms.values()])


@pytest.mark.parametrize("seed", range(3))
def test_shifts_equal_dense_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tiles, edges, _ = shifted_grid(4, 5, seed, noise=1.0)
    edges = [
        make_edge(
            e.fixed,
            e.moving,
            e.link.transform,
            precision_um=rng.uniform(0.1, 2.0),
            quality=rng.uniform(0.3, 1.0),
        )
        for e in edges
    ]
    number = {tile: i for i, tile in enumerate(tiles)}
    rows, right = [], []
    for edge in edges:
        row = np.zeros(len(tiles))
        row[number[edge.moving]], row[number[edge.fixed]] = 1, -1
        weight = np.sqrt(edge.link.quality) / edge.link.precision_um
        rows.append(weight * row)
        right.append(weight * np.array(edge.link.transform.offset))
    expected = np.linalg.lstsq(np.array(rows), np.array(right), rcond=1e-9)[0]
    expected -= expected[number[2, 3]]
    found = solve(tiles, edges, (2, 3))
    np.testing.assert_allclose(offsets(found), expected, atol=1e-4)


@pytest.mark.parametrize("robust", [False, True])
def test_errors_are_as_large_as_the_noise_makes_them(robust: bool) -> None:
    tiles, pairs = neighbours(6, 6)
    number = {tile: i for i, tile in enumerate(tiles)}
    incidence = np.zeros((len(pairs), len(tiles)))
    for k, (fixed, moving) in enumerate(pairs):
        incidence[k, number[moving]], incidence[k, number[fixed]] = 1, -1
    covariance = np.linalg.inv((incidence.T @ incidence)[1:, 1:])
    expected = 0.05 * np.sqrt(3 * np.trace(covariance) / len(tiles))
    errors = []
    for seed in range(10):
        _, edges, truth = shifted_grid(6, 6, seed)
        errors.append(position_errors(solve(tiles, edges, (0, 0), robust=robust), truth, (0, 0)))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(expected, rel=0.15)


def test_residual_is_what_is_left_and_usual_cost_is_about_one() -> None:
    tiles, edges, _ = shifted_grid(8, 8, 0)
    found = solve(tiles, edges, (3, 3))
    for edge, link in zip(edges, found.links, strict=True):
        moving, fixed = (found.transforms[n].offset for n in (edge.moving, edge.fixed))
        left = np.linalg.norm(np.add(fixed, link.transform.offset) - moving)
        assert link.residual_um == pytest.approx(left, abs=1e-9)
        assert link.cost is not None
        assert link.cost < 10
    assert 0.5 < np.median([link.cost for link in found.links]) < 2.0


@pytest.mark.parametrize("model", ["translation", "rigid", "affine"])
def test_reference_stays_where_it_is(model) -> None:
    tiles, edges, _ = shifted_grid(3, 3, 1)
    found = solve(tiles, edges, (1, 2), model=model)
    assert found.transforms[1, 2] == Affine()
    assert found.components[0] == tuple(tiles)
    assert found.unlinked == ()


def test_chain_adds_up() -> None:
    tiles, pairs = neighbours(1, 30)
    edges = [make_edge(f, m, (0.0, 0.5, -1.0)) for f, m in pairs]
    found = solve(tiles, edges, (0, 0))
    np.testing.assert_allclose(found.transforms[0, 29].offset, (0, 14.5, -29.0), atol=1e-3)
    assert max(link.cost for link in found.links) < 0.01


def test_component_without_the_reference_keeps_its_mean_position() -> None:
    tiles, edges, truth = shifted_grid(3, 6, 2, noise=0.01)
    edges = [e for e in edges if not (e.fixed[1] == 2 and e.moving[1] == 3)]
    found = solve(tiles, edges, (0, 0))
    left, right = [n for n in tiles if n[1] < 3], [n for n in tiles if n[1] >= 3]
    assert found.components == (tuple(left), tuple(right))
    shifts = np.array([found.transforms[n].offset for n in right])
    np.testing.assert_allclose(shifts.mean(axis=0), 0.0, atol=1e-6)
    expected = np.array([truth[n] for n in right])
    np.testing.assert_allclose(shifts, expected - expected.mean(axis=0), atol=0.1)


@pytest.mark.parametrize("model", ["translation", "rigid", "affine"])
def test_nothing_to_solve(model) -> None:
    alone = solve(["only"], [], "only", model=model)
    assert alone.transforms == {"only": Affine()}
    assert alone.components == ()
    three = solve("abc", [], "b", model=model)
    assert three.transforms == dict.fromkeys("abc", Affine())
    assert three.unlinked == ("a", "b", "c")


def test_untrusted_links_are_judged_but_do_not_count() -> None:
    tiles, edges, truth = shifted_grid(3, 3, 3)
    wrong = make_edge((0, 0), (0, 1), (40.0, 0.0, 0.0), status="ambiguous")
    broken = make_edge((0, 0), (0, 1), (np.nan, 0.0, 0.0))
    found = solve(tiles, [*edges, wrong, broken], (0, 0))
    assert position_errors(found, truth, (0, 0)).max() < 0.3
    assert found.links[-2].cost > 100
    assert found.transforms == solve(tiles, edges, (0, 0)).transforms


def test_node_with_untrusted_links_alone_is_unlinked() -> None:
    edges = [
        make_edge((0, 0), (0, 1), (0.0, 0.0, 1.0)),
        make_edge((0, 1), (0, 2), (9.0, 9.0, 9.0), status="no texture"),
    ]
    found = solve([(0, 0), (0, 1), (0, 2)], edges, (0, 0))
    assert found.unlinked == ((0, 2),)
    assert found.transforms[0, 2] == Affine()


def test_precise_links_count_more() -> None:
    edges = [
        make_edge((0, 0), (0, 1), (0.0, 0.0, 1.0), precision_um=0.1),
        make_edge((0, 0), (0, 1), (0.0, 0.0, 2.0), precision_um=0.3),
    ]
    found = solve([(0, 0), (0, 1)], edges, (0, 0))
    assert found.transforms[0, 1].offset[2] == pytest.approx(1.1, abs=1e-3)


def test_no_link_counts_as_more_precise_than_the_floor() -> None:
    edges = [
        make_edge((0, 0), (0, 1), (0.0, 0.0, 1.0), precision_um=1e-9),
        make_edge((0, 0), (0, 1), (0.0, 0.0, 2.0), precision_um=0.1),
    ]
    found = solve([(0, 0), (0, 1)], edges, (0, 0), floor_um=0.1)
    assert found.transforms[0, 1].offset[2] == pytest.approx(1.5, abs=1e-3)


@pytest.mark.parametrize("reference", ["z", "a"])
def test_unknown_nodes_are_named(reference: str) -> None:
    edges = [Edge("a", "q", make_edge((0, 0), (0, 1), (0, 0, 0)).link)]
    with pytest.raises(SelectionError, match=r"(z|q) is linked or chosen as the reference"):
        solve(["a", "b"], edges, reference)


def moved_grid(model: str, seed: int, noise: float, rows: int = 4, columns: int = 4):
    """Tiles with small rotations (and shear), linked by what they imply, with noise."""
    rng = np.random.default_rng(seed)
    tiles, pairs = neighbours(rows, columns)
    truth = {}
    for tile in tiles:
        linear = Rotation.from_rotvec(rng.normal(0, 0.03, 3)).as_matrix()
        if model == "affine":
            linear = linear @ (np.eye(3) + rng.normal(0, 0.01, (3, 3)))
        around = Affine.translation(centre(tile) + rng.normal(0, 5, 3))
        turn = around @ Affine.from_array(linear) @ Affine.translation(-centre(tile))
        truth[tile] = turn
    edges = []
    for fixed, moving in pairs:
        exact = truth[fixed].inverse() @ truth[moving]
        wobble = Affine.from_array(
            Rotation.from_rotvec(rng.normal(0, noise / 50, 3)).as_matrix(), rng.normal(0, noise, 3)
        )
        middle = (centre(fixed) + centre(moving)) / 2
        about = Affine.translation(middle) @ wobble @ Affine.translation(-middle)
        edges.append(make_edge(fixed, moving, exact @ about, model=model))
    return tiles, edges, truth


def corner_errors(solution, truth, reference) -> np.ndarray:
    """How far the corners of tiles lie from the truth."""
    back = truth[reference].inverse()
    corners = np.array(np.meshgrid(*[(-50.0, 50.0)] * 3)).reshape(3, -1).T
    return np.array(
        [
            np.linalg.norm(
                solution.transforms[n].apply(corners + centre(n))
                - (back @ t).apply(corners + centre(n)),
                axis=1,
            ).max()
            for n, t in truth.items()
        ]
    )


@pytest.mark.parametrize(
    ("model", "exact_um", "noisy_um"), [("rigid", 1e-3, 0.5), ("affine", 0.1, 1.0)]
)
@pytest.mark.parametrize("robust", [False, True])
def test_rotations_and_shears_are_found(
    model, exact_um: float, noisy_um: float, robust: bool
) -> None:
    tiles, edges, truth = moved_grid(model, 0, noise=0.0)
    positions = {n: vector(centre(n)) for n in tiles}
    found = solve(tiles, edges, (1, 1), model=model, positions=positions, robust=robust)
    assert corner_errors(found, truth, (1, 1)).max() < exact_um
    tiles, edges, truth = moved_grid(model, 1, noise=0.05)
    found = solve(tiles, edges, (1, 1), model=model, robust=robust)
    assert np.median(corner_errors(found, truth, (1, 1))) < noisy_um


def test_rigid_equals_a_general_optimiser() -> None:
    tiles, edges, _ = moved_grid("rigid", 2, noise=1.0, rows=2, columns=3)
    found = solve(tiles, edges, (0, 0), model="rigid")
    box = np.array(np.meshgrid(*[(-1.0, 1.0)] * 3)).reshape(3, -1).T / np.sqrt(3)

    def residuals(x: np.ndarray) -> np.ndarray:
        turns = Rotation.from_rotvec(np.concatenate([[0, 0, 0], x[: x.size // 2]]).reshape(-1, 3))
        shifts = np.concatenate([[0, 0, 0], x[x.size // 2 :]]).reshape(-1, 3)
        move = dict(zip(tiles, zip(turns, shifts, strict=True), strict=True))
        out = []
        for edge in edges:
            lower, upper = np.array(edge.link.overlap.lower), np.array(edge.link.overlap.upper)
            points = (lower + upper) / 2 + box * (upper - lower) / 2
            (turn_f, shift_f), (turn_m, shift_m) = move[edge.fixed], move[edge.moving]
            target = edge.link.transform.apply(points) - 100
            out.append(turn_f.apply(target) + shift_f - turn_m.apply(points - 100) - shift_m)
        return np.concatenate(out).ravel()

    best = least_squares(residuals, np.zeros(6 * (len(tiles) - 1)), xtol=1e-12, ftol=1e-12)
    left = [np.square(link.residual_um) * 8 for link in found.links]
    # both stand at the same minimum of the same sum
    assert np.sum(left) == pytest.approx(2 * best.cost, rel=1e-5)
    turns = Rotation.from_rotvec(best.x[: best.x.size // 2].reshape(-1, 3)).as_matrix()
    mine = np.array([found.transforms[n].linear for n in tiles[1:]])
    np.testing.assert_allclose(mine, turns, atol=1e-5)


def test_links_that_only_shift_mean_no_relative_rotation() -> None:
    tiles, pairs = neighbours(1, 3)
    turn = Affine.from_array(Rotation.from_rotvec((0.02, 0, 0)).as_matrix())
    edges = [
        make_edge(*pairs[0], turn, model="rigid"),
        make_edge(*pairs[1], (1.0, 2.0, 3.0)),
    ]
    found = solve(tiles, edges, (0, 0), model="rigid")
    np.testing.assert_allclose(found.transforms[0, 1].linear, turn.linear, atol=1e-5)
    np.testing.assert_allclose(found.transforms[0, 2].linear, turn.linear, atol=1e-5)
    expected = (turn @ Affine.translation((1.0, 2.0, 3.0))).apply(centre((0, 2)))
    np.testing.assert_allclose(found.transforms[0, 2].apply(centre((0, 2))), expected, atol=1e-2)


def test_affine_does_not_shrink() -> None:
    tiles, edges, _ = moved_grid("rigid", 3, noise=0.3, rows=6, columns=6)
    for reference, part in ((tiles[0], tiles), ("apart", tiles)):
        nodes = [*tiles, "apart"]
        found = solve(nodes, edges, reference, model="affine")
        volumes = [np.linalg.det(found.transforms[n].linear) for n in part]
        assert np.mean(volumes) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("model", "noisy_um"), [("rigid", 0.5), ("affine", 1.0)])
def test_wrong_rotations_stand_out(model, noisy_um: float) -> None:
    tiles, edges, truth = moved_grid(model, 4, noise=0.05)
    wrong = 5
    bent = Affine.translation((30.0, -20.0, 10.0)) @ edges[wrong].link.transform
    edges[wrong] = make_edge(edges[wrong].fixed, edges[wrong].moving, bent, model=model)
    found = solve(tiles, edges, (0, 0), model=model, robust=True)
    assert [k for k, link in enumerate(found.links) if link.cost > 10] == [wrong]
    assert np.median(corner_errors(found, truth, (0, 0))) < noisy_um


@pytest.mark.parametrize("seed", range(5))
def test_bridges_are_the_links_that_disconnect(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, links = 12, 14
    ends = rng.integers(0, count, (2, links))
    link = make_edge((0, 0), (0, 1), (0, 0, 0)).link
    network = build_network(*ends.tolist(), [link] * links, {}, count, 0.05)
    whole, _ = network.components(network.usable)
    expected = []
    for k in range(links):
        rest = network.usable.copy()
        rest[k] = False
        expected.append(network.components(rest)[0] > whole)
    np.testing.assert_array_equal(network.bridges(), expected)


def test_ten_thousand_tiles_take_seconds() -> None:
    tiles, edges, truth = shifted_grid(100, 100, 0)
    start = time.process_time()
    found = solve(tiles, edges, (50, 50))
    assert time.process_time() - start < 20
    assert np.median(position_errors(found, truth, (50, 50))) < 0.3
