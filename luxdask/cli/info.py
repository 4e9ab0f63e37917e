"""`luxdask info`: what images a path holds."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luxdask.cli.terminal import console, human_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.table import Table

    from luxdask.model.experiment import Experiment
    from luxdask.model.view import View

BYTES_PER_VOXEL = 2
NOTES_SHOWN = 20
ROWS_SHOWN = 60
_COLUMNS = (
    "channel",
    "stack",
    "objective",
    "camera",
    "pm",
    "angle (deg)",
    "size (x, y, z)",
    "voxel size (x, y, z) in µm",
    "time points",
)


def info(
    path: Annotated[
        str,
        typer.Argument(
            help="An experiment, its raw folder, a task folder, a main file or an image; "
            "or OME-Zarr, BigDataViewer XML, TIFF stack, tiffs.json."
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all views as JSON, for programs.")
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(
            "--applies",
            help="A task file or folder: show what its settings do to each image (transforms, "
            "region of interest, corrections, landmarks).",
        ),
    ] = None,
) -> None:
    """List the images of an experiment; reads metadata only."""
    from luxdask.cli.applied import show_applied
    from luxdask.io import open_experiment

    experiment = open_experiment(path)
    if task is not None:
        show_applied(experiment, task, as_json=as_json)
    elif as_json:
        typer.echo(json.dumps(as_document(experiment), indent=2))
    else:
        _print_table(experiment)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("info")(info)


def size_bytes(views: Iterable[View]) -> int:
    """Bytes of the full-resolution voxels of all views."""
    return sum(BYTES_PER_VOXEL * prod(view.shape) for view in views)


def as_document(experiment: Experiment) -> dict[str, Any]:
    """All views as plain JSON values; every vector in (z, y, x) order."""
    return {
        "path": experiment.path,
        "root": experiment.root,
        "kind": experiment.kind,
        "size_bytes": size_bytes(experiment.views),
        "notes": list(experiment.notes),
        "views": [_view_document(view) for view in experiment.views],
    }


def _view_document(view: View) -> dict[str, Any]:
    return {
        "time_point": view.id.time_point,
        "channel": view.id.channel,
        "channel_description": view.channel_description,
        "stack": view.id.stack,
        "stack_description": view.stack_description,
        "objective": view.id.objective,
        "camera": view.id.camera,
        "pm": view.id.pm,
        "angle_deg": view.angle_deg,
        "microscope": view.microscope,
        "illuminations": list(view.illuminations),
        "shape_zyx": list(view.shape),
        "spacing_um_zyx": list(view.spacing_um),
        "detection_directions_zyx": [list(d) for d in view.detection_directions],
        "view_to_world_zyx": view.view_to_world.to_array().tolist(),
        "format": "lux" if view.source.foreign is None else view.source.foreign.format,
        "voxel_type": "uint16" if view.source.foreign is None else view.source.foreign.voxel_type,
        "file": view.source.path,
        "dataset": view.source.dataset,
        "sidecar": view.source.sidecar,
    }


def _print_table(experiment: Experiment) -> None:
    out = console()
    out.print(_table(experiment))
    out.print(
        f"{experiment.path} ({experiment.kind}): {len(experiment)} images, "
        f"{human_bytes(size_bytes(experiment.views))}",
        markup=False,
    )
    for note in experiment.notes[:NOTES_SHOWN]:
        out.print(f"note: {note}", markup=False)
    if len(experiment.notes) > NOTES_SHOWN:
        out.print(f"and {len(experiment.notes) - NOTES_SHOWN} more notes (--json lists all)")


def _table(experiment: Experiment) -> Table:
    from rich.table import Table
    from rich.text import Text

    from luxdask.io.open_notes import ranges

    table = Table(*_COLUMNS)
    groups: dict[tuple[str, ...], list[int]] = {}
    for view in sorted(experiment.views, key=_order):
        groups.setdefault(_row(view), []).append(view.id.time_point)
    rows = [(*row, f"{len(times)} ({ranges(times)})") for row, times in groups.items()]
    for cells in rows if len(rows) <= ROWS_SHOWN else _tiles_joined(rows):
        table.add_row(*map(Text, cells))
    return table


def _tiles_joined(rows: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """One row for the tiles of a stack that differ in nothing else."""
    from luxdask.model.view import stack_and_tile

    groups: dict[tuple[str, ...], list[str]] = {}
    for channel, stack, *rest in rows:
        number, tile = stack_and_tile(stack)
        groups.setdefault((channel, number, *rest), []).append(tile)
    for (channel, number, *rest), tiles in groups.items():
        stack = f"{number}-{tiles[0]}" if tiles[0] else number
        if len(tiles) > 1:
            stack = f"{number} ({len(tiles)} tiles, {tiles[0]} to {tiles[-1]})"
        yield (channel, stack, *rest)


def _order(view: View) -> tuple[object, ...]:
    """Identity before time point, so that rows stand in natural order."""
    time_point, *identity = view.id.sort_key
    return (*identity, time_point)


def _row(view: View) -> tuple[str, ...]:
    z, y, x = view.shape
    dz, dy, dx = view.spacing_um
    described = f" {view.channel_description}" if view.channel_description else ""
    return (
        view.id.channel + described,
        view.id.stack,
        view.id.objective,
        view.id.camera,
        view.id.pm or "",
        f"{view.angle_deg:g}",
        f"{x}, {y}, {z}",
        f"{dx:g}, {dy:g}, {dz:g}",
    )
