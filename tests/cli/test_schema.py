import json
from pathlib import Path

from typer.testing import CliRunner

from luxdask.cli import app
from luxdask.tasks.options import options


def test_the_schema_holds_help_and_levels() -> None:
    schema = json.loads(CliRunner().invoke(app, ["schema"]).stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    blending = schema["$defs"]["BlendingConfig"]["anyOf"]
    assert blending[0] == {"type": "boolean"}  # the shorthand
    width = blending[1]["properties"]["width_um"]
    assert width["level"] == 1
    assert "µm" in width["description"]
    assert blending[1]["additionalProperties"] is False
    assert schema["$defs"]["SamplingConfig"]["anyOf"][0] == {"type": "number"}


def test_into_a_file(tmp_path: Path) -> None:
    target = tmp_path / "schema.json"
    done = CliRunner().invoke(app, ["schema", "-o", str(target)])
    assert done.exit_code == 0
    assert done.stdout == ""
    assert "TaskConfig" in json.loads(target.read_text())["title"]


def test_the_table_lists_a_level() -> None:
    table = CliRunner().invoke(app, ["schema", "--table", "--level", "basic"]).stdout
    assert "output.sampling.width" in table
    assert "fusion.interpolation" not in table
    everything = CliRunner().invoke(app, ["schema", "--table"]).stdout
    for o in options():
        assert o.key in everything
