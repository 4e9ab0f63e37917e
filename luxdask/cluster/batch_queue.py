"""Which jobs of its user a batch system knows: asked with its own command."""

from __future__ import annotations

import getpass
import subprocess
from dataclasses import dataclass

ASK_TIMEOUT_S = 60
NOTHING_LISTED = ("no unfinished job", "no job found")


@dataclass(frozen=True)
class _Listing:
    """A command; where the state of a job stands in its lines, and the states that mean its end.

    Torque shows jobs that have ended for a while.
    """

    words: tuple[str, ...]
    state: int = 0
    ended: tuple[str, ...] = ()


# Jobs that wait or run, one a line; the line begins with the job's number.
_LISTINGS = {
    "slurm": _Listing(("squeue", "-h", "-u", "{user}", "-o", "%A %T")),
    "pbs": _Listing(("qstat", "-u", "{user}"), -2, ("C", "F")),
    "moab": _Listing(("qstat", "-u", "{user}"), -2, ("C", "F")),
    "sge": _Listing(("qstat", "-u", "{user}")),
    "lsf": _Listing(("bjobs", "-noheader", "-o", "jobid stat")),
    "oar": _Listing(("oarstat", "-u", "{user}")),
    "htcondor": _Listing(("condor_q", "-autoformat", "ClusterId", "JobStatus")),
}


def listed_jobs(system: str) -> set[str] | None:
    """Numbers of the user's jobs that wait or run; None where the batch system does not answer."""
    listing = _LISTINGS[system]
    words = [word.format(user=getpass.getuser()) for word in listing.words]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = f"{done.stdout}{done.stderr}".lower()
    if done.returncode != 0 and not any(text in said for text in NOTHING_LISTED):
        return None
    lines = [columns for line in done.stdout.splitlines() if len(columns := line.split()) > 1]
    return {job_number(c[0]) for c in lines if c[listing.state] not in listing.ended}


def job_number(job_id: str) -> str:
    """The number in a job's name: 12 of 12.server, 7 of 7.0."""
    return job_id.partition(".")[0]
