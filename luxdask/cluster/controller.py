"""The job of the controlling process: what it asks the batch system for, and its script."""

from __future__ import annotations

import math
import os
import shlex
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask

from luxdask.cluster.batch import BatchSystem, batch_system
from luxdask.cluster.durations import parse_duration, parse_walltime
from luxdask.cluster.jobqueue_library import dask_jobqueue
from luxdask.cluster.options import job_class, worker_options
from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from luxdask.cluster.spec import ClusterSpec

CORES, MEMORY = 1, "4 GB"
RESUBMIT = 10
STOP_BEFORE_S = 300.0
STARTED_VARIABLE = "LUXDASK_JOB_STARTED"

_OURS = ("resubmit", "stop_before", "compute")
_INHERITED = ("queue", "account", "project", "job_script_prologue", "python")
"""Options that the controlling job takes from `[workers]` where it has none of its own."""

_SCRIPT = """\
#!/bin/sh
{header}
# The controlling process of luxdask, as a job. Made by luxdask submit; its log is
# {log}
cd {folder} || exit 1
task={task}
{started}="$(date +%s)"
export {started}
exec >>"logs/task-$task.log" 2>&1
cd {cwd} || exit 1
{prologue}
exec {python} -m luxdask submitted {folder} "$task"
"""
_CONDOR = """\
{header}

Executable = /bin/sh
Arguments = {arguments}

Queue
"""


@dataclass(frozen=True, slots=True)
class Controller:
    """The controlling job of a cluster's description, with what is not given filled in.

    Attributes
    ----------
    system
        Its batch system.
    options
        For the job class of dask-jobqueue.
    prologue
        Lines of shell before Python starts.
    python
        The interpreter.
    walltime_s
        Wall time; None where none was given or nobody knows how to read it.
    stop_before_s
        So long before the wall time the run stops, to go on in another job.
    resubmit
        How often a run goes on in another job by itself.
    compute
        Where chunks are computed: "threads" or "processes" of this job; None: in jobs of workers.
    """

    system: BatchSystem
    options: Mapping[str, Any]
    prologue: tuple[str, ...]
    python: str
    walltime_s: float | None
    stop_before_s: float
    resubmit: int
    compute: str | None


def controller_of(spec: ClusterSpec) -> Controller:
    """The controlling job that a cluster's description asks for.

    Raises `ConfigError` where the cluster has no jobs, or a value of `[controller]` is impossible.
    """
    where = spec.path or spec.address or spec.system
    system = batch_system(spec.system, where)
    given = dict(spec.controller)
    ours = {key: given.pop(key, None) for key in _OURS}
    options = {k: spec.options[k] for k in _INHERITED if k in spec.options} | given
    _check_names(options, given, spec.system, where)
    prologue = options.pop("job_script_prologue", ())
    walltime = options.get("walltime")
    try:
        walltime_s = None if walltime is None else parse_walltime(walltime, spec.system)
        stop_before_s = _stop_before(ours["stop_before"], walltime_s)
    except ValueError as error:
        raise ConfigError(f"{where}: controller: {error}") from error
    return Controller(
        system,
        {"cores": CORES, "memory": MEMORY, **options},
        (prologue,) if isinstance(prologue, str) else tuple(prologue),
        str(options.pop("python", sys.executable)),
        walltime_s,
        stop_before_s,
        _resubmit(ours["resubmit"], where),
        _compute(ours["compute"], where),
    )


def _stop_before(given: float | str | None, walltime_s: float | None) -> float:
    """By default 5 minutes, but at most a quarter of a short wall time."""
    if given is None:
        return STOP_BEFORE_S if walltime_s is None else min(STOP_BEFORE_S, walltime_s / 4)
    seconds = parse_duration(given)
    if not 0 <= seconds < (walltime_s or math.inf):
        raise ValueError(f"stop_before = {given!r}: expected less than the wall time")
    return seconds


def _resubmit(given: object, where: str) -> int:
    if given is None:
        return RESUBMIT
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise ConfigError(f"{where}: controller.resubmit = {given!r}: expected 0, 1, 2, …")
    return given


def _compute(given: object, where: str) -> str | None:
    if given in (None, "workers"):
        return None
    if given not in ("threads", "processes"):
        raise ConfigError(
            f'{where}: controller.compute = {given!r}: expected "workers" (jobs of their own), '
            '"threads" or "processes" (of the controlling job)'
        )
    return str(given)


def _check_names(
    options: dict[str, Any], given: Mapping[str, Any], system: str, where: str
) -> None:
    """Leave out what is inherited but unknown to this system; refuse what was given."""
    known = worker_options(system)
    for key in [k for k in options if k not in known]:
        if key in given:
            raise ConfigError(
                f"{where}: controller.{key}: {system} has no such option. Use "
                f"{', '.join(sorted(known & set(_USUAL)) + sorted(_OURS))}"
            )
        del options[key]


_USUAL = (
    "cores", "memory", "walltime", "queue", "account", "project", "resource_spec", "disk",
    "job_extra_directives", "job_directives_skip", "job_script_prologue", "python",
)  # fmt: skip


def job_script(
    controller: Controller,
    folder: Path,
    cwd: Path,
    name: str,
    task: int | None,
    *,
    tasks: int = 1,
    at_a_time: int | None = None,
) -> str:
    """Script of the job that runs task number `task`, or of an array of `tasks` tasks (None).

    folder : of the submission; also where the job's own output goes, below `logs`.
    cwd : folder in which the task was submitted; relative paths start there.
    """
    system = controller.system
    directives = [*system.output, *system.rerun, *_warnings(controller)]
    if task is None:
        most = "" if at_a_time is None else system.most.format(most=at_a_time)
        directives.append(system.array.format(n=tasks, most=most, name=name))
    lines = [] if not system.directive else str(_job(controller, name).job_header).splitlines()
    if task is None and "-J" in system.array:  # LSF: the name of an array says that it is one
        lines = [line for line in lines if not line.startswith(f"{system.directive} -J")]
    lines += [f"{system.directive} {text}" for text in directives if system.directive]
    return _SCRIPT.format(
        header="\n".join(lines),
        log=str(folder / "logs" / f"task-{task or 'N'}.log").replace("\n", " "),
        started=STARTED_VARIABLE,
        folder=shlex.quote(str(folder)),
        task=f'"${{{system.index}}}"' if task is None else task,
        cwd=shlex.quote(str(cwd)),
        prologue="\n".join([*_environment(), *controller.prologue]),
        python=shlex.quote(controller.python),
    )


def condor_description(controller: Controller, script: Path, name: str) -> str:
    """What HTCondor is given in place of directives in the script."""
    header = {k: v for k, v in _job(controller, name).job_header_dict.items() if v is not None}
    logs = {key: f"logs/job-$(ClusterId).{key.lower()}" for key in ("Output", "Error", "Log")}
    lines = [f"{key} = {value}" for key, value in {**header, **logs}.items()]
    quote: Callable[[list[str]], str] = dask_jobqueue().htcondor.quote_arguments
    arguments = f'"{quote([str(script)])}"'
    return _CONDOR.format(header="\n".join(lines), arguments=arguments)


def _warnings(controller: Controller) -> list[str]:
    seconds = math.ceil(controller.stop_before_s)
    if not seconds:
        return []
    values = {"seconds": seconds, "minutes": math.ceil(seconds / 60)}
    return [text.format(**values) for text in controller.system.warn]


def _environment() -> Sequence[str]:
    """What makes the job's Python find the modules that this one finds."""
    path = os.environ.get("PYTHONPATH")
    return [f"export PYTHONPATH={shlex.quote(path)}"] if path else []


def _job(controller: Controller, name: str) -> Any:
    """A job of dask-jobqueue, for its directives; nothing is started."""
    section = f"jobqueue.{controller.system.name}"
    # A user's settings for workers, above all their short wall time, are not meant for this job.
    unset: dict[str, Any] = {
        f"{section}.{key}": None
        for key in ("walltime", "log-directory", "interface", "local-directory", "resource-spec")
    }
    unset |= {f"{section}.{key}": [] for key in ("job-extra-directives", "worker-extra-args")}
    unset[f"{section}.memory-per-core-property-name"] = "not_applicable"
    options = {"job_name": name, "disk": "1 GB", **controller.options}
    if controller.system.name != "htcondor":
        del options["disk"]
    with dask.config.set(unset), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            return job_class(controller.system.name)(scheduler="none", name=name, **options)
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"[controller]: no job of {controller.system.name} can be made of these options: "
                f"{error}"
            ) from error
