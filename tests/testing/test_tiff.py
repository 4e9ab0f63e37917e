from pathlib import Path

import numpy as np
import pytest
import tifffile

from luxdask.errors import ConfigError, ImageFileError
from luxdask.testing.tiff import load_volume

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the folder of real volumes beside the clone")
@pytest.mark.parametrize(
    ("name", "shape", "spacing"),
    [
        ("beads_confocal.tif", (41, 150, 150), (0.125, 0.0225, 0.0225)),
        ("brain_signal.tif", (26, 1116, 627), None),
        ("cells3d_nuclei.tif", (60, 256, 256), None),
        ("cortex_3ch.tif", (3, 20, 251, 256), (1.5, 1.696, 1.696)),
        ("lattice_cell_psf.tif", (61, 128, 128), None),
        ("mesospim_cortex_nuclei.tif", (124, 86, 94), None),
        ("neuron.tif", (50, 256, 256), None),
        ("tribolium_lightsheet.tif", (100, 256, 256), (1.0, 1.0, 1.0)),
    ],
)
def test_real_volumes(name, shape, spacing):
    loaded = load_volume(REAL / name)
    assert loaded.volume.shape == shape
    assert loaded.volume.dtype == np.uint16
    assert loaded.volume.std() > 0
    if spacing is None:
        assert loaded.spacing_um is None
    else:
        assert loaded.spacing_um == pytest.approx(spacing, rel=1e-3)


def test_integers_keep_their_values_and_floats_are_scaled(tmp_path):
    values = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    for dtype in (np.uint8, np.uint16):
        tifffile.imwrite(tmp_path / "a.tif", values.astype(dtype), photometric="minisblack")
        assert np.array_equal(load_volume(tmp_path / "a.tif").volume, values)
    floats = values / 59 - 0.5
    floats[0, 0, 1] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", floats.astype(np.float32), photometric="minisblack")
    volume = load_volume(tmp_path / "a.tif").volume
    assert (volume.min(), volume.max()) == (0, 60000)
    assert volume[0, 0, 1] == 30000


def test_ome_voxel_sizes(tmp_path):
    metadata = {"axes": "CZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.6, "PhysicalSizeZ": 3}
    volume = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)
    tifffile.imwrite(tmp_path / "a.ome.tif", volume, ome=True, metadata=metadata)
    loaded = load_volume(tmp_path / "a.ome.tif")
    assert loaded.spacing_um == (3.0, 0.6, 0.5)
    assert np.array_equal(loaded.volume, volume)


def test_what_is_no_volume_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_volume(tmp_path / "missing.tif")
    (tmp_path / "text.tif").write_text("not an image")
    with pytest.raises(ImageFileError, match=r"text\.tif"):
        load_volume(tmp_path / "text.tif")
    tifffile.imwrite(tmp_path / "flat.tif", np.ones((8, 9), np.uint16))
    with pytest.raises(ConfigError, match="three axes"):
        load_volume(tmp_path / "flat.tif")
    tifffile.imwrite(
        tmp_path / "time.tif", np.ones((2, 3, 8, 9), np.uint16), imagej=True,
        metadata={"axes": "TZYX"},
    )  # fmt: skip
    with pytest.raises(ConfigError, match="TZYX"):
        load_volume(tmp_path / "time.tif")
