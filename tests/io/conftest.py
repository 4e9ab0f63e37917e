"""Small images on disk, written by luxdask's own writer, for the tests of main files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from luxdask.io.lux_metadata import read_view
from luxdask.io.lux_writer import LuxWriter, sidecar_path
from luxdask.model.geometry import Affine, Shape, Vector, shape3
from luxdask.model.levels import FULL, level_shape
from luxdask.model.view import Source, View

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def block_means(voxels: np.ndarray, factor: Shape) -> np.ndarray:
    """Independent of luxdask's kernel: mean of whole blocks, rounded half up."""
    nz, ny, nx = level_shape(shape3(voxels.shape), factor)
    fz, fy, fx = (min(f, n) for f, n in zip(factor, voxels.shape, strict=True))
    blocks = voxels[: nz * fz, : ny * fy, : nx * fx].reshape(nz, fz, ny, fy, nx, fx)
    sums = blocks.astype(np.uint64).sum(axis=(1, 3, 5))
    count = fz * fy * fx
    return ((sums + count // 2) // count).astype(np.uint16)


def metadata_text(
    shape: Shape, spacing_um: Vector, view_to_world: Affine, ids: dict[str, Any], **more: Any
) -> str:
    """The metadata document of an image; `more` adds to `processingInformation`."""
    linear, offset = np.array(view_to_world.linear), np.array(view_to_world.offset)
    names = ("depth", "height", "width")
    information = {
        "version": "1.0.0",
        "sources": ["simulated"],
        "contains_beads": False,
        **{key: str(value) for key, value in ids.items()},
        "voxel_size_um": dict(zip(names, spacing_um, strict=True)),
        "image_size_vx": dict(zip(names, shape, strict=True)),
        "affine_to_sample": [
            {"matrix": linear[::-1, ::-1].tolist(), "translation": offset[::-1].tolist()}
        ],
        "detection_directions": [[0.0, 0.0, 1.0]],
        "acquisition": [],
        **more,
    }
    return json.dumps({"processingInformation": information})


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., tuple[View, list[np.ndarray]]]:
    """Writes an image and gives its view, as the reader finds it, and the voxels of its levels."""

    def write(
        name: str,
        voxels: np.ndarray,
        *,
        levels: Sequence[Shape] = (FULL,),
        spacing_um: Vector = (3.0, 0.65, 0.5),
        origin_um: Vector = (-8.5, 100.25, 7.125),
        view_to_world: Affine | None = None,
        folder: Path = tmp_path,
        more: dict[str, Any] | None = None,
        **ids: Any,
    ) -> tuple[View, list[np.ndarray]]:
        ids = {
            "time_point": 0,
            "channel": "0",
            "stack": "0-x00-y00",
            "objective": "left",
            "camera": "left",
            **ids,
        }
        affine = view_to_world or Affine.scale(spacing_um, origin_um)
        shape = shape3(voxels.shape)
        path = folder / f"{name}.lux.h5"
        text = metadata_text(shape, spacing_um, affine, ids, **(more or {}))
        image = LuxWriter(str(path), shape, spacing_um, tuple(levels), text)
        image.create()
        stored = [block_means(voxels, factor) for factor in levels]
        for level, block in enumerate(stored):
            image.write(level, (0, 0, 0), block)
        source = Source(str(path), sidecar=str(sidecar_path(str(path))))
        return read_view(source)[0], stored

    return write


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Voxels of the full uint16 range, different for each seed, on a dark ground."""

    def make(shape: Shape, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        voxels = rng.integers(50, 400, shape, dtype=np.uint16)
        bright = rng.random(shape) < 0.3
        voxels[bright] = rng.integers(32768, 65536, int(bright.sum()), dtype=np.uint16)
        return voxels

    return make
