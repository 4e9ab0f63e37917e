"""Batch systems by their commands, with stand-ins for these."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from luxdask.cluster import batch
from luxdask.cluster.batch import (
    SYSTEMS,
    Waiting,
    batch_system,
    cancel_job,
    element_id,
    job_state,
    job_states,
    outer_environment,
    same_job,
    submit_script,
    waiting_arguments,
)
from luxdask.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a stand-in command on the path, which notes its arguments and its input."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def make(name: str, says: str = "", *, error: str = "", code: int = 0) -> None:
        path = place / name
        path.write_text(
            f"#!/bin/sh\necho \"$0 $*\" >>'{tmp_path}/called'\ncat >>'{tmp_path}/stdin'\n"
            f"cat <<'END'\n{says}\nEND\necho '{error}' >&2\nexit {code}\n"
        )
        path.chmod(0o755)

    return make


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    path = tmp_path / "scripts/task-1.sh"
    path.write_text("#!/bin/sh\n")
    return path


@pytest.mark.parametrize(
    ("system", "name", "says", "job", "waits"),
    [
        ("slurm", "sbatch", "Submitted batch job 7", "7", "--dependency=afterok:5:6"),
        ("pbs", "qsub", "7.server", "7.server", "-W depend=afterok:5:6"),
        ("pbs", "qsub", "7[].server-1", "7[].server-1", "-W depend=afterok:5:6"),
        ("sge", "qsub", 'Your job 7 ("x") has been submitted', "7", "-hold_jid 5,6"),
        ("sge", "qsub", 'Your job-array 7.1-3:1 ("x") has been', "7", "-hold_jid 5,6"),
        ("lsf", "bsub", "Job <7> is submitted to queue <a1>.", "7", "-w done(5)&&done(6)"),
        ("oar", "oarsub", "[ADMISSION] 3 rules\nOAR_JOB_ID=7", "7", "-S -a 5 -a 6"),
        ("moab", "msub", "\nmoab.7", "moab.7", "-l depend=afterok:5:6"),
    ],
)
def test_submitting(
    system: str,
    name: str,
    says: str,
    job: str,
    waits: str,
    command: Callable[..., None],
    script: Path,
    tmp_path: Path,
) -> None:
    command(name, says)
    found = submit_script(
        SYSTEMS[system], script, tmp_path, Waiting(("5", "6")), outer_environment()
    )
    assert found == job
    called = (tmp_path / "called").read_text()
    assert waits in called
    if system == "lsf":
        assert (tmp_path / "stdin").read_text() == script.read_text()
    else:
        assert called.endswith(" ./scripts/task-1.sh\n")


def test_htcondor(command: Callable[..., None], script: Path, tmp_path: Path) -> None:
    command("condor_submit", "Submitting job(s).\n1 job(s) submitted to cluster 7.")
    assert submit_script(SYSTEMS["htcondor"], script, tmp_path, Waiting(), {**os.environ}) == "7"
    with pytest.raises(ConfigError, match="cannot wait for others"):
        waiting_arguments(SYSTEMS["htcondor"], Waiting(("5",)))


def test_waiting_for_any_end() -> None:
    waits = waiting_arguments(SYSTEMS["slurm"], Waiting(("5",), well=False))
    assert waits == ["--dependency=afterany:5"]


def test_refused(command: Callable[..., None], script: Path, tmp_path: Path) -> None:
    command("sbatch", error="sbatch: error: invalid partition specified: gpu", code=1)
    with pytest.raises(ClusterError, match=r"(?s)exit code 1.*invalid partition specified: gpu"):
        submit_script(SYSTEMS["slurm"], script, tmp_path, Waiting(), {**os.environ})


def test_no_id(command: Callable[..., None], script: Path, tmp_path: Path) -> None:
    command("bsub", "welcome")
    with pytest.raises(ClusterError, match="gave no job id; it said: welcome"):
        submit_script(SYSTEMS["lsf"], script, tmp_path, Waiting(), {**os.environ})


def test_no_command(command: Callable[..., None], script: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="msub: there is no such command"):
        submit_script(SYSTEMS["moab"], script, tmp_path, Waiting(), {**os.environ})


def test_no_answer(
    command: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("bjobs")
    (tmp_path / "bin/bjobs").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(batch, "COMMAND_TIMEOUT_S", 0.2)
    with pytest.raises(ClusterError, match="did not answer"):
        job_state(SYSTEMS["lsf"], "7")


@pytest.mark.parametrize(
    ("system", "name", "says", "state"),
    [
        ("slurm", "squeue", "PENDING", "queued"),
        ("slurm", "squeue", "COMPLETING", "running"),
        ("slurm", "squeue", "", "gone"),
        ("pbs", "qstat", "Job Id: 7\n    job_state = H\n", "queued"),
        ("pbs", "qstat", "Job Id: 7\n    job_state = R\n", "running"),
        ("pbs", "qstat", "Job Id: 7\n    job_state = F\n", "gone"),
        ("sge", "qstat", "job-ID prior name user state\n---\n  7 0.5 lux me hqw 1", "queued"),
        ("sge", "qstat", "job-ID prior name user state\n---\n 77 0.5 lux me r 1", "gone"),
        ("lsf", "bjobs", "RUN", "running"),
        ("lsf", "bjobs", "EXIT", "gone"),
        ("oar", "oarstat", "7: Waiting", "queued"),
        ("htcondor", "condor_q", "2", "running"),
        ("htcondor", "condor_q", "4", "gone"),
        ("moab", "checkjob", "job 7\n\nState: Idle\n", "queued"),
        ("moab", "checkjob", "job 7\n\nState: Completed\n", "gone"),
    ],
)
def test_states(
    system: str, name: str, says: str, state: str, command: Callable[..., None]
) -> None:
    command(name, says)
    assert job_state(SYSTEMS[system], "7")[0] == state


@pytest.mark.parametrize(
    ("system", "name", "error"),
    [
        ("slurm", "squeue", "slurm_load_jobs error: Invalid job id specified"),
        ("pbs", "qstat", "qstat: Unknown Job Id 7.server"),
        ("pbs", "qstat", "qstat: 7.server Job has finished, use -x or -H to obtain it"),
        ("lsf", "bjobs", "Job <7> is not found"),
    ],
)
def test_a_forgotten_job_is_gone(
    system: str, name: str, error: str, command: Callable[..., None]
) -> None:
    command(name, error=error, code=1)
    assert job_state(SYSTEMS[system], "7") == ("gone", "")


def test_a_silent_batch_system_is_an_error(command: Callable[..., None]) -> None:
    command("squeue", error="slurm_load_jobs error: Unable to contact slurm controller", code=1)
    with pytest.raises(ClusterError, match="Unable to contact"):
        job_state(SYSTEMS["slurm"], "7")
    with pytest.raises(ClusterError, match="Unable to contact"):
        job_states(SYSTEMS["slurm"], ["7"])


def test_states_of_many_jobs(command: Callable[..., None], tmp_path: Path) -> None:
    command("squeue", "12_1/RUNNING\n12_2/PENDING")
    found = job_states(SYSTEMS["slurm"], ["12_1", "12_2", "12_3"])
    assert [state for state, _ in found.values()] == ["running", "queued", "gone"]
    assert len((tmp_path / "called").read_text().splitlines()) == 1
    command("bjobs", "PEND")
    assert job_states(SYSTEMS["lsf"], ["7[1]", "7[2]"])["7[2]"] == ("queued", "PEND")
    assert job_states(SYSTEMS["lsf"], []) == {}


def test_cancelling(command: Callable[..., None], tmp_path: Path) -> None:
    command("bkill", error="Job <7>: Job has already finished", code=255)
    cancel_job(SYSTEMS["lsf"], "7[2]")
    assert (tmp_path / "called").read_text().endswith("bkill 7[2]\n")


def test_elements() -> None:
    names = {"slurm": "7_2", "sge": "7.2", "lsf": "7[2]"}
    assert {name: element_id(SYSTEMS[name], "7", 2) for name in names} == names
    assert element_id(SYSTEMS["pbs"], "7[].server", 2) == "7[2].server"


def test_ids_of_one_job() -> None:
    assert same_job("7.server", "7.server.site.org")
    assert same_job("7[2].server", "7[2]")
    assert not same_job("7.1", "7.2")
    assert not same_job("7[2].server", "7[3].server")
    assert not same_job("moab.7", "moab.8")


def test_environment_of_another_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    found = outer_environment()
    assert "SLURM_MEM_PER_NODE" not in found
    assert found["SLURM_CONF"] == "/etc/slurm.conf"


def test_clusters_without_jobs() -> None:
    with pytest.raises(ConfigError, match="luxdask run TASK --cluster local"):
        batch_system("local", "local")
