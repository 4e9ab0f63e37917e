"""What tells a process apart from all others, and whether it still runs."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

_SAME_START_S = 60.0
"""How far two readings of a start time may differ, since clocks are corrected."""


def this_process() -> dict[str, Any]:
    """Host, number and start time of this process, as JSON holds them."""
    return mark_of(psutil.Process())


def mark_of(process: psutil.Process) -> dict[str, Any]:
    """Host, number and start time of a process of this host."""
    return {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}


def still_runs(mark: Mapping[str, Any]) -> bool:
    """Whether a process of this host still runs: the system gives numbers of dead ones anew."""
    try:
        process = psutil.Process(int(mark["pid"]))
        started = process.create_time()
        is_same = abs(started - float(mark.get("started", started))) < _SAME_START_S
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False
    except psutil.AccessDenied:
        return True
