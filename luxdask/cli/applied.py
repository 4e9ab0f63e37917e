"""What the settings of a task do to each image, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from luxdask.cli.terminal import console
from luxdask.cli.view_words import view_words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from luxdask.model.experiment import Experiment
    from luxdask.model.view import ViewId
    from luxdask.tasks.applied import Applied


def show_applied(experiment: Experiment, task: str, *, as_json: bool) -> None:
    """Print what a task does to the images of an experiment; `task` is its file or folder."""
    from luxdask.tasks.applied import applied_inputs
    from luxdask.tasks.config import parse_config
    from luxdask.tasks.folder import CONFIG, find_folder

    place = find_folder(Path(task))
    config = parse_config(place / CONFIG if place.is_dir() else place)
    applied, notes = applied_inputs(config, experiment)
    if as_json:
        views = [_document(one) for one in applied]
        typer.echo(json.dumps({"notes": list(notes), "views": views}, indent=2))
        return
    out = console()
    out.print(_table(applied))
    for note in notes:
        out.print(f"note: {note}", markup=False)


def _document(applied: Applied) -> dict[str, Any]:
    view = applied.view
    return {
        "image": str(view.id),
        "shape_zyx": list(view.shape),
        "view_to_world_zyx": view.view_to_world.to_array().tolist(),
        "transforms": list(applied.transforms),
        "roi_zyx": applied.roi or None,
        "corrections": list(applied.corrections),
        "landmarks": list(applied.landmarks),
    }


def _table(applied: Iterable[Applied]) -> Table:
    """One row for all images to which the same applies."""
    from rich.table import Table
    from rich.text import Text

    groups: dict[tuple[str, ...], list[ViewId]] = {}
    for one in applied:
        cells = (
            " → ".join(one.transforms),
            one.roi or "whole",
            ", ".join(one.corrections) or "none",
            ", ".join(one.landmarks) or "none",
        )
        groups.setdefault(cells, []).append(one.view.id)
    table = Table("images", "transforms", "region (z, y, x)", "corrections", "landmarks")
    for words, views in groups.items():
        table.add_row(*map(Text, (view_words(views), *words)))
    return table
