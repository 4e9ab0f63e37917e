import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from luxdask.cli import app
from luxdask.errors import ConfigError, OutputError, SelectionError
from luxdask.model.experiment import Experiment
from luxdask.model.geometry import Affine, Vector
from luxdask.model.view import Source, View, ViewId
from luxdask.tasks.config import TaskConfig, parse_config, set_values
from luxdask.tasks.template import save_template

Z: Vector = (1.0, 0.0, 0.0)


def view(side: str, direction: Vector) -> View:
    return View(
        ViewId(0, "0", "1", side, side),
        Source(f"{side}.lux.h5"),
        (4, 4, 4),
        (1.0, 1.0, 1.0),
        Affine(),
        detection_directions=(direction,),
    )


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """Paths that were opened; the images are two opposing views."""
    paths: list[object] = []

    def open_experiment(path: object) -> Experiment:
        paths.append(path)
        views = (view("left", Z), view("right", (-1.0, 0.0, 0.0)))
        return Experiment(str(path), str(path), "experiment", views)

    monkeypatch.setattr("luxdask.open_experiment", open_experiment, raising=False)
    monkeypatch.setenv("LUXDASK_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.chdir(tmp_path)
    return paths


def new(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["new", "data/a", *arguments])


def test_a_task_file_is_made_and_the_changes_are_explained(opened: list[object]) -> None:
    done = new()
    assert done.exit_code == 0, done.output
    assert opened == [str(Path("data/a").absolute())]
    config = parse_config("task.json")
    assert config.input.experiment == opened[0]
    assert config.fusion.fuse_different_cams
    assert not config.output.sampling.isotropic
    assert "fusion.fuse_different_cams" in done.stdout
    assert "2 detection objectives with one camera each" in done.stdout
    assert "luxdask check task.json" in done.stdout
    assert "luxdask run task.json" in done.stdout


def test_basic_shows_basic_settings_and_whatever_was_set() -> None:
    new("--set", "fusion.interpolation=cubic", "--set", "compute.threads_per_worker=null")
    document = json.loads(Path("task.json").read_text())
    assert document["fusion"]["interpolation"] == "cubic"
    assert document["compute"] == {"cluster": "local", "threads_per_worker": None}
    assert "load_only_full_chunks" not in document["fusion"]
    assert document["output"]["sampling"]["isotropic"] is False


def test_levels() -> None:
    new("--level", "advanced", "-o", "all.json")
    document = json.loads(Path("all.json").read_text())
    assert document == parse_config("all.json").model_dump(mode="json")


def test_set_wins_over_the_automatic_defaults() -> None:
    done = new("--set", "output.sampling=4", "--set", "fusion.fuse_different_cams=false")
    config = parse_config("task.json")
    assert config.output.sampling.depth == 4
    assert not config.output.sampling.isotropic  # a number leaves the automatic default alone
    assert not config.fusion.fuse_different_cams
    assert "fusion.fuse_different_cams" not in done.stdout


def test_the_template_comes_first_and_keeps_its_advanced_settings() -> None:
    save_template(set_values(TaskConfig(), {"fusion.interpolation": "cubic", "output.sampling": 8}))
    new("--set", "output.sampling.width=2")
    config = parse_config("task.json")
    assert config.fusion.interpolation == "cubic"
    assert (config.output.sampling.width, config.output.sampling.height) == (2, 8)


def test_printed_to_standard_output(tmp_path: Path) -> None:
    done = new("-o", "-")
    assert json.loads(done.stdout)["fusion"]["fuse_different_cams"] is True
    assert "because" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_several_files(opened: list[object]) -> None:
    done = CliRunner().invoke(app, ["new", "a.lux.h5", "b.lux.h5"])
    assert done.exit_code == 0, done.output
    assert opened == [[str(Path(p).absolute()) for p in ("a.lux.h5", "b.lux.h5")]]
    assert parse_config("task.json").input.paths == tuple(opened[0])  # type: ignore[arg-type]


def test_an_existing_file_is_kept_unless_forced(opened: list[object]) -> None:
    Path("task.json").write_text("mine")
    done = new()
    assert isinstance(done.exception, OutputError)
    assert "--force" in str(done.exception)
    assert opened == []
    assert Path("task.json").read_text() == "mine"
    assert new("--force").exit_code == 0
    parse_config("task.json")


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("output.samplin=4", ConfigError, "did you mean output.sampling?"),
        ("output.sampling", ConfigError, "expected KEY=VALUE"),
        ("output.sampling=big", ConfigError, 'given "big"'),
        ("input.select.channels=7", SelectionError, "channel '7' matches no image; there are: 0"),
        ("input.reference.camera=top", SelectionError, "there are: left, right"),
        ("input.reference.time_point=3", SelectionError, "there are: 0"),
    ],
)
def test_bad_values_write_nothing(value: str, error: type[Exception], words: str) -> None:
    done = new("--set", value)
    assert isinstance(done.exception, error)
    assert words in str(done.exception)
    assert not Path("task.json").exists()


def test_a_folder_is_no_task_file(tmp_path: Path) -> None:
    assert isinstance(new("-o", str(tmp_path)).exception, OutputError)
    assert isinstance(new("-o", "no/such/folder/task.json").exception, OutputError)
