"""dask-jobqueue, loaded so that Ctrl-C keeps its meaning."""

from __future__ import annotations

import signal
import sys
from typing import Any


def dask_jobqueue() -> Any:
    """The library, from any thread.

    Version 0.9 sets a handler of SIGINT while it is imported, which ends the process silently,
    a notebook's kernel for instance, and cannot be set from other threads at all.
    """
    name = "dask_jobqueue"
    if name not in sys.modules:
        true_signal = signal.signal
        signal.signal = lambda *_: None
        try:
            __import__(name)
        finally:
            signal.signal = true_signal
    return sys.modules[name]
