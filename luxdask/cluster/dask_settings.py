"""Settings of dask: for this process, and for the workers of jobs."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask

from luxdask.cluster.dask_backend import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def settings_of(own: Mapping[str, Any]) -> dict[str, Any]:
    """Those of all clusters, and over them those of one description."""
    return {**SETTINGS, **own}


@contextmanager
def applied(own: Mapping[str, Any]) -> Iterator[None]:
    """Settings while a cluster is made in this process."""
    with dask.config.set(settings_of(own)):
        yield


def exports(settings: Mapping[str, Any]) -> list[str]:
    """Lines of a job script that give settings to dask in the job."""
    return [f"export {_variable(key)}={shlex.quote(str(settings[key]))}" for key in settings]


def _variable(key: str) -> str:
    return "DASK_" + key.upper().replace("-", "_").replace(".", "__")
