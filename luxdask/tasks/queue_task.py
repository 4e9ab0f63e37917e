"""A task of the queue: what is known of it, and what each state allows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

NEW, QUEUING, RUNNING = "New", "Queuing", "Running"
STOPPED, FAILED, COMPLETED = "Stopped", "Failed", "Completed"
STATES = (NEW, QUEUING, RUNNING, STOPPED, FAILED, COMPLETED)
ENDED = (STOPPED, FAILED, COMPLETED)

ALLOWED = {
    "start": (NEW, STOPPED, FAILED),
    "resume": (STOPPED,),
    "stop": (QUEUING, RUNNING),
    "set": (NEW, QUEUING, FAILED),
    "move": (QUEUING,),
    "remove": (NEW, QUEUING, STOPPED, FAILED, COMPLETED),
}
"""The states in which each action is possible."""

_WHY = {
    ("start", QUEUING): "it is in the queue already",
    ("start", RUNNING): "it runs already",
    (
        "start",
        COMPLETED,
    ): "a completed task cannot run again; make a new one: luxdask queue copy {}",
    ("resume", NEW): "it has not run yet; put it into the queue: luxdask queue start {}",
    ("resume", QUEUING): "it is in the queue already",
    ("resume", RUNNING): "it runs already",
    ("resume", FAILED): "only a stopped task can go on; start it from zero: luxdask queue start {}",
    ("resume", COMPLETED): "it is done; make a new one: luxdask queue copy {}",
    ("set", RUNNING): "settings of a running task cannot change; copy it: luxdask queue copy {}",
    ("set", STOPPED): "settings of a stopped task cannot change, since it goes on with what it has "
    "written; copy it: luxdask queue copy {}",
    (
        "set",
        COMPLETED,
    ): "settings of a completed task cannot change; copy it: luxdask queue copy {}",
    ("move", NEW): "it has no place in the queue yet; put it in: luxdask queue start {}",
    ("remove", RUNNING): "it runs; stop it first: luxdask queue stop {}",
}


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """One task of the list.

    Attributes
    ----------
    id
        Number of the task in this queue; never given twice.
    state
        New, Queuing, Running, Stopped, Failed or Completed.
    position
        Order in the queue; smaller comes first.
    settings
        JSON text of the settings.
    source
        File or folder that the settings came from.
    cwd
        Folder from which relative paths in the settings start.
    after
        Tasks that must be completed before this one begins.
    reuse
        Task whose registration this one uses again.
    folder
        Task folder of the present run, under the name that it had when it was made.
    mark
        Process that runs the task: host, number, start time, boot of the machine.
    device
        GPU that the process was given (CUDA_VISIBLE_DEVICES).
    stopping
        Whether somebody has asked it to stop.
    deaths
        How often its process died since the user started it.
    error
        Why it failed, or why it was put aside.
    added, started, ended
        Times, as ISO text in UTC.
    """

    id: int
    state: str
    position: int
    settings: str
    source: str
    cwd: str
    after: tuple[int, ...] = ()
    reuse: int | None = None
    folder: str | None = None
    mark: Mapping[str, Any] | None = None
    device: str | None = None
    stopping: bool = False
    deaths: int = 0
    error: str | None = None
    added: str | None = None
    started: str | None = None
    ended: str | None = None

    @property
    def title(self) -> str:
        """Name and description by the settings, as far as they are given."""
        try:
            document = json.loads(self.settings)
            words = (document["name"], document["description"])
        except (KeyError, TypeError, ValueError):
            return ""
        return " ".join(str(word) for word in words if word)

    @property
    def needs(self) -> tuple[int, ...]:
        """Tasks that must be completed first, each once."""
        reuse = () if self.reuse is None else (self.reuse,)
        return tuple(dict.fromkeys((*self.after, *reuse)))


def require(action: str, task: QueuedTask) -> None:
    """Raise `ConfigError` where the task's state does not allow an action."""
    if task.state not in ALLOWED[action]:
        allowed = " or ".join(ALLOWED[action])
        why = _WHY.get((action, task.state), f"allowed for tasks that are {allowed}")
        raise ConfigError(f"task {task.id} is {task.state}: {why.format(task.id)}")
    if action == "set" and task.state == QUEUING and task.folder is not None:
        raise ConfigError(
            f"task {task.id} goes on in its folder when its turn comes, so its settings cannot "
            f"change; copy it: luxdask queue copy {task.id}"
        )


def held_reason(task: QueuedTask, by_id: Mapping[int, QueuedTask]) -> str | None:
    """Why a queuing task cannot begin yet; None where it can."""
    waits = None
    for number in task.needs:
        needed = by_id.get(number)
        state = "gone" if needed is None else needed.state
        if state in (QUEUING, RUNNING):
            waits = waits or f"waits for task {number}"
        elif state != COMPLETED:
            return f"held: needs task {number}, which is {state}"
    return waits
