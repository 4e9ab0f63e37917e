import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

from luxdask.cli.demo_data import register
from luxdask.errors import ConfigError
from luxdask.io import open_experiment
from luxdask.testing import read_truth

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"


@pytest.fixture
def run():
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return lambda *words: CliRunner().invoke(app, ["demo-data", *map(str, words)])


def test_all_options_together(run, tmp_path):
    result = run(
        tmp_path / "demo", "--size", "8x40x50", "--voxel-size", "4,2,2", "--tiles", "1x2",
        "--overlap", "20px", "--objectives", "2", "--cameras", "2", "--rotations", "0,30",
        "--channels", "1", "--time-points", "2", "--pms", "1", "--single-sided",
        "--stage-error-um", "3", "--camera-error-um", "1", "--sub-voxel", "--noise",
        "--blur-um", "2", "--scatter", "0.3", "--flatfield", "0.3", "--drift-um", "1",
        "--bleaching", "0.05", "--camera-tilt-deg", "0.5", "--channel-error-um", "1",
        "--rotation-error-deg", "2", "--rotation-error-um", "4", "--drift-random-um", "1",
        "--seed", "3", "--kind", "beads",
    )  # fmt: skip
    assert result.exception is None
    truth = read_truth(tmp_path / "demo")
    assert len(truth.views) == 2 * 2 * 2 * 2 * 2 * 2
    assert truth.spacing_um == (4, 2, 2)
    for text in ("64 images", "2 angles", "truth", "transforms.json"):
        assert text in result.output
    assert set(open_experiment(tmp_path / "demo").by_id) == set(truth.by_id)


def test_the_default_is_one_view_of_the_whole_sample(run, tmp_path):
    result = run(tmp_path / "demo", "--size", "10x40x30")
    assert result.exception is None
    assert "a single view" in result.output
    (view,) = read_truth(tmp_path / "demo").views
    assert view.shape == (10, 40, 30)


def test_a_tiff_gives_channels_and_voxel_size(run, tmp_path):
    volume = np.random.default_rng(0).integers(0, 999, (6, 2, 20, 24), dtype=np.uint16)
    tifffile.imwrite(
        tmp_path / "v.tif", volume, imagej=True, resolution=(2, 4),
        metadata={"axes": "ZCYX", "spacing": 3.0, "unit": "um"},
    )  # fmt: skip
    assert run(tmp_path / "demo", "--from", tmp_path / "v.tif").exception is None
    truth = read_truth(tmp_path / "demo")
    assert truth.spacing_um == (3.0, 0.25, 0.5)
    assert len(truth.views) == 2
    assert np.array_equal(truth.read_volume(1), volume[:, 1])
    result = run(tmp_path / "other", "--from", tmp_path / "v.tif", "--channels", "3")
    assert isinstance(result.exception, ConfigError)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the folder of real volumes beside the clone")
def test_a_real_tiff_with_three_channels(run, tmp_path):
    result = run(
        tmp_path / "demo", "--from", REAL / "cortex_3ch.tif", "--tiles", "1x2", "--objectives", "2"
    )
    assert result.exception is None
    truth = read_truth(tmp_path / "demo")
    assert len(truth.views) == 3 * 2 * 2
    original = tifffile.imread(REAL / "cortex_3ch.tif")
    assert np.array_equal(truth.read_volume(2), original[:, 2])


def test_an_experiment_is_replaced_with_force_only(run, tmp_path):
    words = (tmp_path / "demo", "--size", "6x20x20")
    assert run(*words).exception is None
    again = run(*words)
    assert isinstance(again.exception, ConfigError)
    assert "--force" in str(again.exception)
    assert run(*words, "--force").exception is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--overlap", "100%"], "0 % to 90 %"),
        (["--overlap", "40"], "15% or 40px"),
        (["--overlap", "1.5px"], "15% or 40px"),
        (["--size", "64x64"], "64x256x256"),
        (["--size", "0x64x64"], "64x256x256"),
        (["--voxel-size", "1,2"], "three numbers"),
        (["--voxel-size", "a,b,c"], "5,2,2"),
        (["--tiles", "4"], "rows x columns"),
        (["--rotations", "left"], "0,90"),
        (["--kind", "cats"], "nuclei, band-limited, beads"),
        (["--from", "missing.tif"], "no such file"),
        (["--objectives", "3"], "objectives: 3"),
        (["--channels", "0"], "channels: 0"),
    ],
    ids=str,
)
def test_nonsense_is_refused(run, tmp_path, words, message):
    result = run(tmp_path / "demo", *words)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
    assert not (tmp_path / "demo").exists()


def test_the_command_line_loads_no_heavy_library():
    heavy = "{'h5py', 'numba', 'scipy', 'tifffile', 'numpy'} & set(sys.modules)"
    code = f"import sys, luxdask.cli.demo_data; assert not {heavy}, {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)
