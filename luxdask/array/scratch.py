"""Memory that a thread uses again for every block: fresh pages cost as much as reading a file."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_kept = threading.local()


def scratch(purpose: str, size: int) -> NDArray[np.uint16]:
    """`size` uint16 of this thread's memory for a purpose, valid until it is asked for again.

    It grows to the largest size asked for and goes with the thread.
    """
    buffers: dict[str, NDArray[np.uint16]] = _kept.__dict__
    if purpose not in buffers or buffers[purpose].size < size:
        buffers.pop(purpose, None)  # let the old one go before the new one is made
        buffers[purpose] = np.empty(size, dtype=np.uint16)
    return buffers[purpose][:size]
