"""Who runs a queue: one runner at a time, which shows that it lives."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from luxdask.errors import ConfigError
from luxdask.tasks.queue_process import is_here, process_mark, runs_here

if TYPE_CHECKING:
    from collections.abc import Mapping

LOST_S = 120.0
"""A runner on another host that has not shown itself for so long is taken for dead."""


def read_runner(connection: sqlite3.Connection) -> Mapping[str, Any] | None:
    """Mark of the runner that works on this queue, or None where there is none that lives."""
    row = connection.execute("SELECT * FROM runner").fetchone()
    if row is None:
        return None
    mark = _mark_of_runner(row["mark"])
    alive = runs_here(mark) if is_here(mark) else time.time() - float(row["beat"]) < LOST_S
    return mark if alive else None


def _mark_of_runner(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"runner: {error}") from error


def claim_runner(connection: sqlite3.Connection, token: str) -> None:
    """Become the runner of this queue; raises `ConfigError` naming the one that there is."""
    there = read_runner(connection)
    if there is not None:
        raise ConfigError(
            f"this queue is run already by process {there.get('pid', '?')} on "
            f"{there.get('host', '?')}; tasks that you start are run by it. Stop it with: "
            "luxdask queue stop --runner"
        )
    connection.execute("DELETE FROM runner")
    connection.execute(
        "INSERT INTO runner (only, mark, token, beat) VALUES (1, ?, ?, ?)",
        (json.dumps(process_mark()), token, time.time()),
    )


def beat(connection: sqlite3.Connection, token: str) -> bool:
    """Show that the runner lives; False where another has taken its place."""
    sql = "UPDATE runner SET beat = ? WHERE token = ?"
    return connection.execute(sql, (time.time(), token)).rowcount == 1


def release_runner(connection: sqlite3.Connection, token: str) -> None:
    """Be the runner no more."""
    connection.execute("DELETE FROM runner WHERE token = ?", (token,))
