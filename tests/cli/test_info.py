"""`luxdask info`: the table for people and the JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from luxdask.cli.info import register
from luxdask.errors import ExperimentNotFoundError


@pytest.fixture
def app() -> typer.Typer:
    program = typer.Typer()
    register(program)

    @program.callback()
    def main() -> None:
        """Keep `info` a subcommand."""

    return program


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for t in range(4):
        for channel, description in (("0", "GFP"), ("1", "")):
            folder = tmp_path / f"raw/stack_2-x00-y01_channel_{channel}_obj_left"
            folder.mkdir(parents=True, exist_ok=True)
            if (t, channel) == (2, "1"):
                continue
            information = {
                "time_point": str(t),
                "channel": channel,
                "channel_description": description,
                "stack": "2-x00-y01",
                "objective": "left",
                "camera": "long[b]",
                "pm": "5",
                "image_size_vx": {"width": 2048, "height": 1000, "depth": 500},
                "affine_to_sample": {
                    "matrix": [[0.65, 0, 0], [0, 0.65, 0], [0, 0, -3]],
                    "translation": [1, 2, 3],
                },
                "acquisition": [{"stage_positions": [{"type": "rotation", "start_deg": 90}]}],
            }
            document = json.dumps({"processingInformation": information})
            (folder / f"Cam_left_{t:05d}.json").write_text(document)
            (folder / f"Cam_left_{t:05d}.lux.h5").touch()
    return tmp_path


def test_table(app: typer.Typer, root: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(root)])
    assert result.exit_code == 0, result.output
    rows = [line for line in result.output.splitlines() if "2-x00-y01" in line and "│" in line]
    cells = [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]
    shared = ["2-x00-y01", "left", "long[b]", "5", "90", "2048, 1000, 500", "0.65, 0.65, 3"]
    assert cells == [["0 GFP", *shared, "4 (0-3)"], ["1", *shared, "3 (0, 1, 3)"]]
    assert "7 images, 13.4 GiB" in result.output
    assert "note: missing: ch:1 st:2-x00-y01 obj:left cam:long[b] pm:5 at tp 2" in result.output


def test_json(app: typer.Typer, root: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(root), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["kind"] == "experiment"
    assert document["size_bytes"] == 7 * 2 * 2048 * 1000 * 500
    assert len(document["views"]) == 7
    first = document["views"][0]
    assert (first["time_point"], first["channel"], first["pm"]) == (0, "0", "5")
    assert first["shape_zyx"] == [500, 1000, 2048]
    assert first["spacing_um_zyx"] == [3.0, 0.65, 0.65]
    assert first["view_to_world_zyx"] == [[-3, 0, 0, 3], [0, 0.65, 0, 2], [0, 0, 0.65, 1]]
    assert Path(first["file"]).is_file()
    assert Path(first["sidecar"]).is_file()


def test_wrong_path_raises_the_error_for_the_program_to_show(
    app: typer.Typer, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["info", str(tmp_path / "none")])
    assert isinstance(result.exception, ExperimentNotFoundError)
