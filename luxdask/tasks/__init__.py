"""Tasks: their settings, folders and runs."""

from __future__ import annotations

from luxdask.tasks.run import TaskResult
from luxdask.tasks.task import Task

__all__ = ["Task", "TaskResult"]
