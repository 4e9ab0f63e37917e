"""What is written into the scripts of workers' jobs, for each batch system."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import dask.config
import pytest

from luxdask.cluster.batch_queue import listed_jobs
from luxdask.cluster.job_options import job_options, lifetime_settings
from luxdask.cluster.jobqueue import worker_script
from luxdask.cluster.options import BATCH_SYSTEMS
from luxdask.cluster.spec import ClusterSpec, parse_spec, read_spec
from luxdask.cluster.template import template
from luxdask.errors import ConfigError

JOB = {"cores": 16, "memory": "64 GB", "walltime": "08:00:00"}


def described(
    system: str = "slurm", workers: dict[str, Any] | None = None, **rest: Any
) -> ClusterSpec:
    options = {**JOB, **(workers or {})}
    if system == "htcondor":
        options = {**options, "disk": "1 GB"}
        options.pop("walltime")
    return parse_spec({"system": system, "workers": options, **rest}, Path("site.toml"))


def words_of(script: str) -> list[str]:
    return script.strip().splitlines()[-1].split()


@pytest.mark.parametrize("system", BATCH_SYSTEMS)
def test_templates_make_scripts(system: str, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(template(system))
    script = worker_script(read_spec(tmp_path / "site.toml"))
    assert "distributed.cli.dask_worker tls://SCHEDULER:PORT" in script
    assert "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT=60s" in script
    assert "--dashboard-address 127.0.0.1:0" in script
    for part in ("--tls-ca-file", "--tls-cert", "--tls-key"):
        assert part in script
    assert "BEGIN" not in script


@pytest.mark.parametrize("system", ["local", "cuda", "address"])
def test_other_templates_can_be_read(system: str, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(template(system))
    assert read_spec(tmp_path / "site.toml").system == system


def test_settings_reach_the_workers() -> None:
    """The shell and dask must understand what is exported."""
    spec = described(dask={"distributed.worker.memory.target": False, "a.b-c": "x y 'z'"})
    lines = job_options(spec)["job_script_prologue"]
    shell = "\n".join([*lines, "env"])
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    env = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    found = dask.config.collect_env(env)
    assert dask.config.get("distributed.worker.memory.target", config=found) is False
    assert dask.config.get("a.b-c", config=found) == "x y 'z'"
    assert dask.config.get("distributed.scheduler.worker-ttl", config=found) == "15 minutes"


def test_own_lines_are_kept() -> None:
    spec = described(
        workers={"job_script_prologue": ["module load x"], "worker_extra_args": ["--a"]}
    )
    options = job_options(spec)
    assert options["job_script_prologue"][0] == "module load x"
    assert options["worker_extra_args"][0] == "--a"
    assert spec.options["worker_extra_args"] == ["--a"]


@pytest.mark.parametrize(
    ("system", "line"),
    [
        ("slurm", "#SBATCH --gres=gpu:2"),
        ("pbs", "#PBS -l select=1:ncpus=16:ngpus=2:mem=61035mb"),
        ("moab", "#PBS -l nodes=1:ppn=16:gpus=2,mem=61035mb"),
        ("sge", "#$ -l gpu=2"),
        ("lsf", '#BSUB -gpu "num=2"'),
        ("oar", "#OAR -l /nodes=1/gpu=2,walltime=08:00:00"),
        ("htcondor", "request_gpus = 2"),
    ],
)
def test_gpus(system: str, line: str) -> None:
    """One process with one thread for each GPU, by the command of dask-cuda."""
    script = worker_script(described(system, gpus={"per_job": 2}))
    assert line in script.splitlines()
    assert "-m dask_cuda.cli tls://SCHEDULER:PORT" in script
    assert "--nworkers" not in script
    assert "--nanny" not in script
    words = script.replace("'", " ").split()
    last = len(words) - 1 - words[::-1].index("--nthreads")
    assert words[last + 1] == "1"  # the last one counts
    assert words[words.index("--device-memory-limit") + 1] == "0"
    assert words[words.index("--memory-limit") + 1] == "29.80GiB"


def test_gpus_in_another_way() -> None:
    spec = described(
        workers={"job_directives_skip": ["--mem="], "job_extra_directives": ["--mem-per-gpu=32G"]},
        gpus={"per_job": 1, "directives": ["--gpus=a100:1"], "worker_args": ["--rmm-async"]},
    )
    script = worker_script(spec)
    lines = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --gpus=a100:1" in lines
    assert "#SBATCH --mem-per-gpu=32G" in lines
    assert not [line for line in lines if "gres" in line or "--mem=" in line]
    assert "--rmm-async" in words_of(script)


# ---- lifetimes ----


def lifetime(spec: ClusterSpec) -> tuple[float, float]:
    found = lifetime_settings(spec)
    text = (found[f"distributed.worker.lifetime.{key}"] for key in ("duration", "stagger"))
    duration, stagger = (float(one.removesuffix("s")) for one in text)
    return duration, stagger


@pytest.mark.parametrize(
    ("walltime", "given", "latest", "earliest"),
    [
        ("08:00:00", {}, 28800 - 300, 28800 - 600),
        ("00:10:00", {}, 540, 480),
        ("1-00", {"before_end": "1 h", "stagger": "2 h"}, 82800, 75600),
    ],
)
def test_workers_leave_in_time(
    walltime: str, given: dict[str, str], latest: int, earliest: int
) -> None:
    spec = described(workers={"walltime": walltime}, lifetime=given)
    duration, stagger = lifetime(spec)
    assert duration + stagger == latest
    assert duration - stagger == earliest


def test_no_lifetime() -> None:
    assert not lifetime_settings(described(lifetime={"enabled": False}))
    own = ["--lifetime", "1h"]
    assert not lifetime_settings(described(workers={"worker_extra_args": own}))
    assert not lifetime_settings(described(workers={"walltime": "UNLIMITED"}))


def test_job_that_is_too_short() -> None:
    with pytest.raises(ConfigError, match=r"600 s is too short .* raise workers\.walltime"):
        lifetime_settings(described(workers={"walltime": "10"}, lifetime={"before_end": "10 min"}))


def test_kind_without_sizes() -> None:
    with pytest.raises(ConfigError, match=r"nothing says .* luxdask cluster init slurm"):
        job_options(ClusterSpec("slurm"))


def test_sizes_of_the_sites_own_configuration() -> None:
    with dask.config.set({"jobqueue.slurm.cores": 4, "jobqueue.slurm.memory": "8GB"}):
        options = job_options(ClusterSpec("slurm"))
    assert (options["cores"], options["memory"], options["processes"]) == (4, "8GB", 1)


# ---- what batch systems list ----

LISTED = {
    "slurm": ("squeue", "12 RUNNING\n13 PENDING\n", {"12", "13"}),
    "pbs": (
        "qstat",
        "\npbs:\n                                 Req'd  Req'd   Elap\n"
        "Job ID   Username Queue Jobname SessID NDS TSK Memory Time S Time\n"
        "-------- -------- ----- ------- ------ --- --- ------ ---- - ----\n"
        "12.pbs   me       cpu   luxdask  123    1   4  8gb 08:00 R 00:01\n"
        "13.pbs   me       cpu   luxdask   --    1   4  8gb 08:00 Q   --\n"
        "14.pbs   me       cpu   luxdask  124    1   4  8gb 08:00 C   --\n",
        {"12", "13"},
    ),
    "sge": (
        "qstat",
        "job-ID prior name\n------\n 12 0.5 luxdask me r 1/1/2026 10:00 a@b 4\n",
        {"12"},
    ),
    "lsf": ("bjobs", "12 RUN\n13 PEND\n", {"12", "13"}),
    "oar": ("oarstat", "Job id  S User\n------ - ----\n12  R me\n", {"12"}),
    "htcondor": ("condor_q", "12 2\n13 1\n", {"12", "13"}),
}


def stand_in(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("system", LISTED)
def test_listed_jobs(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, said, expected = LISTED[system]
    (tmp_path / "said").write_text(said)
    stand_in(tmp_path, command, f"/bin/cat {tmp_path}/said")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = listed_jobs(system)
    assert found is not None
    assert {name for name in found if name.isdecimal()} == expected


def test_batch_system_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert listed_jobs("slurm") is None
    stand_in(tmp_path, "squeue", "exit 1")
    assert listed_jobs("slurm") is None
    stand_in(tmp_path, "bjobs", "echo 'No unfinished job found' >&2; exit 255")
    assert listed_jobs("lsf") == set()
