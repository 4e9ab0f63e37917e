import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from luxdask.cli import app
from luxdask.errors import ConfigError
from luxdask.tasks.template import load_template


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LUXDASK_CONFIG_DIR", str(tmp_path / "settings"))
    return tmp_path


def test_save_show_reset(folder: Path) -> None:
    run = CliRunner().invoke
    built_in = run(app, ["defaults", "show"])
    assert "nothing has been saved" in built_in.stderr
    assert json.loads(built_in.stdout)["output"]["sampling"]["width"] == 1

    task = folder / "task.json"
    task.write_text('{"output": {"sampling": 4}, "input": {"experiment": "/data/a"}} // test')
    saved = run(app, ["defaults", "save", str(task)])
    assert saved.exit_code == 0
    assert "default_task.json" in saved.stdout
    assert "input.experiment" in saved.stdout
    assert load_template().output.sampling.width == 4

    shown = run(app, ["defaults", "show"])
    assert "default_task.json" in shown.stderr
    assert json.loads(shown.stdout)["output"]["sampling"]["width"] == 4
    assert json.loads(shown.stdout)["input"]["experiment"] == ""

    assert "again" in run(app, ["defaults", "reset"]).stdout
    assert "already" in run(app, ["defaults", "reset"]).stdout
    assert load_template().output.sampling.width == 1


def test_a_bad_task_is_not_saved(folder: Path) -> None:
    task = folder / "task.json"
    task.write_text('{"output": {"sampling": "x"}}')
    done = CliRunner().invoke(app, ["defaults", "save", str(task)])
    assert isinstance(done.exception, ConfigError)
    assert not (folder / "settings").exists()
