"""The order of the queue: places are counted from 1, among the tasks that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luxdask.errors import ConfigError
from luxdask.tasks.queue_rows import read_tasks, update_task
from luxdask.tasks.queue_task import QUEUING, RUNNING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence


def moved(order: Sequence[int], number: int, to: int | None, by: int | None) -> list[int]:
    """The order with one task at another place."""
    if (to is None) == (by is None):
        raise ConfigError(f"task {number}: say either to which place it moves, or by how many")
    if to is not None and to < 1:
        raise ConfigError(f"task {number}: given place {to}; the first place of the queue is 1")
    others = [n for n in order if n != number]
    place = order.index(number) + by if by is not None else (to or 1) - 1
    place = min(max(place, 0), len(others))
    return [*others[:place], number, *others[place:]]


def move_tasks(
    connection: sqlite3.Connection, number: int, *, to: int | None, by: int | None
) -> None:
    """Move a task that waits.

    Tasks that run stay before all others: where they are stopped with the queue, they go on first.
    """
    tasks = read_tasks(connection)
    running = [task.id for task in tasks if task.state == RUNNING]
    waiting = [task.id for task in tasks if task.state == QUEUING]
    order = [*running, *moved(waiting, number, to, by)]
    for position, one in enumerate(order, start=1):
        update_task(connection, one, position=position)
