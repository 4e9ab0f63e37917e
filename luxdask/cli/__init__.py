"""The program `luxdask`: its commands, and how errors and signals become exit codes.

Each command's module imports what it computes with only when the command runs, so that help and
completion are quick.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from luxdask.cli import (
    check,
    cluster,
    defaults,
    demo,
    demo_data,
    info,
    mtf,
    new,
    psf,
    queue,
    register,
    roi,
    run,
    schema,
    status,
    stop,
    submit,
    submitted,
    tiffs,
)
from luxdask.cli.terminal import console
from luxdask.errors import (
    ConfigError,
    ExperimentNotFoundError,
    LuxdaskError,
    MetadataError,
    SelectionError,
    TaskStopped,
)
from luxdask.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, FAILED, BAD_INPUT, STOPPED, BROKEN_PIPE = 0, 1, 2, 130, 141

DEBUG_OPTION, DEBUG_VARIABLE = "--debug", "LUXDASK_DEBUG"

app = typer.Typer(
    name="luxdask",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Opens, registers, fuses and converts light-sheet images of Luxendo microscopes.",
    epilog="Exit codes: 0 done, 1 failed, 2 bad input or settings, 130 stopped.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"luxdask {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(DEBUG_OPTION, help=f"Show tracebacks of errors (or set {DEBUG_VARIABLE}=1)."),
    ] = False,
) -> None:
    """Accept the options of the program itself; `main` acts on them."""


for _command in (
    demo,
    info,
    demo_data,
    tiffs,
    roi,
    mtf,
    new,
    check,
    register,
    run,
    psf,
    queue,
    submit,
    submitted,
    status,
    stop,
    cluster,
    schema,
    defaults,
):
    _command.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and leave it with an exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG_OPTION in given or os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")
    sys.exit(_flushed(_exit_code([a for a in given if a != DEBUG_OPTION], debug)))


def _exit_code(arguments: list[str], debug: bool) -> int:
    try:
        app(arguments, prog_name="luxdask")
    except SystemExit as error:
        return _code_of_exit(error)
    except KeyboardInterrupt:
        return STOPPED
    except LuxdaskError as error:
        _show(error, debug)
        return code_of(error)
    return OK


def code_of(error: LuxdaskError) -> int:
    """Exit code of an error: 2 for bad input or settings, 130 where the task was stopped."""
    if isinstance(error, TaskStopped):
        return STOPPED
    bad_input = (ConfigError, MetadataError, SelectionError, ExperimentNotFoundError)
    return BAD_INPUT if isinstance(error, bad_input) else FAILED


def _code_of_exit(error: SystemExit) -> int:
    """Typer and rich leave with 1 on a broken pipe, and older versions on Ctrl-C as well."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno == errno.EPIPE:
            return BROKEN_PIPE
        if isinstance(cause, KeyboardInterrupt):
            return STOPPED
        cause = cause.__context__
    return error.code if isinstance(error.code, int) else OK


def _show(error: LuxdaskError, debug: bool) -> None:
    from rich.text import Text

    out = console(stderr=True)
    if debug:
        out.print_exception()
    is_stop = isinstance(error, TaskStopped)  # what the user asked for is no error
    label = Text("Task ", style="bold") if is_stop else Text("Error: ", style="bold red")
    out.print(label.append(str(error), style="not bold default"), soft_wrap=is_stop)


def _flushed(code: int) -> int:
    """Write out what is buffered, so that a closed pipe is met here and not at shutdown."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return code
