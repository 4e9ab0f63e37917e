"""`luxdask psf`: see the point-spread functions of a task, and measure one in an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luxdask.cli.terminal import console
from luxdask.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from luxdask.model.geometry import Vector
    from luxdask.report.canvas import Canvas

psf = typer.Typer(
    name="psf",
    no_args_is_help=True,
    help="Point-spread functions for deconvolution: see those of a task, measure one.",
)

Output = Annotated[Path, typer.Option("--output", "-o", help="File of the picture (PNG).")]


@psf.command()
def preview(
    task: Annotated[str, typer.Argument(help="The task file.")],
    output: Output = Path("psf.png"),
) -> None:
    """Draw the point-spread function of each view, as the task deconvolves with it.

    In voxels of the output, from the three directions of its axes; works before deconvolution is
    switched on. No image is read.
    """
    from luxdask.report.psf import draw_psfs
    from luxdask.tasks import Task
    from luxdask.tasks.psf import preview_psfs

    pictures = preview_psfs(Task.open(task))
    for picture in pictures:
        console().print(picture.words, markup=False, soft_wrap=True)
    _save(draw_psfs("Point-spread functions in sample space", pictures), output)


@psf.command()
def estimate(
    image: Annotated[
        str,
        typer.Argument(help="A stack with beads or small spots: TIFF, .npy, or a .lux.h5 image."),
    ],
    output: Output = Path("psf_estimate.png"),
    voxel_size: Annotated[
        str | None,
        typer.Option(help="Voxel size z,y,x in µm, where the file does not tell it."),
    ] = None,
) -> None:
    """Measure the width of the point-spread function in an image of beads or small spots.

    A Gaussian is fitted to each isolated spot; the medians are printed and set with
    fusion.deconvolution.psf_lateral_um and psf_axial_um. The z axis must be the detection axis.
    """
    from luxdask.report.psf import draw_psfs
    from luxdask.tasks.psf import estimate_in, estimate_picture

    found = estimate_in(image, parse_voxel_size(voxel_size))
    out = console()
    out.print(
        f"psf_lateral_um = {found.lateral_um:.3g} (± {found.lateral_spread_um:.2g})\n"
        f"psf_axial_um   = {found.axial_um:.3g} (± {found.axial_spread_um:.2g})\n"
        f"from {len(found.spots)} of {found.n_found} spots",
        markup=False,
    )
    _save(draw_psfs(f"Spots in {Path(image).name}", estimate_picture(found)), output)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(psf)


def parse_voxel_size(text: str | None) -> Vector | None:
    """Three lengths in µm from a text such as ``2,0.4,0.4``."""
    if text is None:
        return None
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        z = y = x = 0.0
    if not 0 < min(z, y, x) <= max(z, y, x) < 1e6:
        raise ConfigError(
            f"--voxel-size {text}: expected three lengths in µm (z,y,x), as in --voxel-size 2,0.4,"
            "0.4"
        )
    return (z, y, x)


def _save(canvas: Canvas, path: Path) -> None:
    try:
        canvas.save(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot write this file: {error.strerror or error}") from error
    console().print(f"Wrote {path}.", markup=False, soft_wrap=True)
