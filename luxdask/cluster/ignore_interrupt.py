"""Preload of local worker processes: Ctrl-C on a terminal reaches them too, and must not end them.

So does the end of the terminal. The program itself decides what that means: chunks under way are
finished by these workers.
"""

from __future__ import annotations

import signal
import threading


def dask_setup(_: object) -> None:
    """Called by dask when a worker starts."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
