"""What becomes of a task whose process has ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luxdask.tasks.folder import STATUS, TaskFolder, find_folder
from luxdask.tasks.queue_task import COMPLETED, FAILED, QUEUING, STOPPED

STOP_CODE = 130
MOST_DEATHS = 3
"""A task whose process died so often is put aside, and does not go on by itself."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended.

    Attributes
    ----------
    code
        Exit code; negative for the signal that killed it; None where nobody knows.
    folder_state
        State by the name of the task folder; None without a folder.
    asked
        Whether the user has asked the task to stop.
    queue_stops
        Whether the queue itself was stopping.
    rebooted
        Whether the machine was started again since.
    deaths
        How often a process of this task had died before.
    """

    code: int | None
    folder_state: str | None = None
    asked: bool = False
    queue_stops: bool = False
    rebooted: bool = False
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """State that follows, how often processes of the task have died, and what to tell."""

    state: str
    deaths: int = 0
    error: str | None = None


def outcome(ending: Ending) -> Outcome:
    """The state that follows from the end of a process.

    A task that its user stops is Stopped. One whose queue stops, whose process is killed, or whose
    machine goes down is Queuing again, before all others, and goes on in its folder.
    """
    code = ending.code
    if code == 0 or ending.folder_state == COMPLETED:
        return Outcome(COMPLETED)
    if code is not None and code > 0 and code != STOP_CODE:
        return Outcome(FAILED)
    if ending.asked:
        return Outcome(STOPPED)
    if ending.queue_stops or ending.rebooted:
        return Outcome(QUEUING, ending.deaths)
    if code is None or code < 0:
        return _died(ending)
    return Outcome(STOPPED)


def _died(ending: Ending) -> Outcome:
    if ending.folder_state == FAILED:
        return Outcome(FAILED)
    if ending.folder_state == STOPPED:
        return Outcome(STOPPED)
    deaths = ending.deaths + 1
    if deaths < MOST_DEATHS:
        return Outcome(QUEUING, deaths)
    how = "" if ending.code is None else f" (signal {-ending.code})"
    return Outcome(
        STOPPED,
        deaths,
        f"its process died {deaths} times{how}, perhaps for lack of memory; what it has done is "
        "kept, and it can be resumed",
    )


def folder_now(path: str | None) -> TaskFolder | None:
    """A task folder under the name that its state gives it now; None where there is none."""
    if path is None:
        return None
    found = find_folder(Path(path))
    return TaskFolder(found) if found.is_dir() else None


def read_status(found: TaskFolder | None) -> dict[str, Any]:
    """Content of the folder's `status.json`; empty where there is none."""
    if found is None:
        return {}
    try:
        document = json.loads((found.path / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
