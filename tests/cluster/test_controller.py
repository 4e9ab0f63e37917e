"""The job of the controlling process: what is asked for, and its script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luxdask.cluster.batch import SYSTEMS
from luxdask.cluster.controller import condor_description, controller_of, job_script
from luxdask.cluster.spec import ClusterSpec
from luxdask.errors import ConfigError


def spec(system: str = "slurm", workers: Any = None, **controller: Any) -> ClusterSpec:
    options = {"cores": 8, "memory": "32 GB", "walltime": "01:00:00", **(workers or {})}
    return ClusterSpec(system, options=options, controller=controller, path="site.toml")


def script(given: ClusterSpec, task: int | None = 1, **options: Any) -> str:
    folder = Path("/data/it's here/processed/submissions/1_task")
    return job_script(controller_of(given), folder, Path("/home/me"), "luxdask-a", task, **options)


def test_defaults() -> None:
    made = controller_of(spec())
    assert dict(made.options) == {"cores": 1, "memory": "4 GB"}
    assert (made.walltime_s, made.resubmit, made.compute) == (None, 10, None)
    assert made.python == sys.executable


def test_what_is_given() -> None:
    made = controller_of(
        spec(walltime="2-00:00", stop_before="10 min", resubmit=0, compute="threads", cores=4)
    )
    assert (made.walltime_s, made.stop_before_s) == (2 * 86400, 600)
    assert (made.resubmit, made.compute, made.options["cores"]) == (0, "threads", 4)


def test_short_jobs_stop_in_their_last_quarter() -> None:
    assert controller_of(spec(walltime="00:08:00")).stop_before_s == 120


def test_what_is_taken_from_the_workers() -> None:
    workers = {"queue": "long", "account": "lab", "job_script_prologue": ["module load x"]}
    text = script(spec(workers=workers))
    assert "#SBATCH -p long" in text
    assert "#SBATCH -A lab" in text
    assert "module load x" in text
    assert "01:00:00" not in text
    assert "#SBATCH -p short" in script(spec(workers=workers, queue="short"))


@pytest.mark.parametrize(
    ("controller", "said"),
    [
        ({"stop_before": "2 h", "walltime": "01:00:00"}, "less than the wall time"),
        ({"stop_before": "soon"}, "expected seconds"),
        ({"resubmit": -1}, "controller.resubmit"),
        ({"compute": "gpu"}, "controller.compute"),
        ({"project": "x"}, "controller.project: slurm has no such option"),
        ({"memory": "much"}, "no job of slurm can be made"),
    ],
)
def test_impossible_values(controller: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        script(spec(**controller))


@pytest.mark.parametrize(
    ("system", "lines"),
    [
        ("slurm", ["#SBATCH -t 08:00:00", "#SBATCH --requeue", "#SBATCH --signal=B:USR1@300"]),
        ("pbs", ["#PBS -l walltime=08:00:00", "#PBS -r y", "#PBS -j oe"]),
        ("moab", ["#PBS -l walltime=08:00:00", "#PBS -r y"]),
        ("sge", ["#$ -l h_rt=08:00:00", "#$ -r y", "#$ -cwd"]),
        ("lsf", ["#BSUB -W 08:00:00", "#BSUB -r", "#BSUB -wa USR1", "#BSUB -wt 5"]),
        ("oar", ["#OAR -l /nodes=1/core=1,walltime=08:00:00"]),
    ],
)
def test_directives(system: str, lines: list[str]) -> None:
    found = script(spec(system, walltime="08:00:00")).splitlines()
    assert set(lines) <= set(found)


@pytest.mark.parametrize(
    ("system", "line", "variable"),
    [
        ("slurm", "#SBATCH --array=1-3%2", "SLURM_ARRAY_TASK_ID"),
        ("pbs", "#PBS -J 1-3%2", "PBS_ARRAY_INDEX"),
        ("sge", "#$ -t 1-3 -tc 2", "SGE_TASK_ID"),
        ("lsf", '#BSUB -J "luxdask-a[1-3]%2"', "LSB_JOBINDEX"),
    ],
)
def test_arrays(system: str, line: str, variable: str) -> None:
    text = script(spec(system), None, tasks=3, at_a_time=2)
    assert line in text.splitlines()
    assert f'task="${{{variable}}}"' in text
    assert "#BSUB -J luxdask-a" not in text.splitlines()


@pytest.mark.parametrize("system", SYSTEMS)
def test_scripts_are_shell(system: str) -> None:
    text = script(spec(system, job_script_prologue="module load x"))
    subprocess.run(["sh", "-n"], input=text, text=True, check=True, timeout=60)
    assert text.startswith("#!/bin/sh\n")
    assert "exec " in text.splitlines()[-1]


def test_htcondor_is_given_a_description() -> None:
    controller = controller_of(spec("htcondor", disk="2 GB"))
    text = condor_description(controller, Path("/a/it's here/task-1.sh"), "luxdask-a")
    assert "Executable = /bin/sh" in text
    assert "Arguments = \"'/a/it''s here/task-1.sh'\"" in text
    assert "MY.DaskWorkerDisk = 2000000000" in text


def test_modules_are_found_in_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/my place")
    assert "export PYTHONPATH='/my place'" in script(spec())
