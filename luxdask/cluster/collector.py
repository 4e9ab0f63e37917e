"""Fetches what has ended on a dask cluster, as many results as there are in one message."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from luxdask.cluster.backend import GivenBack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import distributed

    from luxdask.cluster.remote import Outcome

    Future = distributed.Future[Any]
    Finish = Callable[[Future, Outcome | None, Exception | None], None]

LOST = (OSError, TimeoutError, RuntimeError, CancelledError, asyncio.CancelledError)
"""What dask raises, one or the other, where a connection broke."""

MOST = 500
"""Results of one message."""

QUICK_S = 0.02
SLOW_S = 0.3
MANY = 200
"""Where many tasks are under way, no worker waits for the next look: each costs a message."""

POLL_S = 1.0
CLOSE_S = 60.0


class Collector:
    """A thread that waits for futures and passes each one's outcome, or its error, on."""

    def __init__(self, client: distributed.Client) -> None:
        self._client = client
        self._new: SimpleQueue[list[tuple[Future, Finish]]] = SimpleQueue()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, futures: Iterable[Future], finish: Finish) -> None:
        """Call `finish` once for each of the futures, when it has ended."""
        self._new.put([(future, finish) for future in futures])
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="luxdask-results", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread; what has not been passed on is dropped."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        watched: list[tuple[Future, Finish]] = []
        pause_s = QUICK_S
        while not self._closed.wait(pause_s):
            watched.extend(self._added(wait=not watched))
            watched = self._look(watched)
            pause_s = SLOW_S if len(watched) >= MANY else QUICK_S

    def _look(self, watched: list[tuple[Future, Finish]]) -> list[tuple[Future, Finish]]:
        """Deliver what has ended; returns the others, and keeps no future of its own alive."""
        ended: list[tuple[Future, Finish]] = []
        under_way: list[tuple[Future, Finish]] = []
        for one in watched:  # asked once each: it may end at any moment
            (under_way if one[0].status == "pending" else ended).append(one)
        self._deliver(ended[:MOST])
        return under_way + ended[MOST:]

    def _added(self, *, wait: bool) -> list[tuple[Future, Finish]]:
        """New futures; waits for a moment where there is nothing else to do."""
        found: list[tuple[Future, Finish]] = []
        try:
            found.extend(self._new.get(timeout=POLL_S) if wait else self._new.get_nowait())
            while True:
                found.extend(self._new.get_nowait())
        except Empty:
            return found

    def _deliver(self, batch: list[tuple[Future, Finish]]) -> None:
        good = {n: future for n, (future, _) in enumerate(batch) if future.status == "finished"}
        try:
            found = self._gather(good) if good else {}
        except LOST:
            found = {}  # these tasks are done again: they give the same bytes
        except Exception as error:
            self._one_by_one(batch, error)
            return
        for n, (future, finish) in enumerate(batch):
            outcome = found.get(n)
            finish(future, outcome, None if outcome is not None else _error_of(future))

    def _one_by_one(self, batch: list[tuple[Future, Finish]], error: Exception) -> None:
        """Keep a result that cannot be read from spoiling the others of its message."""
        if len(batch) == 1:
            ((future, finish),) = batch
            finish(future, None, error)
            return
        for one in batch:
            self._deliver([one])

    def _gather(self, futures: dict[int, Future]) -> dict[int, Outcome | None]:
        """Outcomes, None for those that were lost on the way.

        Where a worker died with a result, dask computes it again, and this waits for it.
        """
        work = self._client.gather(futures, errors="skip", asynchronous=True)
        loop: Any = self._client.loop
        ended = asyncio.run_coroutine_threadsafe(work, loop.asyncio_loop)
        while True:
            try:
                return dict(ended.result(POLL_S))
            except TimeoutError:
                if ended.done() or self._closed.is_set():
                    ended.cancel()
                    raise


def _error_of(future: Future) -> Exception:
    """Why a future has no result."""
    if future.status != "error":
        return GivenBack()
    try:
        error: Exception | None = future.exception(timeout=CLOSE_S)
    except LOST:
        return GivenBack()
    return error or GivenBack()
