"""Reading and writing of images and their metadata; loaded on first use, since it needs HDF5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luxdask.io.discover import open_experiment as open_experiment

__all__ = ["open_experiment"]


def __getattr__(name: str) -> Any:
    if name == "open_experiment":
        from luxdask.io.discover import open_experiment

        return open_experiment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
