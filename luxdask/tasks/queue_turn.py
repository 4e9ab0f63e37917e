"""Whose turn it is: the next task of the queue that may begin beside those that run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError
from luxdask.tasks.queue_gpus import choose_gpu, has_room, wants_gpu
from luxdask.tasks.queue_steps import settings_of
from luxdask.tasks.queue_task import QUEUING, RUNNING, QueuedTask, held_reason

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Turn:
    """A task that may begin now, and the GPU that it gets."""

    task: QueuedTask
    device: str | None


def next_turn(
    tasks: Sequence[QueuedTask], gpus: Sequence[str] = (), limit: int | None = None
) -> Turn | None:
    """The first task of the queue that may begin; None where all have to wait.

    tasks : all tasks of the list, the queue in its order.
    limit : most tasks at a time; None: one per GPU, else one.
    """
    by_id = {task.id: task for task in tasks}
    devices = [task.device for task in tasks if task.state == RUNNING]
    for task in tasks:
        if task.state != QUEUING or held_reason(task, by_id) is not None:
            continue
        gpu = bool(gpus) and _wants_gpu(task)
        if has_room(gpu=gpu, running=devices, limit=limit, n_gpus=len(gpus)):
            return Turn(task, choose_gpu(gpus, devices) if gpu else None)
    return None


def _wants_gpu(task: QueuedTask) -> bool:
    try:
        return wants_gpu(settings_of(task))
    except ConfigError:  # it fails with this error when it begins
        return False
