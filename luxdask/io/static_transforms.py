"""Registrations between objectives, channels and cameras as a multi-transform file.

They hold as long as the microscope is not changed, so that other experiments can use them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.io.affine_json import affine_to_json
from luxdask.io.json_file import write_json
from luxdask.model.geometry import Affine

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

STATIC_NAME = "reuse_static_regis.mtf.json"
# Transforms of voxels closer to none than this part of a voxel are noise of the arithmetic.
_IDENTICAL_VX = 1e-9


@dataclass(frozen=True, slots=True)
class StaticTransform:
    """Correction of all images that one camera takes through one objective of one channel.

    `prepend` acts on voxels before the metadata's transform, see `voxel_form`; so it is the same
    for all stacks and time points of the same crop and voxel size.
    """

    objective: str
    channel: str
    camera: str
    prepend: Affine

    @property
    def is_identity(self) -> bool:
        """Whether there is nothing to correct."""
        difference = self.prepend.to_array() - Affine().to_array()
        return bool(np.abs(difference).max() <= _IDENTICAL_VX)


def static_document(entries: Iterable[StaticTransform]) -> dict[str, Any]:
    """The JSON document of a multi-transform file; transforms that do nothing are left out."""
    return {"affines": [_entry(entry) for entry in entries if not entry.is_identity]}


def write_static(path: str | os.PathLike[str], entries: Iterable[StaticTransform]) -> None:
    """Write a multi-transform file that `read_mtf` and the vendor's software understand.

    Raises `OutputError` where the disk refuses.
    """
    write_json(path, static_document(entries))


def _entry(entry: StaticTransform) -> dict[str, Any]:
    return {
        "time_points": [],
        "channels": [entry.channel],
        "stacks": [],
        "objectives": [entry.objective],
        "cameras": [entry.camera],
        "prepend": [affine_to_json(entry.prepend)],
        "replace_by": [],
        "append": [],
    }
