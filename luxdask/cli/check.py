"""`luxdask check`: what a task would read, compute and write, without doing it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from luxdask.cli.terminal import console, human_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from luxdask.graph.plan import OutputSummary, PlanSummary

OUTPUTS_SHOWN = 30
VIEWS_SHOWN = 3


def check(
    task: Annotated[str, typer.Argument(help="The task file, or a stopped task's folder.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the plan as JSON, for programs.")
    ] = False,
) -> None:
    """Check a task and show its plan: outputs, chunks, memory and disk. Reads no voxel."""
    from luxdask.io.json_file import json_text
    from luxdask.tasks import Task

    opened = Task.open(task)
    plan = opened.compile(opened.open_experiment()).summary()
    missing = missing_bytes(plan)
    if as_json:
        typer.echo(json_text({**asdict(plan), "missing_bytes": missing}), nl=False)
    else:
        _print_plan(console(), plan)
    if missing:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("check")(check)


def missing_bytes(plan: PlanSummary) -> int:
    """How much free space the task lacks; 0 where there is enough, or nobody knows."""
    if plan.disk_free_bytes is None:
        return 0
    return max(0, plan.disk_needed_bytes - plan.disk_free_bytes)


def _print_plan(out: Console, plan: PlanSummary) -> None:
    out.print(outputs_table(plan.outputs))
    for name, value in facts(plan):
        out.print(f"{name:<18}{value}", markup=False)
    for note in plan.notes:
        out.print(f"Note: {note}", style="yellow", markup=False)
    missing = missing_bytes(plan)
    if missing:
        out.print(
            f"Not enough free disk space in {plan.folder}: {human_bytes(missing)} are "
            "missing. Free some, choose another output.folder, or raise output.sampling.",
            style="bold red",
            markup=False,
        )


def outputs_table(outputs: Sequence[OutputSummary]) -> Table:
    """One row per output image; a long time series is cut, and its length said."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("output", overflow="fold")  # names are to be copied
    for heading in ("size (z, y, x)", "voxel (z, y, x) in µm", "views", "chunks", "on disk"):
        table.add_column(heading)
    for o in outputs[:OUTPUTS_SHOWN]:
        cells = (
            o.name,
            " x ".join(str(n) for n in o.shape),
            " x ".join(f"{s:.4g}" for s in o.spacing_um),
            views_text(o.view_names),
            f"{o.n_chunks:,}",
            human_bytes(o.size_bytes),
        )
        table.add_row(*(Text(cell) for cell in cells))
    if len(outputs) > OUTPUTS_SHOWN:
        table.add_row(f"and {len(outputs) - OUTPUTS_SHOWN:,} more outputs")
    return table


def views_text(names: Sequence[str]) -> str:
    """The first views by name, the others by number."""
    more = len(names) - VIEWS_SHOWN
    shown = list(names[:VIEWS_SHOWN])
    return "\n".join([*shown, f"and {more} more"] if more > 0 else shown)


def facts(plan: PlanSummary) -> list[tuple[str, str]]:
    """What holds for the whole plan, as names and values."""
    free = "unknown" if plan.disk_free_bytes is None else human_bytes(plan.disk_free_bytes)
    chunk = " x ".join(str(n) for n in plan.chunk_vx)
    pairs = []
    if plan.n_pairs or plan.n_known_links:
        kinds = "".join(f"{count:,} {kind}, " for kind, count in plan.pair_kinds)
        read = human_bytes(plan.registration_bytes_read)
        text = f"{plan.n_pairs:,} pairs to measure ({kinds}{read} to read)"
        pairs = [("Registration", f"{text}, {plan.n_known_links:,} links known")]
    return [
        *pairs,
        ("Tasks", f"{plan.n_tasks:,} (chunks of {chunk} voxels)"),
        ("Reads", human_bytes(plan.bytes_read)),
        ("Writes", human_bytes(plan.bytes_written)),
        ("Disk", f"{human_bytes(plan.disk_needed_bytes)} needed, {free} free"),
        (
            "Memory",
            f"{human_bytes(plan.peak_bytes)} at most, {human_bytes(plan.peak_bytes_per_task)} per "
            "task",
        ),
        ("Folder", str(plan.folder)),
    ]
