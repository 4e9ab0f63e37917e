"""Run a planned registration: measure the pairs, then solve."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from luxdask.cluster.events import Progress
from luxdask.cluster.execute import execute
from luxdask.graph.registration import pair_tasks
from luxdask.registration.assemble import assemble
from luxdask.tasks.registration_result import Registration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from threading import Event

    from dask.task_spec import Task

    from luxdask.cluster.backend import Backend
    from luxdask.graph.registration import PairJob, PlannedRegistration
    from luxdask.model.links import Kind, Link
    from luxdask.model.view import ViewId

log = logging.getLogger(__name__)

STAGE = "registration"

PairKey = tuple["Kind", "ViewId", "ViewId"]
"""What tells pairs apart: kind, fixed and moving view."""


def measure(
    jobs: Sequence[PairJob],
    backend: Backend,
    stop: Event,
    tell: Callable[[Progress], None],
    *,
    done: Iterable[Link] = (),
    keep: Callable[[Link], None] = lambda _: None,
) -> tuple[Link, ...] | None:
    """The links of all pairs, in their order; None where it was stopped before the end.

    done : links that an earlier run has measured.
    keep : called with each new link, so that it is not measured again after a stop.
    """
    found = {key_of(link): link for link in done}
    wanted = {key_of(job.pair) for job in jobs}
    found = {key: link for key, link in found.items() if key in wanted}
    missing = [job for job in jobs if key_of(job.pair) not in found]
    before, began = len(found), time.monotonic()

    def progress() -> Progress:
        seconds = time.monotonic() - began
        return Progress(STAGE, len(found), len(jobs), seconds=seconds, done_before=before)

    def finished(link: Link) -> list[Task]:
        found[key_of(link)] = link
        keep(link)
        tell(progress())
        return []

    tell(progress())
    complete = execute(
        pair_tasks(missing),
        backend,
        finished,
        stop,
        _describe,
        waiting=lambda text: tell(replace(progress(), waiting=text)),
    )
    if not complete:
        return None
    return tuple(found[key_of(job.pair)] for job in jobs)


def key_of(pair: object) -> PairKey:
    """Identity of a pair or link."""
    return pair.kind, pair.fixed, pair.moving  # type: ignore[attr-defined]


def _describe(task: Task) -> str:
    (job,) = task.args
    return f"registration of {job.pair}"


def solve(planned: PlannedRegistration, measured: Sequence[Link]) -> Registration:
    """The global optimisation of measured and known links, and what follows for each view."""
    found = assemble(
        planned.views,
        planned.reference,
        planned.rules,
        (*measured, *planned.known),
        direct=planned.direct,
        threshold=planned.threshold,
    )
    registration = Registration(
        planned.views,
        found.links,
        found.corrections,
        planned.reference,
        found.unlinked,
        (*planned.notes, *found.warnings),
        planned.direct,
    )
    log.info("registration: %s", registration)
    for warning in registration.warnings:
        log.warning("%s", warning)
    return registration
