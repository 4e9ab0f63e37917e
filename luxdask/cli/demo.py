"""`luxdask demo`: from nothing to registered, fused images and a picture of them, in seconds."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luxdask.cli.progress import progress_view
from luxdask.cli.run import stop_on_signals
from luxdask.cli.terminal import console
from luxdask.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from luxdask.tasks import Task, TaskResult
    from luxdask.testing.spec import DemoSpec
    from luxdask.testing.truth import Truth

EXPERIMENT, TASK, PICTURE, NOTE = "embryo", "task.json", "overview.png", "ABOUT.txt"
MARK = "Made by `luxdask demo`, which replaces it when it runs again."
DESCRIPTION = "demo"
SHAPE = (64, 556, 556)
STRIPES = 5
PROGRAMS = {
    ".ims": "Imaris",
    ".xml": "Fiji (BigDataViewer)",
    ".ome.zarr": "napari, OME-Zarr",
    ".lux.h5": "luxdask, all images",
}
"""What opens the files of a finished task, by the ends of their names."""

SETTINGS = {
    "description": DESCRIPTION,
    "registration.enabled": True,
    "registration.tiles.enabled": True,
    "fusion.fuse_different_cams": True,
    "fusion.blending.enabled": True,
    "output.formats": ["lux", "bdv", "imaris", "ome-zarr"],
}


def demo(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder to make.")] = "demo",
) -> None:
    """Make a small experiment, register and fuse it, and draw a picture of the result."""
    began = time.monotonic()
    out, root = console(), Path(folder)
    _take_folder(root)
    truth = _make_experiment(out, root)
    task = _make_task(out, root)
    stop = threading.Event()
    with stop_on_signals(stop, out), progress_view(out) as listener:
        result = task.run(listeners=(listener,), stop=stop)
    _compare(out, truth, result)
    _draw(out, root, result)
    out.print(f"\nDone in {time.monotonic() - began:.0f} s.", markup=False)
    for name, place in _places(root, truth, result):
        out.print(f"  {name:<24}{place}", markup=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("demo")(demo)


def demo_spec() -> DemoSpec:
    """How the sample is imaged."""
    from luxdask.testing.spec import DemoSpec

    return DemoSpec(
        spacing_um=(3.0, 1.0, 1.0),
        tiles=(2, 2),
        objectives=2,
        channels=2,
        channel_descriptions=("nuclei", "stripes"),
        stage_error_um=6.0,
        camera_error_um=4.0,
        sub_voxel=True,
        noise=True,
    )


def demo_volume(spec: DemoSpec) -> NDArray[np.uint16]:
    """An embryo (C, Z, Y, X): all nuclei, and those that make a protein in stripes."""
    import numpy as np

    from luxdask.testing.phantoms import CAMERA_OFFSET, phantom

    nuclei = phantom("nuclei", SHAPE, seed=spec.seed, spacing_um=spec.spacing_um)
    across = np.linspace(-1, 1, SHAPE[2], dtype=np.float32)
    bent = across + 0.12 * np.linspace(-1, 1, SHAPE[1], dtype=np.float32)[:, None] ** 2
    stripes = np.cos(np.pi * STRIPES * bent) ** 4
    striped = (nuclei - np.float32(CAMERA_OFFSET)) * stripes + np.float32(CAMERA_OFFSET)
    return np.stack([nuclei, np.rint(striped).astype(np.uint16)])


def _take_folder(root: Path) -> None:
    """Make the folder, or take over that of an earlier demo; refuse any other that holds files."""
    try:
        content = sorted(p.name for p in root.iterdir()) if root.exists() else []
        if content and not _is_ours(root):
            raise ConfigError(
                f"{root}: the folder is not empty and was not made by luxdask demo (it holds "
                f"{content[0]!r}); give another one: luxdask demo DIR"
            )
        root.mkdir(parents=True, exist_ok=True)
        (root / NOTE).write_text(MARK + "\n", encoding="utf-8")
        for old in (root / EXPERIMENT / "processed").glob(f"*_Task_*_{DESCRIPTION}*"):
            shutil.rmtree(old)
    except NotADirectoryError:
        raise ConfigError(f"{root}: is a file; give a folder: luxdask demo DIR") from None
    except OSError as error:
        raise OutputError(f"{root}: cannot write here: {error.strerror or error}") from error


def _is_ours(root: Path) -> bool:
    try:
        return (root / NOTE).read_text(encoding="utf-8").startswith(MARK)
    except (OSError, ValueError):
        return False


def _make_experiment(out: Console, root: Path) -> Truth:
    from luxdask.testing.experiment_writer import write_experiment

    spec = demo_spec()
    rows, columns = spec.tiles
    out.print(
        f"Making an experiment: {spec.channels} channels, {rows} x {columns} tiles, "
        f"{spec.objectives} opposing objectives, with camera noise and stage errors",
        markup=False,
    )
    with out.status("sample and images"):  # shows nothing where the output is no terminal
        return write_experiment(root / EXPERIMENT, demo_volume(spec), spec, overwrite=True)


def _make_task(out: Console, root: Path) -> Task:
    import luxdask

    experiment = luxdask.open_experiment(root / EXPERIMENT)
    task = luxdask.Task.new(experiment, values=SETTINGS)
    task.save(root / TASK)
    out.print(f"Registering and fusing {len(experiment)} images", markup=False)
    return task


def _compare(out: Console, truth: Truth, result: TaskResult) -> None:
    """Say how far the views were, and are, from where they truly lie."""
    from luxdask.model.geometry import Affine
    from luxdask.testing.alignment import position_errors, worst_error_vx

    found = result.registration
    if found is None:
        return
    before = position_errors(truth, dict.fromkeys(found.transforms, Affine()), found.reference)
    after = position_errors(truth, found.transforms, found.reference)
    out.print(
        f"Views were up to {worst_error_vx(before):.1f} voxels from their true places; "
        f"now {worst_error_vx(after):.2f}",
        markup=False,
    )


def _draw(out: Console, root: Path, result: TaskResult) -> None:
    import luxdask
    from luxdask.report.overview import write_overview

    out.print("Drawing the picture", markup=False)
    inputs = luxdask.open_experiment(root / EXPERIMENT).views
    write_overview(result.images, root / PICTURE, inputs=inputs)


def _places(root: Path, truth: Truth, result: TaskResult) -> Iterator[tuple[str, str]]:
    """What was made, and which program opens it."""
    yield "picture", str(root / PICTURE)
    yield "experiment", f"{root / EXPERIMENT} ({len(truth.views)} raw images, and the truth)"
    yield "task file", str(root / TASK)
    yield "task folder", f"{_shown(result.folder)}, in it:"
    for picture in sorted(result.folder.glob("registration_*.png")):
        yield "  registration", picture.name
    made = [path.name for path in (*result.main_files, *map(Path, result.ome_zarr))]
    for ending, program in PROGRAMS.items():
        yield from ((f"  {program}", name) for name in made if name.endswith(ending))
    yield from (("  luxdask, any HDF5", path.name) for path in result.images)


def _shown(path: Path) -> Path:
    """Relative to where the user is, if it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
