"""Settings that are part of the document but do not work yet in this version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from luxdask.errors import NotAvailableError
from luxdask.tasks.config_fields import value_at
from luxdask.tasks.config_output import is_address
from luxdask.version import __version__

if TYPE_CHECKING:
    from luxdask.tasks.config import TaskConfig

# Key and the value that switches it off. Whatever stands below a switch counts only while it is on.
_LATER = (
    ("input.roi.label", None),
    ("input.roi.file", None),
    ("input.flatfield.enabled", False),
    ("input.camera_pixels.enabled", False),
    ("fusion.deconvolution.enabled", False),
)


def unavailable(config: TaskConfig) -> tuple[str, ...]:
    """What is on but does not work yet: ``key = value`` that switches each off."""
    found = [
        f"{key} = {json.dumps(off)}"
        for key, off in _LATER
        if value_at(config, key) not in (off, "")
    ]
    if not _is_available_cluster(config.compute.cluster):
        found.append('compute.cluster = "local" (or the address of a scheduler, tcp://host:port)')
    return tuple(found)


def _is_available_cluster(cluster: str) -> bool:
    return cluster == "local" or is_address(cluster)


def require_available(config: TaskConfig) -> None:
    """Refuse settings that do not work yet.

    Raises
    ------
    NotAvailableError
        It names all of them, and how to switch each off.
    """
    found = unavailable(config)
    if not found:
        return
    keys = [text.partition(" = ")[0] for text in found]
    verb = "is" if len(keys) == 1 else "are"
    raise NotAvailableError(
        f"{_joined(keys)} {verb} not available yet in luxdask {__version__}; switch off:"
        + "".join(f"\n  {text}" for text in found)
    )


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
