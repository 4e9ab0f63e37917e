"""What a worker's job is given: the description's options, GPUs, lifetime, settings, dashboards."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import dask
import distributed
from dask.utils import parse_bytes

from luxdask.cluster.dask_settings import exports, settings_of
from luxdask.cluster.durations import parse_walltime
from luxdask.cluster.jobqueue_library import dask_jobqueue
from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.cluster.spec import ClusterSpec

CUDA_WORKER = "dask_cuda.cli"
CORES_PER_PROCESS = 8
LONGEST_MARGIN_S = 300.0
NOT_AGAIN = {"slurm": "--no-requeue", "pbs": "-r n", "sge": "-r n"}
"""Jobs of nodes that fail are replaced by luxdask, and sooner."""

LONGEST_WAIT_FOR_SCHEDULER_S = 120

# Nothing but the scheduler needs a worker's own dashboard, and it has no certificate.
_LOOPBACK = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
_END = ("--preload", "luxdask.cluster.end_of_worker")


def job_options(spec: ClusterSpec, logs: Path | None = None) -> dict[str, Any]:
    """Keywords of dask-jobqueue for the jobs of a description.

    logs : where jobs write what they say, unless the description has a place for it.
    """
    options = {
        "job_name": "luxdask",
        "death_timeout": LONGEST_WAIT_FOR_SCHEDULER_S,
        "python": shlex.quote(sys.executable),
        **spec.options,
    }
    _require_resources(spec, options)
    options.pop("shared_temp_directory", None)
    options.setdefault("processes", processes_per_job(spec))
    if logs is not None:
        options.setdefault("log_directory", str(logs))
    options["worker_extra_args"] = [
        *options.get("worker_extra_args", ()), *_LOOPBACK, *_END
    ]  # fmt: skip
    options["job_script_prologue"] = [
        *options.get("job_script_prologue", ()),
        *exports({**settings_of(spec.dask), **lifetime_settings(spec)}),
    ]
    options["scheduler_options"] = {
        **options.get("scheduler_options", {}),
        "dashboard_address": "127.0.0.1:0",
    }
    if spec.system == "oar":  # sites differ in how nodes are asked for memory; most give it by core
        options.setdefault("memory_per_core_property_name", "not_applicable")
    if spec.system in NOT_AGAIN:
        options["job_extra_directives"] = [
            NOT_AGAIN[spec.system], *options.get("job_extra_directives", ())
        ]  # fmt: skip
    return _with_gpus(spec, options) if spec.gpus_per_job else options


def for_shell(security: distributed.Security) -> distributed.Security:
    """The same, with paths of a worker's files as a job's script must write them."""
    files = security.get_tls_config_for_role("worker")
    names = {"ca_file": "tls_ca_file", "cert": "tls_worker_cert", "key": "tls_worker_key"}
    quoted = {names[key]: shlex.quote(path) for key, path in files.items() if path and key in names}
    return distributed.Security(require_encryption=True, **quoted)


def cores_per_job(spec: ClusterSpec) -> int:
    """Cores that one job asks for."""
    return int(_given_or_configured(spec, "cores"))


def memory_per_job(spec: ClusterSpec) -> int:
    """Bytes of memory that one job asks for."""
    return int(parse_bytes(_given_or_configured(spec, "memory")))


def processes_per_job(spec: ClusterSpec) -> int:
    """Worker processes of one job: one per GPU, else what is given, else one per 8 cores."""
    if spec.gpus_per_job:
        return spec.gpus_per_job
    given = _given_or_configured(spec, "processes", None)
    return int(given) if given else max(1, cores_per_job(spec) // CORES_PER_PROCESS)


def threads_per_worker(spec: ClusterSpec) -> int:
    """Chunks that one worker process computes at a time."""
    if spec.gpus_per_job:
        return 1
    return max(1, cores_per_job(spec) // processes_per_job(spec))


def lifetime_settings(spec: ClusterSpec) -> dict[str, str]:
    """Settings of dask by which workers leave before the batch system ends their job.

    A worker lives for the duration, plus or minus up to the stagger.
    """
    given = " ".join(map(str, spec.options.get("worker_extra_args", ())))
    walltime = _given_or_configured(spec, "walltime", None)
    total_s = parse_walltime(walltime, spec.system) if walltime is not None else None
    if not spec.lifetime.enabled or total_s is None or "--lifetime" in given:
        return {}
    margin_s = _or(spec.lifetime.before_end_s, min(LONGEST_MARGIN_S, total_s / 10))
    spread_s = _or(spec.lifetime.stagger_s, min(LONGEST_MARGIN_S, total_s / 10))
    duration_s = total_s - margin_s - spread_s / 2
    if duration_s <= spread_s / 2:
        raise ConfigError(
            f"{spec.path or spec.system}: a job of {total_s:.0f} s is too short for workers that "
            f"leave {margin_s:.0f} s before its end, spread over {spread_s:.0f} s: raise "
            "workers.walltime, or lower lifetime.before_end and lifetime.stagger"
        )
    return {
        "distributed.worker.lifetime.duration": f"{duration_s:.0f}s",
        "distributed.worker.lifetime.stagger": f"{spread_s / 2:.0f}s",
    }


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def _given_or_configured(spec: ClusterSpec, key: str, default: Any = "") -> Any:
    """An option of the description, else of the user's or the site's own jobqueue.yaml."""
    dask_jobqueue()  # its defaults are part of dask's configuration then
    found = spec.options.get(key, dask.config.get(f"jobqueue.{spec.system}.{key}", None))
    if found is None and default == "":
        raise _unknown(spec, key)
    return default if found is None else found


def _require_resources(spec: ClusterSpec, options: dict[str, Any]) -> None:
    for key in ("cores", "memory"):
        options[key] = _given_or_configured(spec, key)


def _unknown(spec: ClusterSpec, key: str) -> ConfigError:
    return ConfigError(
        f"cluster {spec.system!r}: nothing says what a job asks for ({key}). Describe the cluster "
        f"in a file: luxdask cluster init {spec.system} > site.toml, then --cluster site.toml"
    )


# ---- GPUs ----


def _with_gpus(spec: ClusterSpec, options: dict[str, Any]) -> dict[str, Any]:
    """Jobs that ask for GPUs and start one worker process for each of them."""
    made = {"worker_command": CUDA_WORKER, **options}
    if made["worker_command"] == CUDA_WORKER:
        made["worker_extra_args"] = [*_cuda_arguments(spec), *options["worker_extra_args"]]
    wanted = spec.gpu_directives
    if wanted is None:
        wanted = _gpu_directives(spec, made)
    if spec.system == "htcondor":
        extra = dict(line.partition("=")[::2] for line in wanted)
        made["job_extra_directives"] = {**extra, **dict(options.get("job_extra_directives", {}))}
    else:
        made["job_extra_directives"] = [*options.get("job_extra_directives", ()), *wanted]
    return made


def _cuda_arguments(spec: ClusterSpec) -> tuple[str, ...]:
    """One thread per GPU; results are small and stay where they are."""
    return ("--nthreads", "1", "--device-memory-limit", "0", *spec.gpu_worker_args)


def _gpu_directives(spec: ClusterSpec, options: dict[str, Any]) -> tuple[str, ...]:
    """How each batch system is asked for GPUs, where the description does not say."""
    n = spec.gpus_per_job
    usual = {
        "slurm": f"--gres=gpu:{n}",
        "sge": f"-l gpu={n}",
        "lsf": f'-gpu "num={n}"',
        "htcondor": f"request_gpus={n}",
    }
    if spec.system in usual:
        return (usual[spec.system],)
    if "resource_spec" not in options and spec.system in ("pbs", "moab"):
        cores, memory_mb = cores_per_job(spec), memory_per_job(spec) // 1024**2
        options["resource_spec"] = {
            "pbs": f"select=1:ncpus={cores}:ngpus={n}:mem={memory_mb}mb",
            "moab": f"nodes=1:ppn={cores}:gpus={n},mem={memory_mb}mb",
        }[spec.system]
    if "resource_spec" not in options:
        options["resource_spec"] = f"/nodes=1/gpu={n}"
    return ()
