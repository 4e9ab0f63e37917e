"""The queue: a list of tasks that run one after another, each as a process of its own."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from luxdask.errors import ConfigError
from luxdask.io.json_file import write_json
from luxdask.tasks.config import parse_config, set_values
from luxdask.tasks.folder import CONFIG, TaskFolder
from luxdask.tasks.lock import holder_of
from luxdask.tasks.queue_claim import read_runner
from luxdask.tasks.queue_edit import (
    config_of,
    enqueue,
    insert,
    remove,
    request_stop,
    require_unknown,
)
from luxdask.tasks.queue_gpus import usable_gpus
from luxdask.tasks.queue_order import move_tasks
from luxdask.tasks.queue_outcome import folder_now
from luxdask.tasks.queue_process import CHILD, QueueFiles, is_here, send_stop
from luxdask.tasks.queue_rows import read_task, read_tasks, update_task
from luxdask.tasks.queue_runner import QueueResult, QueueRunner
from luxdask.tasks.queue_steps import resolved_settings, settings_of, settle
from luxdask.tasks.queue_store import Store, default_path
from luxdask.tasks.queue_task import QUEUING, RUNNING, STOPPED, QueuedTask, held_reason, require
from luxdask.tasks.watch import request_stop as request_stop_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from luxdask.tasks.config import TaskConfig
    from luxdask.tasks.queue_runner import TaskListener
    from luxdask.tasks.task import Task


class Queue:
    """A list of tasks in a file; several programs may use it at once.

    path : the file; by default the user's own queue, in LUXDASK_STATE_DIR or the platform's folder
        for states.
    Methods raise `ConfigError` for unknown tasks, and where a task's state does not allow what is
    asked; `OutputError` where the file cannot be read or written. What is asked for several tasks
    is done for all of them or for none.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._store = Store(default_path() if path is None else Path(path))

    @property
    def path(self) -> Path:
        """The file of the queue."""
        return self._store.path

    def tasks(self) -> list[QueuedTask]:
        """All tasks: those that run, then the queue in its order, then the others by number."""
        self._settle()
        with self._store.reading() as connection:
            return [] if connection is None else read_tasks(connection)

    def task(self, number: int) -> QueuedTask:
        """One task by its number."""
        self._settle()
        with self._store.reading() as connection:
            if connection is None:
                raise ConfigError(f"{self.path}: no task {number}; there is no queue here yet")
            return read_task(connection, number)

    def held(self) -> dict[int, str]:
        """Tasks in the queue that cannot begin yet, with the reason."""
        tasks = self.tasks()
        by_id = {task.id: task for task in tasks}
        reasons = {task.id: held_reason(task, by_id) for task in tasks if task.state == QUEUING}
        return {number: reason for number, reason in reasons.items() if reason is not None}

    def runner(self) -> Mapping[str, Any] | None:
        """Host and process of the runner at work; None where nobody runs this queue."""
        with self._store.reading() as connection:
            return None if connection is None else read_runner(connection)

    def log_file(self, number: int) -> Path:
        """What the process of a task has said; the file exists once the task has begun."""
        return QueueFiles.of(self.path, number).log

    def add(
        self,
        *given: Task | TaskConfig | Mapping[str, Any] | str | os.PathLike[str],
        after: Iterable[int] = (),
        reuse_registration_of: int | None = None,
        start: bool = False,
    ) -> tuple[int, ...]:
        """Add tasks with these settings as they are now; returns their numbers.

        given : tasks, settings, documents of settings, or JSON files of them.
        after : tasks that must be completed before these begin.
        reuse_registration_of : a task whose registration these use again, once it is completed.
        start : put them into the queue at once.
        """
        configs = [config_of(one) for one in given]
        first = tuple(dict.fromkeys(after))
        reuse = reuse_registration_of
        with self._store.writing() as connection:
            for number in first if reuse is None else (*first, reuse):
                read_task(connection, number)
            numbers = [
                insert(connection, self.path, config, source, after=first, reuse=reuse)
                for config, source in configs
            ]
            if start:
                enqueue(connection, numbers, "start")
        return tuple(numbers)

    def start(self, *numbers: int) -> None:
        """Put tasks at the end of the queue.

        A stopped task goes on in its folder; a failed one starts from zero, in a fresh one.
        """
        self._enqueue(numbers, "start")

    def resume(self, *numbers: int) -> None:
        """Put stopped tasks at the end of the queue; they go on in their folders."""
        self._enqueue(numbers, "resume")

    def _enqueue(self, numbers: Iterable[int], action: str) -> None:
        self._settle()
        with self._store.writing() as connection:
            enqueue(connection, numbers, action)

    def stop(self, *numbers: int, force: bool = False) -> None:
        """Stop running tasks gracefully; take those that wait out of the queue.

        Returns at once: a running task finishes what is under way, and is Stopped then. One that
        waits is New again, or Stopped where it has a folder to go on in.
        force : end running processes at once; a task of another host, whose machine is gone, is
            taken for stopped. What was noted as done is kept.
        """
        self._settle()
        with self._store.writing() as connection:
            tasks = [read_task(connection, number) for number in dict.fromkeys(numbers)]
            for task in tasks:
                request_stop(connection, task, force=force)
            runner = read_runner(connection)
        for task in tasks:
            if task.mark is not None and (force or runner is None):
                self._pass_stop(task, at_once=force)

    def _pass_stop(self, task: QueuedTask, *, at_once: bool) -> None:
        """Stop a running task directly; on another host through its folder."""
        assert task.mark is not None
        folder = folder_now(task.folder)
        if is_here(task.mark):
            send_stop(task.mark, at_once=at_once)
        elif folder is not None and folder.state == RUNNING:
            request_stop_in(folder.path)

    def stop_runner(self) -> None:
        """Stop the runner and its tasks, which go on when the queue runs again."""
        runner = self.runner()
        if runner is None:
            raise ConfigError(f"{self.path}: nobody runs this queue")
        if not is_here(runner):
            raise ConfigError(f"the runner of this queue is on {runner.get('host')}: stop it there")
        send_stop(runner)

    def remove(self, *numbers: int) -> None:
        """Take tasks off the list; their folders stay."""
        self._settle()
        chosen = list(dict.fromkeys(numbers))
        with self._store.writing() as connection:
            remove(connection, chosen)
        for number in chosen:
            QueueFiles.of(self.path, number).remove()

    def move(self, number: int, *, to: int | None = None, by: int | None = None) -> None:
        """Give a task that waits another place in the queue.

        to : its new place, from 1; beyond the end means the last.
        by : how many places it moves back; negative brings it forward.
        """
        with self._store.writing() as connection:
            require("move", read_task(connection, number))
            move_tasks(connection, number, to=to, by=by)

    def copy(
        self, number: int, values: Mapping[str, Any] | None = None, *, start: bool = False
    ) -> int:
        """Add a new task with the settings of another, and other values by dotted key."""
        with self._store.writing() as connection:
            task = read_task(connection, number)
            config = set_values(settings_of(task), values or {})
            known = {t.id for t in read_tasks(connection)}
            made = insert(
                connection,
                self.path,
                config,
                f"copy of task {number}",
                cwd=task.cwd,
                after=tuple(n for n in task.after if n in known),
                reuse=task.reuse if task.reuse in known else None,
            )
            if start:
                enqueue(connection, [made], "start")
        return made

    def set(self, number: int, values: Mapping[str, Any]) -> None:
        """Change settings of a task that has not run, or has failed, by dotted key."""
        self._settle()
        with self._store.writing() as connection:
            task = read_task(connection, number)
            require("set", task)
            config = set_values(settings_of(task), values)
            update_task(connection, number, settings=config.model_dump_json())

    def export(self, number: int, path: str | os.PathLike[str]) -> None:
        """Write the settings of a task as a task file."""
        self.task(number)
        with self._store.reading() as connection:
            assert connection is not None  # the task was found in it
            config = resolved_settings(connection, read_task(connection, number))
        write_json(path, config.model_dump(mode="json"))

    def import_task(self, path: str | os.PathLike[str]) -> int:
        """Add a task from a task file, or from a task folder; returns its number.

        The folder of a stopped task gives a Stopped one, which can be resumed; any other folder
        gives a New one with its settings.
        """
        place = Path(path).resolve()
        if not place.is_dir():
            return self.add(place)[0]
        if not (place / CONFIG).is_file():
            raise ConfigError(f"{place}: no {CONFIG} in here; expected a task file or task folder")
        config = parse_config(place / CONFIG)
        holder = holder_of(place)
        if holder is not None and holder[1]:
            raise ConfigError(f"{place}: this task runs; import it when it has ended")
        goes_on = TaskFolder(place).state in (STOPPED, RUNNING)
        kept = {"state": STOPPED, "folder": str(place)} if goes_on else {}
        self._settle()
        with self._store.writing() as connection:
            if goes_on:
                require_unknown(read_tasks(connection), place)
            return insert(connection, self.path, config, str(place), **kept)

    def run(
        self,
        *,
        max_number_running_tasks: int | None = None,
        forever: bool = False,
        stop: Event | None = None,
        kill: Event | None = None,
        tell: TaskListener = lambda _: None,
        program: Sequence[str] = CHILD,
    ) -> QueueResult:
        """Run the tasks of the queue until none can begin any more; returns what was done.

        max_number_running_tasks : most tasks at a time; None: one per usable GPU, else one.
        forever : wait for further tasks when the queue is empty.
        stop : when set, running tasks are stopped gracefully and wait at the head of the queue. So
            does Ctrl-C. A second one, or `kill`, ends them at once.
        tell : called with each task that has begun or ended.
        program : what runs a task; it gets the file for its exit code, "run", and the task.
        """
        if max_number_running_tasks is not None and max_number_running_tasks < 1:
            raise ConfigError(
                f"max_number_running_tasks: given {max_number_running_tasks}; allowed: 1 or more, "
                "or nothing for one per GPU"
            )
        runner = QueueRunner(
            self._store,
            max_number_running_tasks,
            usable_gpus(),
            program,
            stop or Event(),
            kill or Event(),
            tell,
        )
        return runner.run(forever=forever)

    def _settle(self) -> None:
        """Where no runner is at work, find out what became of running tasks."""
        with self._store.reading() as connection:
            if connection is None or read_runner(connection) is not None:
                return
            if all(task.state != RUNNING for task in read_tasks(connection)):
                return
        if not os.access(self.path, os.W_OK):
            return
        with self._store.writing() as connection:
            if read_runner(connection) is None:
                settle(connection, self.path)
