"""`luxdask schema`: all settings, for editors and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from luxdask.cli.level import UsageLevel
from luxdask.cli.terminal import console, human_value

if TYPE_CHECKING:
    from rich.table import Table

    from luxdask.tasks.options import Option

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(
    table: Annotated[
        bool, typer.Option("--table", help="Print the settings as a table instead.")
    ] = False,
    level: Annotated[
        UsageLevel, typer.Option(help="Which settings the table shows.")
    ] = UsageLevel.ADVANCED,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page docs/settings.md instead.")
    ] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="File for the JSON schema.")
    ] = None,
) -> None:
    """Print the JSON schema of task files, or a table of all settings."""
    from luxdask.io.json_file import json_text, write_json

    if markdown:
        typer.echo(settings_page(), nl=False)
    elif table:
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


PAGE_HEAD = """# Settings

A task file is one JSON document. Every key may be left out and then takes its default. A key with
dots stands for nested objects: `output.sampling.depth` is `{"output": {"sampling": {"depth": 1}}}`.
On the command line a setting is given as `--set output.sampling.depth=2`, in Python as
`task.replace({"output.sampling.depth": 2})`. Unknown keys and values that are not allowed are
refused before anything runs. `null` means "automatic" or "none", as the last column says.

The level is that of `luxdask new --level`, which leaves the settings of higher levels out of the
file.

This page is made by `luxdask schema --markdown > docs/settings.md`.
"""


def settings_page() -> str:
    """All settings as Markdown, one table per group of the document."""
    from luxdask.tasks.options import options

    lines, group = [PAGE_HEAD.rstrip()], None
    for o in options():
        first = o.key.partition(".")[0] if "." in o.key else "task"
        if first != group:
            group = first
            lines += ["", f"## {group}", "", "| setting | default | level | allowed | meaning |"]
            lines.append("|---|---|---|---|---|")
        lines.append(_page_row(o))
    return "\n".join(lines) + "\n"


def _page_row(option: Option) -> str:
    from luxdask.tasks.options import LEVELS

    cells = (
        f"`{option.key}`",
        f"`{human_value(option.default)}`",
        LEVELS[option.level],
        option.allowed,
        option.help,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
