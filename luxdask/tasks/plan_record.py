"""How a task was divided into chunks, kept in its folder: a resumed run must do it alike.

Chunks depend on the memory and the cores of the machine, receipts name chunks by their number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.errors import ConfigError
from luxdask.io.json_file import write_json
from luxdask.model.geometry import shape3

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from luxdask.graph.plan import Plan
    from luxdask.model.geometry import Affine, Shape
    from luxdask.model.output import Output

PLAN = "plan.json"


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """What is kept of one output image; `content` tells its views, sizes and places apart."""

    name: str
    shape: Shape
    content: str
    chunk: Shape


def write_plan(folder: Path, plan: Plan) -> None:
    """Keep how a plan divides its images."""
    images = [
        {
            "name": p.name,
            "shape_zyx": p.output.grid.shape,
            "content": content_of(p.output),
            "chunk_zyx": p.chunks.chunk,
        }
        for p in plan.outputs
    ]
    write_json(folder / PLAN, {"images": images})


def read_plan(folder: Path) -> tuple[PlannedImage, ...] | None:
    """The images of a stopped task; None where it did not come as far as that.

    Raises `ConfigError` where the file is damaged.
    """
    path = folder / PLAN
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_image(entry) for entry in document["images"])
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
            "transforms or landmarks, and registration); run its config_task.json as a new task"
        )
    return chunks


def content_of(output: Output) -> str:
    """A checksum of an image's views, their sizes and places; the same wherever the files lie."""
    views = ((str(v.id), v.shape, _rounded(v.view_to_world)) for v in output.views)
    return sha256(repr(list(views)).encode()).hexdigest()[:16]


def _rounded(transform: Affine) -> list[list[float]]:
    """Numbers that do not depend on how a machine rounds."""
    rounded: list[list[float]] = (np.round(transform.to_array(), 6) + 0.0).tolist()
    return rounded


def _image(entry: dict[str, Any]) -> PlannedImage:
    return PlannedImage(
        str(entry["name"]),
        shape3(entry["shape_zyx"]),
        str(entry["content"]),
        shape3(entry["chunk_zyx"]),
    )
