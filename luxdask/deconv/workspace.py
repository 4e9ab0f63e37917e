"""Threads and memory that the steps of one deconvolution share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from numpy.typing import NDArray

_BLOCKS_PER_THREAD = 8


class Workspace:
    """Runs parts of a step on `threads` threads, and lends memory for what lies between steps.

    It belongs to one thread; leaving its context ends the others.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._memory = np.empty(0, dtype=np.float32)
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def memory(self, size: int) -> NDArray[np.float32]:
        """`size` float32, the same ones at each call; their values are anything."""
        if self._memory.size < size:
            self._memory = np.empty(0, dtype=np.float32)  # let it go before the new one is made
            self._memory = np.empty(size, dtype=np.float32)
        return self._memory[:size]

    def run(self, part: Callable[[int, int], None], count: int) -> None:
        """``part(first, last)`` for ranges that cover 0 ... count once, on all threads."""
        if self._pool is None or count < 2:
            part(0, count)
            return
        cuts = np.linspace(0, count, min(count, self.threads * _BLOCKS_PER_THREAD) + 1).astype(int)
        ranges = iter(list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)))

        def work() -> None:
            for first, last in ranges:
                part(first, last)

        others = [self._pool.submit(work) for _ in range(self.threads - 1)]
        work()
        for other in others:
            other.result()
