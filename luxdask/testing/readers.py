"""Watch or forbid the reading of voxels, to prove what a step of the program reads."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luxdask.io import lux_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luxdask.model.geometry import Box


class VoxelsRead(AssertionError):
    """Voxels were read although nothing may read them."""


@dataclass(frozen=True, slots=True)
class Read:
    """One request for voxels."""

    path: str
    dataset: str
    box: Box


@contextmanager
def forbid_reads() -> Iterator[None]:
    """Within this context every voxel read of this process raises `VoxelsRead`."""

    def refuse(path: str, dataset: str, box: Box, *_: Any) -> Any:
        raise VoxelsRead(f"{path}: {dataset} {box} was read")

    with _replaced(refuse):
        yield


@contextmanager
def record_reads() -> Iterator[list[Read]]:
    """Collect the voxel reads of this process; the list grows while the context is open."""
    reads: list[Read] = []

    original = lux_reader.read_into

    def record(path: str, dataset: str, box: Box, *rest: Any) -> Any:
        reads.append(Read(path, dataset, box))
        return original(path, dataset, box, *rest)

    with _replaced(record):
        yield reads


@contextmanager
def _replaced(replacement: Callable[..., Any]) -> Iterator[None]:
    """Put a function in place of `read_into`, which all reading goes through."""
    original = lux_reader.read_into
    _swap(original, replacement)
    try:
        yield
    finally:
        # modules that were imported meanwhile have picked up the replacement: swap there, too
        _swap(replacement, original)


def _swap(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """Also where the function was imported by name."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("luxdask"):
            for name in [name for name, value in vars(module).items() if value is old]:
                setattr(module, name, new)
