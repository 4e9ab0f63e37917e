"""What a running task tells its listeners: the progress bar, `status.json`, a notebook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    Attributes
    ----------
    stage
        What is being done: "registration", "quality", "fusion", "main files".
    done, total
        Write tasks of this stage.
    voxels
        Output voxels computed in this run.
    seconds
        Since this run began to compute.
    done_before
        Write tasks that an earlier run has done.
    waiting
        What the tasks wait for, such as "waiting for workers"; "" while they run.
    voxels_per_s, seconds_left
        Current rate and forecast; None while unknown.
    """

    stage: str
    done: int
    total: int
    voxels: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    seconds: float = 0.0
    done_before: int = 0
    waiting: str = ""

    @property
    def voxels_per_s(self) -> float | None:
        """Mean rate of this run."""
        return self.voxels / self.seconds if self.voxels and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Time to the end of the stage at the mean rate."""
        done = self.done - self.done_before
        if done <= 0 or not self.seconds:
            return None
        return self.seconds * (self.total - self.done) / done


Listener = Callable[[Progress], None]


@dataclass
class Counts:
    """What went wrong and was mended while tasks ran.

    Attributes
    ----------
    retries
        Failed tasks that were tried again.
    in_pieces
        Those of them that ran out of memory and were computed in smaller pieces.
    """

    retries: int = 0
    in_pieces: int = 0
