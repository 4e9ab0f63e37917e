"""`luxdask roi`: regions of interest of an experiment: add, list, remove."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luxdask.cli.terminal import console
from luxdask.errors import ConfigError, SelectionError

if TYPE_CHECKING:
    from luxdask.io.image_ids import ImageIds
    from luxdask.io.roi_file import RoiEntry
    from luxdask.model.experiment import Experiment
    from luxdask.model.roi import Bounds

RAW = "raw"

roi = typer.Typer(
    name="roi",
    no_args_is_help=True,
    help="Regions of interest: boxes that stand for whole input images.",
)

Place = Annotated[str, typer.Argument(help="The experiment, or a task folder.")]
Label = Annotated[str, typer.Option("--label", "-l", help="Name of the region.")]
File = Annotated[
    str | None,
    typer.Option(help="File of the regions; by default rois.roi.json beside the raw folder."),
]
Images = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        "-i",
        help="Its image, such as st-1-x03-y04_ch-0; what is not given does not matter. "
        "May be repeated.",
    ),
]


@roi.command()
def add(
    path: Place,
    label: Label,
    box: Annotated[
        str | None,
        typer.Option(help="Voxels z0:z1,y0:y1,x0:x1, the last not included; 5: and : are allowed."),
    ] = None,
    shapes: Annotated[
        str | None, typer.Option(help="A shapes layer that napari has saved as CSV, instead.")
    ] = None,
    image: Images = None,
    file: File = None,
) -> None:
    """Add a region to the experiment's file of regions."""
    from luxdask.io import open_experiment
    from luxdask.io.roi_file import RoiEntry, read_entries, write_entries
    from luxdask.model.roi import box_text

    experiment = open_experiment(path)
    start, stop = _bounds(box, shapes)
    target = _target(experiment, file)
    there = read_entries(target) if target.is_file() else ()
    wanted = _ids(image)
    added = [RoiEntry(label.strip(), ids, start, stop, f"--image {text}") for text, ids in wanted]
    _check(experiment, [*there, *added], label.strip())
    write_entries(target, [*there, *added])
    console().print(
        f"Wrote {target}: region {label!r}, {box_text(start, stop)} (z, y, x).",
        markup=False,
        soft_wrap=True,
    )


@roi.command("list")
def list_(path: Place, file: File = None) -> None:
    """List the regions of an experiment."""
    from rich.table import Table
    from rich.text import Text

    from luxdask.io import open_experiment
    from luxdask.io.roi_file import read_entries, read_rois
    from luxdask.model.roi import box_text

    experiment = open_experiment(path)
    found = _existing(experiment, file)
    table = Table("label", "images", "box (z, y, x)", "number of images")
    for entry, region in zip(read_entries(found), read_rois(found, experiment), strict=True):
        cells = (
            entry.label,
            _words(entry.image),
            box_text(entry.start, entry.stop),
            str(len(region.images)),
        )
        table.add_row(*map(Text, cells))
    console().print(table)
    console().print(str(found), markup=False, soft_wrap=True)


@roi.command()
def remove(path: Place, label: Label, image: Images = None, file: File = None) -> None:
    """Remove the regions of a label, in all images or in those given exactly as they were added."""
    from luxdask.io import open_experiment
    from luxdask.io.roi_file import read_entries, write_entries

    experiment = open_experiment(path)
    found = _existing(experiment, file)
    _refuse_raw(experiment, found)
    entries = read_entries(found)
    wanted = None if image is None else {ids for _, ids in _ids(image)}
    kept = [
        entry
        for entry in entries
        if entry.label != label or (wanted is not None and entry.image not in wanted)
    ]
    if len(kept) == len(entries):
        there = ", ".join(f"{e.label!r} ({_words(e.image)})" for e in entries) or "none at all"
        raise SelectionError(f"{found}: there is no such region {label!r}; there are: {there}")
    write_entries(found, kept)
    console().print(f"Removed {len(entries) - len(kept)} of {len(entries)} regions.", markup=False)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(roi)


def parse_box(text: str) -> tuple[Bounds, Bounds]:
    """First voxel and one past the last (z, y, x) from a text such as ``0:10,:,5:``."""
    parts = [part.strip().split(":") for part in text.split(",")]
    is_box = len(parts) == 3 and all(
        len(part) == 2 and all(not bound or bound.isdecimal() for bound in part) for part in parts
    )
    if not is_box:
        raise ConfigError(
            f"--box {text}: expected z0:z1,y0:y1,x0:x1 in whole voxels from 0, as in "
            "--box 0:40,100:600,:"
        )
    pairs = [[int(bound) if bound else None for bound in part] for part in parts]
    (z0, z1), (y0, y1), (x0, x1) = pairs
    return (z0, y0, x0), (z1, y1, x1)


def _bounds(box: str | None, shapes: str | None) -> tuple[Bounds, Bounds]:
    from luxdask.io.roi_shapes import read_shapes_box

    if (box is None) == (shapes is None):
        raise ConfigError("give the region with --box or with --shapes, one of them")
    return parse_box(box) if box is not None else read_shapes_box(str(shapes))


def _ids(images: list[str] | None) -> list[tuple[str, ImageIds]]:
    from luxdask.io.image_ids import named_image

    return [(text or "all", named_image(text)) for text in images or [""]]


def _words(ids: ImageIds) -> str:
    given = {name: value for name, value in asdict(ids).items() if value is not None}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items()) or "all"


def _check(experiment: Experiment, entries: list[RoiEntry], label: str) -> None:
    """Refuse what a task would refuse: no such image, no voxel, twice in one image."""
    from luxdask.io.image_ids import ImageLookup
    from luxdask.model.roi import Roi, apply_roi

    if not label:
        raise ConfigError("--label: the name is empty")
    lookup = ImageLookup(experiment)
    regions = [
        Roi(e.label, lookup.find_all(e.image, e.where), e.start, e.stop, e.where)
        for e in entries
        if e.label == label
    ]
    apply_roi(experiment, regions, label)


def _target(experiment: Experiment, file: str | None) -> Path:
    """Where regions are written: never into the raw folder."""
    from luxdask.io.roi_file import ROI_FILE, find_roi_file

    if file is not None:
        target = Path(file).expanduser()
    else:
        folder = experiment.path if experiment.kind == "task" else experiment.root
        found = find_roi_file(experiment)
        own = Path(folder) / ROI_FILE
        # a task folder gets a file of its own: its images are not those of the raw folder
        target = own if found is None or experiment.kind == "task" else found
    _refuse_raw(experiment, target)
    return target


def _refuse_raw(experiment: Experiment, path: Path) -> None:
    raw = Path(experiment.root).resolve() / RAW
    if raw in path.resolve().parents:
        raise ConfigError(
            f"{path}: lies in the raw folder, where nothing is written; move it to "
            f"{experiment.root}, or give another file with --file"
        )


def _existing(experiment: Experiment, file: str | None) -> Path:
    from luxdask.io.roi_file import ROI_FILE, find_roi_file

    found = find_roi_file(experiment, file)
    if found is None:
        raise ConfigError(
            f"{experiment.root}: there is no {ROI_FILE}; add a region with `luxdask roi add`"
        )
    return found
