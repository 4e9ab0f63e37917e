"""Batch systems as commands: submit a script, ask for a job, end it, and what each calls things."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from luxdask.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

COMMAND_TIMEOUT_S = 120
JobState = Literal["queued", "running", "gone"]


@dataclass(frozen=True, slots=True)
class BatchSystem:
    """One batch system; texts with {braces} are filled in.

    Attributes
    ----------
    name, job_class
        Name in cluster descriptions, and the class of dask-jobqueue that knows its directives.
    submit, cancel
        Commands; the script and the job's id follow.
    directive
        What its lines in a job script begin with.
    array, most
        Directive of a job array of {n} tasks, and the part of it that lets {most} run at a time;
        "" where luxdask uses single jobs.
    index
        Environment variable that holds the number of an array's task.
    element
        Id of one task of an array.
    depend, depend_any
        Arguments that make a job wait for others, and what stands between several {ids}: until
        they have ended well, or have ended in any way; "" where there is no such thing.
    rerun
        Directives that bring the job back after its node has failed.
    warn
        Directives that send SIGUSR1 so many {seconds} or {minutes} before the wall time.
    output
        Directives that put what the job prints before our own log is open into `logs`.
    query, state
        Command that tells the state of job {id}, and the regular expression that finds the word.
    query_all
        Command that tells id/state of all jobs of the {user}; "" where each job is asked for.
    queued, running
        Words of these two states; all others mean that the job has ended.
    by_stdin
        Whether the script goes to the standard input.
    job_id
        Environment variable with the id of the running job; "" where it is not told, or not by the
        id that the submit command gave.
    """

    name: str
    job_class: str
    submit: str
    cancel: str
    directive: str
    query: str
    state: str
    queued: frozenset[str]
    running: frozenset[str]
    job_id: str = ""
    query_all: str = ""
    array: str = ""
    most: str = "%{most}"
    index: str = ""
    element: str = "{id}"
    depend: tuple[str, str] = ("", "")
    depend_any: tuple[str, str] = ("", "")
    rerun: tuple[str, ...] = ()
    warn: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    by_stdin: bool = False
    submitted: str = r"(?P<id>\d+)"


_PBS_STATE = r"job_state\s*=\s*(\w)"
_QUEUED = frozenset("QHWT")
_RUNNING = frozenset("RESB")

_ALL = (
    BatchSystem(
        "slurm",
        "SLURMJob",
        "sbatch",
        "scancel",
        "#SBATCH",
        query="squeue -h -o %T -j {id}",
        state=r"(\w+)",
        query_all="squeue -h -r -o %i/%T -u {user}",
        queued=frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"}),
        running=frozenset(
            {"RUNNING", "COMPLETING", "SUSPENDED", "SIGNALING", "STAGE_OUT", "STOPPED", "RESIZING"}
        ),
        job_id="SLURM_JOB_ID",
        array="--array=1-{n}{most}",
        index="SLURM_ARRAY_TASK_ID",
        element="{id}_{n}",
        depend=("--dependency=afterok:{ids}", ":"),
        depend_any=("--dependency=afterany:{ids}", ":"),
        rerun=("--requeue", "--open-mode=append"),
        warn=("--signal=B:USR1@{seconds}",),
        output=("-o logs/job-%j.out", "-e logs/job-%j.out"),
    ),
    BatchSystem(
        "pbs",
        "PBSJob",
        "qsub",
        "qdel",
        "#PBS",
        query="qstat -f {id}",
        state=_PBS_STATE,
        queued=_QUEUED,
        running=_RUNNING,
        job_id="PBS_JOBID",
        array="-J 1-{n}{most}",
        index="PBS_ARRAY_INDEX",
        element="{id}[{n}]",
        depend=("-W depend=afterok:{ids}", ":"),
        depend_any=("-W depend=afterany:{ids}", ":"),
        rerun=("-r y",),
        output=("-j oe", "-o logs/"),
        submitted=r"(?P<id>\d+(?:\[\])?(?:\.[\w.-]+)?)",
    ),
    BatchSystem(
        "moab",
        "MoabJob",
        "msub",
        "canceljob",
        "#PBS",
        query="checkjob {id}",
        state=r"State:\s*(\w+)",
        queued=frozenset({"Idle", "Hold", "Deferred", "BatchHold", "UserHold", "SystemHold"}),
        running=frozenset({"Running", "Starting", "Suspended"}),
        depend=("-l depend=afterok:{ids}", ":"),
        depend_any=("-l depend=afterany:{ids}", ":"),
        rerun=("-r y",),
        output=("-j oe", "-o logs/"),
        submitted=r"(?P<id>(?:\w+\.)?\d+)",
    ),
    BatchSystem(
        "sge",
        "SGEJob",
        "qsub",
        "qdel",
        "#$",
        query="qstat",
        state=r"(?m)^\s*{number}\s+\S+\s+\S+\s+\S+\s+(\w+)",
        queued=frozenset({"qw", "hqw", "hRwq", "Rq", "Eqw"}),
        running=frozenset({"r", "t", "Rr", "Rt", "s", "S", "T", "dr", "dt"}),
        job_id="JOB_ID",
        array="-t 1-{n}{most}",
        most=" -tc {most}",
        index="SGE_TASK_ID",
        element="{id}.{n}",
        depend_any=("-hold_jid {ids}", ","),
        rerun=("-r y",),
        output=("-o logs/",),
    ),
    BatchSystem(
        "lsf",
        "LSFJob",
        "bsub",
        "bkill",
        "#BSUB",
        query="bjobs -noheader -o stat {id}",
        state=r"(\w+)",
        queued=frozenset({"PEND", "PSUSP", "WAIT", "PROV"}),
        running=frozenset({"RUN", "USUSP", "SSUSP", "UNKWN"}),
        job_id="LSB_JOBID",
        array='-J "{name}[1-{n}]{most}"',
        index="LSB_JOBINDEX",
        element="{id}[{n}]",
        depend=("-w done({ids})", ")&&done("),
        depend_any=("-w ended({ids})", ")&&ended("),
        rerun=("-r",),
        warn=("-wa USR1", "-wt {minutes}"),
        output=("-o logs/job-%J.out",),
        by_stdin=True,
        submitted=r"Job <(?P<id>\d+)>",
    ),
    BatchSystem(
        "oar",
        "OARJob",
        "oarsub -S",
        "oardel",
        "#OAR",
        query="oarstat -s -j {id}",
        state=r":\s*(\w+)",
        queued=frozenset({"Waiting", "Hold", "toLaunch", "toAckReservation", "Launching"}),
        running=frozenset({"Running", "Suspended", "Resuming", "Finishing"}),
        job_id="OAR_JOB_ID",
        depend_any=("-a {ids}", " -a "),
        output=("-O logs/job-%jobid%.out", "-E logs/job-%jobid%.out"),
        submitted=r"OAR_JOB_ID=(?P<id>\d+)",
    ),
    BatchSystem(
        "htcondor",
        "HTCondorJob",
        "condor_submit",
        "condor_rm",
        "",
        query="condor_q {id} -format %d JobStatus",
        state=r"(\d)",
        queued=frozenset("15"),
        running=frozenset("267"),
        submitted=r"submitted to cluster (?P<id>\d+)",
    ),
)
_NO_SUCH_JOB = re.compile(
    r"(?i)invalid job id|(unknown|no such|invalid|non-?existent) job|(has|have|is) finished"
    r"|not? (be )?found|does not exist|not in queue"
)
SYSTEMS: Mapping[str, BatchSystem] = {system.name: system for system in _ALL}


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a job waits for: ids of jobs, all of which must have ended well where `well` is set."""

    ids: tuple[str, ...] = field(default=())
    well: bool = True


def batch_system(name: str, where: str) -> BatchSystem:
    """The batch system of a cluster; raises `ConfigError` where its workers are no jobs."""
    if name not in SYSTEMS:
        raise ConfigError(
            f"{where}: {name!r} is no batch system, so nothing can be submitted to it. Use one of "
            f"{', '.join(SYSTEMS)} (luxdask cluster init makes a description), or start the task "
            f"right here: luxdask run TASK --cluster {shlex.quote(where)}"
        )
    return SYSTEMS[name]


def waiting_arguments(system: BatchSystem, waiting: Waiting) -> list[str]:
    """Arguments of the submit command that make a job wait for others."""
    if not waiting.ids:
        return []
    text, between = system.depend_any
    if waiting.well and system.depend[0]:
        text, between = system.depend
    if not text:
        raise ConfigError(f"{system.name}: jobs cannot wait for others here; leave --after out")
    return text.format(ids=between.join(waiting.ids)).split()


def element_id(system: BatchSystem, job: str, n: int) -> str:
    """Id of task `n` of a job array."""
    if "[]" in job:  # PBS: 12[].server
        return job.replace("[]", f"[{n}]", 1)
    return system.element.format(id=job, n=n)


def submit_script(
    system: BatchSystem,
    script: Path,
    folder: Path,
    waiting: Waiting,
    environment: Mapping[str, str],
) -> str:
    """Submit a job script; returns the job's id.

    folder : in which the command runs; a job's own output goes to `logs` in it.
    Raises `ClusterError` with the words of the batch system where it refuses.
    """
    command = [*system.submit.split(), *waiting_arguments(system, waiting)]
    text = script.read_text(encoding="utf-8")
    given = script.relative_to(folder)
    if not system.by_stdin:
        command.append(f"./{given}")
    told = _run(command, folder, environment, stdin=text if system.by_stdin else None)
    if told.returncode:
        raise ClusterError(
            f"{command[0]} refused the job (exit code {told.returncode}): {_words(told)}\n"
            "What the job asks for stands in [controller] of the cluster's description; --dry-run "
            "shows the script."
        )
    found = re.search(system.submitted, told.stdout) or re.search(system.submitted, told.stderr)
    if found is None:
        raise ClusterError(f"{command[0]} gave no job id; it said: {_words(told)}")
    return found["id"]


def job_state(system: BatchSystem, job: str) -> tuple[JobState, str]:
    """Whether a job waits, runs or is gone, and the batch system's own word for it.

    Raises `ClusterError` where the command is missing or does not answer.
    """
    told = _run([part.format(id=job) for part in system.query.split()])
    if told.returncode and not _NO_SUCH_JOB.search(told.stderr + told.stdout):
        raise ClusterError(f"{system.query.split()[0]} cannot tell about {job}: {_words(told)}")
    number = re.match(r"\d*", job)
    pattern = system.state.replace("{number}", number[0] if number else job)
    found = None if told.returncode else re.search(pattern, told.stdout)
    return _state_of(system, found[1] if found else "")


def _state_of(system: BatchSystem, word: str) -> tuple[JobState, str]:
    if word in system.queued:
        return "queued", word
    return ("running" if word in system.running else "gone"), word


def job_states(system: BatchSystem, jobs: Sequence[str]) -> dict[str, tuple[JobState, str]]:
    """States of several jobs, where the batch system can tell them with one question."""
    if not jobs:
        return {}
    if not system.query_all:
        return {job: job_state(system, job) for job in jobs}
    told = _run(system.query_all.format(user=os.getuid()).split())
    if told.returncode:
        raise ClusterError(f"{system.query_all.split()[0]} does not answer: {_words(told)}")
    words = {job: word for job, _, word in (s.partition("/") for s in told.stdout.split())}
    return {job: _state_of(system, words.get(job, "")) for job in jobs}


def outer_environment() -> dict[str, str]:
    """Environment of this process without what SLURM tells the job that it runs in.

    A job submitted from within another would inherit its resources.
    """
    kept = ("SLURM_CONF", "SLURM_CLUSTERS")
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith("SLURM_")
    }


def same_job(one: str, other: str) -> bool:
    """Whether two ids are of one job; some commands tell the server's name shorter than others."""
    return _without_server(one) == _without_server(other)


def _without_server(job: str) -> str:
    return re.sub(r"(?<=[\d\]])\.[A-Za-z].*", "", job)


def cancel_job(system: BatchSystem, job: str) -> None:
    """End a job; one that is gone already is no error."""
    _run([*system.cancel.split(), job])


def _run(
    command: Sequence[str],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
    except FileNotFoundError as error:
        raise ClusterError(
            f"{command[0]}: there is no such command on this machine. Is it a login node of the "
            "cluster? Load the batch system's module, or look at `system` in the description."
        ) from error
    except OSError as error:
        raise ClusterError(f"{command[0]} cannot be started: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(
            f"{command[0]} did not answer within {COMMAND_TIMEOUT_S} s; the batch system may be "
            "down. Look for the job before you submit again."
        ) from error


def _words(told: subprocess.CompletedProcess[str]) -> str:
    return (told.stderr.strip() or told.stdout.strip() or "nothing")[-2000:]
