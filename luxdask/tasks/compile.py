"""From settings and an opened experiment to a plan."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from luxdask.cluster.capacity import Capacity, capacity_of
from luxdask.errors import ConfigError, ExperimentNotFoundError, ImageFileError, MetadataError
from luxdask.graph.params import FusionParams
from luxdask.graph.plan import Plan, make_plan
from luxdask.graph.planned import plan_output
from luxdask.io import open_experiment
from luxdask.io.mtf import find_mtf, read_mtf
from luxdask.io.names import output_stems
from luxdask.io.roi_file import ROI_FILE, find_roi_file, read_rois
from luxdask.io.stored_registrations import existing_folder
from luxdask.model.bounding_box import Sampling
from luxdask.model.multi_transform import apply_mtf
from luxdask.model.outputs import Layout, missing_views, outputs_of
from luxdask.model.roi import apply_roi
from luxdask.model.same_grid import on_same_grid
from luxdask.model.select import resolve_reference, select_views
from luxdask.model.value_range import with_value_range
from luxdask.tasks.deconvolution import (
    check_objectives,
    deconvolution_notes,
    deconvolution_params,
)
from luxdask.tasks.flatfield import correction_notes, plan_corrections
from luxdask.tasks.plan_record import like_recorded, recorded_chunks
from luxdask.tasks.registration_plan import plan_registration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luxdask.graph.flatfield import PlannedCorrections
    from luxdask.graph.planned import PlannedOutput
    from luxdask.graph.registration import PlannedRegistration
    from luxdask.model.experiment import Experiment
    from luxdask.model.output import Output
    from luxdask.tasks.config import TaskConfig
    from luxdask.tasks.plan_record import PlanRecord
    from luxdask.tasks.registration_result import Registration

PROCESSED = "processed"
"""Folder of an experiment in which task folders are made."""

MEMORY_PART = 0.5
"""Part of the free memory that all tasks together may use."""


def select_inputs(config: TaskConfig, experiment: Experiment) -> Experiment:
    """The images that the task names, with its multi-transform file, cropped to its region.

    Raises `SelectionError` where a name matches nothing, `ConfigError` and the like where a file
    cannot be used.
    """
    return _with_roi(config, _whole_inputs(config, experiment), experiment)


def _whole_inputs(config: TaskConfig, experiment: Experiment) -> Experiment:
    chosen = select_views(experiment, config.input.select.to_selection())
    return _with_transforms(config, with_value_range(chosen, config.input.value_range))


def _with_roi(config: TaskConfig, chosen: Experiment, experiment: Experiment) -> Experiment:
    """Images cropped to a region; main files show images as they are."""
    wanted = config.input.roi
    if not wanted.label or config.input.only_create_main_files:
        return chosen
    path = find_roi_file(experiment, wanted.file)
    if path is None:
        raise ConfigError(
            f"input.roi.label: there is no {ROI_FILE} beside the images or in {chosen.root}; make "
            "one with `luxdask roi add`, name a file in input.roi.file, or set the label to null"
        )
    rois = read_rois(path, experiment)
    return apply_roi(chosen, rois, wanted.label, apply_to_all=wanted.apply_to_all)


def corrected_inputs(
    config: TaskConfig, experiment: Experiment
) -> tuple[Experiment, PlannedCorrections | None]:
    """The same images, whose voxels are corrected as they are read, and what has to be made first.

    Raises what `select_inputs` does, and `ConfigError` where corrections do not fit the images.
    """
    parent = output_parent(config, experiment)
    whole, corrections = plan_corrections(config, _whole_inputs(config, experiment), parent)
    return _with_roi(config, whole, experiment), corrections


def _with_transforms(config: TaskConfig, chosen: Experiment) -> Experiment:
    wanted = config.input.metadata.multi_transform
    if not wanted.enabled or config.input.only_create_main_files:
        return chosen
    path = find_mtf(chosen, wanted.file)
    if path is None:
        raise ConfigError(
            "input.metadata.multi_transform.enabled: there is no transforms.mtf.json beside the "
            f"images or in {chosen.root}; put it there, name a file in "
            "input.metadata.multi_transform.file, or switch it off"
        )
    return apply_mtf(chosen, read_mtf(path))


def compile_plan(
    config: TaskConfig,
    experiment: Experiment,
    recorded: PlanRecord | None = None,
    registration: Registration | None = None,
    capacity: Capacity | None = None,
    *,
    update: bool = False,
) -> Plan:
    """Outputs, chunks and jobs of a task; reads no voxel.

    recorded : how a stopped task was divided; its chunks are kept.
    update : the images may be others than those recorded; grids and chunks stay where they can.
    registration : where the views truly lie. Without it, a task that registers gets a plan of its
        pairs, with images as the metadata's transforms would give them.
    capacity : what the workers can do; by default those that `compute` names.
    Raises `SelectionError`, or `ConfigError` where a chunk needs more memory
    than a worker has, or the experiment is no longer that of the stopped task.
    """
    chosen, corrections = corrected_inputs(config, experiment)
    there = capacity or _capacity(config)
    slots = there.threads
    limit = config.compute.memory_limit_bytes or there.memory_bytes or _free_memory(config)
    parent = output_parent(config, experiment)
    pairs = _planned_registration(config, chosen, experiment) if registration is None else None
    if registration is not None:
        chosen = registration.apply(chosen)
    outputs, said = _like_reused(config, _outputs(config, chosen))
    parallel = slots * there.workers
    params = params_of(config)
    check_objectives(params, chosen.views)
    known = None if pairs else recorded
    planned = _planned(config, outputs, params, limit // slots, parallel, known, update=update)
    plan = Plan(
        planned,
        slots=parallel,
        copies=_copies(config),
        folder=str(parent),
        disk_free_bytes=free_disk(parent),
        notes=(
            *chosen.notes[len(experiment.notes) :],
            *missing_views(chosen.views),
            *_switched_off(config),
            *(pairs.notes if pairs else ()),
            *said,
            *deconvolution_notes(config, planned),
            *correction_notes(corrections),
            *((there.note,) if there.note else ()),
        ),
        registration=pairs,
        corrections=corrections,
    )
    _check_memory(plan.peak_bytes_per_task(), slots, limit)
    return plan


def _capacity(config: TaskConfig) -> Capacity:
    """What the workers can do, wherever they are; this process may run on a login node."""
    compute = config.compute
    return capacity_of(compute.cluster, compute.n_workers, compute.threads_per_worker)


def _switched_off(config: TaskConfig) -> tuple[str, ...]:
    """Registration that someone seems to want, but its main switch is off.

    objective_camera is not looked at: automatic defaults prepare it for later.
    """
    r = config.registration
    if r.enabled or config.input.only_create_main_files:
        return ()
    named = {
        "tiles.enabled": r.tiles.enabled,
        "rotation.enabled": r.rotation.enabled,
        "time_points.enabled": r.time_points.enabled,
        "landmarks.enabled": r.landmarks.enabled,
        "reuse.task_folder": r.reuse.task_folder is not None,
    }
    given = [f"registration.{key}" for key, wanted in named.items() if wanted]
    if not given:
        return ()
    return (f"nothing is registered: registration.enabled is off ({', '.join(given)} set)",)


def _planned_registration(
    config: TaskConfig, chosen: Experiment, experiment: Experiment
) -> PlannedRegistration | None:
    if not config.registration.enabled or config.input.only_create_main_files:
        return None
    return plan_registration(config, chosen, experiment)


def _outputs(config: TaskConfig, chosen: Experiment) -> tuple[Output, ...]:
    if config.input.only_create_main_files or not config.fusion.enabled:
        return ()
    reference = resolve_reference(chosen, config.input.reference.to_reference())
    return outputs_of(chosen.views, layout_of(config), chosen.by_id[reference])


def _like_reused(
    config: TaskConfig, outputs: Sequence[Output]
) -> tuple[Sequence[Output], tuple[str, ...]]:
    """Images of other channels lie on the voxels of those of the task whose links are reused.

    So both can be shown as channels of one file: Imaris wants equal sizes and places.
    """
    reuse = config.registration.reuse
    registers = config.registration.enabled and not config.input.only_create_main_files
    if reuse.task_folder is None or reuse.match_channel or not registers or not outputs:
        return outputs, ()
    try:
        images = open_experiment(existing_folder(Path(reuse.task_folder).expanduser())).views
    except (ExperimentNotFoundError, MetadataError, ImageFileError):
        return outputs, ()  # that task has left no images
    found, has_moved = on_same_grid(outputs, images)
    if not has_moved:
        return outputs, ()
    return found, (f"images take the grid of those in {reuse.task_folder}, voxel on voxel",)


def _planned(
    config: TaskConfig,
    outputs: Sequence[Output],
    params: FusionParams,
    limit_bytes: int,
    slots: int,
    recorded: PlanRecord | None,
    *,
    update: bool,
) -> tuple[PlannedOutput, ...]:
    plan = partial(
        make_plan,
        params=params,
        chunk_vx=config.compute.chunk_vx,
        limit_bytes=limit_bytes,
        slots=slots,
    )
    if recorded is None:
        return plan(outputs)
    names = output_stems(outputs)
    if update:
        outputs, chosen = like_recorded(outputs, names, recorded.images)
        return plan(outputs, chosen=chosen)
    chunks = recorded_chunks(outputs, names, recorded.images)
    return tuple(
        plan_output(output, params, name, chunk)
        for output, name, chunk in zip(outputs, names, chunks, strict=True)
    )


def _copies(config: TaskConfig) -> int:
    """How often each voxel is stored."""
    output = config.output
    return len({"lux", "ome-zarr"} & set(output.formats)) + (output.imaris == "copy")


def layout_of(config: TaskConfig) -> Layout:
    """Which views become which images."""
    output, sampling = config.output, config.output.sampling
    return Layout(
        mode=output.bounding_boxes,
        sampling=Sampling(sampling.depth, sampling.height, sampling.width, sampling.isotropic),
        fuse_cameras=config.fusion.fuse_different_cams,
        merge_channels=config.fusion.merge_all_channels,
        views_separately=output.views_separately,
        full_chunks_only=config.fusion.load_only_full_chunks,
    )


def params_of(config: TaskConfig) -> FusionParams:
    """How views are combined."""
    fusion = config.fusion
    quality = fusion.image_quality_weighting
    return FusionParams(
        interpolation=fusion.interpolation,
        blend=fusion.blending.enabled,
        blend_width_um=fusion.blending.width_um,
        quality_strength=quality.strength if quality.enabled else None,
        half_intensity=fusion.half_intensity,
        device=config.compute.device,
        deconvolution=deconvolution_params(fusion.deconvolution) if fusion.enabled else None,
    )


def output_parent(config: TaskConfig, experiment: Experiment) -> Path:
    """The folder in which task folders are made."""
    if config.output.folder is not None:
        return Path(config.output.folder).expanduser().resolve()
    return Path(experiment.root) / PROCESSED


def free_disk(folder: Path) -> int | None:
    """Free bytes where a folder lies or will be made; None where unknown."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            try:
                return shutil.disk_usage(place).free
            except OSError:
                return None
    return None


def _free_memory(config: TaskConfig) -> int:
    free = int(psutil.virtual_memory().available * MEMORY_PART)
    return max(free // (config.compute.n_workers or 1), 1 << 28)


def _check_memory(peak: int, slots: int, limit: int) -> None:
    if peak * slots <= limit:
        return
    raise ConfigError(
        f"one chunk needs up to {peak / 1e6:.0f} MB, {slots} at a time need "
        f"{peak * slots / 1e6:.0f} MB, but a worker has {limit / 1e6:.0f} MB. Make "
        "compute.chunk_vx smaller (or null), lower compute.threads_per_worker, or raise "
        "compute.memory_limit."
    )
