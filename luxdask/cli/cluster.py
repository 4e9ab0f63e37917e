"""`luxdask cluster`: describe a cluster, see its job script, and try it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from luxdask.cli.terminal import console

if TYPE_CHECKING:
    from luxdask.cluster.spec import ClusterSpec

cluster = typer.Typer(
    no_args_is_help=True,
    help="Describe a cluster, see the script of its jobs, and try it. docs/clusters.md tells how.",
)


@cluster.command()
def init(
    system: Annotated[
        str,
        typer.Argument(
            help="slurm, pbs, sge, lsf, oar, htcondor, moab, local, cuda, or address (of a "
            "scheduler that runs already)."
        ),
    ],
) -> None:
    """Print a commented description of a cluster: luxdask cluster init slurm > site.toml."""
    from luxdask.cluster.spec import SYSTEMS
    from luxdask.cluster.template import template
    from luxdask.errors import ConfigError

    if system not in SYSTEMS:
        raise ConfigError(f"{system!r}: no such kind of cluster; allowed: {', '.join(SYSTEMS)}")
    typer.echo(template(system), nl=False)


@cluster.command()
def script(
    site: Annotated[str, typer.Argument(help="The description, or a batch system by name.")],
) -> None:
    """Print the script of a worker's job. Nothing is started."""
    from luxdask.cluster.jobqueue import worker_script

    typer.echo(worker_script(_with_jobs(site)), nl=False)


@cluster.command("test")
def try_out(
    site: Annotated[
        str, typer.Argument(help="The description, a kind of cluster by name, or an address.")
    ],
    path: Annotated[
        str | None,
        typer.Option(help="A folder of data, which the worker must see as well."),
    ] = None,
    patience: Annotated[int, typer.Option(min=1, help="Seconds to wait for the worker.")] = 600,
) -> None:
    """Start one worker and report what it has and sees. Exit code 1 where something is wrong."""
    from luxdask.cluster import connect
    from luxdask.cluster.dask_backend import DaskBackend
    from luxdask.cluster.trial import look_around

    out = console()
    with connect("processes" if site == "local" else site, n_workers=1) as backend:
        assert isinstance(backend, DaskBackend)
        found = look_around(
            backend, path, patience, lambda text: out.print(text, style="dim", markup=False)
        )
    for one in found:
        mark = "" if one.is_good else "  <- wrong"
        style = None if one.is_good else "bold red"
        out.print(f"{one.name:<10}{one.text}{mark}", style=style, markup=False)
    if not all(one.is_good for one in found):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(cluster, name="cluster")


def _with_jobs(site: str) -> ClusterSpec:
    from luxdask.cluster.spec import read_spec
    from luxdask.errors import ConfigError

    spec = read_spec(site)
    if not spec.is_batch:
        raise ConfigError(f"{site}: a cluster of system {spec.system!r} has no jobs, so no script")
    return spec
