"""A registration in its task folder: links as they come, transforms, tables and pictures."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from luxdask.errors import LuxdaskError
from luxdask.graph.overlaps import overlap_images
from luxdask.io.json_file import write_json
from luxdask.io.link_log import LinkLog, keep_links, read_link_log
from luxdask.io.registration_csv import CSV_NAME, write_links_csv
from luxdask.io.registration_file import write_corrections, write_links
from luxdask.io.static_transforms import STATIC_NAME, StaticTransform, write_static
from luxdask.model.links import KINDS
from luxdask.model.registrations import Correction
from luxdask.report.pairs_picture import OverlapPicture
from luxdask.report.registration import write_registration_pictures
from luxdask.report.registration_stage import choose_links
from luxdask.tasks.chunk_inputs import pair_inputs
from luxdask.tasks.registration import key_of, measure, solve
from luxdask.tasks.stages import require_complete

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from threading import Event

    from luxdask.cluster.backend import Backend
    from luxdask.cluster.events import Progress
    from luxdask.graph.registration import PlannedRegistration
    from luxdask.model.corrections import Corrections
    from luxdask.model.links import Kind, Link
    from luxdask.tasks.folder import TaskFolder
    from luxdask.tasks.registration_result import Registration

log = logging.getLogger(__name__)

PAIR_INPUTS = "registration/inputs.json"
"""Checksums of what the pairs were measured with."""


def register_in_folder(
    planned: PlannedRegistration,
    folder: TaskFolder,
    backend: Backend,
    stop: Event,
    tell: Callable[[Progress], None],
    root: str,
) -> Registration:
    """Measure what is not measured yet, solve, and write all files of the registration.

    root : the experiment's folder.
    Raises `TaskStopped` after a stop; links that were measured by then are kept.
    """
    done = _still_valid(planned, folder, root)
    with LinkLog(folder.path) as kept:
        links = measure(planned.jobs, backend, stop, tell, done=done, keep=kept.add)
    require_complete(links is not None, folder)
    assert links is not None
    registration = replace(solve(planned, links), folder=folder.path)
    write_registration(registration)
    return registration


def _still_valid(planned: PlannedRegistration, folder: TaskFolder, root: str) -> list[Link]:
    """The links of an earlier run whose pairs are what they were then; others are forgotten."""
    path = folder.path / PAIR_INPUTS
    inputs = pair_inputs(planned.jobs, root)
    found = [link for link in read_link_log(folder.path) if link.status != "unreadable"]
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a new task, or one of an older version
        before = inputs
    names = {key_of(job.pair): str(job.pair) for job in planned.jobs}
    wanted = ((link, names.get(key_of(link))) for link in found)
    kept = [link for link, name in wanted if name and before.get(name) == inputs[name]]
    if inputs != before or not path.exists():
        keep_links(folder.path, kept)
        write_json(path, inputs, durable=True)
    return kept


def write_registration(registration: Registration) -> None:
    """Write transforms, table and pictures into the registration's folder."""
    folder = registration.folder
    assert folder is not None
    links = (*registration.links, *registration.direct.values())
    write_links(folder, links)
    write_corrections(folder, _corrections(registration))
    if registration.corrections.optics:
        write_static(folder / STATIC_NAME, _statics(registration.corrections))
    write_links_csv(folder / CSV_NAME, links)
    draw_registration(registration, folder)


def _corrections(registration: Registration) -> Iterator[Correction]:
    """Final corrections by stack and time point."""
    found = registration.corrections
    is_turned = all(link.kind != "tiles" for link in registration.links)
    kind: Kind = "rotation" if is_turned else "tiles"
    for stack, transform in found.stacks.items():
        yield Correction(
            transform,
            kind,
            time_point=None if found.all_times is not None else stack.time_point,
            channel=stack.channel or None,
            stack=stack.stack,
        )
    for time_point, transform in found.times.items():
        yield Correction(transform, "time_points", time_point=time_point)
    for view, transform in found.direct.items():
        yield Correction.of_view(view, transform)


def _statics(found: Corrections) -> Iterator[StaticTransform]:
    for optics, prepend in found.optics.items():
        yield StaticTransform(optics.objective, optics.channel, optics.camera, prepend)


def draw_registration(registration: Registration, folder: Path) -> None:
    """Leave a picture per stage; a finished registration never fails for it."""
    try:
        write_registration_pictures(
            folder,
            registration.views,
            registration.links,
            registration.transforms,
            _overlaps(registration),
        )
    except (LuxdaskError, OSError) as error:
        log.warning("no picture of the registration could be drawn: %s", error)


def _overlaps(registration: Registration) -> dict[Kind, list[OverlapPicture]]:
    found: dict[Kind, list[OverlapPicture]] = defaultdict(list)
    for kind in KINDS:
        for word, link in choose_links(registration.links, kind):
            try:
                picture = _overlap(registration, word, link)
            except LuxdaskError as error:
                log.warning("no picture of %s: %s", link, error)
                continue
            if picture.fixed.size:
                found[kind].append(picture)
    return found


def _overlap(registration: Registration, word: str, link: Link) -> OverlapPicture:
    by_id = registration.by_id
    where = registration.transforms
    spacing_um, images = overlap_images(
        link, by_id[link.fixed], by_id[link.moving], where[link.fixed], where[link.moving]
    )
    residual = "" if link.residual_um is None else f", residual {link.residual_um:.3f} µm"
    return OverlapPicture(f"{word}: {link.moving} on {link.fixed}{residual}", spacing_um, *images)
