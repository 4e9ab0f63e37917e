"""Failed tasks: which failures may pass, which are for want of memory, and what to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luxdask.errors import LuxdaskError, OutputError, TaskFailedError

if TYPE_CHECKING:
    from luxdask.cluster.backend import Ended

RETRIES = 2
"""Times that a failed task is tried again."""

KILLS = 1
"""Times that a task is tried again after dask gave it up, since two workers died with it."""


def is_passing(error: BaseException) -> bool:
    """Whether a failure may go away by itself: not for a full disk or a damaged file."""
    return not isinstance(error, LuxdaskError) and isinstance(error, Exception)


def is_killed(error: BaseException) -> bool:
    """Whether dask gave a task up because worker after worker died with it."""
    return type(error).__name__ == "KilledWorker"


def is_memory(error: BaseException) -> bool:
    """Whether memory ran out, or may have: who kills a worker for its memory leaves no message."""
    named = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or named or is_killed(error)


def retries(error: BaseException) -> int:
    """How often a task is tried again after this error."""
    if not is_passing(error):
        return 0
    return KILLS if is_killed(error) else RETRIES


def failure(name: str, ended: Ended, tries: int) -> BaseException:
    """What to raise for a task that failed for good; `name` says which one."""
    error = ended.error
    assert error is not None
    if isinstance(error, (KeyboardInterrupt, SystemExit, OutputError)):
        return error
    kind = type(error) if isinstance(error, LuxdaskError) else TaskFailedError
    told = kind(f"{name}: {_reason(error)}{_place(ended, tries)}")
    told.__cause__ = error
    return told


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    advice = "set compute.chunk_vx or compute.memory_limit lower"
    if is_killed(error):
        last = getattr(getattr(error, "last_worker", None), "address", "")
        where = f", the last one {last}" if last else ""
        return (
            f"worker after worker died with it{where}. Too little memory is the usual reason: "
            f"{advice}, or give the workers more"
        )
    if is_memory(error):
        reason = f" ({error})" if str(error) else ""
        return f"out of memory{reason}; {advice}"
    return text


def _place(ended: Ended, tries: int) -> str:
    parts = [f"tried {tries} times"] if tries > 1 else []
    if ended.worker:
        parts.append(f"last on worker {ended.worker}" if parts else f"on worker {ended.worker}")
    return f" ({', '.join(parts)})" if parts else ""
