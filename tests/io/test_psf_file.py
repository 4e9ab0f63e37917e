"""Files of measured point-spread functions."""

import numpy as np
import pytest
import tifffile

from luxdask.errors import ConfigError, ImageFileError
from luxdask.io.psf_file import read_stack

STACK = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)


def test_tiff_tells_its_voxel_size(tmp_path):
    path = tmp_path / "psf.tif"
    tifffile.imwrite(path, STACK, imagej=True, resolution=(4, 5),
                     metadata={"spacing": 0.5, "unit": "um", "axes": "ZYX"})  # fmt: skip
    stack = read_stack(str(path))
    assert np.array_equal(stack.values, STACK)
    assert stack.spacing_um == pytest.approx((0.5, 0.2, 0.25))
    ome = tmp_path / "psf.ome.tif"
    sizes = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 0.3}
    tifffile.imwrite(ome, STACK, metadata={"axes": "ZYX", **sizes})
    assert read_stack(str(ome)).spacing_um == pytest.approx((0.3, 0.2, 0.1))


def test_npy_and_plain_tiff_do_not(tmp_path):
    np.save(tmp_path / "a.npy", STACK[np.newaxis].astype(np.float64))
    tifffile.imwrite(tmp_path / "a.TIFF", STACK, photometric="minisblack")
    for name in ("a.npy", "a.TIFF"):
        stack = read_stack(str(tmp_path / name))
        assert np.array_equal(stack.values, STACK)
        assert stack.spacing_um is None


def test_the_checksum_is_that_of_the_voxels(tmp_path):
    path, digests = tmp_path / "a.npy", []
    for values in (STACK, STACK, STACK + 1, STACK.reshape(5, 4, 3)):
        np.save(path, values)
        digests.append(read_stack(str(path)).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.tif: no such file"):
        read_stack(str(tmp_path / "none.tif"))
    with pytest.raises(ConfigError, match="no such file"):
        read_stack(str(tmp_path))
    other = tmp_path / "psf.png"
    other.write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"psf\.png: files ending in .tif, .tiff or .npy"):
        read_stack(str(other))
    for name, data in (("a.tif", b"no tiff"), ("b.npy", b"no array"), ("c.npy", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageFileError, match=f"{name}: not a readable"):
            read_stack(str(tmp_path / name))
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ImageFileError, match="not a readable NumPy array"):
        read_stack(str(tmp_path / "pickled.npy"))
