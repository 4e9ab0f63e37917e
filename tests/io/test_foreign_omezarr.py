"""OME-Zarr images written by zarr (0.4 and 0.5), by ome-zarr-io and by luxdask itself."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import ome_zarr_io
import ome_zarr_models.v04
import ome_zarr_models.v05
import pytest
import zarr

from luxdask.errors import ExperimentNotFoundError, ImageFileError, LuxdaskError, MetadataError
from luxdask.io import open_experiment
from luxdask.io.omezarr import OmeZarrWriter
from luxdask.io.omezarr_metadata import OmeChannel
from luxdask.io.reader import reader_for
from luxdask.io.source_state import source_state
from luxdask.model.geometry import Box, Grid, Shape

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.model.view import View

SHAPE = (9, 40, 61)
VERSIONS = ["0.4", "0.5"]
SCALE, ORIGIN = (2.0, 0.5, 0.4), (-10.0, 5.5, 7.0)


def noise(shape: tuple[int, ...] = SHAPE, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, shape).astype(dtype)


def means(volume: np.ndarray, factor: Shape) -> np.ndarray:
    z, y, x = (n // f for n, f in zip(volume.shape, factor, strict=True))
    whole = volume[: z * factor[0], : y * factor[1], : x * factor[2]]
    blocks = whole.reshape(z, factor[0], y, factor[1], x, factor[2]).mean(axis=(1, 3, 5))
    return np.rint(blocks).astype(volume.dtype)


def axes_of(letters: str, unit: str | None = "micrometer") -> list[dict[str, str]]:
    kinds = {"t": {"type": "time"}, "c": {"type": "channel"}}
    space = {"type": "space"} if unit is None else {"type": "space", "unit": unit}
    return [{"name": a, **kinds.get(a, space)} for a in letters]


def transformations(letters: str, scale: Any = SCALE, origin: Any = ORIGIN) -> list[Any]:
    def full(values: Any, other: float) -> list[float]:
        by_axis = dict(zip("zyx", values, strict=True))
        return [float(by_axis.get(a, other)) for a in letters]

    placed = [{"type": "translation", "translation": full(origin, 0)}] if origin else []
    return [{"type": "scale", "scale": full(scale, 1)}, *placed]


def write(
    path: Path,
    levels: list[np.ndarray],
    letters: str = "zyx",
    version: str = "0.5",
    datasets: list[list[Any]] | None = None,
    **changes: Any,
) -> Path:
    """An OME-Zarr image as zarr writes it."""
    chains = datasets or [transformations(letters)]
    scales: dict[str, Any] = {
        "axes": axes_of(letters),
        "datasets": [
            {"path": f"s{n}", "coordinateTransformations": chain} for n, chain in enumerate(chains)
        ],
        "name": "sample",
    }
    omero = changes.pop("omero", None)
    ome = {"multiscales": [{**scales, **changes}]} | ({"omero": omero} if omero else {})
    number = 2 if version == "0.4" else 3
    if number == 2:
        ome["multiscales"][0]["version"] = version
    group = zarr.create_group(path, zarr_format=number)
    group.attrs.update(ome if number == 2 else {"ome": {"version": version, **ome}})
    for n, values in enumerate(levels):
        chunks = tuple(min(16, size) for size in values.shape)
        names = list(letters) if number == 3 else None
        group.create_array(f"s{n}", data=values, chunks=chunks, dimension_names=names)
    return path


def read(view: View, box: Box | None = None, level: Shape = (1, 1, 1)) -> np.ndarray:
    box = box or Box.of_shape(view.shape)
    out = np.empty(box.shape, dtype=np.uint16)
    reader_for(view.source).read_into(view.source, box, out, level=level)
    return out


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "int32"])
def test_voxels_and_place(tmp_path: Path, version: str, dtype: str) -> None:
    volume = noise(dtype=dtype)
    path = write(tmp_path / "a.ome.zarr", [volume], version=version)
    models = ome_zarr_models.v04 if version == "0.4" else ome_zarr_models.v05
    models.Image.from_zarr(zarr.open_group(path, mode="r"))
    experiment = open_experiment(path)
    assert (experiment.kind, experiment.root) == ("ome-zarr", str(tmp_path))
    (view,) = experiment.views
    assert str(view.id) == "tp:0 ch:0 st:0 obj:0 cam:0"
    assert (view.shape, view.spacing_um) == (SHAPE, SCALE)
    np.testing.assert_allclose(view.view_to_world.apply((1, 1, 1)), np.add(SCALE, ORIGIN))
    for box in (Box.of_shape(SHAPE), Box((3, 15, 2), (8, 33, 60)), Box((8, 39, 60), SHAPE)):
        np.testing.assert_array_equal(read(view, box), volume[box.slices])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("letters", ["tczyx", "czyx", "tzyx", "zyx", "yx", "cyx", "xzcy"])
def test_axes_in_any_order(tmp_path: Path, version: str, letters: str) -> None:
    sizes = {"t": 2, "c": 3, "z": 4, "y": 20, "x": 30}
    volume = noise(tuple(sizes[a] for a in letters))
    labels = [{"label": name, "color": "FF0000"} for name in ("DAPI", "1", "")]
    path = write(tmp_path / "a.zarr", [volume], letters, version, omero={"channels": labels})
    experiment = open_experiment(path)
    assert len(experiment) == (2 if "t" in letters else 1) * (3 if "c" in letters else 1)
    whole = volume.transpose([letters.index(a) for a in "tczyx" if a in letters])
    whole = whole.reshape([sizes[a] if a in letters else 1 for a in "tczyx"])
    for view in experiment.views:
        expected = whole[view.id.time_point, int(view.id.channel)]
        np.testing.assert_array_equal(read(view), expected)
    described = {v.id.channel: v.channel_description for v in experiment.views}
    assert described["0"] == "DAPI"
    assert set(described.values()) <= {"DAPI", ""}


def test_many_threads_read_one_image(tmp_path: Path) -> None:
    volume = noise()
    (view,) = open_experiment(write(tmp_path / "a.zarr", [volume])).views
    boxes = [Box((z, 5, 0), (z + 1, 40, 61)) for z in range(9)] * 6
    with ThreadPoolExecutor(8) as pool:
        for box, found in zip(boxes, pool.map(lambda b: read(view, b), boxes), strict=True):
            np.testing.assert_array_equal(found, volume[box.slices])


def test_units_and_transforms_of_the_whole_image(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.zarr",
        [noise()],
        axes=axes_of("zyx", "nanometer"),
        datasets=[transformations("zyx", (100, 10, 10), (50, 0, 20))],
        coordinateTransformations=transformations("zyx", (2, 1, 1), (0, 1000, 0)),
    )
    (view,) = open_experiment(path).views
    np.testing.assert_allclose(view.view_to_world.apply((1, 1, 1)), (0.3, 1.01, 0.03))


class TestLevels:
    def levels(self, path: Path) -> tuple[Shape, ...]:
        view = open_experiment(path).views[0]
        return reader_for(view.source).levels(view.source)

    def pyramid(self, *origins: Any) -> list[list[Any]]:
        factors = (1, 2, 4)
        scales = [(SCALE[0], SCALE[1] * f, SCALE[2] * f) for f in factors]
        return [transformations("zyx", s, o) for s, o in zip(scales, origins, strict=True)]

    def placed(self) -> list[Any]:
        shifts = (0, 0.5, 1.5)
        return [(0.0, SCALE[1] * s, SCALE[2] * s) for s in shifts]

    def voxels(self) -> list[np.ndarray]:
        return [means(noise(), (1, f, f)) for f in (1, 2, 4)]

    def test_means_where_they_belong_are_used(self, tmp_path: Path) -> None:
        chains = self.pyramid(*self.placed())
        path = write(tmp_path / "a.zarr", self.voxels(), datasets=chains)
        assert self.levels(path) == ((1, 1, 1), (1, 2, 2), (1, 4, 4))
        (view,) = open_experiment(path).views
        box = Box((0, 0, 0), (9, 20, 30))
        expected = means(noise(), (1, 2, 2))
        np.testing.assert_array_equal(read(view, box, (1, 2, 2)), expected)
        assert open_experiment(path).notes == ()

    @pytest.mark.parametrize(("kind", "count"), [("mean", 3), ("nearest", 1), (None, 1)])
    def test_levels_without_place_need_to_be_means(
        self, tmp_path: Path, kind: str | None, count: int
    ) -> None:
        chains = self.pyramid(None, None, None)
        path = write(tmp_path / "a.zarr", self.voxels(), datasets=chains, type=kind)
        assert len(self.levels(path)) == count
        noted = "of 2 pyramid levels 0 are used" in " ".join(open_experiment(path).notes)
        assert noted == (count == 1)

    def test_levels_that_are_missing_or_too_small_are_left_out(self, tmp_path: Path) -> None:
        levels = self.voxels()
        levels[1] = levels[1][:, :-1]
        path = write(tmp_path / "a.zarr", levels[:2], datasets=self.pyramid(*self.placed()))
        assert self.levels(path) == ((1, 1, 1),)

    def test_a_level_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        (view,) = open_experiment(write(tmp_path / "a.zarr", [noise()])).views
        with pytest.raises(ImageFileError, match=r"a\.zarr: no level of factors .*\(2, 2, 2\)"):
            read(view, level=(2, 2, 2))


def test_written_by_ome_zarr_io(tmp_path: Path) -> None:
    volume = noise((2, *SHAPE))
    path = tmp_path / "a.ome.zarr"
    units = {"c": None} | dict.fromkeys("zyx", "micrometer")
    scale = dict(zip("czyx", (1.0, *SCALE), strict=True))
    ome_zarr_io.Writer(
        path, volume, list("czyx"), units, scale_transformations=scale, downscale_levels=1
    ).write()
    experiment = open_experiment(path)
    assert experiment.channels == ("0", "1")
    for view in experiment.views:
        assert view.spacing_um == pytest.approx(SCALE)
        np.testing.assert_array_equal(read(view), volume[int(view.id.channel)])


def test_our_own_images_keep_their_names(tmp_path: Path) -> None:
    grid = Grid((16, 32, 32), SCALE, ORIGIN)
    image = OmeZarrWriter(
        str(tmp_path / "a.ome.zarr"),
        grid,
        ((1, 1, 1), (1, 2, 2)),
        ((16, 16, 16), (16, 16, 16)),
        channels=(OmeChannel("3"), OmeChannel("5 pm 7")),
        time_points=(4, 9),
    )
    image.create()
    volume = noise(grid.shape)
    last = OmeZarrWriter(**{f: getattr(image, f) for f in image.__slots__} | {"index": (1, 1)})
    for y in (0, 16):
        for x in (0, 16):
            last.write(0, (0, y, x), volume[:, y : y + 16, x : x + 16])
    views = open_experiment(image.url).views
    assert [(v.id.time_point, v.id.channel, v.id.pm) for v in views] == [
        (4, "3", None),
        (4, "5", "7"),
        (9, "3", None),
        (9, "5", "7"),
    ]
    assert views[3].view_to_world == grid.to_world
    np.testing.assert_array_equal(read(views[3]), volume)
    assert not read(views[0]).any()  # never written
    assert reader_for(views[0].source).levels(views[0].source) == image.levels


class TestSeveral:
    def test_images_side_by_side_are_stacks(self, tmp_path: Path) -> None:
        for name in ("tile_2", "tile_10"):
            write(tmp_path / f"{name}.ome.zarr", [noise()])
        experiment = open_experiment(tmp_path)
        assert experiment.stacks == ("tile_2", "tile_10")
        assert experiment.root == str(tmp_path)
        given = [tmp_path / "tile_2.ome.zarr", tmp_path / "tile_10.ome.zarr"]
        assert open_experiment(given).stacks == ("tile_2", "tile_10")

    @pytest.mark.parametrize("version", VERSIONS)
    def test_series_and_wells_are_stacks(self, tmp_path: Path, version: str) -> None:
        root = tmp_path / "a.zarr"
        zarr.create_group(root, zarr_format=2 if version == "0.4" else 3)
        zarr.create_group(root / "OME", zarr_format=2 if version == "0.4" else 3)
        for place in ("0", "B/03/1"):
            write(root / place, [noise()], version=version)
        (root / "OME" / "METADATA.ome.xml").write_text("<OME/>")
        zarr.create_group(root / "B", zarr_format=2 if version == "0.4" else 3)
        zarr.create_group(root / "B" / "03", zarr_format=2 if version == "0.4" else 3)
        assert open_experiment(root).stacks == ("0", "B/03/1")


def test_urls(tmp_path: Path) -> None:
    import fsspec

    folder = write(tmp_path / "a.zarr", [noise()])
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/foreign/a.zarr", recursive=True)
    try:
        (view,) = open_experiment("memory://foreign/a.zarr").views
        np.testing.assert_array_equal(read(view), noise())
        with pytest.raises(LuxdaskError, match=r"memory://foreign/b\.zarr"):
            open_experiment("memory://foreign/b.zarr")
    finally:
        memory.rm("/foreign", recursive=True)
    assert open_experiment(f"file://{folder}").views[0].id == view.id


def attributes(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / "zarr.json").read_text())
    return content


def spoil(path: Path, **changes: Any) -> None:
    content = attributes(path)
    content["attributes"]["ome"]["multiscales"][0].update(changes)
    (path / "zarr.json").write_text(json.dumps(content))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no transforms": (
        {"datasets": [{"path": "s0"}]},
        "no scale in its 'coordinateTransformations'",
    ),
    "NaN": (
        {
            "datasets": [
                {
                    "path": "s0",
                    "coordinateTransformations": transformations("zyx", (1, float("nan"), 1)),
                }
            ]
        },
        "scale.1: Input should be a finite number",
    ),
    "zero scale": (
        {
            "datasets": [
                {"path": "s0", "coordinateTransformations": transformations("zyx", (1, 0, 1))}
            ]
        },
        "not finite or not invertible",
    ),
    "too few numbers": (
        {
            "datasets": [
                {"path": "s0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}
            ]
        },
        "needs 3 numbers, one per axis",
    ),
    "unknown transform": (
        {"datasets": [{"path": "s0", "coordinateTransformations": [{"type": "rotation"}]}]},
        "not that of OME-Zarr 0.4 or 0.5",
    ),
    "missing array": (
        {"datasets": [{"path": "s7", "coordinateTransformations": transformations("zyx")}]},
        "s7: no Zarr array",
    ),
    "axes of version 0.3": ({"axes": ["z", "y", "x"], "version": "0.3"}, r"\(version 0\.3\)"),
    "no axes": ({"axes": None}, "axes: Input should be"),
    "axes that differ": ({"axes": axes_of("czyx")}, "does not have the axes c, z, y, x"),
    "odd axis": ({"axes": axes_of("qyx")}, "axes \\['q'\\] are longer than 1"),
    "odd unit": ({"axes": axes_of("zyx", "parsec")}, "unit 'parsec', not a length"),
    "no datasets": ({"datasets": []}, "datasets"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_attributes(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "a.zarr", [noise()])
    spoil(path, **changes)
    with pytest.raises(LuxdaskError, match=rf"a\.zarr.*{message}"):
        open_experiment(path)


class TestBadFiles:
    def test_damaged_metadata(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.zarr", [noise()])
        (path / "zarr.json").write_text("{")
        with pytest.raises(MetadataError, match=r"a\.zarr: the Zarr metadata cannot be read"):
            open_experiment(path)

    def test_truncated_chunk(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.zarr", [noise()])
        (view,) = open_experiment(path).views
        chunk = path / "s0" / "c" / "0" / "1" / "0"
        chunk.write_bytes(chunk.read_bytes()[:10])
        read(view, Box((0, 0, 0), (9, 16, 61)))
        with pytest.raises(ImageFileError, match=r"a\.zarr: cannot read .*truncated or damaged"):
            read(view)

    def test_group_without_images(self, tmp_path: Path) -> None:
        zarr.create_group(tmp_path / "a.zarr")
        with pytest.raises(ExperimentNotFoundError, match="no group with 'multiscales'"):
            open_experiment(tmp_path / "a.zarr")

    def test_complex_numbers(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.zarr", [noise(dtype="complex64")])
        with pytest.raises(MetadataError, match="complex64"):
            open_experiment(path)


def test_floating_point_opens_and_keeps_its_type(tmp_path: Path) -> None:
    experiment = open_experiment(write(tmp_path / "a.zarr", [noise(dtype="float32")]))
    (view,) = experiment.views
    assert "voxels are float32" in " ".join(experiment.notes)
    assert view.source.foreign is not None
    assert view.source.foreign.voxel_type == "float32"
    with pytest.raises(ImageFileError, match=r"float32.*input\.value_range"):
        read(view)


def test_state_tells_of_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", [noise()])
    (view,) = open_experiment(path).views
    before = source_state(view.source)
    assert before == source_state(view.source)
    zarr.open_array(path / "s0", mode="r+")[0, 0, 0] = 7
    assert source_state(view.source) != before
