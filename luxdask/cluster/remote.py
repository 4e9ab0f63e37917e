"""What runs on a worker of a dask cluster around each task: errors become values that travel."""

from __future__ import annotations

import pickle
import socket
import traceback
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import distributed
from dask.utils import key_split

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result or error of one try; `worker` is its address, as the scheduler knows it."""

    result: Any
    error: Exception | None
    worker: str
    host: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """The function of a task and what it is called with, which dask need not look into."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


NAMES_KEPT = 5000
"""Dask remembers the names of 100,000 tasks in each process: memory that a long run would fill."""


def attempt(work: Work) -> Outcome:
    """Do it on a worker; an error is returned together with the place.

    An error as a value comes with the results of other tasks in one message, and dask keeps
    nothing of it.
    """
    if key_split.cache_info().currsize > NAMES_KEPT:
        key_split.cache_clear()
    worker, host = distributed.get_worker().address, socket.gethostname()
    began = perf_counter()
    try:
        result = work.function(*work.args, **work.kwargs)
        return Outcome(result, None, worker, host, perf_counter() - began)
    except Exception as error:
        return Outcome(None, _travelling(error), worker, host)


def _travelling(error: Exception) -> Exception:
    """The error with its traceback as a note; one that does not pickle becomes plain text."""
    told = "".join(traceback.format_exception(error)).rstrip()
    error = error.with_traceback(None)
    error.__cause__ = error.__context__ = None
    error.add_note(told)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note(told)
    return error
