"""Tasks as rows of the queue's file."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import fields
from typing import Any

from luxdask.errors import ConfigError
from luxdask.tasks.queue_task import QUEUING, RUNNING, QueuedTask

_COLUMNS = tuple(f.name for f in fields(QueuedTask))


def read_tasks(connection: sqlite3.Connection) -> list[QueuedTask]:
    """All tasks: those that run, then the queue in its order, then the others by number."""
    rows = connection.execute("SELECT * FROM tasks").fetchall()
    return sorted((_task_of(row) for row in rows), key=_place)


def _place(task: QueuedTask) -> tuple[int, int, int]:
    if task.state == RUNNING:
        return 0, task.position, task.id
    return (1, task.position, task.id) if task.state == QUEUING else (2, 0, task.id)


def read_task(connection: sqlite3.Connection, number: int) -> QueuedTask:
    """One task; raises `ConfigError` naming those that exist where it is unknown."""
    row = connection.execute("SELECT * FROM tasks WHERE id = ?", (number,)).fetchone()
    if row is None:
        found = connection.execute("SELECT id FROM tasks ORDER BY id").fetchall()
        known = ", ".join(str(r["id"]) for r in found) or "none; the list is empty"
        raise ConfigError(f"no task {number} in this queue; there are: {known}")
    return _task_of(row)


def _task_of(row: sqlite3.Row) -> QueuedTask:
    values = {name: row[name] for name in _COLUMNS}
    try:
        values["after"] = tuple(int(n) for n in json.loads(values["after"]))
        values["mark"] = values["mark"] and dict(json.loads(values["mark"]))
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"task {row['id']}: {error}") from error
    return QueuedTask(**values | {"stopping": bool(values["stopping"])})


def insert_task(connection: sqlite3.Connection, **values: Any) -> int:
    """A new task; returns its number."""
    names = ", ".join(values)
    marks = ", ".join("?" * len(values))
    sql = f"INSERT INTO tasks ({names}) VALUES ({marks})"
    number = connection.execute(sql, _stored(values)).lastrowid
    assert number is not None
    return number


def update_task(connection: sqlite3.Connection, number: int, **values: Any) -> None:
    """Change some columns of a task."""
    names = ", ".join(f"{name} = ?" for name in values)
    connection.execute(f"UPDATE tasks SET {names} WHERE id = ?", (*_stored(values), number))


def _stored(values: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(
        json.dumps(v) if isinstance(v, (tuple, list, dict)) else v for v in values.values()
    )


def next_position(connection: sqlite3.Connection) -> int:
    """The place behind all others."""
    found = connection.execute("SELECT max(position) FROM tasks").fetchone()[0]
    return 1 + (found or 0)
