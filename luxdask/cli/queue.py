"""`luxdask queue`: tasks that run one after another, unattended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from luxdask.cli.new import parse_assignments, require_free
from luxdask.cli.queue_list import list_tasks, queue_option
from luxdask.cli.queue_run import run
from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from luxdask.tasks.queue import Queue

WAIT_STEP_S = 0.5

QueuePath = Annotated[str | None, queue_option()]
Numbers = Annotated[list[int], typer.Argument(metavar="ID…", help="Numbers of tasks.")]
Number = Annotated[int, typer.Argument(metavar="ID", help="Number of the task.")]
SetValues = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a value; may be given repeatedly."),
]
Start = Annotated[bool, typer.Option("--start", help="Put it into the queue at once.")]


def _open(path: str | None) -> Queue:
    from luxdask.tasks.queue import Queue

    return Queue(path)


def _named(numbers: tuple[int, ...] | list[int]) -> str:
    words = ", ".join(str(n) for n in numbers)
    return f"task {words}" if len(numbers) == 1 else f"tasks {words}"


def _say_queued(queue: Queue, what: str) -> None:
    runner = queue.runner()
    hint = "" if runner else " Nobody runs the queue: luxdask queue run (--detach)"
    typer.echo(f"{what} in the queue.{hint}")


def add(
    task: Annotated[list[str], typer.Argument(help="Task files; their settings as they are now.")],
    after: Annotated[
        list[int] | None,
        typer.Option(metavar="ID", help="A task to be completed first; may be given repeatedly."),
    ] = None,
    reuse_registration_of: Annotated[
        int | None,
        typer.Option(metavar="ID", help="Task whose registration is used, once it is completed."),
    ] = None,
    start: Start = False,
    queue: QueuePath = None,
) -> None:
    """Add tasks to the list, as New ones."""
    opened = _open(queue)
    numbers = opened.add(
        *task, after=after or (), reuse_registration_of=reuse_registration_of, start=start
    )
    if start:
        _say_queued(opened, f"Added {_named(numbers)};")
    else:
        words = " ".join(str(n) for n in numbers)
        typer.echo(f"Added {_named(numbers)}. Put into the queue with: luxdask queue start {words}")


def start(numbers: Numbers, queue: QueuePath = None) -> None:
    """Put tasks at the end of the queue: New ones, Stopped ones to go on, Failed ones anew."""
    opened = _open(queue)
    opened.start(*numbers)
    _say_queued(opened, f"{_named(numbers).capitalize()}")


def resume(numbers: Numbers, queue: QueuePath = None) -> None:
    """Put Stopped tasks at the end of the queue; they go on where they were."""
    opened = _open(queue)
    opened.resume(*numbers)
    _say_queued(opened, f"{_named(numbers).capitalize()}")


def stop(
    numbers: Annotated[
        list[int] | None, typer.Argument(metavar="ID…", help="Numbers of tasks.")
    ] = None,
    runner: Annotated[
        bool, typer.Option("--runner", help="Stop the runner; its tasks go on with the next one.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when they have stopped, not at once.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0, help="How long --wait waits, in seconds; then 1 is returned.")
    ] = 3600.0,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="End the processes at once; also for tasks of a host that is gone."
        ),
    ] = False,
    queue: QueuePath = None,
) -> None:
    """Stop running tasks gracefully; take waiting ones out of the queue."""
    opened = _open(queue)
    if runner == bool(numbers):
        raise ConfigError("queue stop: name the tasks to stop, or --runner")
    if runner:
        opened.stop_runner()
        typer.echo("The runner stops; its tasks go on when the queue runs again.")
    else:
        opened.stop(*(numbers or ()), force=force)
    end = time.monotonic() + timeout
    while (is_busy := wait and _is_busy(opened, numbers)) and time.monotonic() < end:
        time.sleep(WAIT_STEP_S)
    for number in numbers or ():
        found = opened.task(number)
        is_on = found.state == "Running"
        text = "stops; what is under way is finished" if is_on else f"is {found.state}"
        typer.echo(f"Task {number} {text}.")
    if is_busy:
        raise typer.Exit(1)


def _is_busy(queue: Queue, numbers: list[int] | None) -> bool:
    if numbers is None:
        return queue.runner() is not None
    return any(queue.task(number).state == "Running" for number in numbers)


def remove(numbers: Numbers, queue: QueuePath = None) -> None:
    """Take tasks off the list; their output folders stay."""
    _open(queue).remove(*numbers)
    typer.echo(f"Removed {_named(numbers)} from the list; output folders stay.")


def move(
    number: Number,
    to: Annotated[int | None, typer.Option(min=1, help="New place in the queue, from 1.")] = None,
    top: Annotated[bool, typer.Option("--top", help="To the head of the queue.")] = False,
    bottom: Annotated[bool, typer.Option("--bottom", help="To its end.")] = False,
    up: Annotated[bool, typer.Option("--up", help="One place forward.")] = False,
    down: Annotated[bool, typer.Option("--down", help="One place back.")] = False,
    queue: QueuePath = None,
) -> None:
    """Give a waiting task another place in the queue."""
    if sum([to is not None, top, bottom, up, down]) != 1:
        raise ConfigError("queue move: give one of --to N, --top, --bottom, --up, --down")
    opened = _open(queue)
    if up or down:
        opened.move(number, by=-1 if up else 1)
    else:
        opened.move(number, to=to or (1 if top else 2**31))
    places = [task.id for task in opened.tasks() if task.state == "Queuing"]
    typer.echo(f"Task {number} is at place {places.index(number) + 1} of {len(places)}.")


def copy(
    number: Number, values: SetValues = None, start: Start = False, queue: QueuePath = None
) -> None:
    """Add a new task with the settings of another."""
    opened = _open(queue)
    made = opened.copy(number, parse_assignments(values or []), start=start)
    typer.echo(f"Added task {made}, a copy of task {number}.")


def set_(
    number: Number,
    values: Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="Settings to change.")],
    queue: QueuePath = None,
) -> None:
    """Change settings of a task that has not run yet, or has failed."""
    _open(queue).set(number, parse_assignments(values))
    typer.echo(f"Changed the settings of task {number}.")


def export(
    number: Number,
    file: Annotated[str, typer.Argument(help="The task file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    queue: QueuePath = None,
) -> None:
    """Write the settings of a task as a task file."""
    require_free(file, force)
    _open(queue).export(number, file)
    typer.echo(f"Wrote {file}.")


def import_(
    path: Annotated[list[str], typer.Argument(help="Task files, or folders of tasks.")],
    queue: QueuePath = None,
) -> None:
    """Add tasks from files or task folders; a stopped task's folder can be resumed."""
    opened = _open(queue)
    for one in path:
        number = opened.import_task(one)
        typer.echo(f"Added task {number} ({opened.task(number).state}) from {one}.")


def log(number: Number, queue: QueuePath = None) -> None:
    """Print what the process of a task has said."""
    opened = _open(queue)
    path = opened.log_file(opened.task(number).id)
    if not path.exists():
        raise ConfigError(f"task {number} has not run yet: there is no {path}")
    typer.echo(path.read_text(encoding="utf-8", errors="replace"), nl=False)


def register(app: typer.Typer) -> None:
    """Add the group of commands to the program."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Tasks that run one after another, unattended; each as a process of its own.",
    )
    for command in (add, start, run, stop, resume, remove, move, copy, export, log):
        group.command()(command)
    group.command("list")(list_tasks)
    group.command("set")(set_)
    group.command("import")(import_)
    app.add_typer(group, name="queue")
