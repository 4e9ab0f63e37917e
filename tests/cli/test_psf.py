"""`luxdask psf preview` and `luxdask psf estimate`."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from luxdask.cli import app
from luxdask.cli.psf import parse_voxel_size
from luxdask.errors import ConfigError, OutputError
from luxdask.io import open_experiment
from luxdask.tasks import Task
from luxdask.testing import small_experiment

PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def psf(*words):
    return CliRunner().invoke(app, ["psf", *words])


def test_preview_of_a_task():
    truth = small_experiment("e")
    given = {"fusion.deconvolution.psf_lateral_um": 2.0, "fusion.deconvolution.psf_axial_um": 5.0}
    Task.new(open_experiment(truth.folder), values=given).save("task.json")
    done = psf("preview", "task.json")
    assert done.exception is None
    assert "left, channel 0 (2 views): 5 x 2 x 2 µm wide at half maximum" in done.output
    assert "Wrote psf.png." in done.output
    assert Path("psf.png").read_bytes().startswith(PNG)
    bad = psf("preview", "task.json", "-o", "no/such/folder/a.png")
    assert isinstance(bad.exception, OutputError)


def test_estimate_in_a_tiff():
    z, y, x = np.indices((17, 17, 17)) - 8
    spot = 900 * np.exp(-(z**2) / (2 * 2.0**2) - (y**2 + x**2) / (2 * 1.2**2))
    volume = np.random.default_rng(0).poisson(100, (40, 100, 100)).astype(np.uint16)
    for a, b in ((20, 20), (20, 70), (70, 20), (70, 70)):
        volume[10:27, a : a + 17, b : b + 17] += spot.astype(np.uint16)
    tifffile.imwrite("beads.tif", volume)
    done = psf("estimate", "beads.tif", "--voxel-size", "2,1,1", "-o", "e.png")
    assert done.exception is None
    assert "psf_lateral_um = 2.8" in done.output
    assert "psf_axial_um   = 9.4" in done.output
    assert "from 4 of 4 spots" in done.output
    assert Path("e.png").read_bytes().startswith(PNG)
    assert isinstance(psf("estimate", "beads.tif").exception, ConfigError)


@pytest.mark.parametrize("text", ["1", "1,2", "a,b,c", "0,1,1", "1,1,-1", "nan,1,1", "1,1,inf"])
def test_bad_voxel_sizes(text):
    with pytest.raises(ConfigError, match="expected three lengths"):
        parse_voxel_size(text)


def test_voxel_size():
    assert parse_voxel_size("2,0.5,0.25") == (2, 0.5, 0.25)
    assert parse_voxel_size(None) is None
