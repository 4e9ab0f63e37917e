"""Tasks on the workers of a dask cluster, whoever has started it."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import distributed
from dask.utils import key_split

from luxdask.cluster.backend import Ended
from luxdask.cluster.collector import LOST, Collector
from luxdask.cluster.remote import NAMES_KEPT, Work, attempt
from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dask.task_spec import Task
    from dask.typing import Key

    from luxdask.cluster.backend import Done
    from luxdask.cluster.capacity import Capacity
    from luxdask.cluster.remote import Outcome

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 60
"""Seconds that a client tries to reach its scheduler, at first and when it was lost."""

NO_WORKERS_TIMEOUT_S = 3600.0
"""Seconds without any worker after which a run on somebody else's scheduler ends."""

LOOK_S = 1.0
NEWS_S = 0.1

SETTINGS = {
    "distributed.scheduler.worker-ttl": "15 minutes",
    "distributed.scheduler.allowed-failures": 1,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.comm.timeouts.connect": "60s",
    "distributed.comm.timeouts.tcp": "60s",
    "distributed.worker.profile.enabled": False,
    "distributed.admin.low-level-log-length": 100,
}
"""Settings of dask for all clusters.

Tasks are long and hold the GIL in short pieces only: workers are not given up early, also where
a file system lets them wait for minutes. A chunk that takes two workers along is given up by dask;
luxdask then tries it in pieces. Workers hold no chunks that have not begun: these would be blamed
for the death of the worker as well, and a stop would have to wait for them. Logs of messages and
transitions, which only help to debug dask itself, would grow with the first ten thousands of tasks.
"""


class DaskBackend:
    """Sends tasks to a scheduler in batches and forgets each result when it has come.

    cluster : closed together with the client; None where somebody else has started the scheduler.
    most_slots : slots that an adaptive cluster may come to, so that it sees enough tasks to grow.
    supervise : called now and then while tasks run; returns what the cluster waits for ("2 jobs
        queued") or "", and raises `ClusterError` where no worker will come any more.
    no_workers_timeout_s : how long no worker at all is put up with where nothing supervises them.
    """

    capacity: Capacity | None = None
    """What is planned for, where that is known before there are workers."""

    def __init__(
        self,
        client: distributed.Client,
        cluster: Any = None,
        *,
        most_slots: int = 0,
        supervise: Callable[[], str] | None = None,
        no_workers_timeout_s: float = NO_WORKERS_TIMEOUT_S,
    ) -> None:
        self._client, self._cluster = client, cluster
        self._supervise, self._patience_s = supervise, no_workers_timeout_s
        self._collector = Collector(client)
        self._workers = _Workers(client)
        self._most_slots = most_slots
        # A scheduler may serve several runs whose tasks have the same keys, and it would answer
        # a retry with the error that it remembers: each submission gets a name of its own.
        self._run = uuid4().hex[:12]
        self._submitted = count()
        self._names = 0
        self._flying: dict[Key, tuple[Key, distributed.Future[Any], Done]] = {}
        self._failed_on: defaultdict[Key, set[str]] = defaultdict(set)

    @property
    def client(self) -> distributed.Client:
        """The client of dask, for what is not a task."""
        return self._client

    @property
    def slots(self) -> int:
        """Threads of all workers there are now."""
        return self._workers.slots()

    @property
    def wanted_slots(self) -> int:
        """Slots to send tasks for, also where no worker is there yet; 0 without a scheduler."""
        slots = self.slots
        return max(1, slots, self._most_slots) if self._workers.answer else 0

    @property
    def workers_lost(self) -> int:
        """Workers that have left so far."""
        return self._workers.lost

    @property
    def link(self) -> str | None:
        """Address of the dashboard of dask, where the scheduler has one."""
        link: str | None = self._client.dashboard_link if find_spec("bokeh") else None
        return link

    def submit(self, tasks: Sequence[Task], done: Done) -> None:
        """Send tasks as one graph; those that failed before go to other workers, if there are."""
        groups: defaultdict[frozenset[str], list[Task]] = defaultdict(list)
        for task in tasks:
            groups[frozenset(self._failed_on.get(task.key, ()))].append(task)
        for bad, group in groups.items():
            self._send(group, done, sorted(self._workers.known - bad) if bad else [])

    def _send(self, tasks: Sequence[Task], done: Done, workers: list[str]) -> None:
        work = [Work(task.func, task.args, task.kwargs) for task in tasks]
        keys = [self._new_key(task) for task in tasks]
        elsewhere: dict[str, Any] = {}
        if workers:
            elsewhere = {"workers": workers, "allow_other_workers": True}
        with _scheduler_lost():
            futures = self._client.map(attempt, work, key=keys, pure=False, retries=0, **elsewhere)
        for task, future in zip(tasks, futures, strict=True):
            self._flying[future.key] = (task.key, future, done)
        self._collector.watch(futures, self._finish)
        self._names += len(tasks)
        if self._names > NAMES_KEPT:
            self._names = 0
            self._forget_names()

    def _forget_names(self) -> None:
        """Let the scheduler forget what tasks were called, as workers do themselves."""
        try:
            self._client.run_on_scheduler(key_split.cache_clear)
        except Exception as error:  # one that runs no functions keeps some megabytes more
            log.debug("the scheduler keeps the names of tasks: %s", error)

    def _new_key(self, task: Task) -> Key:
        """A key that nobody else uses, in a group with all tasks of its kind."""
        kind = task.key[0] if isinstance(task.key, tuple) else task.key
        return (f"luxdask-{kind}-{self._run}", next(self._submitted))

    def _finish(
        self, future: distributed.Future[Any], outcome: Outcome | None, error: Exception | None
    ) -> None:
        key, _, done = self._flying.pop(future.key)
        if outcome is None:
            done(Ended(key, error=error))
            return
        if outcome.error is None:
            self._failed_on.pop(key, None)
        else:
            self._failed_on[key].add(outcome.worker)
        place = f"{outcome.worker} ({outcome.host})"
        done(Ended(key, outcome.result, outcome.error, place, outcome.seconds))

    def give_back(self) -> None:
        """Cancel the tasks that no worker has begun."""
        with suppress(*LOST):  # without a scheduler, all are given back anyway
            begun = self._begun()
            time.sleep(NEWS_S)  # until the client knows of all that had ended before
            begun |= self._begun()
            futures = [future for _, future, _ in list(self._flying.values())]
            waiting = [f for f in futures if f.status == "pending" and f.key not in begun]
            self._client.cancel(waiting)

    def _begun(self) -> set[Key]:
        return {key for keys in self._client.processing().values() for key in keys}

    def check(self) -> str:
        """What the tasks wait for; raises `ClusterError` where nothing will come."""
        status = self._client.status
        if status in ("closed", "closing") or (status != "running" and self._cluster is not None):
            raise _lost("connection closed")
        if status != "running":
            return "waiting for the scheduler"
        text = self._supervise() if self._supervise is not None else ""
        absent_s = self._workers.absent_s()
        if not absent_s:
            return ""
        if self._supervise is None and absent_s > self._patience_s:
            raise ClusterError(
                f"no worker for {absent_s:.0f} s. What is written stays valid: start workers, "
                "then go on with luxdask run --resume and the task's folder"
            )
        return f"waiting for workers: {text}" if text else "waiting for workers"

    @contextmanager
    def report(self, path: str) -> Iterator[None]:
        """Write dask's own performance report (HTML) of what runs inside the `with` block."""
        if not find_spec("bokeh"):
            raise ClusterError(
                f'{path}: dask draws its report with bokeh: pip install "luxdask[dashboard]"'
            )
        report = distributed.performance_report(path)
        with self._client.as_current():
            report.__enter__()
            try:
                yield
            finally:
                try:
                    report.__exit__(None, None, None)
                except LOST as error:  # a finished task does not fail for it
                    log.warning("%s: no performance report: %s", path, error)

    def __enter__(self) -> DaskBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self._collector.close()
        self._flying.clear()
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


class _Workers:
    """The workers of a scheduler, asked for at most once a second."""

    def __init__(self, client: distributed.Client) -> None:
        self.client = client
        self.threads: dict[str, int] = {}
        self.lost = 0
        self.answer = True
        self._looked = -1e9
        self._seen = time.monotonic()

    @property
    def known(self) -> set[str]:
        return set(self.threads)

    def slots(self) -> int:
        """Threads now; `answer` says whether the scheduler told them."""
        if self.client.status != "running":
            self.answer, self._looked = False, -1e9
        elif time.monotonic() - self._looked > LOOK_S:
            self._look()
        return sum(self.threads.values()) if self.answer else 0

    def absent_s(self) -> float:
        """How long there has been no worker; 0 while there is one."""
        return 0.0 if self.slots() else time.monotonic() - self._seen

    def _look(self) -> None:
        try:
            threads = dict(self.client.nthreads())
        except LOST:
            self.answer = False  # the client connects again, and says when it gives up
            return
        self.lost += len(self.threads.keys() - threads.keys())
        self.threads, self.answer, self._looked = threads, True, time.monotonic()
        if threads:
            self._seen = self._looked


@contextmanager
def _scheduler_lost() -> Iterator[None]:
    """Say what a broken connection means."""
    try:
        yield
    except LOST as error:
        raise _lost(error or type(error).__name__) from error


def _lost(reason: object) -> ClusterError:
    return ClusterError(
        f"the dask scheduler is lost: {reason}. What is written stays valid: go on with "
        "luxdask run --resume and the task's folder, on another scheduler or with "
        "--cluster threads"
    )
