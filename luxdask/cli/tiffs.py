"""`luxdask tiffs`: a first description of a folder of TIFF stacks, to be completed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luxdask.cli.terminal import console
from luxdask.errors import OutputError


def tiffs(
    folder: Annotated[str, typer.Argument(help="A folder of TIFF stacks.")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="The description to write.")
    ] = "tiffs.json",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Describe a folder of TIFF stacks, so that it can be opened as an experiment.

    Voxel sizes and positions are those of ImageJ's and OME's metadata; what is missing is listed.
    """
    from luxdask.io.json_file import write_json
    from luxdask.io.tiff_describe import describe_folder

    target = Path(output).absolute()
    if target.exists() and not force:
        raise OutputError(f"{output} exists; replace it with --force, or choose another with -o")
    document, notes = describe_folder(str(Path(folder).absolute()), str(target.parent))
    write_json(target, document)
    out = console()
    for note in notes:
        out.print(f"note: {note}", markup=False)
    out.print(f"Wrote {output}: {len(document['images'])} files.", markup=False)
    out.print(
        f"Edit it, see what is in it with `luxdask info {output}`, then `luxdask new {output}`.",
        markup=False,
        soft_wrap=True,  # a command must stay in one piece to be copied
    )


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("tiffs")(tiffs)
