"""Open BigDataViewer data (XML and HDF5) as views: the XML and the names in the HDF5 file only."""

from __future__ import annotations

import os
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

import h5py
import numpy as np

from luxdask.errors import ExperimentNotFoundError, MetadataError
from luxdask.io.bdv_document import BdvDocument, Setup, read_bdv_xml
from luxdask.io.bdv_identity import SetupIdentity, setup_identities
from luxdask.io.chunk_table import open_h5
from luxdask.io.foreign_view import ForeignImages, make_view, micrometres
from luxdask.io.grey_values import voxel_type
from luxdask.model.geometry import Affine, Vector, shape3, vector
from luxdask.model.view import Foreign, Source, View

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AGREE = 0.1
"""Relative difference of axes up to which stated voxel sizes fit the transforms."""


def open_bdv(path: str) -> ForeignImages:
    """All views of a BigDataViewer XML file.

    Setups get their identity from their attributes: stack from angle and tile (as far as there are
    several), channel from channel and illumination; setups named by luxdask or the vendor's
    software from that name. The transforms of a view are composed as BigDataViewer does.

    Raises
    ------
    MetadataError
        The XML file is malformed, or a view has no transform or an unusable one.
    ExperimentNotFoundError
        Its HDF5 file, or every image in it, is not there.
    ImageFileError
        The HDF5 file cannot be read.
    """
    document = read_bdv_xml(path)
    notes: list[str] = []
    world_um = _world_um(document, notes)
    identities = setup_identities(document.setups)
    views = []
    with open_h5(document.images) as file:
        for time_point in document.time_points:
            for number in document.setups:
                if (time_point, number) in document.missing:
                    continue
                data = _cells(file, time_point, number)
                if data is None:
                    notes.append(_missing(document, time_point, number))
                else:
                    identity = identities[number]
                    views.append(_view(document, time_point, number, data, identity, world_um))
    if not views:
        listed = "".join(f"\n  {note}" for note in notes)
        raise ExperimentNotFoundError(f"{path}: no image of it is there.{listed}")
    return ForeignImages("bdv", os.path.dirname(path), tuple(views), tuple(notes))


def cells_name(time_point: int, setup: int, level: int = 0) -> str:
    """Dataset of a level in the HDF5 file.

    >>> cells_name(0, 3)
    't00000/s03/0/cells'
    """
    return f"t{time_point:05d}/s{setup:02d}/{level}/cells"


def is_bits(data: h5py.Dataset) -> bool:
    """Whether int16 stands for uint16: so it is unless the file says what its type is."""
    if data.dtype.kind != "i" or data.dtype.itemsize != 2:
        return False
    setup = data.name.split("/")[2] if data.name.count("/") > 2 else ""
    told = data.file[setup].attrs.get("dataType", b"") if setup in data.file else b""
    return (told.decode() if isinstance(told, bytes) else str(told)) != "int16"


def _cells(file: h5py.File, time_point: int, setup: int) -> h5py.Dataset | None:
    try:
        data = file[cells_name(time_point, setup)]
    except (KeyError, OSError):
        return None
    return data if isinstance(data, h5py.Dataset) and data.ndim == 3 else None


def _missing(document: BdvDocument, time_point: int, setup: int) -> str:
    return (
        f"{document.images}: no voxels of time point {time_point}, setup {setup} (or a dead link), "
        "not used"
    )


def _view(
    document: BdvDocument,
    time_point: int,
    number: int,
    data: h5py.Dataset,
    identity: SetupIdentity,
    world_um: float,
) -> View:
    setup, where = document.setups[number], f"{document.images}: {data.name}"
    if setup.size is not None and setup.size[::-1] != data.shape:
        raise MetadataError(
            f"{document.path}: setup {number} has the size (x, y, z) {setup.size}, but its voxels "
            f"in {document.images} are {data.shape[::-1]}; the files do not belong together"
        )
    name = "uint16" if is_bits(data) else voxel_type(data.dtype, where)
    place = Source(
        document.images, cells_name(time_point, number), foreign=Foreign("bdv", voxel_type=name)
    )
    transform = _view_to_world(document, (time_point, number), world_um)
    told = identity.described
    angle = told.angle_deg if identity.has_angle else turn_deg(transform)
    described = replace(told, spacing_um=_stated_um(setup), angle_deg=angle)
    ident = replace(identity.id, time_point=time_point)
    return make_view(ident, place, shape3(data.shape), transform, described)


def _view_to_world(document: BdvDocument, view: tuple[int, int], world_um: float) -> Affine:
    chain = document.chains.get(view)
    if not chain:
        raise MetadataError(
            f"{document.path}: time point {view[0]}, setup {view[1]} has no ViewTransform, so it "
            "is not known where it lies"
        )
    whole = Affine()
    for step in chain:  # the last one is applied first
        whole = whole @ _zyx(step)
    return Affine.scale((world_um, world_um, world_um)) @ whole


def _zyx(xyz: NDArray[np.float64]) -> Affine:
    return Affine.from_array(xyz[::-1, 2::-1], xyz[::-1, 3])


def _stated_um(setup: Setup) -> Vector | None:
    """Voxel size (z, y, x) in µm, where the file gives a usable one."""
    size = setup.voxel_size
    if size is None or min(size) <= 0:
        return None
    return vector(np.array(size[::-1]) * (micrometres(setup.unit) or 1.0))


def _world_um(document: BdvDocument, notes: list[str]) -> float:
    """How many µm one unit of the file's space is.

    BigStitcher counts in voxels of the finest axis, others in the unit of the voxel size: where
    the calibration (the transform applied first) is the stated voxel size times one factor,
    that factor tells.
    """
    found = []
    for (_, number), chain in document.chains.items():
        setup = document.setups.get(number)
        stated = None if setup is None else _stated_um(setup)
        if stated is None or not chain:
            continue
        ratios = np.array(stated) / np.maximum(_zyx(chain[-1]).column_norms, 1e-300)
        if ratios.max() < (1 + _AGREE) * ratios.min():
            found.append(float(np.exp(np.log(ratios).mean())))
    units = {setup.unit for setup in document.setups.values()}
    unknown = sorted(unit for unit in units if micrometres(unit) is None)
    if unknown:
        notes.append(f"{document.path}: the unit {unknown[0]!r} of voxel sizes is taken as µm")
    if found:
        return _rounded(median(found))
    unit = micrometres(next(iter(sorted(units)), None)) or 1.0
    notes.append(
        f"{document.path}: voxel sizes are not those of the transforms; one unit of the "
        f"transforms is taken as {unit:g} µm"
    )
    return unit


def _rounded(factor: float) -> float:
    """Noise of the last digits would lay views off the voxels of their neighbours."""
    return float(f"{factor:.12g}")


def turn_deg(view_to_world: Affine) -> float:
    """Signed angle of the stage in whole degrees, as the transform gives it.

    Whole ones, since registration has turned tiles of one angle a little, each differently.
    """
    if not view_to_world.is_invertible:
        return 0.0
    angle = float(round(view_to_world.rotation_deg))
    m = np.array(view_to_world.linear) / np.array(view_to_world.column_norms)
    skew = np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    main = skew[np.argmax(np.abs(skew))]
    return angle if main >= 0 else -angle + 0.0
