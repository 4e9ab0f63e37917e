"""Links and corrections in files: what is written comes back exactly, and names never coincide."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from luxdask.errors import MetadataError, OutputError
from luxdask.io.registration_csv import COLUMNS, write_links_csv
from luxdask.io.registration_document import correction_document, link_document, parse_document
from luxdask.io.registration_file import (
    correction_path,
    link_path,
    read_transform,
    write_corrections,
    write_links,
)
from luxdask.model.geometry import Affine, BoundingBox
from luxdask.model.links import KINDS, Kind, Link, Model, Source, Status
from luxdask.model.registrations import Correction
from luxdask.model.view import ViewId
from luxdask.testing.strategies import near_rigid

if TYPE_CHECKING:
    from pathlib import Path

FIXED = ViewId(0, "0", "1-x00-y00", "left", "left")
MOVING = replace(FIXED, stack="1-x01-y00")

numbers = st.floats(allow_nan=False)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ids = st.builds(ViewId, st.integers(0, 10**6), names, names, names, names, st.none() | names)
points = st.tuples(numbers, numbers, numbers)
affines = near_rigid(angle_deg=180, shift=5000)
links = st.builds(
    Link,
    kind=st.sampled_from(get_args(Kind)),
    fixed=ids,
    moving=ids,
    transform=affines,
    model=st.sampled_from(get_args(Model)),
    quality=numbers,
    precision_um=numbers,
    overlap=st.builds(BoundingBox, points, points),
    source=st.sampled_from(get_args(Source)),
    status=st.sampled_from(get_args(Status)),
    reason=st.text(),
    residual_um=st.none() | numbers,
    cost=st.none() | numbers,
)
corrections = st.builds(
    Correction,
    affines,
    st.none() | st.sampled_from(KINDS),
    st.none() | st.integers(0, 10**6),
    *[st.none() | names] * 5,
)


@given(links)
def test_links_come_back_exactly(link: Link) -> None:
    text = json.dumps(link_document(link), allow_nan=False)
    assert parse_document(text, "here") == link


@given(corrections)
def test_corrections_come_back_exactly(correction: Correction) -> None:
    text = json.dumps(correction_document(correction), allow_nan=False)
    assert parse_document(text, "here") == correction


@given(links, links)
def test_file_names_never_coincide(one: Link, other: Link) -> None:
    names = [link_path("task", link) for link in (one, other)]
    by_landmarks = [link.source == "landmarks" for link in (one, other)]
    same = (one.fixed, one.moving) == (other.fixed, other.moving) and (
        all(by_landmarks) or (not any(by_landmarks) and one.kind == other.kind)
    )
    assert (str(names[0]).lower() == str(names[1]).lower()) == same
    assert all(len(name.name) < 240 and name.name.isascii() for name in names)


def test_names_that_look_alike_are_told_apart() -> None:
    base = Link("tiles", FIXED, MOVING, Affine())
    alike = [
        replace(MOVING, channel="GFP"),
        replace(MOVING, channel="gfp"),
        replace(MOVING, channel="a b"),
        replace(MOVING, channel="a_b"),
        replace(MOVING, channel="a/b"),
        replace(MOVING, channel="0_st-1", stack="x"),
        replace(MOVING, channel="0", stack="1_st-x"),
        replace(MOVING, pm="none"),
        replace(MOVING, pm=""),
        replace(MOVING, pm="unnamed"),
        replace(MOVING, stack="con"),
        replace(MOVING, stack="_con"),
        replace(MOVING, stack="a-rather-long-name-1"),
        replace(MOVING, stack="a-rather-long-name-2"),
    ]
    found = {str(link_path("", replace(base, moving=m))).lower() for m in alike}
    assert len(found) == len(alike)


@pytest.mark.parametrize(
    ("link", "path"),
    [
        (
            Link("tiles", FIXED, MOVING, Affine()),
            "reg_sti/tp-0_ch-0_st-1-x01-y00_obj-left_cam-left"
            "__tp-0_ch-0_st-1-x00-y00_obj-left_cam-left.tf.json",
        ),
        (
            Link("rotation", replace(FIXED, pm="3"), replace(FIXED, pm="3", stack="2"), Affine()),
            "reg_rot/tp-0_ch-0_pm-3_st-2_obj-left_cam-left"
            "__tp-0_ch-0_pm-3_st-1-x00-y00_obj-left_cam-left.tf.json",
        ),
        (
            Link("objective_camera", FIXED, replace(FIXED, camera="long"), Affine()),
            "reg_obj/tp-0_ch-0_st-1-x00-y00_obj-left_cam-long"
            "__tp-0_ch-0_st-1-x00-y00_obj-left_cam-left.tf.json",
        ),
        (
            Link("time_points", FIXED, replace(FIXED, time_point=12), Affine()),
            "reg_tim/tp-12_ch-0_st-1-x00-y00_obj-left_cam-left"
            "__tp-0_ch-0_st-1-x00-y00_obj-left_cam-left.tf.json",
        ),
        (
            Link("tiles", FIXED, replace(FIXED, stack="2"), Affine(), source="landmarks"),
            "reg_lmk/tp-0_ch-0_st-2_obj-left_cam-left"
            "__tp-0_ch-0_st-1-x00-y00_obj-left_cam-left.tf.json",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Link) else "",
)
def test_where_a_link_lies(link: Link, path: str, tmp_path: Path) -> None:
    write_links(tmp_path, [link])
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / path]
    assert read_transform(tmp_path / path) == link


def test_where_a_correction_lies(tmp_path: Path) -> None:
    shift = Affine.translation((1, 2, 3))
    given = {
        "reg_sti/tp-0_st-1-x00-y00.tf.json": Correction(shift, "tiles", 0, stack="1-x00-y00"),
        "reg_obj/ch-1_obj-left_cam-long.tf.json": Correction(
            shift, "objective_camera", channel="1", objective="left", camera="long"
        ),
        "reg_tim/tp-7.tf.json": Correction(shift, "time_points", 7),
        "reg_all/tp-0_ch-0_st-1-x00-y00_obj-left_cam-left.tf.json": Correction.of_view(
            FIXED, shift
        ),
        "reg_all/all.tf.json": Correction(shift),
    }
    write_corrections(tmp_path, given.values())
    for path, correction in given.items():
        assert correction_path(tmp_path, correction) == tmp_path / path
        assert read_transform(tmp_path / path) == correction


def test_which_images_a_correction_holds_for() -> None:
    tile = Correction(Affine(), "tiles", 0, stack="1-x00-y00")
    assert tile.holds_for(FIXED)
    assert tile.holds_for(replace(FIXED, channel="9", pm="2"))
    assert not tile.holds_for(MOVING)
    whole = Correction.of_view(FIXED, Affine())
    assert whole.holds_for(replace(FIXED, pm="2"))
    assert not whole.holds_for(replace(FIXED, camera="long"))
    assert not Correction.of_view(replace(FIXED, pm="2"), Affine()).holds_for(FIXED)


def test_the_document() -> None:
    link = Link(
        kind="tiles",
        fixed=FIXED,
        moving=MOVING,
        transform=Affine.from_array([[1, 2, 3], [4, 5, 6], [7, 8, 10]], (11, 12, 13)),  # z, y, x
        model="affine",
        quality=0.75,
        precision_um=float("inf"),
        overlap=BoundingBox((0, 1, 2), (3, 4, 5)),
        source="landmarks",
        status="removed",
        reason="cost 12 is above 10",
        residual_um=1.5,
    )
    same = {"time_point": 0, "channel": "0", "objective": "left", "camera": "left", "pm": None}
    document = link_document(link)
    assert document.pop("sources")[0].startswith("luxdask ")
    assert document == {
        "version": "1.0.0",
        "role": "pair",
        "kind": "tiles",
        "moving": {**same, "stack": "1-x01-y00"},
        "fixed": {**same, "stack": "1-x00-y00"},
        "affine": {
            "matrix": [[10.0, 8.0, 7.0], [6.0, 5.0, 4.0], [3.0, 2.0, 1.0]],
            "translation": [13.0, 12.0, 11.0],
        },
        "space": "sample_um",
        "model": "affine",
        "method": {"source": "landmarks"},
        "quality": 0.75,
        "precision_um": "inf",
        "overlap_um": {"lower": [2.0, 1.0, 0.0], "upper": [5.0, 4.0, 3.0]},
        "status": "removed",
        "reason": "cost 12 is above 10",
        "residual_um": 1.5,
        "cost": None,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"role": "other"}, "role"),
        ({"kind": "sideways"}, "kind"),
        ({"space": "voxels"}, "space"),
        ({"status": "fine"}, "status"),
        ({"fixed": {"time_point": 0}}, r"fixed\.channel"),
        ({"affine": {"matrix": [[1, 0, 0]], "translation": [0, 0, 0]}}, r"affine\.matrix"),
        ({"affine": {"matrix": np.eye(3).tolist(), "translation": [0, 0, "nan"]}}, "finite"),
    ],
)
def test_bad_files_are_named(change: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "one.tf.json"
    path.write_text(json.dumps({**link_document(Link("tiles", FIXED, MOVING, Affine())), **change}))
    with pytest.raises(MetadataError, match=rf"one\.tf\.json: not a registration.*{said}"):
        read_transform(path)


def test_files_of_other_origin(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"gone\.tf\.json: cannot read"):
        read_transform(tmp_path / "gone.tf.json")
    (tmp_path / "half.tf.json").write_bytes(b'{"role": "pa\xff')
    with pytest.raises(MetadataError, match=r"half\.tf\.json: not a registration"):
        read_transform(tmp_path / "half.tf.json")


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "reg_sti").write_text("a file where a folder belongs")
    with pytest.raises(OutputError, match="reg_sti"):
        write_links(tmp_path, [Link("tiles", FIXED, MOVING, Affine())])


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_of_links(tmp_path: Path) -> None:
    turn = Rotation.from_rotvec(np.radians(2.5) * np.array([0.6, 0, 0.8])).as_matrix()
    middle = np.array([100.0, 2000.0, -3000.0])
    shift = np.array([1.0, -2.0, 3.25])  # z, y, x
    link = Link(
        kind="tiles",
        fixed=FIXED,
        moving=replace(MOVING, pm="5"),
        transform=Affine.from_array(turn, middle - turn @ middle + shift),
        model="rigid",
        quality=0.912345678,
        overlap=BoundingBox((90, 1990, -3010), (110, 2010, -2990)),
        residual_um=0.125,
        cost=None,
        reason='a, "b"\nand µm',
    )
    path = tmp_path / "registration.csv"
    write_links_csv(path, [link, replace(link, status="no match", cost=11.5)])
    assert path.read_bytes().startswith(b"\xef\xbb\xbfkind,moving_time_point,")
    first, second = read_table(path)
    assert tuple(first) == COLUMNS
    assert first["kind"] == "tiles"
    assert (first["moving_stack"], first["fixed_stack"]) == ("1-x01-y00", "1-x00-y00")
    assert (first["moving_pm"], first["fixed_pm"]) == ("5", "")
    assert [float(first[f"shift_{a}_um"]) for a in "zyx"] == pytest.approx(shift)
    assert float(first["rotation_deg"]) == pytest.approx(2.5, rel=1e-5)
    assert (first["quality"], first["residual_um"], first["cost"]) == ("0.912346", "0.125", "")
    assert first["reason"] == 'a, "b"\nand µm'
    assert (second["status"], second["cost"]) == ("no match", "11.5")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0"])
def test_names_are_never_formulas(name: str, tmp_path: Path) -> None:
    link = Link("tiles", FIXED, replace(MOVING, channel=name), Affine(), reason=name)
    write_links_csv(tmp_path / "r.csv", [link])
    (row,) = read_table(tmp_path / "r.csv")
    assert row["moving_channel"] == row["reason"] == f"'{name}"
    assert float(row["shift_x_um"]) == 0


@given(angle=st.floats(0, 180), axis=st.tuples(*[st.floats(-1, 1)] * 3))
def test_the_angle_is_that_of_the_rotation(angle: float, axis: tuple[float, ...]) -> None:
    length = np.linalg.norm(axis)
    if length < 1e-3:
        axis, length = (1.0, 0.0, 0.0), np.float64(1)
    turn = Rotation.from_rotvec(np.radians(angle) * np.array(axis) / length).as_matrix()
    stretched = turn @ np.diag([1.1, 1.1, 1.1])
    assert Affine.from_array(stretched).rotation_deg == pytest.approx(angle, abs=1e-6)
