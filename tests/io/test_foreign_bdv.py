"""BigDataViewer files: those of BigDataViewer itself, npy2bdv, pybdv and luxdask, and bad ones."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import h5py
import npy2bdv
import numpy as np
import pybdv
import pytest

from luxdask.errors import ExperimentNotFoundError, ImageFileError, LuxdaskError, MetadataError
from luxdask.io import open_experiment
from luxdask.io.reader import reader_for
from luxdask.model.geometry import Box, Shape

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.model.view import View

SHAPE = (7, 30, 41)


def noise(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)


def read(view: View, box: Box | None = None, level: Shape = (1, 1, 1)) -> np.ndarray:
    box = box or Box.of_shape(view.shape)
    out = np.empty(box.shape, dtype=np.uint16)
    reader_for(view.source).read_into(view.source, box, out, level=level)
    return out


def npy2bdv_file(path: Path, **sizes: int) -> npy2bdv.BdvWriter:
    return npy2bdv.BdvWriter(
        str(path.with_suffix(".h5")), subsamp=((1, 1, 1),), blockdim=((4, 16, 16),), **sizes
    )


class TestRealFiles:
    def test_kidney(self, real_data: Path) -> None:
        folder = real_data / "kidney_bdv"
        experiment = open_experiment(folder)
        assert (experiment.kind, experiment.channels) == ("bdv", ("0", "1", "2"))
        editor = npy2bdv.BdvEditor(str(folder / "kidney.h5"))
        expected = [editor.read_view(time=0, channel=c) for c in range(3)]
        editor.finalize()
        for view in experiment.views:
            np.testing.assert_array_equal(read(view), expected[int(view.id.channel)])
            # the file counts in voxels of the finest axis; its voxel size says how large these are
            size_um = view.view_to_world.column_norms
            assert size_um == pytest.approx((160.0, 65.603883749918, 65.62110374696502), rel=1e-9)
            assert view.detection_directions == ((1.0, 0.0, 0.0),)

    @pytest.mark.parametrize("name", ["mri-stack", "mri-stack-multilevel"])
    def test_written_by_bigdataviewer(self, real_data: Path, name: str) -> None:
        path = real_data / "bdv_reference" / f"{name}.xml"
        (view,) = open_experiment(path).views
        factors = pybdv.util.get_scale_factors(str(path.with_suffix(".h5")), 0)
        levels = reader_for(view.source).levels(view.source)
        assert [list(level) for level in levels] == [[int(n) for n in row] for row in factors]
        keys = [
            pybdv.util.get_key(True, timepoint=0, setup_id=0, scale=n) for n in range(len(levels))
        ]
        with h5py.File(path.with_suffix(".h5"), locking=False) as file:
            expected = [file[key][:].view(np.uint16) for key in keys]
        for level, voxels in zip(levels, expected, strict=True):
            np.testing.assert_array_equal(read(view, Box.of_shape(voxels.shape), level), voxels)
        assert view.view_to_world.column_norms == pytest.approx((1e5, 1e4, 1e4))  # cm

    @pytest.mark.parametrize(("axis", "name"), [(2, "shiftedX"), (1, "shiftedY")])
    def test_shifts(self, real_data: Path, axis: int, name: str) -> None:
        folder = real_data / "bdv_reference"
        (shifted,) = open_experiment(folder / f"mri-stack-{name}.xml").views
        (plain,) = open_experiment(folder / "mri-stack.xml").views
        offset = np.subtract(shifted.view_to_world.offset, plain.view_to_world.offset)
        assert offset.tolist() == pytest.approx([5e5 * (a == axis) for a in range(3)])

    def test_several_files_in_one_folder(self, real_data: Path) -> None:
        with pytest.raises(ExperimentNotFoundError, match=r"several .* mri-stack-multilevel\.xml"):
            open_experiment(real_data / "bdv_reference")

    def test_voxels_alone_do_not_open(self, real_data: Path) -> None:
        with pytest.raises(ExperimentNotFoundError, match=r"open .*kidney\.xml"):
            open_experiment(real_data / "kidney_bdv" / "kidney.h5")


class TestNpy2bdv:
    def test_all_attributes_and_time_points(self, tmp_path: Path) -> None:
        path = tmp_path / "a.xml"
        writer = npy2bdv_file(path, nchannels=2, ntiles=2, nangles=2, nilluminations=2)
        volumes = {}
        for t in (0, 1):
            for key in np.ndindex(2, 2, 2, 2):
                c, tile, angle, light = (int(n) for n in key)
                volumes[t, *key] = noise(len(volumes))
                writer.append_view(
                    volumes[t, *key],
                    time=t,
                    channel=c,
                    tile=tile,
                    angle=angle,
                    illumination=light,
                    voxel_size_xyz=(0.5, 0.5, 2.0),
                    voxel_units="um",
                    calibration=(1, 1, 4),
                )
        writer.write_xml()
        writer.close()
        views = open_experiment(path).by_id
        assert len(views) == len(volumes)
        for (t, c, tile, angle, light), volume in volumes.items():
            (view,) = (
                v
                for i, v in views.items()
                if (i.time_point, i.channel, i.stack) == (t, f"{c}-{light}", f"{angle}-{tile}")
            )
            np.testing.assert_array_equal(read(view), volume)
            assert view.illuminations == (str(light),)
            assert view.view_to_world.column_norms == pytest.approx((2.0, 0.5, 0.5))

    def test_transforms_are_composed_as_bigdataviewer_does(self, tmp_path: Path) -> None:
        path = tmp_path / "a.xml"
        writer = npy2bdv_file(path)
        rows = np.array([[0.0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30]])
        writer.append_view(
            noise(),
            m_affine=rows,
            voxel_size_xyz=(0.5, 0.5, 2.0),
            voxel_units="um",
            calibration=(0.5, 0.5, 2.0),
        )
        writer.write_xml()
        writer.close()
        (view,) = open_experiment(path).views
        x, y, z = 4, 6, 3
        expected_xyz = rows @ (0.5 * x, 0.5 * y, 2.0 * z, 1)
        np.testing.assert_allclose(view.view_to_world.apply((z, y, x)), expected_xyz[::-1])
        assert abs(view.angle_deg) == 90.0
        assert view.spacing_um == (2.0, 0.5, 0.5)


def test_written_by_pybdv(tmp_path: Path) -> None:
    path, volume = tmp_path / "a.xml", noise(shape=(8, 32, 44)) // 2
    pybdv.make_bdv(
        volume,
        str(path.with_suffix(".h5")),
        downscale_factors=[[1, 2, 2]],
        downscale_mode="mean",
        resolution=[2.0, 0.4, 0.5],
        unit="micrometer",
    )
    (view,) = open_experiment(path).views
    np.testing.assert_array_equal(read(view), volume)
    levels = reader_for(view.source).levels(view.source)
    assert levels == ((1, 1, 1), (1, 2, 2))
    coarse = read(view, Box((0, 0, 0), (8, 16, 22)), (1, 2, 2)).astype(float)
    expected = volume.reshape(8, 16, 2, 22, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(coarse, expected, atol=1)
    np.testing.assert_allclose(view.view_to_world.apply((1, 1, 1)), (2.0, 0.4, 0.5))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One setup at one time point, with a compressed and an uncompressed form beside it."""
    path = tmp_path / "a.xml"
    writer = npy2bdv_file(path)
    writer.append_view(noise(), voxel_size_xyz=(1, 1, 2), voxel_units="um", calibration=(1, 1, 2))
    writer.write_xml()
    writer.close()
    return path


@pytest.mark.parametrize("dtype", ["<u2", "<i2", ">u2"])
@pytest.mark.parametrize(
    "stored",
    [{}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}],
    ids=str,
)
def test_forms_of_storage(file: Path, dtype: str, stored: dict[str, Any]) -> None:
    bits = noise().astype(dtype) if dtype[1] == "u" else noise().view("<i2")
    with h5py.File(file.with_suffix(".h5"), "r+") as content:
        del content["t00000/s00/0/cells"]
        content.create_dataset("t00000/s00/0/cells", data=bits, chunks=(4, 16, 16), **stored)
    (view,) = open_experiment(file).views
    box = Box((1, 5, 17), (6, 30, 40))
    np.testing.assert_array_equal(read(view, box), noise()[box.slices])


def test_signed_voxels_that_are_told_to_be(file: Path) -> None:
    with h5py.File(file.with_suffix(".h5"), "r+") as content:
        del content["t00000/s00/0/cells"]
        content["t00000/s00/0/cells"] = np.full(SHAPE, -3, dtype=np.int16)
        content["s00"].attrs["dataType"] = "int16"
    (view,) = open_experiment(file).views
    with pytest.raises(ImageFileError, match=r"int16 and hold -3.*input\.value_range"):
        read(view)


def edit(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.DOTALL)
    assert count == 1
    path.write_text(text)


class TestDocument:
    def test_names_of_setups_that_luxdask_wrote(self, file: Path) -> None:
        name = "ch:1_pm:4_st:0-x00-y01_ang:h90-v90_obj:left_cam:far"
        edit(file, "<name>setup 0</name>", f"<name>{name}</name>")
        (view,) = open_experiment(file).views
        assert str(view.id) == "tp:0 ch:1 st:0-x00-y01 obj:left cam:far pm:4"
        np.testing.assert_allclose(view.detection_directions, [(0, 0, 1)], atol=1e-12)

    def test_angle_in_degrees(self, file: Path) -> None:
        edit(file, "<Angle>", "<Angle><degrees>45.5</degrees>")
        assert open_experiment(file).views[0].angle_deg == 45.5

    @pytest.mark.parametrize(
        ("element", "expected"),
        [
            ('type="range"><first>0</first><last>2</last>', (0, 1, 2)),
            (
                'type="list"><Timepoint><id>2</id></Timepoint><Timepoint><id>0</id></Timepoint>',
                (0, 2),
            ),
            ('type="pattern"><integerpattern>0-4:2, 7</integerpattern>', (0, 2, 4, 7)),
            ('type="pattern"><integerpattern></integerpattern>', (0,)),
        ],
        ids=["range", "list", "pattern", "empty pattern"],
    )
    def test_time_points(self, file: Path, element: str, expected: tuple[int, ...]) -> None:
        edit(file, "<Timepoints.*?</Timepoints>", f"<Timepoints {element}</Timepoints>")
        chain = ET.tostring(next(ET.parse(file).getroot().iter("ViewTransform")), "unicode")
        registrations = "".join(
            f'<ViewRegistration timepoint="{t}" setup="0">{chain}</ViewRegistration>'
            for t in expected
        )
        edit(
            file,
            "<ViewRegistrations>.*</ViewRegistrations>",
            f"<ViewRegistrations>{registrations}</ViewRegistrations>",
        )
        with h5py.File(file.with_suffix(".h5"), "r+") as content:
            for t in expected[1:]:
                content.copy("t00000", f"t{t:05d}")
        assert open_experiment(file).time_points == expected

    def test_missing_views_are_passed_over(self, file: Path) -> None:
        edit(file, "<Timepoints.*?</Timepoints>",
             '<Timepoints type="range"><first>0</first><last>2</last></Timepoints>'
             '<MissingViews><MissingView timepoint="1" setup="0"/></MissingViews>')  # fmt: skip
        experiment = open_experiment(file)
        assert experiment.time_points == (0,)
        assert ["time point 2, setup 0" in note for note in experiment.notes] == [True]

    def test_unknown_units_are_noted(self, file: Path) -> None:
        edit(file, "<unit>.*?</unit>", "<unit>pixel</unit>")
        experiment = open_experiment(file)
        assert experiment.views[0].spacing_um == (2.0, 1.0, 1.0)
        assert "'pixel' of voxel sizes is taken as µm" in experiment.notes[0]

    def test_voxel_sizes_that_are_not_those_of_the_transform(self, file: Path) -> None:
        edit(file, r"(<voxelSize>.*?<size>).*?</size>", r"\1 7 1 1</size>")
        experiment = open_experiment(file)
        assert experiment.views[0].view_to_world.column_norms == (2.0, 1.0, 1.0)
        assert any("voxel sizes are not those of the transforms" in n for n in experiment.notes)

    def test_voxels_beside_the_moved_xml(self, file: Path, tmp_path: Path) -> None:
        edit(file, '<hdf5 type="relative">', '<hdf5 type="absolute">/nowhere/')
        moved = tmp_path / "moved"
        moved.mkdir()
        for part in (file, file.with_suffix(".h5")):
            shutil.move(part, moved)
        np.testing.assert_array_equal(read(open_experiment(moved).views[0]), noise())


BAD: dict[str, tuple[str, str, str]] = {
    "not XML": ("</SpimData>", "", "not valid XML"),
    "other format": ('format="bdv.hdf5"', 'format="bdv.n5"', "'bdv.n5'; luxdask reads"),
    "no transform": ("<ViewTransform.*</ViewTransform>", "", "setup 0 has no ViewTransform"),
    "no registration": (
        "<ViewRegistration timepoint.*</ViewRegistration>", "", "setup 0 has no ViewTransform"),
    "NaN": (r"<affine>\S+", "<affine>NaN", "affine needs 12 finite numbers"),
    "eleven numbers": (r"<affine>\S+", "<affine>", "affine needs 12 finite numbers"),
    "not invertible": (
        "<affine>.*?</affine>", "<affine>" + "1 0 0 0 " * 3 + "</affine>", "not invertible"),
    "not affine": ('<ViewTransform type="affine"', '<ViewTransform type="thin"', "not affine"),
    "size of another file": ("<size>.*?</size>", "<size>9 9 9</size>", "do not belong together"),
    "no voxels": (r"<hdf5 type=.relative.>.*?<", '<hdf5 type="relative">b.h5<', "b.h5, is not"),
    "no time points": ("<Timepoints.*</Timepoints>", "", "Timepoints is missing"),
    "odd time points": (r"<Timepoints type=.*?>", '<Timepoints type="moon">', "type 'moon'"),
    "id is no number": ("<ViewSetup>\\s*<id>0</id>", "<ViewSetup><id>A</id>", "id needs 1 finite"),
}  # fmt: skip


@pytest.mark.parametrize(("pattern", "replacement", "message"), BAD.values(), ids=BAD)
def test_bad_documents(file: Path, pattern: str, replacement: str, message: str) -> None:
    edit(file, pattern, replacement)
    with pytest.raises(LuxdaskError, match=rf"a\.(xml|h5).*{message}"):
        open_experiment(file)


class TestBadFiles:
    def test_truncated(self, file: Path) -> None:
        voxels = file.with_suffix(".h5")
        voxels.write_bytes(voxels.read_bytes()[:-2000])
        with pytest.raises(ImageFileError, match=r"a\.h5: not a readable HDF5 file"):
            open_experiment(file)

    def test_damaged_chunk(self, file: Path) -> None:
        voxels = file.with_suffix(".h5")
        with h5py.File(voxels, "r+") as content:
            del content["t00000/s00/0/cells"]
            data = content.create_dataset(
                "t00000/s00/0/cells", data=noise(), chunks=(4, 16, 16), compression="gzip"
            )
            offset = data.id.get_chunk_info(3).byte_offset
        (view,) = open_experiment(file).views
        content_bytes = bytearray(voxels.read_bytes())
        content_bytes[offset : offset + 100] = bytes(100)
        voxels.write_bytes(content_bytes)
        with pytest.raises(ImageFileError, match=r"a\.h5: cannot read .*truncated or damaged"):
            read(view)

    def test_all_voxels_missing(self, file: Path) -> None:
        with h5py.File(file.with_suffix(".h5"), "r+") as content:
            del content["t00000"]
        with pytest.raises(ExperimentNotFoundError, match="no image of it is there"):
            open_experiment(file)

    def test_complex_numbers(self, file: Path) -> None:
        with h5py.File(file.with_suffix(".h5"), "r+") as content:
            del content["t00000/s00/0/cells"]
            content["t00000/s00/0/cells"] = np.zeros(SHAPE, dtype=np.complex64)
        with pytest.raises(MetadataError, match="complex64"):
            open_experiment(file)


def test_levels_that_do_not_exist(file: Path) -> None:
    (view,) = open_experiment(file).views
    with pytest.raises(ImageFileError, match=r"no level of factors \(z, y, x\) \(2, 2, 2\)"):
        read(view, level=(2, 2, 2))
