"""Preload of workers in jobs: a worker that has closed ends its process, and so its job.

Dask may wait for ever for something that takes no notice of its end, as seen when a scheduler had
vanished. The job would keep its node until its time is over.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

LONGEST_CLOSE_S = 120.0
"""Dask itself gives running tasks 30 s."""

_LOOK_EVERY_S = 2.0


def dask_setup(worker: Any) -> None:
    """Called by dask when a worker starts."""
    arguments = (worker, LONGEST_CLOSE_S, _LOOK_EVERY_S)
    threading.Thread(target=_watch, args=arguments, name="end of worker", daemon=True).start()


def _watch(worker: Any, longest_close_s: float, every_s: float) -> None:
    while not _has_closed(worker):
        time.sleep(every_s)
    time.sleep(longest_close_s)
    os._exit(0)  # whoever is waited for: it is over


def _has_closed(worker: Any) -> bool:
    return worker.status.name in ("closing", "closed", "failed")
