"""What the XML file of BigDataViewer (and BigStitcher) says, as plain values.

Vectors and matrices are in the file's x, y, z order here.
Source: https://imagej.net/plugins/bdv/ and the files that BigDataViewer writes.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from luxdask.errors import ExperimentNotFoundError, ImageFileError, MetadataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

FORMAT = "bdv.hdf5"
ATTRIBUTES = ("channel", "tile", "angle", "illumination")
_RANGE = re.compile(r"^(\d+)(?:-(\d+)(?::(\d+))?)?$")
View = tuple[int, int]
"""Time point and setup."""


@dataclass(frozen=True)
class Entity:
    """One channel, tile, angle or illumination: its name, and the angle in degrees if given."""

    name: str
    degrees: float | None = None


@dataclass(frozen=True)
class Setup:
    """What is the same at all time points."""

    name: str
    size: tuple[int, ...] | None
    unit: str
    voxel_size: tuple[float, ...] | None
    attributes: Mapping[str, Entity] = field(default_factory=dict)


@dataclass(frozen=True)
class BdvDocument:
    """An XML file; `chains` are the 3 × 4 transforms of a view, the last one applied first."""

    path: str
    images: str
    setups: Mapping[int, Setup]
    time_points: tuple[int, ...]
    missing: frozenset[View]
    chains: Mapping[View, tuple[NDArray[np.float64], ...]]


def is_bdv_xml(path: str) -> bool:
    """Whether a file begins as BigDataViewer's does."""
    try:
        with open(path, "rb") as file:
            return b"<SpimData" in file.read(4096)
    except OSError:
        return False


def read_bdv_xml(path: str) -> BdvDocument:
    """Read and check an XML file.

    Raises
    ------
    MetadataError
        Not XML of BigDataViewer, or something in it is missing or malformed.
    ExperimentNotFoundError
        The file with the voxels that it names is not there.
    """
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise MetadataError(f"{path}: not valid XML: {error}") from error
    except OSError as error:
        raise ImageFileError(f"{path}: {error.strerror or error}") from error
    reader = _Reader(path, root)
    return BdvDocument(
        path=path,
        images=reader.images(),
        setups=dict(reader.setups()),
        time_points=reader.time_points(),
        missing=frozenset(reader.view_of(e) for e in root.iterfind(".//MissingViews/MissingView")),
        chains=dict(reader.chains()),
    )


@dataclass(frozen=True)
class _Reader:
    """Picks values from the XML; each failure names the file and the element."""

    path: str
    root: ET.Element

    def images(self) -> str:
        """The HDF5 file, beside the XML file where only that one exists."""
        loader = self._child(self.root, "SequenceDescription/ImageLoader")
        if loader.get("format") != FORMAT:
            raise MetadataError(
                f"{self.path}: the image format is {loader.get('format')!r}; luxdask reads "
                f"{FORMAT!r}. Save the data set as HDF5 (BigStitcher: Resave as HDF5), or open the "
                "OME-Zarr or TIFF images themselves"
            )
        given = self._child(loader, "hdf5")
        name = (given.text or "").strip()
        base = os.path.dirname(self.path)
        place = self.root.find("BasePath")
        if place is not None and place.text:
            base = os.path.join(base, place.text.strip())
        found = name if given.get("type") == "absolute" else os.path.join(base, name)
        beside = os.path.join(os.path.dirname(self.path), re.split(r"[\\/]", name)[-1])
        for candidate in (found, beside):
            if name and os.path.isfile(candidate):
                return os.path.abspath(candidate)
        raise ExperimentNotFoundError(
            f"{self.path}: the file with its voxels, {name or '(no name)'}, is not there; "
            "copy it beside the XML file"
        )

    def setups(self) -> Iterator[tuple[int, Setup]]:
        """The setups by their number."""
        entities = {name: dict(self._entities(name)) for name in ATTRIBUTES}
        for element in self.root.iterfind("SequenceDescription/ViewSetups/ViewSetup"):
            number = int(self._numbers(element, "id", 1)[0])
            size = self._optional(element, "size", 3)
            yield (
                number,
                Setup(
                    name=(element.findtext("name") or "").strip(),
                    size=None if size is None else tuple(int(n) for n in size),
                    unit=(element.findtext("voxelSize/unit") or "").strip(),
                    voxel_size=self._optional(element, "voxelSize/size", 3),
                    attributes=dict(self._attributes(element, entities)),
                ),
            )

    def _attributes(
        self, setup: ET.Element, entities: Mapping[str, Mapping[str, Entity]]
    ) -> Iterator[tuple[str, Entity]]:
        for name in ATTRIBUTES:
            number = (setup.findtext(f"attributes/{name}") or "").strip()
            if number:
                yield name, entities[name].get(number, Entity(number))

    def _entities(self, name: str) -> Iterator[tuple[str, Entity]]:
        """Entities by id; names that two share stand for nothing, so ids take their place."""
        block = f"SequenceDescription/ViewSetups/Attributes[@name='{name}']/*"
        elements = self.root.findall(block)
        names = [(element.findtext("name") or "").strip() for element in elements]
        for element, named in zip(elements, names, strict=True):
            number = (element.findtext("id") or "").strip()
            degrees = self._optional(element, "degrees", 1)
            is_own = bool(named) and names.count(named) == 1
            yield number, Entity(named if is_own else number, degrees[0] if degrees else None)

    def time_points(self) -> tuple[int, ...]:
        """All time points, ascending."""
        element = self._child(self.root, "SequenceDescription/Timepoints")
        kind = element.get("type")
        if kind == "range":
            first, last = (int(self._numbers(element, key, 1)[0]) for key in ("first", "last"))
            return tuple(range(first, last + 1))
        if kind == "list":
            found = (int(self._numbers(e, "id", 1)[0]) for e in element.iterfind("Timepoint"))
            return tuple(sorted(found))
        if kind == "pattern":
            return self._pattern((element.findtext("integerpattern") or "").strip())
        raise MetadataError(f"{self.path}: Timepoints of type {kind!r} are not understood")

    def _pattern(self, text: str) -> tuple[int, ...]:
        numbers: set[int] = set()
        for part in re.split(r"\s*,\s*", text) if text else ["0"]:
            match = _RANGE.match(part)
            if match is None:
                raise MetadataError(f"{self.path}: time points {text!r} are not understood")
            first, last, step = (int(group) if group else None for group in match.groups())
            assert first is not None
            numbers.update(range(first, (first if last is None else last) + 1, step or 1))
        return tuple(sorted(numbers))

    def view_of(self, element: ET.Element) -> View:
        """Time point and setup of an element with these attributes."""
        try:
            return int(element.get("timepoint", "")), int(element.get("setup", ""))
        except ValueError as error:
            raise MetadataError(
                f"{self.path}: {element.tag} without the numbers 'timepoint' and 'setup'"
            ) from error

    def chains(self) -> Iterator[tuple[View, tuple[NDArray[np.float64], ...]]]:
        """The transforms of each view, as they stand in the file."""
        for element in self.root.iterfind("ViewRegistrations/ViewRegistration"):
            view = self.view_of(element)
            matrices = [self._affine(step, view) for step in element.iterfind("ViewTransform")]
            yield view, tuple(matrices)

    def _affine(self, step: ET.Element, view: View) -> NDArray[np.float64]:
        where = f"the transform of time point {view[0]}, setup {view[1]}"
        if step.get("type", "affine") != "affine":
            raise MetadataError(f"{self.path}: {where} is {step.get('type')!r}, not affine")
        return np.array(self._numbers(step, "affine", 12, where)).reshape(3, 4)

    def _optional(self, parent: ET.Element, tag: str, count: int) -> tuple[float, ...] | None:
        return self._numbers(parent, tag, count) if (parent.findtext(tag) or "").strip() else None

    def _numbers(
        self, parent: ET.Element, tag: str, count: int, where: str = ""
    ) -> tuple[float, ...]:
        text = parent.findtext(tag) or ""
        try:
            values = tuple(float(word) for word in text.split())
        except ValueError:
            values = ()
        if len(values) != count or not np.isfinite(values).all():
            raise MetadataError(
                f"{self.path}: {where or parent.tag}: {tag} needs {count} finite numbers, "
                f"it has {text.strip()[:80]!r}"
            )
        return values

    def _child(self, parent: ET.Element, tag: str) -> ET.Element:
        found = parent.find(tag)
        if found is None:
            raise MetadataError(f"{self.path}: not a file of BigDataViewer: {tag} is missing")
        return found
