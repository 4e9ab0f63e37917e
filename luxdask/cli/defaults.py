"""`luxdask defaults`: the settings that new tasks start from."""

from __future__ import annotations

from typing import Annotated

import typer


def save(task: Annotated[str, typer.Argument(help="Task file whose settings are saved.")]) -> None:
    """Make the settings of a task the defaults of new tasks."""
    from luxdask.tasks.config import parse_config
    from luxdask.tasks.template import NOT_SAVED, save_template

    path = save_template(parse_config(task))
    typer.echo(f"New tasks start from these settings now ({path}).")
    typer.echo(f"Left out, since they belong to one experiment: {', '.join(NOT_SAVED)}.")


def show() -> None:
    """Print the defaults of new tasks."""
    from luxdask.io.json_file import json_text
    from luxdask.tasks.template import load_template, template_path

    path = template_path()
    origin = str(path) if path.exists() else "built in; nothing has been saved"
    typer.echo(f"Defaults of new tasks ({origin}):", err=True)
    typer.echo(json_text(load_template().model_dump(mode="json")), nl=False)


def reset() -> None:
    """Go back to the built-in defaults."""
    from luxdask.tasks.template import reset_template

    removed = reset_template()
    typer.echo(
        "New tasks start from the built-in defaults again."
        if removed
        else "New tasks start from the built-in defaults already."
    )


def register(app: typer.Typer) -> None:
    """Add the group of commands to the program."""
    group = typer.Typer(no_args_is_help=True, help="Settings that new tasks start from.")
    for command in (save, show, reset):
        group.command()(command)
    app.add_typer(group, name="defaults")
