"""`luxdask demo-data`: make an experiment with known truth, from nothing or from a TIFF."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from luxdask.model.geometry import Shape, Vector
    from luxdask.testing.spec import DemoSpec
    from luxdask.testing.truth import Truth

_SAMPLE = "Sample"
_IMAGING = "Imaging"
_ERRORS = "Imperfections"


def demo_data(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Experiment folder to make.")],
    source: Annotated[
        str | None,
        typer.Option("--from", help="Image this 3-D TIFF file.", rich_help_panel=_SAMPLE),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            help="Without --from: nuclei, band-limited or beads.", rich_help_panel=_SAMPLE
        ),
    ] = "nuclei",
    size: Annotated[
        str,
        typer.Option(help="Without --from: voxels as ZxYxX.", rich_help_panel=_SAMPLE),
    ] = "64x256x256",
    voxel_size: Annotated[
        str | None,
        typer.Option(
            help="Voxel size z,y,x in µm; else that of the TIFF, else 1,1,1.",
            rich_help_panel=_SAMPLE,
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(help="Colours; else those of the TIFF, else 1.", rich_help_panel=_SAMPLE),
    ] = None,
    tiles: Annotated[
        str, typer.Option(help="Rows x columns of tiles.", rich_help_panel=_IMAGING)
    ] = "1x1",
    overlap: Annotated[
        str,
        typer.Option(help="Of tiles: 15% of a tile, or 40px.", rich_help_panel=_IMAGING),
    ] = "15%",
    objectives: Annotated[
        int, typer.Option(help="1, or 2 opposing ones.", rich_help_panel=_IMAGING)
    ] = 1,
    cameras: Annotated[
        int, typer.Option(help="1 or 2 per objective.", rich_help_panel=_IMAGING)
    ] = 1,
    rotations: Annotated[
        str, typer.Option(help="Angles of the stage in degrees.", rich_help_panel=_IMAGING)
    ] = "0",
    time_points: Annotated[
        int, typer.Option(help="Number of time points.", rich_help_panel=_IMAGING)
    ] = 1,
    pms: Annotated[
        int, typer.Option(help="Photomanipulation ids; 0 = none.", rich_help_panel=_IMAGING)
    ] = 0,
    single_sided: Annotated[
        bool,
        typer.Option(
            "--single-sided",
            help="Two channels per colour, each lit from one side.",
            rich_help_panel=_IMAGING,
        ),
    ] = False,
    stage_error_um: Annotated[
        float,
        typer.Option(
            help="Largest error of a tile's position in the metadata.", rich_help_panel=_ERRORS
        ),
    ] = 0.0,
    camera_error_um: Annotated[
        float,
        typer.Option(help="Likewise for objectives and cameras.", rich_help_panel=_ERRORS),
    ] = 0.0,
    camera_tilt_deg: Annotated[
        float, typer.Option(help="Likewise: turned in the image plane.", rich_help_panel=_ERRORS)
    ] = 0.0,
    channel_error_um: Annotated[
        float, typer.Option(help="Shift between colours.", rich_help_panel=_ERRORS)
    ] = 0.0,
    rotation_error_deg: Annotated[
        float, typer.Option(help="Error of the stage's rotation.", rich_help_panel=_ERRORS)
    ] = 0.0,
    rotation_error_um: Annotated[
        float, typer.Option(help="Error of its axis.", rich_help_panel=_ERRORS)
    ] = 0.0,
    sub_voxel: Annotated[
        bool,
        typer.Option("--sub-voxel", help="Tiles between whole voxels.", rich_help_panel=_ERRORS),
    ] = False,
    noise: Annotated[
        bool,
        typer.Option("--noise", help="Photon and camera noise.", rich_help_panel=_ERRORS),
    ] = False,
    blur_um: Annotated[
        float,
        typer.Option(help="Blur (sigma) along the detection axis.", rich_help_panel=_ERRORS),
    ] = 0.0,
    scatter: Annotated[
        float,
        typer.Option(
            help="0 to 1: light smeared on the far side of the sample.", rich_help_panel=_ERRORS
        ),
    ] = 0.0,
    flatfield: Annotated[
        float,
        typer.Option(help="0 to 1: loss of light in the corners.", rich_help_panel=_ERRORS),
    ] = 0.0,
    drift_um: Annotated[
        float, typer.Option(help="Movement per time point.", rich_help_panel=_ERRORS)
    ] = 0.0,
    drift_random_um: Annotated[
        float, typer.Option(help="Random movement besides.", rich_help_panel=_ERRORS)
    ] = 0.0,
    bleaching: Annotated[
        float,
        typer.Option(help="0 to 1: loss of light per time point.", rich_help_panel=_ERRORS),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an experiment made before.")
    ] = False,
) -> None:
    """Make an experiment in the microscope's format, with the true positions written beside it."""
    from luxdask.testing.spec import DemoSpec
    from luxdask.testing.tiff import load_volume

    shape = _three_sizes(size)
    loaded = load_volume(source) if source else None
    tagged = loaded.spacing_um if loaded else None
    spec = DemoSpec(
        spacing_um=_voxel_size(voxel_size) if voxel_size else tagged or (1.0, 1.0, 1.0),
        tiles=_tiles(tiles),
        overlap=_overlap(overlap),
        objectives=objectives,
        cameras=cameras,
        rotations_deg=tuple(_numbers("--rotations", rotations, "0,90")),
        channels=_channels(channels, loaded.volume if loaded else None),
        time_points=time_points,
        pms=pms,
        single_sided=single_sided,
        stage_error_um=stage_error_um,
        camera_error_um=camera_error_um,
        camera_tilt_deg=camera_tilt_deg,
        channel_error_um=channel_error_um,
        rotation_error_deg=rotation_error_deg,
        rotation_error_um=rotation_error_um,
        sub_voxel=sub_voxel,
        noise=noise,
        blur_um=blur_um,
        scatter=scatter,
        flatfield=flatfield,
        drift_um=drift_um,
        drift_random_um=drift_random_um,
        bleaching=bleaching,
        seed=seed,
    )
    _write(folder, lambda: loaded.volume if loaded else _phantom(kind, shape, spec), spec, force)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("demo-data")(demo_data)


def _write(
    folder: str, volume: Callable[[], NDArray[np.uint16]], spec: DemoSpec, force: bool
) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from luxdask.testing.experiment_writer import check_folder, write_experiment

    console = Console()
    # a refused folder is told before the sample is made
    check_folder(folder, overwrite=force)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("images", total=None)

        def advance(done: int, total: int, _: Any) -> None:
            progress.update(bar, completed=done, total=total)

        truth = write_experiment(folder, volume(), spec, overwrite=force, progress=advance)
    for line in _summary(truth, spec):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _summary(truth: Truth, spec: DemoSpec) -> list[str]:
    from math import prod

    voxels = sum(prod(view.shape) for view in truth.views)
    shapes = sorted({view.shape for view in truth.views})
    sizes = ", ".join("x".join(map(str, shape)) for shape in shapes)
    counted = {
        "time points": spec.time_points,
        "channels": len(spec.channel_names),
        "PM ids": spec.pms,
        "angles": len(spec.rotations_deg),
        "tiles": spec.tiles[0] * spec.tiles[1],
        "objectives": spec.objectives,
        "cameras each": spec.cameras,
    }
    of = ", ".join(f"{n} {name}" for name, n in counted.items() if n > 1) or "a single view"
    return [
        f"{truth.folder}: {len(truth.views)} images ({of}) of {sizes} voxels (z, y, x), "
        f"{voxels * 2 / 1e6:,.0f} MB",
        f"truth: {truth.volume_path}",
        f"       {truth.transforms_path}",
    ]


def _phantom(kind: str, shape: Shape, spec: DemoSpec) -> NDArray[np.uint16]:
    from luxdask.testing.experiment_writer import phantom_colours

    return phantom_colours(kind, shape, spec)


def _channels(given: int | None, volume: NDArray[np.uint16] | None) -> int:
    in_file = len(volume) if volume is not None and volume.ndim == 4 else None
    if in_file and given not in (None, in_file):
        raise ConfigError(f"--channels {given}: the TIFF file has {in_file}; leave the option out")
    return given if given is not None else in_file or 1


def _numbers(option: str, text: str, example: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{option} {text}: numbers with commas between, such as {example}") from (
            error
        )


def _voxel_size(text: str) -> Vector:
    values = _numbers("--voxel-size", text, "5,2,2")
    if len(values) != 3:
        raise ConfigError(f"--voxel-size {text}: three numbers z,y,x in µm, such as 5,2,2")
    return (values[0], values[1], values[2])


def _three_sizes(text: str) -> Shape:
    found = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text.strip())
    if not found or min(map(int, found.groups())) < 1:
        raise ConfigError(f"--size {text}: voxels in z, y, x, such as 64x256x256")
    z, y, x = map(int, found.groups())
    return (z, y, x)


def _tiles(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text.strip())
    if not found:
        raise ConfigError(f"--tiles {text}: rows x columns, such as 2x3")
    return int(found[1]), int(found[2])


def _overlap(text: str) -> float:
    """Whole voxels come back as int, a fraction as float."""
    found = re.fullmatch(r"([\d.]+)\s*(%|px)", text.strip())
    try:
        if found:
            return int(found[1]) if found[2] == "px" else float(found[1]) / 100
    except ValueError:
        pass
    raise ConfigError(f"--overlap {text}: per cent of a tile or voxels, such as 15% or 40px")
