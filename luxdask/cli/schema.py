"""`luxdask schema`: all settings, for editors and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from luxdask.cli.level import UsageLevel
from luxdask.cli.terminal import console, human_value

if TYPE_CHECKING:
    from rich.table import Table

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(
    table: Annotated[
        bool, typer.Option("--table", help="Print the settings as a table instead.")
    ] = False,
    level: Annotated[
        UsageLevel, typer.Option(help="Which settings the table shows.")
    ] = UsageLevel.ADVANCED,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="File for the JSON schema.")
    ] = None,
) -> None:
    """Print the JSON schema of task files, or a table of all settings."""
    from luxdask.tasks.json_file import json_text, write_json

    if table:
        console().print(settings_table(level))
    elif output is None:
        typer.echo(json_text(json_schema()), nl=False)
    else:
        write_json(output, json_schema())


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("schema")(schema)


def json_schema() -> dict[str, Any]:
    """JSON schema of a task file."""
    from luxdask.tasks.config import TaskConfig

    return {"$schema": DIALECT, **TaskConfig.model_json_schema()}


def settings_table(level: UsageLevel) -> Table:
    """All settings of a usage level or lower."""
    from rich.table import Table
    from rich.text import Text

    from luxdask.tasks.options import LEVELS, options

    made = Table(show_lines=True)
    made.add_column("setting", no_wrap=True)  # a key must stay in one piece to be copied
    for heading in ("default", "level", "allowed", "meaning"):
        made.add_column(heading)
    for o in options(level.value):
        cells = (o.key, human_value(o.default), LEVELS[o.level], o.allowed, o.help)
        made.add_row(*(Text(cell) for cell in cells))
    return made
