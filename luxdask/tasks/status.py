"""How a task folder stands, for people and scripts: from its name, `status.json` and its lock."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luxdask.errors import ConfigError
from luxdask.tasks.folder import CONFIG, STATUS, TaskFolder, find_folder, task_folders
from luxdask.tasks.lock import holder_of
from luxdask.tasks.watch import STOP_REQUEST

KILLED = "Killed"
"""State of a run that is no longer there, but has not ended its folder: it can be resumed."""

QUEUED = "Queuing"
"""State of a folder that no run has begun to work in."""

_TRIES = 5


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """How one task stands.

    Attributes
    ----------
    folder
        Where it lies now.
    state
        Queuing, Running, Stopped, Failed, Completed; or Killed, where the folder says Running, but
        no run works in it.
    resumable
        Whether ``luxdask run`` goes on in this folder (with ``--resume`` where it has failed).
    is_stopping
        Whether somebody has asked a running task to stop.
    stage, chunks_done, chunks_total, voxels_per_s, seconds_left
        Progress at `updated`; None where unknown.
    error
        Why it failed.
    host, pid
        The process that works in the folder, or worked last where it was killed.
    """

    folder: str
    state: str
    resumable: bool
    is_stopping: bool = False
    stage: str | None = None
    chunks_done: int | None = None
    chunks_total: int | None = None
    voxels_per_s: float | None = None
    seconds_left: float | None = None
    started: str | None = None
    updated: str | None = None
    error: str | None = None
    host: str | None = None
    pid: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing will change by itself."""
        return self.state not in ("Running", QUEUED)

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)


def read_status(path: str | Path) -> TaskStatus:
    """The status of a task folder, given by any name that it has or had.

    Raises `ConfigError` where there is no task folder.
    """
    for _ in range(_TRIES):
        folder = TaskFolder(find_folder(Path(path)).resolve())
        found = _status(folder)
        if folder.path.is_dir():  # else its run has renamed it meanwhile
            break
    if not (folder.path / CONFIG).is_file():
        raise ConfigError(
            f"{folder.path}: no task folder (no {CONFIG} in it); expected the folder of a task, or "
            "one that holds such folders"
        )
    return found


def _status(folder: TaskFolder) -> TaskStatus:
    written = _written(folder.path)
    found = holder_of(folder.path)
    state = folder.state
    if state == "Running" and not (found and found[1]):
        state = KILLED if written or found else QUEUED
    holder = found[0] if found else {}
    progress = {key: written.get(key) for key in _PROGRESS}
    return TaskStatus(
        str(folder.path),
        state,
        state not in ("Completed", "Running"),
        state == "Running" and (folder.path / STOP_REQUEST).exists(),
        **progress,
        host=holder.get("host"),
        pid=holder.get("pid"),
    )


_PROGRESS = (
    "stage",
    "chunks_done",
    "chunks_total",
    "voxels_per_s",
    "seconds_left",
    "started",
    "updated",
    "error",
)


def statuses_in(parent: str | Path) -> list[TaskStatus]:
    """The status of every task folder in a folder such as `processed`, the oldest first."""
    folders = task_folders(Path(parent))
    return [read_status(folder) for folder in folders if (folder / CONFIG).is_file()]


def _written(folder: Path) -> dict[str, Any]:
    """Content of `status.json`; empty where there is none (yet)."""
    try:
        document = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
