"""The window of tasks under way: wide enough to keep all workers busy, never more."""

from __future__ import annotations

import logging
from collections import deque
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from luxdask.cluster.backend import GivenBack
from luxdask.cluster.failures import is_memory, retries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dask.task_spec import Task
    from dask.typing import Key

    from luxdask.cluster.backend import Backend, Ended
    from luxdask.cluster.events import Counts

    Smaller = Callable[[Task], Task | None]

log = logging.getLogger(__name__)

PER_SLOT = 3
"""More than two: dask then keeps those that have not begun in its queue, where a stop finds them,
and not with the workers.
"""

AHEAD_S = 2.0
MOST_AHEAD = 2000
MEMORY = 20
"""Tasks over which their mean duration is taken."""

POLL_S = 0.2


class Window:
    """Tasks under way and waiting.

    At least `PER_SLOT` for each slot are under way; where they are short, as many as workers do in
    `AHEAD_S`, since what a scheduler takes per message is far more than what it takes per task.
    """

    def __init__(self, tasks: Iterable[Task], backend: Backend, counts: Counts) -> None:
        self.source: Iterator[Task] = iter(tasks)
        self.backend, self.counts = backend, counts
        self.waiting: deque[Task] = deque()
        self.flying: dict[Key, Task] = {}
        self.failures: dict[Key, int] = {}
        self.ended: SimpleQueue[Ended] = SimpleQueue()
        self.seconds: float | None = None

    def fill(self) -> None:
        """Submit until the window is full, many at once; what became possible last goes first."""
        size = self.size()
        room = size - len(self.flying)
        if room * 4 < size or not size:
            return
        batch = [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]
        batch.extend(islice(self.source, max(0, room - len(batch))))
        self.flying.update((task.key, task) for task in batch)
        if batch:
            self.backend.submit(batch, self.ended.put)

    def size(self) -> int:
        """Tasks that may be under way now; none while the backend takes none."""
        slots = self.backend.wanted_slots
        if self.seconds is None:
            return slots * PER_SLOT
        ahead = min(slots * AHEAD_S / max(self.seconds, 1e-6), MOST_AHEAD)
        return max(slots * PER_SLOT, int(ahead)) if slots else 0

    def next_ended(self) -> tuple[Task, Ended] | None:
        """One task that has ended, or None when none did for a moment."""
        try:
            ended = self.ended.get(timeout=POLL_S)
        except Empty:
            return None
        if ended.seconds is not None:
            known = ended.seconds if self.seconds is None else self.seconds
            self.seconds = known + (ended.seconds - known) / MEMORY
        return self.flying.pop(ended.key), ended

    def takes_back(self, task: Task, ended: Ended, smaller: Smaller) -> bool:
        """Whether a task that was not done is queued again; after want of memory in pieces."""
        assert ended.error is not None
        if isinstance(ended.error, GivenBack):
            self.waiting.append(task)
            return True
        count = self.failures[task.key] = self.failures.get(task.key, 0) + 1
        if count > retries(ended.error):
            return False
        self.counts.retries += 1
        place = f" on {ended.worker}" if ended.worker else ""
        kind = type(ended.error).__name__
        log.warning("%s failed%s (%s: %s), trying again", task.key, place, kind, ended.error)
        self.waiting.append(self._in_pieces(task, smaller) if is_memory(ended.error) else task)
        return True

    def _in_pieces(self, task: Task, smaller: Smaller) -> Task:
        less = smaller(task)
        if less is None:
            return task
        self.counts.in_pieces += 1
        log.warning("%s ran out of memory: it is computed in smaller pieces", task.key)
        return less

    def is_empty(self) -> bool:
        """Whether nothing is left to do; looks whether the source has more."""
        if not self.waiting:
            self.waiting.extend(islice(self.source, 1))
        return not self.waiting
