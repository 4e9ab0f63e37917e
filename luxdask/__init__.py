"""luxdask registers, fuses and converts light-sheet images of Luxendo microscopes, on dask."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from luxdask.version import __version__

if TYPE_CHECKING:
    from luxdask.cluster import connect as connect
    from luxdask.errors import LuxdaskError as LuxdaskError
    from luxdask.io import open_experiment as open_experiment
    from luxdask.tasks import Task as Task
    from luxdask.tasks.queue import Queue as Queue
    from luxdask.tasks.register import register as register

# Loaded on first use, so that `import luxdask` stays fast and touches no HDF5, dask or GPU library.
_LAZY = {
    "LuxdaskError": "luxdask.errors",
    "Queue": "luxdask.tasks.queue",
    "Task": "luxdask.tasks",
    "connect": "luxdask.cluster",
    "open_experiment": "luxdask.io",
    "register": "luxdask.tasks.register",
}

__all__ = ["LuxdaskError", "Queue", "Task", "__version__", "connect", "open_experiment", "register"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
