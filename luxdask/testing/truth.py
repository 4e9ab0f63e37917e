"""What is known about a made experiment: the volume and where each view really lies in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from luxdask.errors import ExperimentNotFoundError
from luxdask.model.geometry import Affine, Shape, Vector, shape3, vector
from luxdask.model.view import Source, View, ViewId

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRANSFORMS = "truth/transforms.json"
VOLUME = "truth/volume.tif"
_CLASSIC_TIFF_BYTES = 2**32 - 2**25


@dataclass(frozen=True, slots=True)
class TrueView:
    """One image of a made experiment.

    Attributes
    ----------
    file
        Path relative to the experiment folder, with "/".
    view_to_world
        Voxel index to sample space as the written metadata says.
    true_view_to_world
        Voxel index to sample space as the image really was made, all errors and drift included.
    colour
        Which channel of the truth volume it shows.
    """

    id: ViewId
    file: str
    shape: Shape
    spacing_um: Vector
    view_to_world: Affine
    true_view_to_world: Affine
    angle_deg: float = 0.0
    colour: int = 0
    detection_direction: Vector = (1.0, 0.0, 0.0)
    illuminations: tuple[str, ...] = ()

    @property
    def correction(self) -> Affine:
        """The transform of sample space that registration should find for this view."""
        return self.true_view_to_world @ self.view_to_world.inverse()


@dataclass(frozen=True)
class Truth:
    """A made experiment.

    Attributes
    ----------
    folder
        The experiment folder.
    volume_to_world
        Voxel index of the truth volume to sample space in µm.
    shape
        Of the truth volume, (z, y, x).
    """

    folder: str
    shape: Shape
    spacing_um: Vector
    volume_to_world: Affine
    views: tuple[TrueView, ...]

    @cached_property
    def by_id(self) -> dict[ViewId, TrueView]:
        """The views under their identity."""
        return {view.id: view for view in self.views}

    @property
    def volume_path(self) -> Path:
        """The truth volume, a TIFF with axes ZYX or ZCYX."""
        return Path(self.folder, VOLUME)

    @property
    def transforms_path(self) -> Path:
        """JSON file with both transforms of every view, in both axis orders."""
        return Path(self.folder, TRANSFORMS)

    def read_volume(self, colour: int = 0) -> NDArray[np.uint16]:
        """One channel of the truth volume, (Z, Y, X)."""
        volume = np.asarray(tifffile.imread(self.volume_path), dtype=np.uint16)
        if volume.ndim == 4:
            volume = volume[:, colour]
        return np.ascontiguousarray(volume.reshape(self.shape))

    def path(self, view: TrueView) -> Path:
        """The image file of a view."""
        return Path(self.folder, view.file)


def write_volume(path: Path, colours: tuple[NDArray[np.uint16], ...], spacing_um: Vector) -> None:
    """Write the truth volume as ImageJ TIFF (BigTIFF where it is too large for that)."""
    z, y, x = spacing_um
    stack = colours[0] if len(colours) == 1 else np.stack(colours, axis=1)
    axes = "ZYX" if len(colours) == 1 else "ZCYX"
    classic = stack.nbytes < _CLASSIC_TIFF_BYTES
    tifffile.imwrite(
        path,
        stack,
        imagej=classic,
        bigtiff=not classic,
        resolution=(1 / x, 1 / y),
        metadata={"axes": axes, "spacing": z, "unit": "um"},
    )


def truth_to_json(truth: Truth) -> dict[str, Any]:
    """Content of `truth/transforms.json`; each affine in both orders."""
    return {
        "version": "1.0.0",
        "shape_zyx": list(truth.shape),
        "spacing_um_zyx": list(truth.spacing_um),
        "volume_to_world": _both_orders(truth.volume_to_world),
        "views": [_view_to_json(view) for view in truth.views],
    }


def _view_to_json(view: TrueView) -> dict[str, Any]:
    names = ("time_point", "channel", "stack", "objective", "camera", "pm")
    return {
        "id": {name: getattr(view.id, name) for name in names},
        "file": view.file,
        "shape_zyx": list(view.shape),
        "spacing_um_zyx": list(view.spacing_um),
        "angle_deg": view.angle_deg,
        "volume_channel": view.colour,
        "detection_direction_zyx": list(view.detection_direction),
        "illuminations": list(view.illuminations),
        "true": _both_orders(view.true_view_to_world),
        "metadata": _both_orders(view.view_to_world),
    }


def _both_orders(affine: Affine) -> dict[str, list[list[float]]]:
    zyx = affine.to_array()
    xyz = np.column_stack([zyx[::-1, 2::-1], zyx[::-1, 3]])
    return {"zyx": zyx.tolist(), "xyz": xyz.tolist()}


def read_truth(folder: str | Path) -> Truth:
    """The truth of an experiment that was made by `write_experiment` or `luxdask demo-data`."""
    path = Path(folder, TRANSFORMS)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExperimentNotFoundError(
            f"{folder}: not a complete experiment of luxdask demo-data ({TRANSFORMS} is missing)"
        ) from error
    return Truth(
        folder=str(folder),
        shape=shape3(content["shape_zyx"]),
        spacing_um=vector(content["spacing_um_zyx"]),
        volume_to_world=Affine.from_array(content["volume_to_world"]["zyx"]),
        views=tuple(_view_from_json(view) for view in content["views"]),
    )


def _view_from_json(content: dict[str, Any]) -> TrueView:
    return TrueView(
        id=ViewId(**content["id"]),
        file=content["file"],
        shape=shape3(content["shape_zyx"]),
        spacing_um=vector(content["spacing_um_zyx"]),
        view_to_world=Affine.from_array(content["metadata"]["zyx"]),
        true_view_to_world=Affine.from_array(content["true"]["zyx"]),
        angle_deg=content["angle_deg"],
        colour=content["volume_channel"],
        detection_direction=vector(content["detection_direction_zyx"]),
        illuminations=tuple(content["illuminations"]),
    )


def model_view(truth: Truth, view: TrueView, *, true: bool = False) -> View:
    """The view as the library's model has it, with the metadata's or the true transform."""
    path = truth.path(view).resolve()
    sidecar = path.with_name(path.name.removesuffix(".lux.h5") + ".json")
    return View(
        id=view.id,
        source=Source(str(path), sidecar=str(sidecar)),
        shape=view.shape,
        spacing_um=view.spacing_um,
        view_to_world=view.true_view_to_world if true else view.view_to_world,
        detection_directions=(view.detection_direction,),
        illuminations=tuple(sorted(view.illuminations)),
        angle_deg=view.angle_deg,
    )
