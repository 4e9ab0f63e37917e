"""`luxdask new`: a task file for an experiment, with defaults that suit its images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luxdask.cli.level import UsageLevel
from luxdask.cli.terminal import changes_table, console
from luxdask.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from luxdask.model.experiment import Experiment
    from luxdask.tasks.config import TaskConfig
    from luxdask.tasks.defaults import ChangedDefault

STDOUT = "-"


def new(
    experiment: Annotated[
        list[str],
        typer.Argument(
            help="An experiment, its raw folder, a task folder, a main file, or several files; "
            "or OME-Zarr, BigDataViewer XML, tiffs.json."
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="The task file to write; - prints it.")
    ] = "task.json",
    level: Annotated[
        UsageLevel, typer.Option(help="Which settings the file shows.")
    ] = UsageLevel.BASIC,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a value; may be given repeatedly."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Make a task file: your saved defaults, adapted to the images, with the values you set."""
    import luxdask
    from luxdask.io.discover import absolute
    from luxdask.io.json_file import json_text, write_json
    from luxdask.tasks.options import at_level, changed_keys

    require_free(output, force)
    given = parse_assignments(values or [])
    paths = [absolute(path) for path in experiment]
    opened = luxdask.open_experiment(paths if len(paths) > 1 else paths[0])
    config, changes = make_config(opened, paths, given)
    document = at_level(config, level.value, also=(*changed_keys(config), *given))
    if output == STDOUT:
        typer.echo(json_text(document), nl=False)
    else:
        write_json(output, document)
    _report(output, changes)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("new")(new)


def parse_assignments(texts: Sequence[str]) -> dict[str, str]:
    """Values by key from texts such as ``output.sampling=4``."""
    given = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set {text}: expected KEY=VALUE, as in --set output.sampling=4")
        given[key.strip()] = value.strip()
    return given


def make_config(
    experiment: Experiment, paths: Sequence[str], given: Mapping[str, object]
) -> tuple[TaskConfig, tuple[ChangedDefault, ...]]:
    """The user's template, then the automatic defaults, then the given values.

    Selection and reference are checked against the images, so that a misspelt channel is found
    now.
    """
    from luxdask.model.select import resolve_reference, select_views
    from luxdask.tasks.config import set_values
    from luxdask.tasks.defaults import automatic_defaults
    from luxdask.tasks.template import load_template

    chosen = tuple(paths) if len(paths) > 1 else paths[0]
    base = set_values(load_template(), {"input.experiment": chosen})
    time_point = "input.reference.time_point"
    if time_point in given:  # the rules look at the images of this time point
        base = set_values(base, {time_point: given[time_point]})
    config, changes = automatic_defaults(experiment, base)
    config = set_values(config, given)
    select_views(experiment, config.input.select.to_selection())
    resolve_reference(experiment, config.input.reference.to_reference())
    return config, tuple(c for c in changes if c.key not in given)


def require_free(output: str, force: bool) -> None:
    """Raise `OutputError` where a task file cannot be written, or would replace one."""
    if output == STDOUT:
        return
    path = Path(output)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name the task file, as in task.json")
    if path.exists() and not force:
        raise OutputError(f"{path} exists; replace it with --force, or choose another")


def _report(output: str, changes: Sequence[ChangedDefault]) -> None:
    """What was changed, and what comes next; beside the document where that is printed."""
    out = console(stderr=output == STDOUT)
    if changes:
        out.print(changes_table(changes))
    if output != STDOUT:
        out.print(f"Wrote {output}.", markup=False)
        out.print(
            f"Edit it, see what it would do with `luxdask check {output}`, then start it with "
            f"`luxdask run {output}`.",
            markup=False,
            soft_wrap=True,  # a command must stay in one piece to be copied
        )
