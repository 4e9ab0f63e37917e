from __future__ import annotations

import shutil
import signal
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import luxdask
from luxdask.cli import BAD_INPUT, OK, STOPPED, demo, main
from luxdask.io.lux_reader import read_box
from luxdask.model.geometry import Box
from luxdask.testing.sampling import sample_volume
from luxdask.testing.truth import read_truth

if TYPE_CHECKING:
    from collections.abc import Callable


SHAPE = (24, 170, 170)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A smaller sample; the demo is run where the test's files lie."""
    monkeypatch.setattr(demo, "SHAPE", SHAPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A demo in an empty folder: where it was run, and what it said."""
    place, said = tmp_path_factory.mktemp("made"), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr(demo, "SHAPE", SHAPE)
        patch.setenv("LUXDASK_CONFIG_DIR", str(place / "config"))
        patch.chdir(place)
        assert _code("demo") == OK
    return place, said.getvalue()


def _code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


def test_the_demo_makes_what_it_says(
    made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, said = made
    monkeypatch.chdir(place)
    lines = {line.strip().partition("  ")[0]: line.split() for line in said.splitlines()}
    assert Path(lines["picture"][-1]).read_bytes().startswith(b"\x89PNG")
    folder = Path(lines["task folder"][2].removesuffix(","))
    for program in ("Imaris", "Fiji (BigDataViewer)", "napari, OME-Zarr", "luxdask, all images"):
        assert (folder / lines[program][-1]).exists(), program
    assert "raw images" in said
    assert str(place) not in said
    assert len(luxdask.open_experiment(place / "demo/embryo")) == 16
    assert len(luxdask.open_experiment(folder)) == 2


def test_the_fused_images_are_the_sample(made: tuple[Path, str]) -> None:
    embryo = made[0] / "demo/embryo"
    truth = read_truth(embryo)
    for view in luxdask.open_experiment(next((embryo / "processed").iterdir())).views:
        volume = truth.read_volume(int(view.id.channel))
        to_volume = truth.volume_to_world.inverse() @ view.view_to_world
        expected = sample_volume(volume, to_volume, view.shape).astype(float)
        voxels = read_box(view.source.path, "Data", Box.of_shape(view.shape))
        inside = np.s_[4:-4, 12:-12, 12:-12]  # stages are off: some views miss the border
        alike = np.corrcoef(voxels[inside].ravel(), expected[inside].ravel())[0, 1]
        assert alike > 0.99


def test_a_second_run_replaces_the_first_and_keeps_other_tasks(
    small: Path, made: tuple[Path, str]
) -> None:
    shutil.copytree(made[0] / "demo", small / "demo")
    processed = small / "demo/embryo/processed"
    (first,) = processed.iterdir()
    own = processed / "20260101-120000_Task_7_mine_C"
    own.mkdir()
    (small / "demo/notes.txt").write_text("keep")
    assert _code("demo") == OK
    left = {p.name for p in processed.iterdir()}
    assert own.name in left
    assert len(left) == 2
    assert first.name not in left or first.stat().st_mtime > own.stat().st_mtime
    assert (small / "demo/notes.txt").exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: (p.mkdir(), (p / "thesis.docx").write_text("!")), "thesis.docx"),
        (lambda p: p.write_text("!"), "is a file"),
    ],
    ids=["folder", "file"],
)
def test_what_is_not_ours_is_refused(
    small: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], Any],
    words: str,
) -> None:
    make(small / "demo")
    assert _code("demo") == BAD_INPUT
    error = capsys.readouterr().err
    assert words in error
    assert "luxdask demo DIR" in error
    assert not (small / "demo" / demo.EXPERIMENT).exists()


def test_ctrl_c_stops_it_and_it_can_be_run_again(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(demo, "demo_volume", interrupt)
        assert _code("demo", "here") == STOPPED
    assert _code("demo", "here") == OK
    assert "Traceback" not in capsys.readouterr().err
    assert list((small / "here/embryo/processed").iterdir())
