"""Turn a volume into an experiment folder in the vendor's layout, with known truth."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.errors import ConfigError, OutputError
from luxdask.io.json_file import write_json
from luxdask.io.lux_writer import LuxWriter, sidecar_path
from luxdask.model.geometry import Affine, Shape, shape3, vector
from luxdask.model.view import ViewId
from luxdask.testing.acquisition import Shot, image_metadata
from luxdask.testing.layout import plan_poses, rotation, volume_to_world
from luxdask.testing.misalignment import colour_error, drift
from luxdask.testing.optics import Exposure, expose, form_image
from luxdask.testing.phantoms import phantom
from luxdask.testing.spec import DemoSpec
from luxdask.testing.tiff import load_volume
from luxdask.testing.truth import (
    TRANSFORMS,
    VOLUME,
    TrueView,
    Truth,
    model_view,
    truth_to_json,
    write_volume,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from luxdask.testing.layout import Pose

_MARK = "truth/spec.json"
_MAIN = "main_raw.lux.h5"
_MADE_BY = "luxdask.testing"
_IGNORED = {".DS_Store", "Thumbs.db"}

Progress = Callable[[int, int, ViewId], None]


def write_experiment(
    folder: str | os.PathLike[str],
    volume: NDArray[np.uint16] | str | os.PathLike[str],
    spec: DemoSpec | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Truth:
    """Image a volume with a made-up light-sheet microscope and write all files of the experiment.

    Parameters
    ----------
    folder
        The experiment folder; made where it does not exist.
    volume
        The truth: (Z, Y, X) or (C, Z, Y, X) uint16, or the path of a TIFF file.
    spec
        How it is imaged; voxel size and number of channels are taken from here.
    overwrite
        Whether an experiment that was made before may be replaced.
    progress
        Called after each image with the number of images done, their total, and the image.

    Returns
    -------
    Truth
        Where every view lies, as the metadata says and in truth; also in `truth/transforms.json`.

    Raises
    ------
    ConfigError
        The folder holds something else, the volume has the wrong form, or the tiles do not fit.
    OutputError
        The folder cannot be written.
    """
    spec = spec or DemoSpec()
    array = volume if isinstance(volume, np.ndarray) else load_volume(volume).volume
    colours = _colours(array, spec)
    shape = shape3(colours[0].shape)
    shots = _plan_shots(shape, spec)
    root = Path(folder)
    check_folder(root, overwrite=overwrite)
    _clear(root)
    truth = Truth(
        folder=str(root),
        shape=shape,
        spacing_um=spec.spacing_um,
        volume_to_world=volume_to_world(shape, spec.spacing_um),
        views=tuple(_true_view(shot, spec) for shot in shots),
    )
    _begin(root, spec)
    for done, (number, image) in enumerate(_take_images(shots, truth, colours, spec), 1):
        _write_image(root / truth.views[number].file, image, shots[number])
        if progress is not None:
            progress(done, len(shots), truth.views[number].id)
    _finish(truth, colours)
    return truth


def small_experiment(
    folder: str | os.PathLike[str],
    *,
    shape: Shape = (24, 60, 72),
    kind: str = "band-limited",
    **options: Any,
) -> Truth:
    """A quick experiment for tests; `options` are those of `DemoSpec`, tiles 1 × 2 by default.

    The content is the phantom of this kind (see `luxdask.testing.phantoms`), one per channel.
    """
    spec = replace(DemoSpec(tiles=(1, 2), overlap=0.3), **options)
    return write_experiment(folder, phantom_colours(kind, shape, spec), spec)


def phantom_colours(kind: str, shape: Shape, spec: DemoSpec) -> NDArray[np.uint16]:
    """The truth (C, Z, Y, X) of a synthetic sample, each channel with content of its own."""
    return np.stack(
        [
            phantom(kind, shape, seed=spec.seed, spacing_um=spec.spacing_um, stain=stain)
            for stain in range(spec.channels)
        ]
    )


def _colours(volume: NDArray[np.uint16], spec: DemoSpec) -> tuple[NDArray[np.uint16], ...]:
    if volume.dtype != np.uint16 or volume.ndim not in (3, 4) or 0 in volume.shape:
        raise ConfigError(
            f"volume: shape {volume.shape} of {volume.dtype} given; "
            "a (Z, Y, X) or (C, Z, Y, X) array of uint16 is needed"
        )
    if volume.ndim == 3:
        return (volume,)
    if len(volume) != spec.channels:
        raise ConfigError(f"volume has {len(volume)} channels, but channels = {spec.channels}")
    return tuple(volume)


def _plan_shots(shape: Shape, spec: DemoSpec) -> list[Shot]:
    poses = plan_poses(shape, spec)
    return [
        _shot(t, channel, pm, pose, spec)
        for t, channel, pm, pose in product(
            spec.time_names, spec.channel_names, spec.pm_names, poses
        )
    ]


def _shot(time_point: int, channel: str, pm: str | None, pose: Pose, spec: DemoSpec) -> Shot:
    lights = ("front", "back")
    return Shot(
        id=ViewId(time_point, channel, pose.stack, pose.objective, pose.camera, pm),
        pose=pose,
        lights=(lights[int(channel) % 2],) if spec.single_sided else lights,
        channel_description=spec.description(channel),
        colour=int(channel) // spec.sides,
    )


def _true_view(shot: Shot, spec: DemoSpec) -> TrueView:
    pose = shot.pose
    direction = np.array(rotation(pose.angle_deg).linear) @ pose.detection_direction
    return TrueView(
        id=shot.id,
        file=_file_name(shot),
        shape=pose.shape,
        spacing_um=pose.spacing_um,
        view_to_world=pose.view_to_world,
        true_view_to_world=drift(spec, shot.id.time_point)
        @ pose.true_view_to_world
        @ colour_error(spec, shot.colour),
        angle_deg=pose.angle_deg,
        colour=shot.colour,
        detection_direction=vector(direction),
        illuminations=shot.lights,
    )


def _file_name(shot: Shot) -> str:
    view = shot.id
    channel = f"{view.channel}-{shot.channel_description}".removesuffix("-")
    stack = f"stack_{view.stack}_channel_{channel}_obj_{view.objective}"
    if view.pm is not None:
        stack += f"_pm_{view.pm}"
    return f"raw/{stack}/Cam_{view.camera}_{view.time_point:05d}.lux.h5"


def _take_images(
    shots: list[Shot], truth: Truth, colours: tuple[NDArray[np.uint16], ...], spec: DemoSpec
) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """(number of the shot, image); what several shots see alike is computed once."""
    world_to_volume = truth.volume_to_world.inverse()
    alike: dict[tuple[int, Pose, Affine], list[int]] = {}
    for number, (shot, view) in enumerate(zip(shots, truth.views, strict=True)):
        key = (view.colour, shot.pose, world_to_volume @ view.true_view_to_world)
        alike.setdefault(key, []).append(number)
    for (colour, pose, view_to_volume), numbers in alike.items():
        seen = colours[colour if len(colours) > 1 else 0]
        formed = form_image(seen, pose, view_to_volume, spec)
        for number in numbers:
            exposure = _exposure(shots[number], number, spec)
            yield number, expose(formed, pose, exposure, spec, truth.shape)


def _exposure(shot: Shot, number: int, spec: DemoSpec) -> Exposure:
    return Exposure(
        brightness=(1 - spec.bleaching) ** shot.id.time_point,
        light=sum({"front": 1, "back": -1}[light] for light in shot.lights),
        noise_seed=(spec.seed, 20, number) if spec.noise else None,
    )


def _write_image(path: Path, image: NDArray[np.uint16], shot: Shot) -> None:
    """Under the name that the microscope uses for unfinished files, until it is complete."""
    metadata = json.dumps(image_metadata(shot), indent=1, ensure_ascii=False)
    unfinished = path.with_name(path.name + ".part")
    writer = LuxWriter(str(unfinished), shot.pose.shape, shot.pose.spacing_um, metadata=metadata)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer.create()
        writer.write(0, (0, 0, 0), image)
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        sidecar_path(str(path)).unlink(missing_ok=True)
        if isinstance(error, OutputError) or not isinstance(error, OSError):
            raise
        raise OutputError(f"{path}: cannot write the image: {error}") from error


def check_folder(folder: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raise `ConfigError` for a folder that holds something that must not be replaced."""
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root}: is a file; give a folder that is empty or does not exist")
    content = {p.name for p in root.iterdir()} - _IGNORED if root.exists() else set()
    if not content:
        return
    if not _is_ours(root):
        raise ConfigError(
            f"{root}: the folder is not empty and was not made by luxdask ({len(content)} entries, "
            f"for example {min(content)!r}); give a folder that is empty or does not exist"
        )
    if not overwrite:
        raise ConfigError(
            f"{root}: an experiment made by luxdask lies here already; "
            "give another folder, or allow replacing it (--force, overwrite=True)"
        )


def _is_ours(root: Path) -> bool:
    try:
        return bool(json.loads((root / _MARK).read_text("utf-8"))["made_by"] == _MADE_BY)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _clear(root: Path) -> None:
    """Remove what was made before, nothing else: `processed` and foreign files stay."""
    try:
        (root / _MAIN).unlink(missing_ok=True)
        if (root / "raw").exists():
            shutil.rmtree(root / "raw")
        for name in (VOLUME, TRANSFORMS):
            (root / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{root}: cannot remove the old experiment: {error}") from error


def _begin(root: Path, spec: DemoSpec) -> None:
    """Mark the folder as ours before anything else is written."""
    try:
        (root / "truth").mkdir(parents=True, exist_ok=True)
        write_json(root / _MARK, {"made_by": _MADE_BY, "spec": asdict(spec)})
    except OSError as error:
        raise OutputError(f"{root}: cannot write here: {error}") from error


def _finish(truth: Truth, colours: tuple[NDArray[np.uint16], ...]) -> None:
    """Main file and truth; `transforms.json` comes last and says that all is complete."""
    from luxdask.io.main_lux import write_main_lux

    root = Path(truth.folder)
    write_main_lux(root / _MAIN, [model_view(truth, view) for view in truth.views], prefix="raw")
    try:
        write_volume(truth.volume_path, colours, truth.spacing_um)
        write_json(root / TRANSFORMS, truth_to_json(truth))
    except OSError as error:
        raise OutputError(f"{root}: cannot write the truth: {error}") from error
