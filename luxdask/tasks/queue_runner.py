"""The runner of a queue: begins tasks when their turn comes, and notes how they end."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from luxdask.errors import ConfigError, OutputError
from luxdask.tasks.queue_claim import beat, claim_runner, release_runner
from luxdask.tasks.queue_process import CHILD, QueueFiles, is_here, let_go, send_stop
from luxdask.tasks.queue_rows import read_task, read_tasks
from luxdask.tasks.queue_steps import begin, end, note_folders, process_is_gone
from luxdask.tasks.queue_task import (
    COMPLETED,
    FAILED,
    QUEUING,
    RUNNING,
    STOPPED,
    QueuedTask,
    held_reason,
)
from luxdask.tasks.queue_turn import Turn, next_turn

if TYPE_CHECKING:
    import sqlite3
    import subprocess
    from collections.abc import Iterator, Sequence

    from luxdask.tasks.queue_store import Store

log = logging.getLogger(__name__)

POLL_S = 0.5
LOOK_S = 0.05
BEAT_S = 5.0
PATIENCE_S = 600.0
"""How long the runner tries on while the queue's file cannot be used."""

TaskListener = Callable[[QueuedTask], None]
"""Called with a task that has begun or ended."""


@dataclass(frozen=True, slots=True)
class QueueResult:
    """What a runner has done.

    Attributes
    ----------
    completed, failed, stopped
        Numbers of the tasks that ended so.
    held
        Tasks that could not begin, with the reason.
    interrupted
        Whether the runner was stopped before the queue was empty.
    """

    completed: tuple[int, ...]
    failed: tuple[int, ...]
    stopped: tuple[int, ...]
    held: dict[int, str]
    interrupted: bool

    @property
    def all_completed(self) -> bool:
        """Whether every task of the queue was completed."""
        return not (self.failed or self.stopped or self.held or self.interrupted)


@dataclass
class QueueRunner:
    """Runs the tasks of a queue; `run` does it once.

    limit : most tasks at a time; None: one per GPU, else one.
    gpus : GPUs that are given to the tasks.
    program : what runs a task; see `luxdask.tasks.queue_process.CHILD`.
    stop : when set, the running tasks are stopped gracefully and go on when the queue runs again.
    kill : when set, they are ended at once.
    """

    store: Store
    limit: int | None = None
    gpus: Sequence[str] = ()
    program: Sequence[str] = CHILD
    stop: Event = field(default_factory=Event)
    kill: Event = field(default_factory=Event)
    tell: TaskListener = lambda _: None
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _asked: set[int] = field(default_factory=set)
    _ended: dict[int, str] = field(default_factory=dict)
    _last_beat: float = 0.0
    _usable: float = 0.0

    def run(self, *, forever: bool = False) -> QueueResult:
        """Run tasks until none can begin any more, or for ever; returns what was done.

        Tasks that another runner has left running are waited for. Raises `ConfigError` where
        another runner is at work.
        """
        with self.store.writing() as connection:
            claim_runner(connection, self._token)
        self._usable = time.monotonic()
        try:
            while self._step_or_interrupt(forever):
                pass
        finally:
            self._leave_children()
            with self.store.writing() as connection:
                release_runner(connection, self._token)
        return self._result()

    def _leave_children(self) -> None:
        """Processes that outlive this runner are taken note of by the system when they end."""
        for process in self._children.values():
            threading.Thread(target=process.wait, daemon=True).start()
        self._children.clear()

    def _step_or_interrupt(self, forever: bool) -> bool:
        """One step; Ctrl-C is a stop, and a queue that cannot be used is waited for."""
        try:
            self._step()
            goes_on = self._goes_on(forever)
            self._usable = time.monotonic()
            if goes_on:
                self._pause()
            return goes_on
        except KeyboardInterrupt:
            if self.stop.is_set():
                self.kill.set()
            self.stop.set()
        except OutputError as error:
            if time.monotonic() - self._usable > PATIENCE_S:
                raise
            log.warning("%s; trying again", error)
            time.sleep(POLL_S)
        return True

    def _pause(self) -> None:
        """Wait for the next step; less long where the stop is asked for meanwhile.

        Not by `stop.wait`: a signal handler that sets `stop` in this thread, just when that holds
        the event's lock, would wait for the lock for ever.
        """
        stopping, end = self.stop.is_set(), time.monotonic() + POLL_S
        while self.stop.is_set() == stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_S))

    def _step(self) -> None:
        self._show_life()
        for task in self._running():
            self._end_if_gone(task)
        running = self._running()
        self._note_folders(running)
        self._pass_stops(running)
        if not self.stop.is_set() and self._turn(self._look()):
            self._begin()

    def _look(self) -> list[QueuedTask]:
        with self.store.reading() as connection:
            return [] if connection is None else read_tasks(connection)

    def _running(self) -> list[QueuedTask]:
        return [task for task in self._look() if task.state == RUNNING]

    def _show_life(self) -> None:
        """Tell other hosts that this runner lives; they may have taken it for dead."""
        if time.monotonic() - self._last_beat < BEAT_S:
            return
        with self.store.writing() as connection:
            if not beat(connection, self._token):
                raise ConfigError(
                    "another runner has taken over this queue, since this one did not show itself "
                    "for a while; this one ends, and leaves the tasks to it"
                )
        self._last_beat = time.monotonic()

    def _end_if_gone(self, task: QueuedTask) -> None:
        child = self._children.get(task.id)
        if child is not None:
            code = child.poll()
            if code is None:
                return
        elif not process_is_gone(self.store.path, task):
            return
        else:
            code = QueueFiles.of(self.store.path, task.id).exit_code()
        with self.store.writing() as connection:
            ended = end(connection, self.store.path, task.id, code, queue_stops=self.stop.is_set())
        self._children.pop(task.id, None)
        self._asked.discard(task.id)
        self._say_ended(ended)

    def _say_ended(self, task: QueuedTask) -> None:
        self._ended[task.id] = task.state
        self.tell(task)

    def _note_folders(self, running: Sequence[QueuedTask]) -> None:
        files = {task.id: QueueFiles.of(self.store.path, task.id) for task in running}
        if any(files[task.id].noted_folder() not in (None, task.folder) for task in running):
            with self.store.writing() as connection:
                found = [read_task(connection, task.id) for task in running]
                note_folders(connection, self.store.path, [t for t in found if t.state == RUNNING])

    def _pass_stops(self, running: Sequence[QueuedTask]) -> None:
        for task in running:
            if task.mark is None or not is_here(task.mark):
                continue
            if self.kill.is_set():
                send_stop(task.mark, at_once=True)
            elif (task.stopping or self.stop.is_set()) and task.id not in self._asked:
                self._asked.add(task.id)
                send_stop(task.mark)

    def _turn(self, tasks: Sequence[QueuedTask]) -> Turn | None:
        return next_turn(tasks, self.gpus, self.limit)

    def _begin(self) -> None:
        """Begin every task that may; they are let go when all of them are noted."""
        begun: dict[int, subprocess.Popen[bytes]] = {}
        try:
            with self.store.writing() as connection:
                told = list(self._begun(connection, begun))
        except BaseException:
            for process in begun.values():
                let_go(process, begin=False)
            raise
        self._children.update(begun)
        for process in begun.values():
            let_go(process)
        for task in told:
            if task.state == RUNNING:
                self.tell(task)
            else:
                self._say_ended(task)

    def _begun(
        self, connection: sqlite3.Connection, begun: dict[int, subprocess.Popen[bytes]]
    ) -> Iterator[QueuedTask]:
        while (turn := self._turn(read_tasks(connection))) is not None:
            number = turn.task.id
            process = begin(connection, self.store.path, turn.task, self.program, turn.device)
            if process is not None:
                begun[number] = process
            yield read_task(connection, number)

    def _goes_on(self, forever: bool) -> bool:
        """Whether there is anything to wait for; if not, the runner takes its leave."""
        with self.store.reading() as connection:
            if connection is not None and self._is_busy(read_tasks(connection), forever):
                return True
        with self.store.writing() as connection:
            if self._is_busy(read_tasks(connection), forever):
                return True  # a task was put into the queue at the last moment
            release_runner(connection, self._token)
        return False

    def _is_busy(self, tasks: Sequence[QueuedTask], forever: bool) -> bool:
        if any(t.state == RUNNING and t.mark is not None and is_here(t.mark) for t in tasks):
            return True
        return not self.stop.is_set() and (forever or self._turn(tasks) is not None)

    def _result(self) -> QueueResult:
        tasks = self._look()
        by_id = {task.id: task for task in tasks}
        left = [task for task in tasks if task.state == QUEUING]
        reasons = {task.id: held_reason(task, by_id) for task in left}

        def ended(state: str) -> tuple[int, ...]:
            return tuple(n for n, found in self._ended.items() if found == state)

        return QueueResult(
            ended(COMPLETED),
            ended(FAILED),
            ended(STOPPED),
            {number: reason for number, reason in reasons.items() if reason is not None},
            self.stop.is_set(),
        )
