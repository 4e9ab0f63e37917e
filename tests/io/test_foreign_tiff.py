"""TIFF stacks with a `tiffs.json`, written by tifffile; read by region in all their forms."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from luxdask.cli import main
from luxdask.errors import ExperimentNotFoundError, ImageFileError, LuxdaskError, MetadataError
from luxdask.io import open_experiment
from luxdask.io.reader import reader_for
from luxdask.io.tiff_describe import describe_folder
from luxdask.model.geometry import Box

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.model.view import View

SIZE = {"width": 0.5, "height": 0.4, "depth": 2.0}
SHAPE = (7, 61, 83)


def noise(shape: tuple[int, ...] = SHAPE, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, shape).astype(dtype)


def write_json(folder: Path, *images: dict[str, Any], **document: Any) -> Path:
    path = folder / "tiffs.json"
    path.write_text(json.dumps({"images": images, **document}))
    return path


def read(view: View, box: Box | None = None) -> np.ndarray:
    box = box or Box.of_shape(view.shape)
    out = np.empty(box.shape, dtype=np.uint16)
    reader_for(view.source).read_into(view.source, box, out)
    return out


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "big endian": {"byteorder": ">"},
    "strips": {"rowsperstrip": 7, "contiguous": False, "metadata": None},
    "deflate": {"compression": "zlib"},
    "deflate strips": {"compression": "zlib", "rowsperstrip": 9, "predictor": True},
    "tiles": {"tile": (32, 16)},
    "deflate tiles": {"compression": "zlib", "tile": (16, 32)},
    "bigtiff": {"bigtiff": True},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_form_reads_alike(tmp_path: Path, form: dict[str, Any], dtype: str) -> None:
    volume = noise(dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", volume, photometric="minisblack", **form)
    write_json(tmp_path, {"file": "a.tif", "voxel_size_um": SIZE})
    (view,) = open_experiment(tmp_path).views
    assert view.shape == SHAPE
    for box in (Box.of_shape(SHAPE), Box((2, 13, 5), (6, 50, 70)), Box((6, 60, 82), SHAPE)):
        np.testing.assert_array_equal(read(view, box), volume[box.slices])


def test_many_threads_read_one_file(tmp_path: Path) -> None:
    volume = noise()
    tifffile.imwrite(tmp_path / "a.tif", volume, compression="zlib", photometric="minisblack")
    write_json(tmp_path, {"file": "a.tif", "voxel_size_um": SIZE})
    (view,) = open_experiment(tmp_path).views
    boxes = [Box((z, 5, 0), (z + 1, 40, 83)) for z in range(7)] * 8
    with ThreadPoolExecutor(8) as pool:
        for box, found in zip(boxes, pool.map(lambda b: read(view, b), boxes), strict=True):
            np.testing.assert_array_equal(found, volume[box.slices])


@pytest.mark.parametrize("imagej", [False, True])
def test_time_points_and_channels_of_one_file(tmp_path: Path, imagej: bool) -> None:
    volume = noise((3, 5, 2, 20, 30))
    metadata = {"axes": "TZCYX"}
    tifffile.imwrite(
        tmp_path / "a.tif", volume, imagej=imagej, metadata=metadata, photometric="minisblack"
    )
    image = {"file": "a.tif", "voxel_size_um": SIZE, "time_points": [4, 5, 9]}
    write_json(tmp_path, {**image, "channels": ["red", 2]})
    experiment = open_experiment(tmp_path)
    assert experiment.time_points == (4, 5, 9)
    assert experiment.channels == ("2", "red")
    for view in experiment.views:
        t, c = (4, 5, 9).index(view.id.time_point), ("red", "2").index(view.id.channel)
        np.testing.assert_array_equal(read(view), volume[t, :, c])


def test_axes_that_the_file_names_wrongly(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(), imagej=True)  # which takes planes for channels
    write_json(tmp_path, {"file": "a.tif", "voxel_size_um": SIZE})
    with pytest.raises(MetadataError, match=r'holds 7 channels.*"axes": "ZYX"'):
        open_experiment(tmp_path)
    write_json(tmp_path, {"file": "a.tif", "voxel_size_um": SIZE, "axes": "ZYX"})
    np.testing.assert_array_equal(read(open_experiment(tmp_path).views[0]), noise())


def test_identity_and_place_are_what_the_document_says(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, noise(), photometric="minisblack")
    turned = {"matrix": [[0, 0, 3], [0, 2, 0], [-1, 0, 0]], "translation": [10, 20, 30]}
    shifted = {"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "translation": [1, 2, 3]}
    known = {"stack": "2-x01-y00", "objective": "left", "camera": "c", "pm": 5, "angle_deg": 90}
    document = write_json(
        tmp_path,
        {"file": "a.tif", "voxel_size_um": SIZE, "position_um": [1, 2, 3]},
        {
            "file": "b.tif",
            **known,
            "affine_to_sample": [turned, shifted],
            "illuminations": ["right"],
            "detection_directions": [[2, 0, 0]],
        },
    )
    experiment = open_experiment(document)
    assert (experiment.kind, experiment.root) == ("tiff", str(tmp_path))
    first, second = experiment.views
    np.testing.assert_allclose(first.view_to_world.apply((1, 1, 1)), (5.0, 2.4, 1.5))
    assert first.spacing_um == (2.0, 0.4, 0.5)
    assert first.detection_directions == ((1.0, 0.0, 0.0),)
    assert str(second.id) == "tp:0 ch:0 st:2-x01-y00 obj:left cam:c pm:5"
    np.testing.assert_allclose(second.view_to_world.apply((1, 0, 0)), (33, 22, 14))
    assert second.spacing_um == (3.0, 2.0, 1.0)
    assert second.detection_directions == ((0.0, 0.0, 1.0),)
    assert (second.angle_deg, second.illuminations) == (90.0, ("right",))


class TestDescription:
    def test_voxel_size_of_imagej_and_ome(self, tmp_path: Path) -> None:
        per_um = (1 / 0.5, 1 / 0.4)
        told = {"spacing": 2.0, "unit": "um", "axes": "ZYX"}
        tifffile.imwrite(tmp_path / "a.tif", noise(), imagej=True, resolution=per_um, metadata=told)
        sizes = {"PhysicalSizeX": 500, "PhysicalSizeY": 400, "PhysicalSizeZ": 2000}
        units = {f"{key}Unit": "nm" for key in sizes}
        plane = {"Plane": {"PositionX": [7.5] * 7, "PositionY": [-1.0] * 7}}
        tifffile.imwrite(
            tmp_path / "b.ome.tif",
            noise(),
            metadata={"axes": "ZYX", **sizes, **units, **plane},
            photometric="minisblack",
        )
        document, notes = describe_folder(str(tmp_path))
        assert notes == []
        for image in document["images"]:
            assert image["voxel_size_um"] == pytest.approx(SIZE, rel=1e-6)
        assert [image["position_um"] for image in document["images"]] == [[0, 0, 0], [7.5, -1, 0]]
        assert [image["stack"] for image in document["images"]] == ["a", "b"]

    def test_one_described_file_opens_alone(self, tmp_path: Path) -> None:
        path, told = tmp_path / "a.tif", {"spacing": 2.0, "unit": "micron", "axes": "ZYX"}
        tifffile.imwrite(path, noise(), imagej=True, resolution=(2, 2.5), metadata=told)
        (view,) = open_experiment(path).views
        assert view.spacing_um == pytest.approx((2.0, 0.4, 0.5))
        np.testing.assert_array_equal(read(view), noise())

    def test_names_tell_channel_and_time_point(self, tmp_path: Path) -> None:
        for name in ("left_ch1_t005.tif", "left_ch0_t005.tif", "C02-tile 3.tif"):
            tifffile.imwrite(tmp_path / name, noise(), photometric="minisblack")
        document, notes = describe_folder(str(tmp_path))
        found = {
            i["file"]: (i["stack"], i["channels"], i["time_points"]) for i in document["images"]
        }
        assert found == {
            "C02-tile 3.tif": ("tile 3", ["2"], [0]),
            "left_ch0_t005.tif": ("left", ["0"], [5]),
            "left_ch1_t005.tif": ("left", ["1"], [5]),
        }
        assert len([n for n in notes if "voxel size is not known" in n]) == 3

    def test_command_writes_what_opens_once_completed(self, tmp_path: Path) -> None:
        raw = tmp_path / "stacks"
        raw.mkdir()
        tifffile.imwrite(raw / "a.tif", noise(), photometric="minisblack")
        output = tmp_path / "tiffs.json"
        for code in (0, 1):  # it does not replace a file unasked
            with pytest.raises(SystemExit) as caught:
                main(["tiffs", str(raw), "-o", str(output)])
            assert caught.value.code == code
        with pytest.raises(MetadataError, match=r"tiffs\.json: the voxel size of 'a\.tif' is not"):
            open_experiment(output)
        output.write_text(output.read_text().replace("null", json.dumps(SIZE)))
        (view,) = open_experiment(output).views
        assert view.source.path == str(raw / "a.tif")
        assert [p.name for p in raw.iterdir()] == ["a.tif"]


BAD_DOCUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "file missing": ({"file": "b.tif"}, r"b\.tif: No such file"),
    "no size": ({"voxel_size_um": None}, "voxel size of 'a.tif' is not known"),
    "NaN": ({"position_um": [0, float("nan"), 0]}, "NaN is not a number"),
    "not invertible": (
        {"affine_to_sample": [{"matrix": [[1, 0, 0]] * 3, "translation": [0, 0, 0]}]},
        "not finite or not invertible",
    ),
    "unknown key": ({"tile": "x00"}, "images.0.tile: Extra inputs"),
    "too many channels": ({"channels": ["0", "1"]}, "holds 1 channels, but 'channels' names 2"),
    "no such series": ({"series": 3}, "no series 3; the file has 1"),
    "backward range": ({"value_range": [1, 0]}, "the lower first"),
    "no direction": ({"detection_directions": [[0, 0, 0]]}, "has no length"),
    "negative size": ({"voxel_size_um": {**SIZE, "width": -1}}, "greater than 0"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_bad_documents(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(), photometric="minisblack")
    write_json(tmp_path, {"file": "a.tif", "voxel_size_um": SIZE, **changes})
    with pytest.raises(LuxdaskError, match=message):
        open_experiment(tmp_path)


class TestBadFiles:
    def listed(self, folder: Path) -> View:
        write_json(folder, {"file": "a.tif", "voxel_size_um": SIZE})
        return open_experiment(folder).views[0]

    def test_truncated_plain_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, noise(), photometric="minisblack")
        path.write_bytes(path.read_bytes()[:-5000])
        with pytest.raises(ImageFileError, match=r"a\.tif.*truncated"):
            read(self.listed(tmp_path))

    def test_damaged_compressed_part(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, noise(), compression="zlib", photometric="minisblack")
        with tifffile.TiffFile(path) as file:
            offset = file.pages[3].dataoffsets[0]
        content = bytearray(path.read_bytes())
        content[offset : offset + 50] = bytes(50)
        path.write_bytes(content)
        view = self.listed(tmp_path)
        read(view, Box((0, 0, 0), (3, 61, 83)))
        with pytest.raises(ImageFileError, match=r"a\.tif.*cannot be decoded"):
            read(view)

    def test_truncated_compressed_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, noise(), compression="zlib", photometric="minisblack")
        with tifffile.TiffFile(path) as file:
            end = file.pages[6].dataoffsets[0] + 10
            after = file.pages[6].offset < end
        path.write_bytes(path.read_bytes()[:end])
        assert after  # all directories are there, only pixels are missing
        with pytest.raises(ImageFileError, match=r"a\.tif.*truncated"):
            read(self.listed(tmp_path))

    def test_no_tiff(self, tmp_path: Path) -> None:
        (tmp_path / "a.tif").write_text("hello")
        with pytest.raises(ImageFileError, match=r"a\.tif: not a readable TIFF"):
            self.listed(tmp_path)

    def test_colours(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", noise((5, 20, 30, 3), "uint8"), photometric="rgb")
        with pytest.raises(MetadataError, match=r"axes .* not understood"):
            self.listed(tmp_path)

    def test_complex_numbers(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", noise(dtype="complex64"), photometric="minisblack")
        with pytest.raises(MetadataError, match="complex64"):
            self.listed(tmp_path)

    def test_folder_without_description(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", noise(), photometric="minisblack")
        with pytest.raises(ExperimentNotFoundError, match=r"luxdask tiffs .* writes a first one"):
            open_experiment(tmp_path)
