import os
import stat
from pathlib import Path

import platformdirs
import pytest

from luxdask.errors import ConfigError, OutputError
from luxdask.tasks.config import TaskConfig, set_values
from luxdask.tasks.template import (
    load_template,
    reset_template,
    save_template,
    template_path,
)


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUXDASK_CONFIG_DIR", str(tmp_path / "settings"))


def test_save_load_reset() -> None:
    assert load_template() == TaskConfig()
    config = set_values(
        TaskConfig(), {"output.sampling": 4, "input.metadata.multi_transform": True}
    )
    path = save_template(config)
    assert path == template_path()
    assert load_template() == config
    assert os.listdir(path.parent) == [path.name]  # no temporary file stays behind
    assert reset_template()
    assert not reset_template()
    assert load_template() == TaskConfig()


def test_what_belongs_to_one_experiment_is_left_out() -> None:
    config = set_values(
        TaskConfig(),
        {
            "name": "7",
            "description": "brain",
            "input.experiment": "/data/a",
            "input.select.channels": "1",
            "input.reference.time_point": 3,
            "output.formats": ["ome-zarr"],
            "output.ome_zarr_url": "s3://a/b",
            "fusion.blending.width_um": 12,
        },
    )
    save_template(config)
    kept = {"output.formats": ["ome-zarr"], "fusion.blending.width_um": 12}
    assert load_template() == set_values(TaskConfig(), kept)


@pytest.mark.parametrize("content", ["{", '{"fusion": {"no_such_key": 1}}', '{"version": 99}'])
def test_a_broken_template_says_how_to_get_rid_of_it(content: str) -> None:
    path = template_path()
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(ConfigError, match="luxdask defaults reset") as caught:
        load_template()
    assert str(path) in str(caught.value)
    reset_template()
    assert load_template() == TaskConfig()


def test_the_folder_is_that_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUXDASK_CONFIG_DIR")
    assert template_path().parent == Path(platformdirs.user_config_dir("luxdask", False))


def test_an_unusable_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LUXDASK_CONFIG_DIR", str(tmp_path / "file" / "sub"))
    with pytest.raises(OutputError, match="LUXDASK_CONFIG_DIR"):
        save_template(TaskConfig())


def test_a_failed_save_keeps_the_old_template(monkeypatch: pytest.MonkeyPatch) -> None:
    old = set_values(TaskConfig(), {"output.sampling": 2})
    save_template(old)

    def full(self: Path, *args: object, **kwargs: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match="No space left"):
        save_template(TaskConfig())
    monkeypatch.undo()


@pytest.mark.skipif(os.name == "nt", reason="permission bits are POSIX")
def test_the_template_follows_the_umask() -> None:
    old = os.umask(0o022)
    try:
        path = save_template(TaskConfig())
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
