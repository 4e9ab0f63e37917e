"""Attributes of Imaris files: text as arrays of single characters, as Imaris itself writes them.

Source: Imaris 5.5 file format, https://github.com/imaris/ImarisWriter (doc)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import h5py
import numpy as np

from luxdask.errors import LuxdaskError
from luxdask.io.fused_metadata import acquisitions
from luxdask.io.histogram import binned, value_range
from luxdask.io.lux_metadata import read_metadata
from luxdask.model.geometry import BoundingBox, Vector
from luxdask.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from luxdask.io.view_setups import ViewSetup
    from luxdask.model.geometry import Shape
    from luxdask.model.view import View

BINS = 256
FINE_BINS = 1024
UNSPECIFIED = "(name not specified)"
SYNTHETIC_START = datetime(2000, 1, 1, tzinfo=UTC)
GREY = (1.0, 1.0, 1.0)
PALETTE = ((0, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0), (0, 0, 1))


def set_text(group: h5py.Group, name: str, value: str) -> None:
    """Set an attribute to text: one ASCII character per element; "?" stands for other ones.

    Written by the low-level interface, since h5py's own single characters are padded, not
    terminated, and some readers compare the type.
    """
    characters = np.frombuffer(value.encode("ascii", "replace") or b"\0", dtype="S1")
    space = h5py.h5s.create_simple(characters.shape)
    attribute = h5py.h5a.create(group.id, name.encode(), h5py.h5t.C_S1, space)
    attribute.write(characters, mtype=h5py.h5t.C_S1)


def set_texts(group: h5py.Group, values: Mapping[str, str]) -> None:
    """Set several text attributes."""
    for name, value in values.items():
        set_text(group, name, value)


def channel_path(level: int, time: int, channel: int) -> str:
    """Group of one image at one level; all counted from 0."""
    return f"DataSet/ResolutionLevel {level}/TimePoint {time}/Channel {channel}"


def write_root(file: h5py.File) -> None:
    """The marks by which a reader knows an Imaris file."""
    root = {
        "ImarisDataSet": "ImarisDataSet",
        "ImarisVersion": "5.5.0",
        "DataSetDirectoryName": "DataSet",
        "DataSetInfoDirectoryName": "DataSetInfo",
        "ThumbnailDirectoryName": "Thumbnail",
    }
    set_texts(file, root)
    file.attrs["NumberOfDataSets"] = np.array([1], dtype=np.uint32)


def write_level(
    group: h5py.Group, shape: Shape, counts: NDArray[np.int64], *, fine: bool = False
) -> None:
    """Size and histogram of one image at one level; `fine` adds the histogram of 1024 bins.

    `counts` may come from a coarser level: they are scaled to the number of voxels of `shape`.
    """
    z, y, x = shape
    low, high = value_range(counts)
    set_texts(group, {"ImageSizeX": str(x), "ImageSizeY": str(y), "ImageSizeZ": str(z)})
    for bins, suffix in ((BINS, ""), (FINE_BINS, str(FINE_BINS)))[: 2 if fine else 1]:
        set_text(group, f"HistogramMin{suffix}", f"{low:.3f}")
        set_text(group, f"HistogramMax{suffix}", f"{high:.3f}")
        group[f"Histogram{suffix}"] = binned(counts, bins, total=z * y * x)


def write_info(
    file: h5py.File, setups: Sequence[ViewSetup], ranges: Sequence[tuple[int, int]]
) -> None:
    """What Imaris shows about image, channels and time points.

    `ranges` holds the limits of the display for each channel.
    """
    stamps = [time_text(stamp) for stamp in time_stamps(setups[0].views)]
    _write_image(file.create_group("DataSetInfo/Image"), setups[0].first, stamps[0])
    colors = [GREY] if len(setups) == 1 else PALETTE
    for n, (setup, name) in enumerate(zip(setups, channel_names(setups), strict=True)):
        texts = {
            "Name": name,
            "Description": setup.name,
            "Color": " ".join(f"{c:.3f}" for c in colors[n % len(colors)]),
            "ColorMode": "BaseColor",
            "ColorOpacity": "1.000",
            "ColorRange": "{:.3f} {:.3f}".format(*ranges[n]),
            "GammaCorrection": "1.000",
        }
        set_texts(file.create_group(f"DataSetInfo/Channel {n}"), texts)
    times = {f"TimePoint{n}": stamp for n, stamp in enumerate(stamps, start=1)}
    count = {"DatasetTimePoints": str(len(stamps)), "FileTimePoints": str(len(stamps))}
    set_texts(file.create_group("DataSetInfo/TimeInfo"), {**count, **times})


def _write_image(group: h5py.Group, view: View, recorded: str) -> None:
    box = extent_um(view)
    texts = {"Name": UNSPECIFIED, "Description": str(view.id), "Unit": "um"}
    for n, axis in enumerate("XYZ"):
        texts[axis] = str(view.shape[2 - n])
        texts[f"ExtMin{n}"] = repr(box.lower[2 - n] + 0.0)
        texts[f"ExtMax{n}"] = repr(box.upper[2 - n] + 0.0)
        texts[f"ResampleDimension{axis}"] = "true"
    set_texts(group, {**texts, "RecordingDate": recorded})


def write_copy_info(file: h5py.File) -> None:
    """What a self-contained file has beyond that: by what it was made, and optics left empty."""
    info = file["DataSetInfo"]
    made = {"Creator": "luxdask", "NumberOfImages": "1", "Version": __version__}
    set_texts(info.create_group("ImarisDataSet"), made)
    set_text(info.create_group("Log"), "Entries", "0")
    empty = ("LensPower", "MicroscopeModality", "NumericalAperture")
    set_texts(info["Image"], dict.fromkeys(empty, ""))
    origin = {"OriginalFormat": "Luxendo", "OriginalFormatFileIOVersion": f"luxdask {__version__}"}
    set_texts(info["Image"], origin)
    for name in info:
        if name.startswith("Channel "):
            empty = ("LSMEmissionWavelength", "LSMExcitationWavelength", "LSMPinhole")
            set_texts(info[name], dict.fromkeys(empty, ""))


def lies_in_world(view: View) -> bool:
    """Whether the axes of an image are those of sample space, without mirroring or swapping."""
    linear, norms = view.view_to_world.linear, view.view_to_world.column_norms
    upright = all(linear[n][n] > 0.5 * norms[n] for n in range(3))
    return upright and view.view_to_world.is_axis_aligned()


def extent_um(view: View) -> BoundingBox:
    """The box of an image on voxel borders: in sample space if Imaris can show it there.

    Imaris knows no rotation and no mirroring; such an image gets a box of its size from 0.
    """
    if lies_in_world(view):
        return BoundingBox.of_volume(view.shape, view.view_to_world)
    z, y, x = (n * s for n, s in zip(view.shape, view.spacing_um, strict=True))
    upper: Vector = (z, y, x)
    return BoundingBox((0.0, 0.0, 0.0), upper)


def channel_names(setups: Sequence[ViewSetup]) -> list[str]:
    """Description of the channel, or its name, and the PM id; the whole identity if not unique."""
    names = []
    for setup in setups:
        identity = setup.first.id
        pm = "" if identity.pm is None else f" pm:{identity.pm}"
        names.append((setup.first.channel_description or f"ch:{identity.channel}") + pm)
    return [
        f"{name} {setup.name}" if names.count(name) > 1 else name
        for name, setup in zip(names, setups, strict=True)
    ]


def time_stamps(views: Mapping[int, View]) -> list[datetime]:
    """When each time point was acquired, strictly increasing.

    Where the metadata does not say, or not in order, time points lie one second apart, counted from
    the first known moment or from the year 2000.
    """
    known = [_acquired(view) for _, view in sorted(views.items())]
    stamps = [stamp for stamp in known if stamp is not None]
    texts = [time_text(stamp) for stamp in stamps]
    if len(stamps) == len(views) and all(a < b for a, b in pairwise(texts)):
        return stamps
    start = min(stamps, default=SYNTHETIC_START)
    return [start + timedelta(seconds=t - min(views)) for t in sorted(views)]


def time_text(stamp: datetime) -> str:
    """A moment in Imaris's form, to the millisecond."""
    return stamp.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _acquired(view: View) -> datetime | None:
    """First moment in the metadata; a main file is worth having where they cannot be read, too."""
    try:
        entries = acquisitions(read_metadata(view.source))
    except LuxdaskError:
        return None
    texts = (str(text) for entry in entries for text in (entry.get("time_stamps") or ())[:1])
    return min(_parsed(texts), default=None)


def _parsed(texts: Iterable[str]) -> list[datetime]:
    moments = []
    for text in texts:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            continue
        moments.append(moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))
    return moments
