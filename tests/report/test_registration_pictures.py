from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from luxdask.errors import ConfigError, OutputError
from luxdask.model.geometry import Affine
from luxdask.model.links import Link
from luxdask.model.view import Source, View, ViewId
from luxdask.report.drift_plot import drift_um
from luxdask.report.link_charts import problems, summary
from luxdask.report.link_style import SIGNS, ResidualScale
from luxdask.report.map_geometry import place_views, plane_of
from luxdask.report.map_groups import map_groups
from luxdask.report.pairs_picture import OverlapPicture, best_cut, correlation
from luxdask.report.registration import plot_registration, write_registration_pictures
from luxdask.report.registration_stage import choose_links, stage_of
from luxdask.report.stage_picture import draw_stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.artist import Artist
    from numpy.typing import NDArray

    from luxdask.model.links import Kind
    from luxdask.report.registration_stage import Stage

SHAPE, SPACING = (10, 200, 300), (2.0, 0.5, 0.5)


def a_view(
    stack: str,
    at: Sequence[float] = (0, 0, 0),
    *,
    time_point: int = 0,
    objective: str = "left",
    angle_deg: float = 0.0,
) -> View:
    """A view whose middle lies at a point of sample space, turned about y."""
    middle = (np.array(SHAPE) - 1) / 2 * np.array(SPACING)
    turned = Affine.from_array(turn(angle_deg if objective == "left" else angle_deg + 180))
    to_world = Affine.translation(at) @ turned @ Affine.translation(-middle) @ Affine.scale(SPACING)
    return View(
        ViewId(time_point, "0", stack, objective, objective),
        Source("a.h5"),
        SHAPE,
        SPACING,
        to_world,
        angle_deg=angle_deg,
    )


def turn(degrees: float) -> NDArray[np.float64]:
    # zyx order: the rotation about y is that about the second axis in any order
    return Rotation.from_euler("y", degrees, degrees=True).as_matrix()


def tiles(rows: int, columns: int) -> tuple[list[View], list[Link]]:
    views = [
        a_view(f"0-x{x:02d}-y{y:02d}", (0, y * 85, x * 127.5))
        for y in range(rows)
        for x in range(columns)
    ]
    grid = np.arange(rows * columns).reshape(rows, columns)
    pairs = [*zip(grid[:, :-1].flat, grid[:, 1:].flat, strict=True)]
    pairs += zip(grid[:-1].flat, grid[1:].flat, strict=True)
    rng = np.random.default_rng(1)
    links = [
        a_link(views[a], views[b], residual_um=float(rng.uniform(0.01, 0.2))) for a, b in pairs
    ]
    return views, links


def a_link(fixed: View, moving: View, kind: Kind = "tiles", **values: Any) -> Link:
    return Link(kind, fixed.id, moving.id, Affine(), **{"quality": 0.8, **values})


def moved(views: Sequence[View], size_um: float = 5.0) -> dict[ViewId, Affine]:
    rng = np.random.default_rng(2)
    return {v.id: Affine.translation(rng.normal(0, size_um, 3)) for v in views}


def segments(figure: Figure) -> dict[str, int]:
    """Number of link lines by what they are."""
    return {
        str(artist.get_gid()): len(artist.get_segments())
        for artist in artists(figure)
        if isinstance(artist, LineCollection) and artist.get_gid()
    }


def artists(figure: Figure) -> Iterator[Artist]:
    for axes in figure.axes:
        yield from axes.get_children()


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def stage(views: list[View], links: list[Link], kind: Kind | None = "tiles") -> Stage:
    return stage_of(kind, views, links, moved(views))


def texture(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = gaussian_filter(noise, 1.5)
    return (1000 + 300 * smooth / smooth.std()).astype(np.float32)


def test_every_link_is_a_line_in_the_colour_of_its_residual_or_reason() -> None:
    views, links = tiles(3, 3)
    links[2] = replace(links[2], status="no match", residual_um=None, reason="correlation 0.1")
    links[7] = replace(links[7], status="removed", residual_um=7.0)
    figure = draw_stage(stage(views, links)).figure
    assert segments(figure) == {"links ok": 10, "links no match": 1, "links removed": 1}
    colours = {
        a.get_gid(): a.get_colors() for a in artists(figure) if isinstance(a, LineCollection)
    }
    scale = ResidualScale.of(stage(views, links))
    assert np.allclose(colours["links ok"], scale.colours([k for k in links if k.is_trusted]))
    assert "12 links: 10 used, 2 not (1 no match, 1 removed)" in words(figure)
    assert f"{stage(views, links).name(links[2])}: no match, correlation 0.1" in words(figure)


def test_every_status_has_a_sign_of_its_own() -> None:
    assert len(set(SIGNS.values())) == len({s for _, s in SIGNS.values()}) == len(SIGNS)
    views, links = tiles(2, 5)
    every = [replace(k, status=s) for k, s in zip(links, SIGNS, strict=False)]
    figure = draw_stage(stage(views, every)).figure
    assert set(segments(figure)) == {f"links {status}" for status in SIGNS}


def test_outlines_lie_at_the_corrected_positions() -> None:
    views, links = tiles(2, 2)
    corrections = {v.id: Affine.translation((4, 3, -20)) for v in views}
    whole = stage_of("tiles", views, links, corrections)
    placed = place_views(whole, views, plane_of(whole, views))
    for view, before, after in zip(views, placed.before, placed.after, strict=True):
        low = view.view_to_world.apply((0, -0.5, -0.5))[:0:-1]
        assert np.allclose(before.min(axis=0), low)
        assert np.allclose(after - before, (-20, 3))
    assert np.allclose(placed.moves, (-20, 3))


def test_turned_views_stand_around_the_sample() -> None:
    views = [a_view(str(n), angle_deg=90.0 * n) for n in range(4)]
    links = [a_link(views[n], views[n - 1], "rotation", residual_um=0.1) for n in range(4)]
    whole = stage_of("rotation", views, links, {})
    nodes = place_views(whole, views, plane_of(whole, views)).nodes
    distances = np.linalg.norm(nodes[:, None] - nodes[None], axis=2)
    assert distances[np.triu_indices(4, 1)].min() > 5
    assert np.allclose(nodes.mean(axis=0), 0, atol=1e-6)


def test_opposing_and_coinciding_views_are_told_apart() -> None:
    views = [a_view("0", objective=o) for o in ("left", "right")]
    twin = replace(views[0], id=replace(views[0].id, camera="second"))
    links = [a_link(views[0], v, "objective_camera", residual_um=0.1) for v in (views[1], twin)]
    whole = stage_of("objective_camera", [*views, twin], links, {})
    nodes = place_views(whole, whole.views, plane_of(whole, whole.views)).nodes
    distances = np.linalg.norm(nodes[:, None] - nodes[None], axis=2)
    assert distances[np.triu_indices(3, 1)].min() > 2


def test_views_that_no_link_holds_and_separate_groups_are_named() -> None:
    views, links = tiles(1, 5)
    links[1] = replace(links[1], status="no texture")
    links[3] = replace(links[3], status="no match")
    whole = stage(views, links)
    assert [len(g) for g in whole.groups] == [2, 2, 1]
    assert {i.tile for i in whole.unlinked} == {"x04-y00"}
    text = "\n".join(line for line, _ in summary(whole))
    assert "1 without a link" in text
    assert "x04-y00" in text
    assert "in 2 groups" in text
    assert [line.split(":")[1] for line, _ in problems(whole, 9)] == [" no match", " no texture"]
    assert problems(whole, 1)[-1][0] == "… and 2 more"


def test_a_link_of_a_stage_that_is_solved_together_holds_a_view_too() -> None:
    views = [a_view(str(n), angle_deg=90.0 * n) for n in range(3)]
    links = [
        a_link(views[0], views[1], "tiles", residual_um=0.1),
        a_link(views[0], views[2], "rotation", residual_um=0.1),
    ]
    assert not stage_of("tiles", views, links, {}).unlinked


def test_a_thousand_tiles_are_drawn_and_only_troubled_ones_named() -> None:
    views, links = tiles(30, 35)
    links[500] = replace(links[500], status="ambiguous", residual_um=None)
    figure = draw_stage(stage(views, links)).figure
    named = [t.get_text() for a in figure.axes for t in a.texts if t.get_text().startswith("x")]
    assert named
    assert set(named) <= set(stage(views, links).name(links[500]).split(" → "))
    assert segments(figure) == {"links ok": len(links) - 1, "links ambiguous": 1}


def test_drift_is_counted_from_the_first_time_point() -> None:
    views = [
        a_view(s, (0, 85.0 * n, 0), time_point=t) for n, s in enumerate("ab") for t in (3, 4, 6)
    ]
    shifts = {3: (1, 1, 1), 4: (2, 0, 1), 6: (4, -3, 1)}
    corrections = {v.id: Affine.translation(shifts[v.id.time_point]) for v in views}
    links = [a_link(views[0], v, "time_points", residual_um=0.1) for v in views[1:3]]
    links[1] = replace(links[1], status="at the limit", residual_um=None)
    whole = stage_of("time_points", views, links, corrections)
    times, mean, low, high = drift_um(whole)
    assert times.tolist() == [3, 4, 6]
    assert np.allclose(mean, [(0, 0, 0), (1, -1, 0), (3, -4, 0)])
    assert np.allclose(low, high)
    figure = draw_stage(whole).figure
    lines = {str(line.get_label()): line.get_ydata() for line in figure.axes[0].lines}
    assert np.allclose(lines["y"], (0, -1, -4))
    assert "at the limit: 1" in [t.get_text() for t in figure.axes[1].get_legend().get_texts()]


def test_angles_and_time_points_get_maps_of_their_own_troubled_ones_first() -> None:
    views, links = [], []
    for t in range(6):
        pair = [a_view(f"0-x0{x}-y00", (0, 0, 127.5 * x), time_point=t) for x in range(2)]
        views += pair
        status = "no match" if t == 4 else "ok"
        links.append(a_link(*pair, residual_um=0.1, status=status))
    groups, left_out = map_groups(stage(views, links), 2)
    assert left_out == 4
    assert "time point 4" in [title for title, _ in groups]
    assert segments(draw_stage(stage(views, links)).figure)["links no match"] == 1


@pytest.mark.parametrize(
    ("links", "kind", "sentence"),
    [
        ([], None, "no pairs of views to register"),
        ([{"residual_um": None}], "tiles", "1 link, used"),
        ([{"residual_um": float("nan")}], "tiles", "1 link, used"),
        ([{"residual_um": 0.0}], "tiles", "residual: below 0.002 voxel"),
        ([{"status": "no texture"}], "tiles", "1 link: 0 used, 1 not (1 no texture)"),
        ([{"status": "unreadable", "quality": 0.0}], "time_points", "1 unreadable"),
        ([{"status": "no match", "reason": "long " * 80}], "rotation", "1 no match"),
    ],
    ids=["none", "unsolved", "nan", "zero", "blank", "unreadable", "long"],
)
def test_poor_input_still_gives_a_picture(
    tmp_path: Path, links: list[dict[str, Any]], kind: Kind | None, sentence: str
) -> None:
    views = [a_view("0"), a_view("1", (0, 0, 100), time_point=int(kind == "time_points"))]
    found = [a_link(*views, kind or "tiles", **values) for values in links]
    (path,) = write_registration_pictures(tmp_path, views, found, {})
    assert path.name == (f"registration_{kind}.png" if kind else "registration.png")
    assert matplotlib.image.imread(path).shape[0] > 400
    text = words(plot_registration(views, found, {}))
    assert sentence in text


def test_one_view_alone_gives_a_picture(tmp_path: Path) -> None:
    (path,) = write_registration_pictures(tmp_path, [a_view("0")], [], {})
    assert path.stat().st_size > 5000


def test_a_picture_per_stage_with_overlaps_below(tmp_path: Path) -> None:
    views, links = tiles(1, 2)
    links.append(a_link(views[0], views[1], "rotation", residual_um=0.1))
    fixed = texture((8, 60, 20))
    overlap = OverlapPicture("worst: a on b", SPACING, fixed, np.roll(fixed, 5, axis=1), fixed)
    paths = write_registration_pictures(tmp_path, views, links, {}, {"tiles": [overlap] * 3})
    assert [p.name for p in paths] == ["registration_rotation.png", "registration_tiles.png"]
    plain, with_overlaps = (matplotlib.image.imread(p) for p in paths)
    assert with_overlaps.shape[0] > plain.shape[0] + 200


def test_agreeing_views_are_white_and_shifted_ones_coloured() -> None:
    fixed = texture((8, 60, 40))
    overlap = OverlapPicture("a", SPACING, fixed, np.roll(fixed, (5, 7), axis=(1, 2)), fixed)
    views, links = tiles(1, 2)
    figure = draw_stage(stage(views, links), [overlap]).figure
    images = [np.asarray(a.images[0].get_array()) for a in figure.axes if a.images][-4:]
    colourfulness = [float(np.ptp(image, axis=-1).mean()) for image in images]
    assert min(colourfulness[:2]) > 0.1
    assert max(colourfulness[2:]) < 0.02
    assert "after: correlation 1.00" in words(figure)


def test_grey_values_of_what_one_view_alone_sees_do_not_tint_the_rest() -> None:
    fixed, views_links = texture((8, 60, 40)), tiles(1, 2)
    moving = 0.5 * fixed
    moving[:, :20] = 0
    fixed[:, :20] += 2000
    figure = draw_stage(
        stage(*views_links), [OverlapPicture("a", SPACING, fixed, moving, moving)]
    ).figure
    after = np.asarray([a for a in figure.axes if a.images][-2].images[0].get_array())
    assert np.ptp(after[25:], axis=-1).mean() < 0.05


@pytest.mark.parametrize("value", [0.0, np.nan, 100.0], ids=["nothing", "nan", "uniform"])
def test_an_overlap_without_content_is_drawn(value: float) -> None:
    flat = np.full((1, 30, 5), value, dtype=np.float32)
    views, links = tiles(1, 2)
    figure = draw_stage(
        stage(views, links), [OverlapPicture("a", SPACING, flat, flat, flat)]
    ).figure
    figure.canvas.draw()
    assert np.isnan(correlation(flat, flat))


def test_correlation_is_that_of_numpy_where_both_have_something() -> None:
    a, b = texture((4, 20, 20)), texture((4, 20, 20), 1) + texture((4, 20, 20))
    expected = np.corrcoef(a[1:, :-3].ravel(), b[1:, :-3].ravel())[0, 1]
    a[0], b[:, -3:] = 0, np.nan
    assert correlation(a, b) == pytest.approx(expected, abs=1e-6)


def test_the_part_with_structure_is_shown() -> None:
    image = np.full((9, 400, 300), 100, dtype=np.float32)
    image[3:6, 300:340, 20:60] += texture((3, 40, 40))
    cut = best_cut(OverlapPicture("a", (1, 1, 1), image, image, image))
    _, y, x = cut.window
    assert cut.plane in (2, 3, 4, 5)
    assert 300 <= cut.row < 340
    assert y.start <= 300 < 340 <= y.stop
    assert x.start <= 20 < 60 <= x.stop
    assert [s.stop - s.start for s in cut.window] == [9, 160, 160]


def test_links_worth_a_look_are_chosen() -> None:
    links = tiles(3, 3)[1]
    links = [replace(k, residual_um=0.1 * n) for n, k in enumerate(links)]
    links[3] = replace(links[3], status="no match", quality=0.1)
    links[4] = replace(links[4], status="ambiguous", quality=0.5)
    links[5] = replace(links[5], status="no texture", quality=0.9)
    chosen = dict(choose_links(links, "tiles"))
    assert list(chosen) == ["worst", "median", "best", "ambiguous"]
    assert chosen["worst"] == links[11]
    assert chosen["best"] == links[0]
    assert chosen["ambiguous"] == links[4]
    assert choose_links(links, "rotation") == []
    assert [word for word, _ in choose_links(links[:1], "tiles")] == ["only link"]


@pytest.mark.parametrize("degrees", [0.0, 1.5, 90.0, 180.0])
def test_the_angle_of_a_correction_is_that_of_scipy(degrees: float) -> None:
    matrix = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0, 0.8])).as_matrix()
    assert Affine.from_array(1.02 * matrix).rotation_deg == pytest.approx(degrees, abs=1e-4)


def test_a_plot_on_given_axes_holds_the_map_alone() -> None:
    views, links = tiles(2, 2)
    links.append(a_link(views[0], views[1], "time_points", residual_um=0.1))
    figure = Figure()
    axes = figure.subplots()
    assert plot_registration(views, links, moved(views), axes) is figure
    assert segments(figure) == {"links ok": 4}
    other = plot_registration(views, links, {}, Figure().subplots(), kind="time_points")
    assert {line.get_label() for line in other.axes[0].lines} >= {"z", "y", "x"}


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    views, links = tiles(1, 2)
    with pytest.raises(ConfigError, match="no views"):
        write_registration_pictures(tmp_path, [], [], {})
    with pytest.raises(ConfigError, match=r"'rotation'; there are: tiles"):
        plot_registration(views, links, {}, kind="rotation")
    with pytest.raises(OutputError, match="nowhere"):
        write_registration_pictures(tmp_path / "nowhere", views, links, {})


def test_the_same_registration_gives_the_same_file(tmp_path: Path) -> None:
    views, links = tiles(2, 2)
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files += write_registration_pictures(tmp_path / name, views, links, moved(views))
    assert files[0].read_bytes() == files[1].read_bytes()
