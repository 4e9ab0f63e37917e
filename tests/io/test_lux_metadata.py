"""Metadata of images: the transform's numbers, tolerance towards old and odd files, errors."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from luxdask.errors import ImageFileError, LuxdaskError, MetadataError
from luxdask.io.lux_metadata import (
    compose_affines,
    parse_metadata,
    read_metadata,
    read_view,
    view_from_metadata,
)
from luxdask.io.metadata_text import plain_text
from luxdask.model.view import Source, View, ViewId

VENDOR = Path(__file__).parents[2].parent / "shared/data/vendor/2026-03-02_194519-right.json"
needs_vendor_file = pytest.mark.skipif(
    not VENDOR.exists(), reason="needs the vendor's file in ../shared/data"
)
IDENTITY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]

MINIMAL: dict[str, Any] = {
    "time_point": "00003",
    "channel": "0",
    "stack": "1-x03-y04",
    "objective": "left",
    "camera": "long",
    "image_size_vx": {"width": 30, "height": 20, "depth": 10},
    "affine_to_sample": [
        {"matrix": IDENTITY, "translation": [-14.5, -9.5, 0]},
        {"matrix": [[0.5, 0, 0], [0, 0.5, 0], [0, 0, -3]], "translation": [100, 200, 300]},
    ],
}


def document(**changes: Any) -> dict[str, Any]:
    information = {**copy.deepcopy(MINIMAL), **changes}
    return {
        "processingInformation": {k: v for k, v in information.items() if v is not ...},
        "cameraData": {"kept": True},
    }


def view(**changes: Any) -> View:
    return view_from_metadata(parse_metadata(document(**changes), "here"), Source("/x.lux.h5"))


def by_hand(point_xyz: list[float], chain: list[dict[str, Any]]) -> list[float]:
    """Entry after entry, row after row, in the file's own x, y, z order."""
    p = point_xyz
    for entry in chain:
        rows = zip(entry["matrix"], entry["translation"], strict=True)
        p = [sum(m * c for m, c in zip(row, p, strict=True)) + t for row, t in rows]
    return p


@needs_vendor_file
def test_vendor_file_identity_and_optics() -> None:
    source = Source("/right.lux.h5", sidecar=str(VENDOR))
    found, notes = read_view(source)
    assert notes == ()
    assert found.id == ViewId(0, "current", "01-x00-y00", "right", "right", None)
    assert (found.id.stack_number, found.id.tile) == ("01", "x00-y00")
    assert found.shape == (1, 2048, 2048)
    assert found.spacing_um == (1.0, 0.65, 0.65)
    assert found.angle_deg == 16.9
    assert found.illuminations == ("back", "front")
    assert found.microscope == "MuVi-SPIM"
    np.testing.assert_allclose(found.detection_directions, [(0.9568136, 0, 0.2907022)], atol=1e-6)
    assert np.linalg.norm(found.detection_directions[0]) == pytest.approx(1, abs=1e-12)


@needs_vendor_file
def test_vendor_file_corner_lies_where_the_chain_says() -> None:
    found, _ = read_view(Source("/right.lux.h5", sidecar=str(VENDOR)))
    chain = json.loads(VENDOR.read_text())["processingInformation"]["affine_to_sample"]
    for z, y, x in [(0, 0, 0), (0, 1023.5, 1023.5), (0, 2047, 0), (7, 11, 13)]:
        expected_xyz = by_hand([x, y, z], chain)
        np.testing.assert_allclose(found.view_to_world.apply((z, y, x)), expected_xyz[::-1])
    # -665.275 - 5200.1 = -5865.375; 0.9568136 · -5865.375 + 0.2907022 · 25.986 + 98.7207
    z, y, x = found.view_to_world.apply((0, 0, 0))
    assert (x, y, z) == pytest.approx((-5505.796, -17667.5, 2180.146), abs=2e-3)


@needs_vendor_file
def test_vendor_file_centre_follows_from_the_stages() -> None:
    """Stage at p, angle θ about axis a through -o: the image centre is R (p + o) - o."""
    found, _ = read_view(Source("/right.lux.h5", sidecar=str(VENDOR)))
    p, o = np.array([-5200.1, -17002.225, 25.986]), np.array([-1564.5991, 0, 107.15854])
    angle = np.deg2rad(-16.9)
    a = np.array([0.0, -1.0, 0.0])
    v = p + o
    rotated = v * np.cos(angle) + np.cross(a, v) * np.sin(angle) + a * (a @ v) * (1 - np.cos(angle))
    centre = found.view_to_world.apply((0, 1023.5, 1023.5))
    np.testing.assert_allclose(centre[::-1], rotated - o, atol=5e-3)


def test_long_chains_compose_first_entry_first() -> None:
    rng = np.random.default_rng(5)
    chain = [
        {"matrix": rng.normal(size=(3, 3)).tolist(), "translation": rng.normal(size=3).tolist()}
        for _ in range(5)
    ]
    information = parse_metadata(document(affine_to_sample=chain), "here")
    composed = compose_affines(information.affine_to_sample)
    np.testing.assert_allclose(composed.apply((3, 2, 1)), by_hand([1, 2, 3], chain)[::-1])


def test_minimal_file_has_everything_a_view_needs() -> None:
    found = view()
    assert found.id == ViewId(3, "0", "1-x03-y04", "left", "long", None)
    assert found.shape == (10, 20, 30)
    assert found.spacing_um == (3.0, 0.5, 0.5)  # lengths of the transformed axes
    assert (found.angle_deg, found.illuminations, found.detection_directions) == (0.0, (), ())


@pytest.mark.parametrize(
    ("changes", "attribute", "expected"),
    [
        ({"pm": "none"}, "pm", None),
        ({"pm": ""}, "pm", None),
        ({"pm": None}, "pm", None),
        ({"pm": "5"}, "pm", "5"),
        ({"pm": 5}, "pm", "5"),
        ({"time_point": 12}, "time_point", 12),
        ({"time_point": "0"}, "time_point", 0),
        ({"channel": 2}, "channel", "2"),
        ({"channel": "current"}, "channel", "current"),
    ],
)
def test_identity_spellings(changes: dict[str, Any], attribute: str, expected: object) -> None:
    assert getattr(view(**changes).id, attribute) == expected


def test_numbers_as_text_single_dicts_and_nulls_are_understood() -> None:
    entry = {"matrix": [["2", 0, 0], [0, 2, 0], [0, 0, 2]], "translation": ["1", 0, 0]}
    found = view(
        affine_to_sample=entry,
        image_size_vx={"width": "7", "height": 6.0, "depth": 1},
        voxel_size_um={"width": "2", "height": 2, "depth": 0},
        detection_directions=[0, 0, -2],
        acquisition=None,
        sources=None,
        channel_description=None,
        stack_scan_ids=None,
    )
    assert found.shape == (1, 6, 7)
    assert found.spacing_um == (2.0, 2.0, 2.0)
    assert found.detection_directions == ((-1.0, 0.0, 0.0),)
    np.testing.assert_allclose(found.view_to_world.apply((0, 0, 1)), (0, 0, 3))


def test_angle_of_images_fused_from_several_angles_is_zero() -> None:
    def taken_at(angle: float) -> dict[str, Any]:
        return {"stage_positions": [{"type": "rotation", "start_deg": angle, "end_deg": angle}]}

    assert view(acquisition=[taken_at(90), taken_at(90)]).angle_deg == 90.0
    assert view(acquisition=[taken_at(0), taken_at(90)]).angle_deg == 0.0
    assert view(acquisition=[{"stage_positions": [{"type": "linear"}]}]).angle_deg == 0.0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image_size_vx": {"width": 0, "height": 1, "depth": 1}}, "image_size_vx.width"),
        ({"image_size_vx": ...}, "image_size_vx"),
        ({"affine_to_sample": ...}, "affine_to_sample"),
        ({"affine_to_sample": []}, "affine_to_sample"),
        ({"affine_to_sample": [{"matrix": IDENTITY}]}, "translation"),
        ({"affine_to_sample": [{"matrix": IDENTITY[:2], "translation": [0, 0, 0]}]}, "matrix"),
        (
            {"affine_to_sample": [{"matrix": IDENTITY, "translation": [0, 0, float("nan")]}]},
            "finite",
        ),
        ({"time_point": "now"}, "time_point"),
        ({"objective": ...}, "objective"),
    ],
)
def test_malformed_metadata_names_file_and_key(changes: dict[str, Any], expected: str) -> None:
    for text in (document(**changes), json.dumps(document(**changes))):
        with pytest.raises(MetadataError, match=rf"^/data/a\.json: .*{expected}"):
            parse_metadata(text, "/data/a.json")


def test_singular_transform_is_refused_by_name() -> None:
    flat = [{"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 0]], "translation": [0, 0, 0]}]
    with pytest.raises(MetadataError, match=r"/x\.lux\.h5.*not invertible"):
        view(affine_to_sample=flat)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"processingInformation": 3}'])
def test_texts_that_are_not_metadata(text: str) -> None:
    with pytest.raises(MetadataError, match=r"a\.json: (not valid JSON|no 'processingInf)"):
        parse_metadata(text, "a.json")


TEXT = json.dumps(document(channel_description="µ"), ensure_ascii=False)


@pytest.mark.parametrize(
    "value",
    [
        TEXT,
        TEXT.encode(),
        TEXT.encode() + b"\0\0",
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.encode("latin-1"),
        np.array([TEXT], dtype=object),
        np.array([TEXT.encode()]),
        np.array(TEXT.encode()),
        np.frombuffer(TEXT.encode() + b"\0", dtype=np.uint8),
        np.frombuffer(TEXT.encode(), dtype="S1"),
    ],
    ids=["str", "bytes", "nul", "bom", "latin", "object", "S[1]", "S", "uint8", "S1"],
)
def test_every_way_to_store_text(value: Any) -> None:
    assert plain_text(value) == TEXT
    assert parse_metadata(value, "here").channel_description == "µ"


def stored_image(folder: Path, text: Any, **options: Any) -> Source:
    with h5py.File(folder / "a.lux.h5", "w") as file:
        file.create_dataset("Data", shape=(1, 2, 3), dtype="u2")
        file.create_dataset("metadata", data=text, **options)
    return Source(str(folder / "a.lux.h5"))


def test_metadata_inside_the_image_in_any_string_type(tmp_path: Path) -> None:
    vlen, fixed = h5py.string_dtype("utf-8"), f"S{len(TEXT.encode()) + 5}"
    for data, options in [
        (TEXT, {"dtype": vlen}),
        ([TEXT], {"dtype": vlen}),
        (np.array(TEXT.encode(), dtype=fixed), {}),
        (np.frombuffer(TEXT.encode(), dtype=np.uint8), {}),
    ]:
        source = stored_image(tmp_path, data, **options)
        assert read_view(source)[0].id.time_point == 3
        assert read_metadata(source)["cameraData"] == {"kept": True}


def test_sidecar_wins_and_a_broken_one_is_replaced_by_the_image(tmp_path: Path) -> None:
    image = stored_image(tmp_path, json.dumps(document(time_point="8")))
    sidecar = tmp_path / "a.json"
    source = Source(image.path, sidecar=str(sidecar))
    sidecar.write_text(json.dumps(document(time_point="9")))
    assert read_view(source)[0].id.time_point == 9
    sidecar.write_text('{"processingInformation": {"vers')
    found, notes = read_view(source)
    assert found.id.time_point == 8
    assert len(notes) == 1
    assert "a.json: not valid JSON" in notes[0]
    assert read_metadata(source)["processingInformation"]["time_point"] == "8"


def test_a_contradicting_sidecar_is_not_hidden(tmp_path: Path) -> None:
    image = stored_image(tmp_path, json.dumps(document()))
    (tmp_path / "a.json").write_text(json.dumps(document(time_point="x")))
    with pytest.raises(MetadataError, match=r"a\.json: metadata is malformed: .*time_point"):
        read_view(Source(image.path, sidecar=str(tmp_path / "a.json")))


def test_neither_place_names_both(tmp_path: Path) -> None:
    image = stored_image(tmp_path, "")
    (tmp_path / "a.json").write_text("oops")
    with pytest.raises(MetadataError, match=r"a\.lux\.h5: no usable.*a\.json.*a\.lux\.h5"):
        read_view(Source(image.path, sidecar=str(tmp_path / "a.json")))


def test_truncated_image_without_sidecar_is_named(tmp_path: Path) -> None:
    source = stored_image(tmp_path, TEXT)
    content = Path(source.path).read_bytes()
    Path(source.path).write_bytes(content[: len(content) // 3])
    with pytest.raises(ImageFileError, match=r"a\.lux\.h5: not a readable HDF5 file"):
        read_view(source)
    with pytest.raises(LuxdaskError, match=r"none\.lux\.h5"):
        read_view(Source(str(tmp_path / "none.lux.h5")))


def test_huge_time_stamps_cost_nothing() -> None:
    stamps = ["2026-03-02T18:45:19.123456Z"] * 3000
    found = view(acquisition=[{"microscope_type": "LCS-SPIM", "time_stamps": stamps}] * 5)
    assert found.microscope == "LCS-SPIM"
