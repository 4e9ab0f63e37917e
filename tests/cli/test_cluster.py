"""`luxdask cluster`: descriptions, scripts, and a look at one worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from luxdask.cli import main
from luxdask.cluster import trial

if TYPE_CHECKING:
    from pathlib import Path


def luxdask(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_init_and_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert luxdask("cluster", "init", "slurm") == 0
    (tmp_path / "site.toml").write_text(capsys.readouterr().out)
    assert luxdask("cluster", "script", tmp_path / "site.toml") == 0
    script = capsys.readouterr().out
    assert script.startswith("#!")
    assert "#SBATCH --cpus-per-task=16" in script
    assert not list(tmp_path.glob("run-*"))


def test_unknown_kinds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert luxdask("cluster", "init", "moon") == 2
    assert "allowed: local, cuda, slurm" in capsys.readouterr().err
    assert luxdask("cluster", "script", "local") == 2
    assert "has no jobs" in capsys.readouterr().err
    assert luxdask("cluster", "script", tmp_path / "site.toml") == 2


@pytest.mark.slow
def test_a_worker_is_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert luxdask("cluster", "test", "local", "--path", tmp_path) == 0
    said = capsys.readouterr().out
    for part in ("threads of the worker", "GB free", "is visible", "writable  yes", "the same her"):
        assert part in said
    assert not list(tmp_path.iterdir())
    # what is wrong is told, and is an exit code
    monkeypatch.setattr(trial, "versions", lambda: {"python": "2.7"})
    assert luxdask("cluster", "test", "local", "--path", tmp_path / "away") == 1
    said = capsys.readouterr().out
    assert f"{tmp_path}/away is not there on this machine  <- wrong" in said
    assert "python 2.7 here" in said
