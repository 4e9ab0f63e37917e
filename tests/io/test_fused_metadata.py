"""Metadata of fused images: they must be readable as input again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import luxdask
from luxdask.errors import MetadataError
from luxdask.io.fused_metadata import fused_metadata
from luxdask.io.lux_metadata import parse_metadata, read_view, view_from_metadata
from luxdask.io.lux_writer import LuxWriter, sidecar_path
from luxdask.model.geometry import Grid
from luxdask.model.output import Output
from luxdask.model.view import Source, View

VENDOR = Path(__file__).parents[3] / "shared/data/vendor/2026-03-02_194519-right.json"
# Numbers that have no short form, to see that none is rounded.
GRID = Grid((5, 6, 7), (0.1 + 0.2, 1 / 3, 0.65), (-8872.391, 2**0.5, -1e-7))

Write = Callable[..., tuple[View, list[np.ndarray]]]


@pytest.fixture
def inputs(write_image: Write) -> tuple[View, View]:
    """Two cameras of one channel, with metadata as a microscope writes them."""
    voxels = np.zeros((5, 6, 7), np.uint16)

    def acquisition(camera: str, repetition: int) -> list[dict[str, Any]]:
        return [
            {
                "channel": "0",
                "camera": camera,
                "repetition": repetition,
                "stack_scan_id": f"oc:default_st:0_ch:0_tp:3_pm:{camera}",
                "time_stamps": [f"2026-03-02T14:44:3{repetition}.123456Z"],
                "unknown": {"kept": [1, 2.5]},
            }
        ]

    left, _ = write_image(
        "a",
        voxels,
        time_point=3,
        more={
            "acquisition": acquisition("left", 2),
            "sources": ["Luxendo MuVi-SPIM", "tool 1"],
            "detection_directions": [[0.0, 0.0, 1.0]],
            "channel_description": "GFP",
            "pm": "5",
        },
    )
    right, _ = write_image(
        "b",
        voxels,
        time_point=3,
        camera="right",
        more={
            "acquisition": acquisition("right", 1),
            "sources": ["Luxendo MuVi-SPIM", "tool 2"],
            "detection_directions": [[0.0, 1e-8, 1.0], [0.0, 0.0, -1.0]],
            "contains_beads": True,
            "channel_description": "GFP",
            "pm": "5",
        },
    )
    return left, right


def information(text: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(text)["processingInformation"]
    return content


def test_the_document_says_what_went_in(inputs: tuple[View, View]) -> None:
    found = information(fused_metadata(Output("uni", GRID, inputs), sources=["Task 7"]))
    assert found["version"] == "1.0.0"
    assert found["sources"] == [
        "Luxendo MuVi-SPIM",
        "tool 1",
        "tool 2",
        "Task 7",
        f"luxdask {luxdask.__version__}",
    ]
    assert found["contains_beads"] is True
    assert (found["time_point"], found["channel"], found["pm"]) == ("3", "0", "5")
    assert (found["objective"], found["camera"]) == ("left", "left-right")
    assert found["channel_description"] == "GFP"
    assert "stack_description" not in found
    assert found["repetition"] == 2
    assert [entry["camera"] for entry in found["acquisition"]] == ["left", "right"]
    assert found["acquisition"][0]["unknown"] == {"kept": [1, 2.5]}
    assert len(found["stack_scan_ids"]) == 2
    assert found["detection_directions"] == [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]
    assert found["image_id"].startswith("2026-03-02T14:44:31.123456Z-")


def test_the_chain_starts_with_the_voxel_size_and_keeps_every_digit(
    inputs: tuple[View, View],
) -> None:
    found = information(fused_metadata(Output("uni", GRID, inputs)))
    depth, height, width = GRID.spacing_um
    scaling, shift = found["affine_to_sample"]
    assert scaling["matrix"] == [[width, 0, 0], [0, height, 0], [0, 0, depth]]
    assert scaling["translation"] == [0, 0, 0]
    assert shift["matrix"] == np.eye(3).tolist()
    assert shift["translation"] == list(GRID.origin_um[::-1])
    assert found["image_size_vx"] == {"width": 7, "height": 6, "depth": 5}
    assert found["voxel_size_um"] == {"width": width, "height": height, "depth": depth}


@pytest.mark.parametrize("separate", [False, True], ids=["fused", "separate view"])
def test_an_output_is_an_input_again(
    inputs: tuple[View, View], tmp_path: Path, separate: bool
) -> None:
    output = Output("uni", GRID, inputs[:1] if separate else inputs, separate)
    path = tmp_path / "fused.lux.h5"
    LuxWriter(str(path), GRID.shape, GRID.spacing_um, metadata=fused_metadata(output)).create()
    for sidecar in (str(sidecar_path(str(path))), None):
        view, notes = read_view(Source(str(path), sidecar=sidecar))
        assert notes == ()
        assert view.view_to_world == GRID.to_world
        assert (view.shape, view.spacing_um) == (GRID.shape, GRID.spacing_um)
        assert view.id.time_point == 3
        assert view.id.camera == ("left" if separate else "left-right")
        assert view.id.pm == "5"
    # ... and fused once more, nothing of the first acquisition is lost.
    again = information(fused_metadata(Output("uni", GRID, (view,))))
    assert len(again["acquisition"]) == len(output.views)
    assert again["sources"].count(f"luxdask {luxdask.__version__}") == 1


def test_the_same_inputs_give_the_same_text(inputs: tuple[View, View]) -> None:
    output = Output("uni", GRID, inputs)
    assert fused_metadata(output) == fused_metadata(output)
    other = Output("uni", replace(GRID, shape=(5, 6, 8)), inputs)
    texts = [fused_metadata(output), fused_metadata(other), fused_metadata(output, sources=["x"])]
    assert len({information(text)["image_id"] for text in texts}) == 3


def test_acquisition_may_be_missing_or_single(write_image: Write) -> None:
    voxels = np.zeros((2, 2, 2), np.uint16)
    one, _ = write_image("one", voxels, more={"acquisition": {"camera": "x"}})
    none, _ = write_image("none", voxels, camera="right", more={"acquisition": None})
    found = information(fused_metadata(Output("uni", GRID, (one, none))))
    assert found["acquisition"] == [{"camera": "x"}]
    assert found["repetition"] == 0
    assert "T" not in found["image_id"]


def test_an_input_without_metadata_is_named(inputs: tuple[View, View]) -> None:
    Path(str(inputs[1].source.sidecar)).unlink()
    lost = replace(inputs[1], source=replace(inputs[1].source, metadata="nothing"))
    with pytest.raises(MetadataError, match=r"b\.lux\.h5"):
        fused_metadata(Output("uni", GRID, (inputs[0], lost)))


@pytest.mark.skipif(not VENDOR.exists(), reason=f"no vendor metadata at {VENDOR}")
def test_metadata_of_a_real_microscope(write_image: Write) -> None:
    document = json.loads(VENDOR.read_text())
    view, _ = write_image("real", np.zeros((2, 2, 2), np.uint16))
    Path(str(view.source.sidecar)).write_text(json.dumps(document))
    output = Output("uni", GRID, (view,))
    text = fused_metadata(output)
    assert information(text)["acquisition"] == document["processingInformation"]["acquisition"]
    again = view_from_metadata(parse_metadata(text, "here"), view.source)
    assert again.view_to_world == GRID.to_world
    assert again.microscope == "MuVi-SPIM"
    assert again.angle_deg == 16.9
