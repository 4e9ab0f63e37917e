"""`luxdask queue run`: the process that runs the tasks of a queue."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luxdask.cli.queue_list import queue_option
from luxdask.cli.run import HANGUP
from luxdask.cli.terminal import console, load_printing, print_anyway, print_nowhere
from luxdask.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from threading import Event
    from types import FrameType

    from luxdask.tasks.queue import Queue
    from luxdask.tasks.queue_runner import QueueResult
    from luxdask.tasks.queue_task import QueuedTask

FAILED, STOPPED = 1, 130
STOPPING = "Stopping: the tasks finish what is under way. Ctrl-C again ends them at once."
DETACH_S = 60.0


def run(
    max_number_running_tasks: Annotated[
        int | None,
        typer.Option(
            "--max-number-running-tasks",
            "-n",
            min=1,
            help="Most tasks at a time; by default one per usable GPU, else one.",
        ),
    ] = None,
    until_empty: Annotated[
        bool,
        typer.Option(
            "--until-empty/--forever", help="End when no task can begin any more, or wait for more."
        ),
    ] = True,
    detach: Annotated[
        bool, typer.Option("--detach", help="Run in the background, also when you log out.")
    ] = False,
    queue: Annotated[str | None, queue_option()] = None,
) -> None:
    """Run the tasks of the queue, each as a process of its own.

    Ctrl-C stops the running tasks gracefully; they go on first when the queue runs again. A second
    Ctrl-C ends them at once. Exit codes: 0 all completed, 1 some were not, 130 stopped.
    """
    from luxdask.tasks.queue import Queue

    opened = Queue(queue)
    if detach:
        _detach(opened, max_number_running_tasks, until_empty)
        return
    out = console()
    stop, kill = threading.Event(), threading.Event()
    with _stop_on_signals(stop, kill, out):
        result = opened.run(
            max_number_running_tasks=max_number_running_tasks,
            forever=not until_empty,
            stop=stop,
            kill=kill,
            tell=lambda task: _print_task(out, task),
        )
    _print_result(out, result)
    if not result.all_completed:
        raise typer.Exit(STOPPED if result.interrupted else FAILED)


def _print_task(out: Any, task: QueuedTask) -> None:
    from luxdask.tasks.queue_outcome import folder_now

    folder = folder_now(task.folder)
    where = "" if folder is None else f": {folder.path}"
    error = f": {task.error}" if task.error else where
    now = time.strftime("%H:%M:%S")
    text = "goes on when the queue runs again" if task.state == "Queuing" else task.state
    print_anyway(out, f"{now} task {task.id} {text}{error}", soft_wrap=True)


def _print_result(out: Any, result: QueueResult) -> None:
    counts = (
        ("completed", result.completed),
        ("failed", result.failed),
        ("stopped", result.stopped),
        ("held", tuple(result.held)),
    )
    words = ", ".join(f"{len(numbers)} {word}" for word, numbers in counts if numbers)
    out.print(f"Queue: {words or 'nothing to run'}.", markup=False)
    for number, reason in result.held.items():
        out.print(f"  task {number} {reason}", markup=False)


@contextmanager
def _stop_on_signals(stop: Event, kill: Event, out: Any) -> Iterator[None]:
    """Turn the first signal into a graceful stop of the tasks; a second one ends them at once."""
    asked: list[Event] = []

    def ask(number: int, _: FrameType | None) -> None:
        if number == HANGUP:
            print_nowhere()
        event = kill if asked or stop.is_set() else stop
        if event in asked:
            return
        asked.append(event)  # before `set`: a signal within it would wait for its lock for ever
        event.set()
        if event is stop:
            print_anyway(out, STOPPING)

    load_printing(out)
    signals = [signal.SIGINT, signal.SIGTERM, *([] if HANGUP is None else [HANGUP])]
    # what was started to ignore a signal (nohup) goes on ignoring it
    before = {s: signal.getsignal(s) for s in signals}
    chosen = [s for s in signals if before[s] is not signal.SIG_IGN]
    for s in chosen:
        signal.signal(s, ask)
    try:
        yield
    finally:
        for s in chosen:
            signal.signal(s, before[s])


def _detach(queue: Queue, limit: int | None, until_empty: bool) -> None:
    """Start a runner in the background, and wait until it is at work, or has ended already."""
    log = queue.path.with_name(f"{queue.path.stem}_runner.log")
    options = [] if limit is None else ["--max-number-running-tasks", str(limit)]
    options += [] if until_empty else ["--forever"]
    command = [sys.executable, "-P", "-m", "luxdask", "queue", "run", *options]
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*command, "--queue", str(queue.path.absolute())],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=sys.platform != "win32",
            )
    except OSError as error:
        raise OutputError(f"the runner cannot be started: {error}") from error
    limit_s = time.monotonic() + DETACH_S
    while process.poll() is None and time.monotonic() < limit_s:
        runner = queue.runner()
        if runner is not None and runner.get("pid") == process.pid:
            typer.echo(f"Process {process.pid} runs the queue; what it says is in {log}")
            process.returncode = 0  # it goes on without this one, which need not wait for it
            return
        time.sleep(0.1)
    _say_ended(process, log)


def _say_ended(process: subprocess.Popen[bytes], log: Path) -> None:
    code = process.poll()
    if code == 0:
        typer.echo(f"The queue has run already; what the runner said is in {log}")
        return
    said = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
    raise OutputError(f"the runner has not started; {log} ends with: {said}")
