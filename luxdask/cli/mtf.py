"""`luxdask mtf`: see, check and begin multi-transform files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luxdask.cli.terminal import console
from luxdask.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from luxdask.model.experiment import Experiment
    from luxdask.model.multi_transform import MultiTransform, TransformEntry

mtf = typer.Typer(
    name="mtf",
    no_args_is_help=True,
    help="Multi-transform files: transforms added to those of the images' metadata.",
)

Names = list[str] | None


@mtf.command()
def show(
    path: Annotated[str, typer.Argument(help="The experiment, or a task folder.")],
    file: Annotated[
        str | None, typer.Option(help="The file; by default the one beside the images or raw.")
    ] = None,
) -> None:
    """Show which transforms of a file would apply to which images."""
    from luxdask.io import open_experiment
    from luxdask.io.mtf import MTF_NAME, find_mtf, read_mtf

    experiment = open_experiment(path)
    found = find_mtf(experiment, file)
    if found is None:
        raise ConfigError(
            f"{path}: there is no {MTF_NAME} beside the images or in {experiment.root}; begin one "
            "with `luxdask mtf new`, or name a file with --file"
        )
    _print_applied(experiment, read_mtf(found))


@mtf.command()
def check(
    file: Annotated[str, typer.Argument(help="The multi-transform file.")],
    path: Annotated[
        str | None, typer.Argument(help="An experiment, to see whether its names occur there.")
    ] = None,
) -> None:
    """Check a file: its form, whether its transforms can be used, and what it applies to."""
    from luxdask.io import open_experiment
    from luxdask.io.mtf import read_mtf

    content = read_mtf(file)
    if path is None:
        console().print(f"{file}: {len(content.entries)} entries, all usable.", markup=False)
    else:
        _print_applied(open_experiment(path), content)


@mtf.command()
def new(
    path: Annotated[str, typer.Argument(help="The experiment, or a task folder.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="The file; by default beside the raw folder."),
    ] = None,
    time_point: Annotated[
        list[int] | None, typer.Option(help="For these time points only.")
    ] = None,
    channel: Annotated[Names, typer.Option(help="For these channels only.")] = None,
    stack: Annotated[Names, typer.Option(help="For these stacks only.")] = None,
    objective: Annotated[Names, typer.Option(help="For these objectives only.")] = None,
    camera: Annotated[Names, typer.Option(help="For these cameras only.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a file that does nothing yet, with comments, to be completed by hand."""
    from luxdask.io import open_experiment
    from luxdask.io.mtf import MTF_NAME
    from luxdask.io.mtf_template import mtf_template
    from luxdask.io.replace_file import replacing
    from luxdask.model.select import Selection, select_views

    experiment = open_experiment(path)
    lists = {
        "time_points": tuple(time_point or ()),
        "channels": tuple(channel or ()),
        "stacks": tuple(stack or ()),
        "objectives": tuple(objective or ()),
        "cameras": tuple(camera or ()),
    }
    select_views(experiment, Selection(**lists))  # type: ignore[arg-type]
    folder = experiment.path if experiment.kind == "task" else experiment.root
    target = Path(output).expanduser() if output else Path(folder) / MTF_NAME
    if target.exists() and not force:
        raise OutputError(f"{target} exists; replace it with --force, or choose another with -o")
    with replacing(target) as temporary:
        temporary.write_text(mtf_template(experiment, **lists), encoding="utf-8")  # type: ignore[arg-type]
    out = console()
    out.print(f"Wrote {target}.", markup=False, soft_wrap=True)
    out.print(
        f"Edit it, then see what it does with `luxdask mtf check {target} {path}`.",
        markup=False,
        soft_wrap=True,
    )


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(mtf)


def _print_applied(experiment: Experiment, content: MultiTransform) -> None:
    """The images of each set of entries, how far they move, and what the file says in vain."""
    from rich.table import Table
    from rich.text import Text

    from luxdask.cli.view_words import view_words
    from luxdask.model.multi_transform import apply_mtf

    applied = apply_mtf(experiment, content)
    table = Table("images", "entries", "transforms, in this order")
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, view in enumerate(experiment.views):
        matching = tuple(n for n, entry in enumerate(content.entries, 1) if entry.matches(view.id))
        groups.setdefault(matching, []).append(number)
    for matching, numbers in groups.items():
        words = view_words([experiment.views[n].id for n in numbers])
        entries = ", ".join(map(str, matching)) or "none"
        table.add_row(*map(Text, (words, entries, chain_words(content, matching))))
    out = console()
    out.print(table)
    for note in applied.notes[len(experiment.notes) :]:
        out.print(f"note: {note}", markup=False)


def chain_words(content: MultiTransform, numbers: tuple[int, ...]) -> str:
    """The transforms of an image, first to last; `numbers` are those of its entries, from 1."""
    entries = [content.entries[n - 1] for n in numbers]
    own = _count(entries, "replace_by", "replaced by {}") or "metadata"
    chain = [_count(entries, "prepend", "{} prepended"), own]
    chain.append(_count(entries, "append", "{} appended"))
    return ", ".join(part for part in chain if part)


def _count(entries: list[TransformEntry], name: str, words: str) -> str:
    number = sum(len(getattr(entry, name)) for entry in entries)
    return words.format(number) if number else ""
