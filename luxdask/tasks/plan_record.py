"""How a task was divided into chunks, kept in its folder: a resumed run must do it alike.

Chunks depend on the memory and the cores of the machine, receipts name chunks by their number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.errors import ConfigError
from luxdask.io.replace_file import replacing
from luxdask.model.geometry import Grid, shape3, vector
from luxdask.model.same_grid import holds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from luxdask.graph.plan import Plan
    from luxdask.model.geometry import Affine, Shape
    from luxdask.model.output import Output
    from luxdask.tasks.chunk_inputs import ChunkInputs

PLAN = "plan.json"


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """What is kept of one output image.

    Attributes
    ----------
    content
        Tells its views, sizes and places apart.
    number
        Under which receipts name it; a number is never given to another image of the folder.
    grid
        Its voxels in sample space; None in folders of older versions.
    covered
        Chunks that views overlap, as ranges: first, one past the last, first, …
    settings, views
        Checksums of what holds for the whole image, and per view of its place and its file.
    """

    name: str
    shape: Shape
    content: str
    chunk: Shape
    number: int
    grid: Grid | None = None
    covered: tuple[int, ...] = ()
    settings: str = ""
    views: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """How the images of a task folder are divided.

    run : tells images of this folder apart from those of others, whatever the folder is called.
    """

    images: tuple[PlannedImage, ...]
    run: str = ""
    next_number: int = 0

    def numbers(self, names: Iterable[str]) -> list[int]:
        """Under which numbers receipts name images; new images get numbers of their own."""
        known = {image.name: image.number for image in self.images}
        fresh = count(self.next_number)
        return [known[name] if name in known else next(fresh) for name in names]


def record_of(plan: Plan, inputs: ChunkInputs, before: PlanRecord, run: str) -> PlanRecord:
    """What is kept of a plan; images that `before` names keep their numbers."""
    numbers = before.numbers(p.name for p in plan.outputs)
    images = tuple(
        PlannedImage(
            p.name,
            p.output.grid.shape,
            content_of(p.output),
            p.chunks.chunk,
            number,
            p.output.grid,
            _ranges(p.table.covered),
            inputs.settings(n),
            {str(v.id): inputs.view(n, i) for i, v in enumerate(p.output.views)},
        )
        for n, (p, number) in enumerate(zip(plan.outputs, numbers, strict=True))
    )
    return PlanRecord(images, run, max([before.next_number, *(n + 1 for n in numbers)]))


def write_plan(folder: Path, record: PlanRecord) -> None:
    """Keep how a plan divides its images; it outlives a power failure."""
    images = [
        {
            "name": i.name,
            "number": i.number,
            "shape_zyx": i.shape,
            "spacing_um_zyx": i.grid and i.grid.spacing_um,
            "origin_um_zyx": i.grid and i.grid.origin_um,
            "content": i.content,
            "settings": i.settings,
            "chunk_zyx": i.chunk,
            "covered": i.covered,
            "views": i.views,
        }
        for i in record.images
    ]
    document = {"run": record.run, "next_number": record.next_number, "images": images}
    with replacing(folder / PLAN, durable=True) as temporary:
        temporary.write_text(json.dumps(document) + "\n", encoding="utf-8")


def read_plan(folder: Path) -> PlanRecord | None:
    """The images of a stopped task; None where it did not come as far as that.

    Raises `ConfigError` where the file is damaged.
    """
    path = folder / PLAN
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        images = tuple(_image(n, entry) for n, entry in enumerate(document["images"]))
        after = int(document.get("next_number", len(images)))
        return PlanRecord(images, str(document.get("run", "")), after)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: cannot be used, so this task cannot go on ({error}); "
            "run its config_task.json as a new task"
        ) from error


def recorded_chunks(
    outputs: Iterable[Output], names: Iterable[str], recorded: Iterable[PlannedImage]
) -> list[Shape]:
    """Chunk sizes of the images of a stopped task.

    Raises `ConfigError` where the experiment's images are no longer those of the task.
    """
    before = {image.name: image for image in recorded}
    chunks, changed = [], []
    for output, name in zip(outputs, names, strict=True):
        image = before.pop(name, None)
        if image is None or (image.shape, image.content) != (output.grid.shape, content_of(output)):
            changed.append(name)
        else:
            chunks.append(image.chunk)
    changed += before
    if changed:
        raise ConfigError(
            "the experiment has changed since this task was stopped, so it cannot go on: image "
            f"{changed[0]}{f' and {len(changed) - 1} more' if len(changed) > 1 else ''} would be "
            "another one now (its views, their sizes, or where they lie by metadata, files of "
            "transforms or landmarks, and registration); do again what has changed with luxdask "
            "run --update and the folder, or run its config_task.json as a new task"
        )
    return chunks


def like_recorded(
    outputs: Sequence[Output], names: Iterable[str], recorded: Iterable[PlannedImage]
) -> tuple[tuple[Output, ...], dict[Grid, Shape]]:
    """The outputs on the voxels that they had where those hold all of the new ones.

    All images on one grid stay on one grid. Also returns the chunks of grids that are kept.
    """
    before = {image.name: image for image in recorded}
    proposals: dict[Grid, set[Grid | None]] = {}
    for output, name in zip(outputs, names, strict=True):
        image = before.get(name)
        if image is not None:
            proposals.setdefault(output.grid, set()).add(image.grid)
    kept = {
        new: old
        for new, (old, *others) in proposals.items()
        if old is not None and not others and holds(old, new)
    }
    chunks = {i.grid: i.chunk for i in before.values() if i.grid in kept.values() and i.grid}
    return tuple(replace(o, grid=kept.get(o.grid, o.grid)) for o in outputs), chunks


def content_of(output: Output) -> str:
    """A checksum of an image's views, their sizes and places; the same wherever the files lie."""
    views = ((str(v.id), v.shape, _rounded(v.view_to_world)) for v in output.views)
    return sha256(repr(list(views)).encode()).hexdigest()[:16]


def _rounded(transform: Affine) -> list[list[float]]:
    """Numbers that do not depend on how a machine rounds."""
    rounded: list[list[float]] = (np.round(transform.to_array(), 6) + 0.0).tolist()
    return rounded


def _ranges(numbers: NDArray[np.int64]) -> tuple[int, ...]:
    """Ascending numbers as ranges: first, one past the last, and so on."""
    if not len(numbers):
        return ()
    gaps = np.flatnonzero(np.diff(numbers) > 1)
    first = numbers[np.concatenate([[0], gaps + 1])]
    last = numbers[np.concatenate([gaps, [len(numbers) - 1]])]
    return tuple(np.stack([first, last + 1], axis=1).ravel().tolist())


def covered_chunks(image: PlannedImage) -> set[int]:
    """Chunks of an image that views overlapped when it was planned."""
    starts, stops = image.covered[::2], image.covered[1::2]
    return {n for a, b in zip(starts, stops, strict=True) for n in range(a, b)}


def _image(position: int, entry: dict[str, Any]) -> PlannedImage:
    shape, spacing = shape3(entry["shape_zyx"]), entry.get("spacing_um_zyx")
    grid = Grid(shape, vector(spacing), vector(entry["origin_um_zyx"])) if spacing else None
    return PlannedImage(
        str(entry["name"]),
        shape,
        str(entry["content"]),
        shape3(entry["chunk_zyx"]),
        int(entry.get("number", position)),
        grid,
        tuple(int(n) for n in entry.get("covered", ())),
        str(entry.get("settings", "")),
        {str(k): (str(a), str(b)) for k, (a, b) in entry.get("views", {}).items()},
    )
