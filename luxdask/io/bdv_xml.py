"""The XML file of BigDataViewer, built as the vendor's software builds it.

Vectors and matrices have the format's x, y, z order here.
Source: the vendor's own main files, and https://imagej.net/plugins/bdv/
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import numpy as np

from luxdask.model.view import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.io.view_setups import ViewSetup
    from luxdask.model.geometry import Affine

LABELS = ("channel", "angle", "tile")


def spim_data(h5_name: str, setups: Sequence[ViewSetup]) -> ET.Element:
    """The root element for setups whose voxels lie in the file `h5_name` of the same folder.

    Every image has one affine without a name: its composed transform to sample space in µm.
    """
    root = ET.Element("SpimData", version="0.2")
    _add(root, "BasePath", ".", type="relative")
    sequence = _add(root, "SequenceDescription")
    loader = _add(sequence, "ImageLoader", format="bdv.hdf5")
    _add(loader, "hdf5", h5_name, type="relative")
    _add_setups(_add(sequence, "ViewSetups"), setups)
    time_points = sorted({t for setup in setups for t in setup.views})
    _add_time_points(sequence, time_points)
    _add_missing(sequence, setups, time_points)
    registrations = _add(root, "ViewRegistrations")
    for time_point in time_points:
        for index, setup in enumerate(setups):
            if time_point in setup.views:
                affine = setup.views[time_point].view_to_world
                _add_registration(registrations, time_point, index, affine)
    return root


def _add_setups(parent: ET.Element, setups: Sequence[ViewSetup]) -> None:
    ids = [_numbered({setup.names[n] for setup in setups}) for n in range(len(LABELS))]
    for index, setup in enumerate(setups):
        element = _add(parent, "ViewSetup")
        _add(element, "id", str(index))
        _add(element, "name", setup.name)
        _add(element, "size", " ".join(str(n) for n in setup.first.shape[::-1]))
        voxel = _add(element, "voxelSize")
        _add(voxel, "unit", "micrometer")
        _add(voxel, "size", numbers_text(setup.first.spacing_um[::-1]))
        attributes = _add(element, "attributes")
        for label, numbers, name in zip(LABELS, ids, setup.names, strict=True):
            _add(attributes, label, str(numbers[name]))
    for label, numbers in zip(LABELS, ids, strict=True):
        _add_attribute(parent, label, numbers)


def _numbered(names: set[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(names, key=natural_key))}


def _add_attribute(parent: ET.Element, label: str, numbers: dict[str, int]) -> None:
    block = _add(parent, "Attributes", name=label)
    for name, number in numbers.items():
        element = _add(block, label.capitalize())
        _add(element, "id", str(number))
        _add(element, "name", name)


def _add_time_points(parent: ET.Element, time_points: Sequence[int]) -> None:
    """A range where there is no gap, else the pattern of whole numbers that BigDataViewer knows."""
    first, last = time_points[0], time_points[-1]
    if len(time_points) == last - first + 1:
        element = _add(parent, "Timepoints", type="range")
        _add(element, "first", str(first))
        _add(element, "last", str(last))
    else:
        element = _add(parent, "Timepoints", type="pattern")
        _add(element, "integerpattern", integer_pattern(time_points))


def integer_pattern(numbers: Sequence[int]) -> str:
    """Ascending whole numbers as ``"0-3, 7, 9-10"``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in runs)


def _add_missing(
    parent: ET.Element, setups: Sequence[ViewSetup], time_points: Sequence[int]
) -> None:
    missing = [
        (time_point, index)
        for time_point in time_points
        for index, setup in enumerate(setups)
        if time_point not in setup.views
    ]
    if missing:
        element = _add(parent, "MissingViews")
        for time_point, index in missing:
            _add(element, "MissingView", timepoint=str(time_point), setup=str(index))


def _add_registration(parent: ET.Element, time_point: int, setup: int, affine: Affine) -> None:
    element = _add(parent, "ViewRegistration", timepoint=str(time_point), setup=str(setup))
    transform = _add(element, "ViewTransform", type="affine")
    matrix = affine.to_array()
    # Reversing the axes of points reverses rows and columns; the translation stays last.
    xyz = np.column_stack([matrix[::-1, 2::-1], matrix[::-1, 3]])
    _add(transform, "affine", numbers_text(xyz.ravel().tolist()))


def numbers_text(values: Iterable[float]) -> str:
    """Numbers with all their digits, whole ones without a point: ``"2.925 0 -9006.575"``."""
    return " ".join(repr(v).removesuffix(".0") if v else "0" for v in map(float, values))


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element
