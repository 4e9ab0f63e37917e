"""What corrects each image of a task: settings become jobs, images point at their layers."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError
from luxdask.graph.flatfield import (
    FlatJob,
    LayersJob,
    MeanJob,
    PixelValues,
    PlannedCorrections,
    hot_pixels,
    pixel_plane,
)
from luxdask.io import open_experiment
from luxdask.io.foreign_places import is_url
from luxdask.io.source_state import source_state
from luxdask.model.view import Correction
from luxdask.tasks.flatfield_match import correction_images, first_pixel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luxdask.model.experiment import Experiment
    from luxdask.model.view import Source, View
    from luxdask.tasks.config import TaskConfig

CACHE = "flatfield"
"""Folder beside the task folders that keeps mean projections and layers for other tasks."""

VERSION = 1
"""Changes when the same settings and images give other layers."""

_UNFIT = re.compile(r"[^\w.-]+")


def plan_corrections(
    config: TaskConfig, chosen: Experiment, parent: Path
) -> tuple[Experiment, PlannedCorrections | None]:
    """The experiment whose images are corrected as they are read, and what that needs.

    parent : the folder of task folders, beside which layers are kept.
    Raises `ConfigError` naming the setting where images or files do not fit together.
    """
    flat, pixels = config.input.flatfield, config.input.camera_pixels
    wanted = flat.enabled or pixels.enabled
    if not wanted or config.input.only_create_main_files:
        return chosen, None
    images = _opened(flat.correction_images) if flat.enabled else ()
    folder = _folder(parent)
    corrections: dict[Source, Correction] = {}
    jobs: list[LayersJob] = []
    for group in _groups(chosen.views):
        job = _job(config, group, images, folder, chosen.root)
        jobs.append(job)
        corrections |= {v.source: Correction(job.path, job.digest) for v in group}
    views = tuple(
        replace(v, source=replace(v.source, correction=corrections[v.source])) for v in chosen.views
    )
    return replace(chosen, views=views), PlannedCorrections(tuple(jobs), flat.save_layers)


def correction_notes(planned: PlannedCorrections | None) -> tuple[str, ...]:
    """What a plan says of its corrections."""
    flat = [job for job in planned.jobs if job.flat is not None] if planned else []
    if planned is None or not flat:
        return ()
    count = planned.n_means
    images = "1 image" if count == 1 else f"{count} images"
    layers = "1 layer" if len(flat) == 1 else f"{len(flat)} layers"
    return (f"flatfield: {layers} from the mean projections of {images}, which are read first",)


def _opened(paths: Sequence[str]) -> tuple[View, ...]:
    return tuple(view for path in paths for view in open_experiment(path).views)


def _folder(parent: Path) -> Path:
    if parent.name == "raw":
        raise ConfigError(
            f"output.folder: {parent} is a raw folder, beside whose images nothing is written; "
            "name another one"
        )
    return parent / CACHE


def _groups(views: Sequence[View]) -> list[list[View]]:
    """Images that share one correction: objective, camera, channel, and the pixels they show."""
    groups: dict[object, list[View]] = {}
    for view in views:
        i = view.id
        sides = (i.channel, i.objective, i.camera)
        key = (*sides, view.camera_frame, view.shape[1:], view.spacing_um[1:])
        groups.setdefault(key, []).append(view)
    return list(groups.values())


def _job(
    config: TaskConfig, group: Sequence[View], images: Sequence[View], folder: Path, root: str
) -> LayersJob:
    first = group[0]
    shape = (first.shape[1], first.shape[2])
    pixels = _pixel_values(config, first.id.camera)
    flat = _flat(config, group, images, folder, root)
    i = first.id
    name = _UNFIT.sub("-", f"ch-{i.channel}_obj-{i.objective}_cam-{i.camera}")
    job = LayersJob(name, "", "", first.camera_frame, shape, pixels, flat)
    _check_pixels(job)
    digest = _digest(job, root)
    return replace(job, path=str(folder / f"{name}.{digest}.layers.tiff"), digest=digest)


def _flat(
    config: TaskConfig, group: Sequence[View], images: Sequence[View], folder: Path, root: str
) -> FlatJob | None:
    settings, sample = config.input.flatfield, group[0]
    if not settings.enabled:
        return None
    used = correction_images(sample, images) if settings.correction_images else group
    is_robust = settings.method == "robust"
    may_be_there = bool(images) and not is_robust
    means = tuple(_mean(v, folder, root, may_be_there=may_be_there) for v in used)
    if is_robust:
        means = tuple(replace(m, samples=_samples_path(m.path)) for m in means)
    image = used[0]
    return FlatJob(
        means,
        image.camera_frame,
        (image.shape[1], image.shape[2]),
        settings.smoothing_kernel_px,
        settings.maximum_factor,
        first_pixel(sample, image),
        is_robust,
    )


def _mean(view: View, folder: Path, root: str, *, may_be_there: bool) -> MeanJob:
    """Where the mean projection of an image is, or will be: beside a correction image, or kept."""
    source = view.source
    stem = Path(source.path).name.removesuffix(".h5").removesuffix(".lux")
    beside = Path(source.path).with_name(f"{stem}.mean.z.tiff")
    if may_be_there and not is_url(source.path) and beside.is_file():
        return MeanJob(source, view.shape, str(beside))
    name = f"{_UNFIT.sub('-', stem)}.{_hash(_state(source, root))}.mean.z.tiff"
    return MeanJob(source, view.shape, str(folder / name))


def _samples_path(mean: str) -> str:
    return mean.removesuffix(".mean.z.tiff") + ".samples.tiff"


def _pixel_values(config: TaskConfig, camera: str) -> PixelValues:
    given = config.input.camera_pixels
    if not given.enabled:
        return PixelValues()
    offset, gain = (
        _of_camera(given.offset, "offset", camera),
        _of_camera(given.gain, "gain", camera),
    )
    if not isinstance(gain, str) and not gain > 0:
        raise ConfigError(f"input.camera_pixels.gain: {gain:g} given; it must be above zero")
    hot = given.hot_pixels
    hot = hot.get(camera) if isinstance(hot, dict) else hot
    return PixelValues(offset, gain, None if hot is None else str(_absolute(hot)))


def _of_camera(given: float | str | dict[str, float | str], key: str, camera: str) -> float | str:
    if not isinstance(given, dict):
        return _absolute(given)
    if camera not in given:
        raise ConfigError(
            f"input.camera_pixels.{key}: nothing for camera {camera}; there is "
            f"{', '.join(given) or 'nothing'}. Add it, or give one value for all cameras"
        )
    return _absolute(given[camera])


def _absolute(value: float | str) -> float | str:
    """Workers may run in another folder."""
    return str(Path(value).expanduser().resolve()) if isinstance(value, str) else value


def _check_pixels(job: LayersJob) -> None:
    """Read the camera's TIFFs before anything else, so that a wrong one is told at once."""
    frames = [(job.frame, job.shape)]
    if job.flat is not None:
        frames.append((job.flat.frame, job.flat.shape))
    for frame, shape in frames:
        for key in ("offset", "gain"):
            if isinstance(getattr(job.pixels, key), str):
                pixel_plane(getattr(job.pixels, key), key, frame, shape)
        hot_pixels(job.pixels, frame, shape)


def _digest(job: LayersJob, root: str) -> str:
    """Checksum of what the layers are made of; no place of this machine is part of it."""
    values = [_value_state(v) for v in (job.pixels.offset, job.pixels.gain, job.pixels.hot)]
    made_of: list[object] = [VERSION, job.frame, job.shape, values]
    flat = job.flat
    if flat is not None:
        means = [(_state(m.source, root), m.shape, _beside(m, root)) for m in flat.means]
        settings = (flat.size_px, flat.maximum_factor, flat.first, flat.is_robust)
        made_of += [sorted(map(repr, means)), settings, flat.shape, flat.frame]
    return _hash(repr(made_of))


def _beside(mean: MeanJob, root: str) -> object:
    """Size and date of a mean projection that came with the image."""
    return _value_state(mean.path) if Path(mean.path).parent.name != CACHE else None


def _value_state(value: float | str | None) -> object:
    if not isinstance(value, str):
        return value
    try:
        found = os.stat(value)
    except OSError:
        return value
    return Path(value).name, found.st_size, found.st_mtime_ns


def _state(source: Source, root: str) -> str:
    path = source.path if is_url(source.path) else os.path.relpath(source.path, root)
    return repr((path, source.inside, *source_state(source)))


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
