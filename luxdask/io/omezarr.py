"""Write OME-Zarr 0.5 images (Zarr 3, sharded) to a folder or to an object store.

All time points and channels on one grid form one 5-D image (t, c, z, y, x), as viewers expect it.
A shard is one file or object and is written whole by one worker, so that no lock is needed.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from fsspec.core import split_protocol, url_to_fs
from zarr.codecs import BloscCodec
from zarr.errors import GroupNotFoundError
from zarr.storage import FsspecStore, LocalStore

from luxdask.errors import OutputError
from luxdask.io.durable import sync_files, this_machine
from luxdask.io.omezarr_metadata import AXES, OmeChannel, display_window, image_attributes
from luxdask.model.geometry import Box, Grid, Shape, shape3
from luxdask.model.levels import FULL, level_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CHUNK = 64
MARK = "luxdask"
_create_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class OmeZarrWriter:
    """One time point and channel of an OME-Zarr image; see `luxdask.io.writer.Writer`.

    Attributes
    ----------
    url
        Folder, or any URL that fsspec opens (``s3://…``, ``memory://…``).
    grid
        Voxels of the full-resolution level in sample space.
    levels, shards
        Downsampling factors and shard shape (z, y, x) of each level, full resolution first.
    index
        Position on the axes t and c that this writer fills.
    channels, time_points
        What lies along the axes c and t; `time_points` are the numbers given by the microscope.
    time_interval_s
        Seconds between time points, where known.
    run
        Name of the run that makes the image: an image of the same run is kept, that of another
        run is replaced.
    home
        The machine that made this writer.
    """

    url: str
    grid: Grid
    levels: tuple[Shape, ...] = (FULL,)
    shards: tuple[Shape, ...] = ((CHUNK, CHUNK, CHUNK),)
    name: str = "image"
    index: tuple[int, int] = (0, 0)
    channels: tuple[OmeChannel, ...] = (OmeChannel("0"),)
    time_points: tuple[int, ...] = (0,)
    time_interval_s: float | None = None
    run: str = ""
    home: str = field(default_factory=this_machine, repr=False)

    @property
    def path(self) -> str:
        """The URL."""
        return self.url

    def create(self) -> None:
        """Make the group and all its arrays, for every time point and channel at once.

        The writers of one image may all call this in one process: the first one makes the image,
        the others find it. An image that luxdask made in another run is replaced. Raises
        `OutputError` where anything else lies at the URL, or nothing can be written there.
        """
        with _create_lock, _errors_name(self.url, "create the image"):
            found = _found_mark(self.url)
            if found == _mark(self):
                return
            if found is None and _is_occupied(self.url):
                raise OutputError(
                    f"{self.url}: something that luxdask did not write lies here already; "
                    "choose another name or remove it"
                )
            _create_image(self)

    def exists(self) -> bool:
        """Whether the image lies there as this run makes it."""
        with _errors_name(self.url, "open the image"):
            return bool(_found_mark(self.url) == _mark(self))

    def write(self, level: int, start: Shape, block: NDArray[np.uint16]) -> int:
        """Store a block of whole shards (clipped at the image's end); returns its voxel bytes."""
        box = Box(start, shape3(np.add(start, block.shape).tolist()))
        _check_alignment(box, self.shards[level], _shape(self, level))
        with _errors_name(self.url, f"write level {level}, {box}"):
            _open_level(self.url, level, "r+")[(*self.index, *box.slices)] = block
            if self.home != this_machine():
                sync_files(self.files(level, start))
        return block.nbytes

    def files(self, level: int, start: Shape) -> tuple[str, ...]:
        """The shard's file, the folders above it, and the metadata; none in an object store."""
        store = _store(self.url)
        if not isinstance(store, LocalStore):
            return ()
        array = store.root / str(level)
        numbers = (*self.index, *(a // n for a, n in zip(start, self.shards[level], strict=True)))
        shard = array.joinpath("c", *map(str, numbers))
        folders = shard.parents[: len(numbers) + 2]
        documents = (array / "zarr.json", store.root / "zarr.json")
        return tuple(str(path) for path in (shard, *folders, *documents))

    def read(self, level: int, box: Box) -> NDArray[np.uint16]:
        """Voxels of a level as a (Z, Y, X) array; voxels never written are 0."""
        with _errors_name(self.url, f"read level {level}, {box}"):
            values = _open_level(self.url, level, "r")[(*self.index, *box.slices)]
        return np.asarray(values, dtype=np.uint16)


def set_display_range(writer: OmeZarrWriter) -> None:
    """Let viewers open each channel with a fitting contrast, from the voxels written so far.

    Reads the coarsest level of the writer's time point; one process calls this after the last
    `write`. Voxels of value 0 (not imaged) do not count.
    """
    with _errors_name(writer.url, "set the contrast"):
        coarsest = _open_level(writer.url, len(writer.levels) - 1, "r")
        group = zarr.open_group(_store(writer.url), mode="r+", zarr_format=3)
        ome: Any = group.attrs["ome"]
        for c, channel in enumerate(ome["omero"]["channels"]):
            values = np.asarray(coarsest[writer.index[0], c])
            imaged = values[values > 0]
            if imaged.size:
                channel["window"] = display_window(*np.percentile(imaged, (1.0, 99.9)).tolist())
        group.attrs["ome"] = ome


def inner_chunk(shard: Shape) -> Shape:
    """Chunk shape within a shard: the largest divisor of each axis up to 64."""
    return shape3([max(d for d in range(1, CHUNK + 1) if n % d == 0) for n in shard])


def _shape(writer: OmeZarrWriter, level: int) -> Shape:
    return level_shape(writer.grid.shape, writer.levels[level])


def _check_alignment(box: Box, shard: Shape, shape: Shape) -> None:
    """Two workers must never share a shard: each would lose the other's part."""
    whole = all(
        a % s == 0 and a < b and (b % s == 0 or b == n) and b <= n
        for a, b, s, n in zip(box.start, box.stop, shard, shape, strict=True)
    )
    if not whole:
        raise AssertionError(f"{box} is not made of whole shards {shard} of an image {shape}")


def _store(url: str) -> LocalStore | FsspecStore:
    # A local store puts each shard in place by renaming, so a killed worker leaves none half done.
    if split_protocol(url)[0] in (None, "file", "local"):
        return LocalStore(url_to_fs(url)[1])
    return FsspecStore.from_url(url)


def _open_level(url: str, level: int, mode: Any) -> zarr.Array[Any]:
    return zarr.open_array(_store(url), path=str(level), mode=mode, zarr_format=3)


def _mark(writer: OmeZarrWriter) -> dict[str, Any]:
    """What tells images of one run apart from any other, as JSON gives it back."""
    return {
        "run": writer.run,
        "shape": list(writer.grid.shape),
        "spacing_um": list(writer.grid.spacing_um),
        "origin_um": list(writer.grid.origin_um),
        "levels": [list(level) for level in writer.levels],
        "shards": [list(shard) for shard in writer.shards],
        "channels": [channel.name for channel in writer.channels],
        "time_points": list(writer.time_points),
    }


def _found_mark(url: str) -> Any:
    try:
        group = zarr.open_group(_store(url), mode="r", zarr_format=3)
    except (GroupNotFoundError, FileNotFoundError, NotADirectoryError):
        return None
    return group.attrs.get(MARK)


def _is_occupied(url: str) -> bool:
    files, path = url_to_fs(url)
    return bool(files.exists(path) and files.ls(path, detail=False))


def _create_image(writer: OmeZarrWriter) -> None:
    # The full mark comes last: an image whose making was interrupted is ours, but made anew.
    group = zarr.create_group(
        _store(writer.url), zarr_format=3, overwrite=True, attributes={MARK: {"run": None}}
    )
    for level in range(len(writer.levels)):
        _create_level(group, writer, level)
    ome = image_attributes(
        writer.name, writer.grid, writer.levels, writer.channels, writer.time_interval_s
    )
    group.update_attributes({"ome": ome, MARK: _mark(writer)})


def _create_level(group: zarr.Group, writer: OmeZarrWriter, level: int) -> None:
    shard = writer.shards[level]
    group.create_array(
        str(level),
        shape=(len(writer.time_points), len(writer.channels), *_shape(writer, level)),
        shards=(1, 1, *shard),
        chunks=(1, 1, *inner_chunk(shard)),
        dtype="uint16",
        fill_value=0,
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=2),
        dimension_names=AXES,
    )


@contextmanager
def _errors_name(url: str, action: str) -> Iterator[None]:
    # The client libraries of object stores have no common error class, hence any Exception.
    try:
        yield
    except (OutputError, AssertionError):
        raise
    except Exception as error:
        raise OutputError(f"{url}: cannot {action}: {error or type(error).__name__}") from error
