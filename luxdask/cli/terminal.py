"""How the commands print: numbers with units, and consoles made when they are needed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from luxdask.tasks.defaults import ChangedDefault

# In a pipe or a log file nobody scrolls sideways, and a narrow table breaks paths and names.
WIDTH_OF_FILES = 200
_STEP = 1024
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or standard error."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    return (
        made if made.is_terminal else Console(stderr=stderr, highlight=False, width=WIDTH_OF_FILES)
    )


def load_printing(out: Console) -> None:
    """Load what printing needs, so that a signal handler that prints meets nothing half loaded."""
    with out.capture():
        out.print("Loaded: :+1:")


def print_nowhere() -> None:
    """A terminal that is gone refuses what is printed, and the run must not fail for that."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)


def print_anyway(out: Console, text: str, *, soft_wrap: bool = False) -> None:
    """Print a line; work goes on where nobody takes it: a terminal or the reader of a pipe is gone.

    Ctrl-C ends such a reader (`| tee log`) before this program can say that it stops.
    """
    try:
        out.print(text, markup=False, soft_wrap=soft_wrap)
    except OSError:
        print_nowhere()
    except SystemExit:  # rich leaves the program where a pipe is broken, and is quiet from then on
        pass


def human_bytes(size_bytes: float) -> str:
    """A size with a unit, three digits: 2.75 GiB."""
    if size_bytes < _STEP:
        return f"{size_bytes:.0f} bytes"
    value, unit = float(size_bytes), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    digits = max(0, 2 - (value >= 10) - (value >= 100))
    return f"{value:.{digits}f} {_UNITS[unit]}"


def human_value(value: Any) -> str:
    """A setting's value as it stands in the document."""
    return json.dumps(value, ensure_ascii=False)


def changes_table(changes: Sequence[ChangedDefault]) -> Table:
    """The defaults that were changed because of the images."""
    from rich.table import Table

    table = Table(title="Defaults changed to suit the images")
    table.add_column("setting", overflow="fold")  # keys are to be copied
    for heading in ("from", "to", "because"):
        table.add_column(heading)
    for change in changes:
        table.add_row(change.key, human_value(change.old), human_value(change.new), change.reason)
    return table
