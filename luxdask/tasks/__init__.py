"""Tasks: their settings, folders and runs; loaded on first use, since computing needs dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luxdask.tasks.run import TaskResult as TaskResult
    from luxdask.tasks.task import Task as Task

__all__ = ["Task", "TaskResult"]


def __getattr__(name: str) -> Any:
    if name == "Task":
        from luxdask.tasks.task import Task

        return Task
    if name == "TaskResult":
        from luxdask.tasks.run import TaskResult

        return TaskResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
