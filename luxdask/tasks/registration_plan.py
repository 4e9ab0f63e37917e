"""From settings and views to a planned registration: what is measured, and what is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError
from luxdask.graph.registration import PairRules, PlannedRegistration, plan_pairs
from luxdask.io.landmark_file import find_landmark_file, read_landmarks
from luxdask.io.stored_registrations import read_registrations
from luxdask.model.precedence import channels_are_tied, nodes_of, without_landmarks
from luxdask.model.reuse import in_other_channels, reusable_links
from luxdask.model.select import resolve_reference
from luxdask.model.stages import StageRules, content_pairs, stack_views
from luxdask.registration.landmark_pairs import differences
from luxdask.registration.landmarks import LandmarkPlan, landmark_links

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luxdask.model.experiment import Experiment
    from luxdask.model.links import Link, Pair
    from luxdask.model.registrations import StoredRegistration
    from luxdask.model.view import ViewId
    from luxdask.tasks.config import TaskConfig


_TIED_CHANNELS = (
    "registration.tiles.register_channels: landmarks align the channels with each other, so that "
    "contents are compared in the Reference's channel only, for all channels"
)


STACKS_NAMED = 10


def stage_rules(config: TaskConfig) -> StageRules:
    """Which stages a task has."""
    r = config.registration
    optics, tiles = r.objective_camera, r.tiles
    return StageRules(
        objectives=optics.enabled and optics.different_objectives,
        cameras=optics.enabled and optics.different_cameras,
        tiles=tiles.enabled,
        rotations=r.rotation.enabled,
        time_points=r.time_points.enabled,
        different_channels=tiles.register_channels == "RegisterDifferentChannels",
        one_time_point=r.use_reference_time_point_for_all,
        prealigned=r.rotation.views_are_prealigned,
    )


def pair_rules(config: TaskConfig) -> PairRules:
    """How a task measures its pairs."""
    r = config.registration
    return PairRules(
        model=r.transform_model,
        maximum_translation_um=r.tiles.maximum_translation_um,
        prealigned=r.rotation.views_are_prealigned,
        fine=r.fine_alignment,
        background=r.subtract_background,
    )


def plan_registration(
    config: TaskConfig, chosen: Experiment, experiment: Experiment
) -> PlannedRegistration:
    """Pairs, landmark links and links of another task; reads no voxel.

    chosen : the selected views.
    experiment : all views; landmarks of those that are not selected are passed over.
    Raises `ConfigError` and the like where the landmark file or the other task cannot be used.
    """
    reference = resolve_reference(chosen, config.input.reference.to_reference())
    rules = stage_rules(config)
    stored = _stored(config)
    known, direct, notes = _by_landmarks(config, chosen, experiment, reference, stored)
    if rules.different_channels and channels_are_tied(known, chosen.channels):
        rules = replace(rules, different_channels=False)
        notes.append(_TIED_CHANNELS)
    pairs = content_pairs(chosen.views, reference, rules)
    pairs = without_landmarks(pairs, known, rules, reference)
    match_channel = config.registration.reuse.match_channel
    reused: dict[Pair, Link] = {}
    if stored is not None:
        reused, said = reusable_links(stored, pairs, match_channel=match_channel)
        notes += said
    known += reused.values()
    jobs = plan_pairs([p for p in pairs if p not in reused], chosen.by_id, pair_rules(config))
    outliers = config.registration.tiles.remove_outliers
    return PlannedRegistration(
        chosen.views,
        reference,
        rules,
        jobs,
        tuple(known),
        direct,
        outliers.cost_threshold if outliers.mode != "Off" else None,
        (
            *notes,
            *_left_out(chosen, reference, rules),
            *_nothing_to_do(config, jobs, known, direct),
        ),
    )


def _left_out(chosen: Experiment, reference: ViewId, rules: StageRules) -> tuple[str, ...]:
    """Stacks that no image of the reference's optics stands for."""
    if not (rules.tiles or rules.rotations):
        return ()
    there = {node.stack for node in stack_views(chosen.views, reference, rules)}
    missing = [stack for stack in chosen.stacks if stack not in there]
    if not missing:
        return ()
    more = f" and {len(missing) - STACKS_NAMED} more" if len(missing) > STACKS_NAMED else ""
    return (
        f"stacks {', '.join(missing[:STACKS_NAMED])}{more} have no image of the reference's "
        f"objective, camera{'' if rules.different_channels else ', channel'} and PM id "
        f"({reference}), so they keep the place of their metadata; choose another input.reference",
    )


def _by_landmarks(
    config: TaskConfig,
    chosen: Experiment,
    experiment: Experiment,
    reference: ViewId,
    stored: StoredRegistration | None,
) -> tuple[list[Link], dict[ViewId, Link], list[str]]:
    """Links by landmarks of this task, then of the other one; those of single images; notes."""
    plan = _landmarks(config, chosen, experiment, reference) or LandmarkPlan(reference)
    known, direct = list(plan.links), dict(plan.direct)
    if stored is not None:
        match_channel = config.registration.reuse.match_channel
        kept = _stored_landmarks(stored, chosen, reference, match_channel=match_channel)
        _add_stored_landmarks(kept, known, direct, stage_rules(config))
    return known, direct, list(plan.notes)


def _landmarks(
    config: TaskConfig, chosen: Experiment, experiment: Experiment, reference: ViewId
) -> LandmarkPlan | None:
    if not config.registration.landmarks.enabled:
        return None
    path = find_landmark_file(experiment, config.input.landmarks_file)
    if path is None:
        raise ConfigError(
            "registration.landmarks.enabled: there is no landmarks.lmk.json beside the images or "
            f"in {chosen.root}; put it there, name it in input.landmarks_file, or switch "
            "registration.landmarks off"
        )
    return landmark_links(chosen.views, read_landmarks(path, experiment), reference)


def _stored(config: TaskConfig) -> StoredRegistration | None:
    folder = config.registration.reuse.task_folder
    return None if folder is None else read_registrations(folder)


def _stored_landmarks(
    stored: StoredRegistration,
    chosen: Experiment,
    reference: ViewId,
    *,
    match_channel: bool,
) -> list[Link]:
    """Links by landmarks that the other task had, between images of this one.

    They stay links by landmarks, so that a task that reuses this one finds them as well.
    """
    links = [link for link in stored.links if link.source == "landmarks" and link.is_trusted]
    if not match_channel:
        links = in_other_channels(links, chosen.channels, reference.channel)
    return [
        replace(link, residual_um=None, cost=None)
        for link in links
        if link.fixed in chosen.by_id and link.moving in chosen.by_id
    ]


def _add_stored_landmarks(
    stored: Sequence[Link], known: list[Link], direct: dict[ViewId, Link], rules: StageRules
) -> None:
    """Add links of another task where this one has no landmarks itself."""
    taken = {nodes_of(link, rules) for link in known}
    for link in stored:
        if len(differences(link.fixed, link.moving)) > 1:
            direct.setdefault(link.moving, link)
        elif nodes_of(link, rules) not in taken:
            known.append(link)


def _nothing_to_do(
    config: TaskConfig, jobs: Sequence[object], known: Sequence[object], direct: object
) -> tuple[str, ...]:
    if jobs or known or direct:
        return ()
    rules = stage_rules(config)
    on = [
        key
        for key, value in (
            ("objective_camera", rules.objectives or rules.cameras),
            ("tiles", rules.tiles),
            ("rotation", rules.rotations),
            ("time_points", rules.time_points),
            ("landmarks", config.registration.landmarks.enabled),
        )
        if value
    ]
    if not on:
        return (
            "registration.enabled, but none of its stages: switch on registration.tiles, "
            "objective_camera, rotation, time_points or landmarks",
        )
    return (
        f"nothing to register ({', '.join(on)}): no two of the selected views can be compared, "
        "all views keep the transforms of their metadata",
    )
