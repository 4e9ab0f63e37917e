"""A real SLURM on this machine: three nodes, ports and folders of its own, any user.

Where SLURM is not installed the tests are skipped, unless LUXDASK_REQUIRE_SLURM is set.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NODES, CPUS, MEMORY_MB = 3, 4, 8000
LIMIT_S = 60
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "qsub")
# Debian keeps daemons where ordinary users do not look.
SEARCHED = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))

CONFIGURATION = """
ClusterName=luxdask
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock
SlurmctldPort={controller_port}
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmdSpoolDir={root}/spool.%n
StateSaveLocation={root}/state
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
SlurmdTimeout=300
SlurmctldTimeout=300
MessageTimeout=60
InactiveLimit=0
KillWait=2
MinJobAge=300
SlurmdParameters=config_overrides
{nodes}
PartitionName=cpu Nodes=node[1-{count}] Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """The batch system of the tests, asked and disturbed through its own commands."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def jobs(self) -> dict[str, str]:
        """State of every job that is queued or runs, by its number."""
        lines = command("squeue", "-h", "-o", "%A %T").splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def node_of(self, job: str) -> str:
        """Node on which a job runs; empty where it does not."""
        return command("squeue", "-h", "-j", job, "-o", "%N").strip()

    def cancel(self, *jobs: str) -> None:
        """End jobs as `scancel` does."""
        command("scancel", *jobs)

    def set_node(self, node: str, state: str) -> None:
        """Set a node "down", which ends its jobs, or "idle" again."""
        command("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")

    def all_idle(self) -> bool:
        """Whether every node waits for jobs."""
        return command("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(NODES)

    def wait_for(self, condition: Callable[[], object], what: str, limit_s: float = 120) -> None:
        """Until a condition holds; fails with the daemons' logs after a time."""
        limit = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < limit, f"waited {limit_s} s for {what}\n{self.log()}"
            time.sleep(0.05)

    def log(self) -> str:
        """What the daemons said last."""
        return "\n".join(p.read_text(errors="replace")[-3000:] for p in self.root.glob("*.log"))


def command(*words: str) -> str:
    """Output of a command, which must succeed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="session")
def _slurm_daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
    if missing:
        text = f"SLURM is not installed: {', '.join(missing)} missing"
        if os.environ.get("LUXDASK_REQUIRE_SLURM"):
            pytest.fail(text)
        pytest.skip(text)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        root = tmp_path_factory.mktemp("slurm")
        patch.setenv("SLURM_CONF", str(_configuration(root)))
        yield _start(root, stack)


@pytest.fixture
def slurm(_slurm_daemons: Slurm) -> Iterator[Slurm]:
    """A quiet batch system; what a test leaves behind in it is ended."""
    yield _slurm_daemons
    for node in range(1, NODES + 1):
        state = command("sinfo", "-h", "-n", f"node{node}", "-o", "%T").strip()
        if "down" in state or "drain" in state:
            _slurm_daemons.set_node(f"node{node}", "idle")
    left = _slurm_daemons.jobs()
    if left:
        _slurm_daemons.cancel(*left)
    _slurm_daemons.wait_for(_slurm_daemons.all_idle, "idle nodes")


def _configuration(root: Path) -> Path:
    ports = _free_ports(NODES + 1)
    nodes = "\n".join(
        f"NodeName=node{n} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} "
        f"RealMemory={MEMORY_MB} State=UNKNOWN"
        for n, port in enumerate(ports[1:], start=1)
    )
    text = CONFIGURATION.format(
        user=getpass.getuser(), root=root, controller_port=ports[0], nodes=nodes, count=NODES
    )
    path = root / "slurm.conf"
    path.write_text(text)
    return path


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def _start(root: Path, stack: ExitStack) -> Slurm:
    """Munge, the controller and the nodes, in the foreground, so that they end with the tests."""
    key = root / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    (root / "state").mkdir()
    munge = {"key-file": key, "socket": root / "munge.sock", "pid-file": root / "munged.pid",
             "log-file": root / "munged.log", "seed-file": root / "munged.seed"}  # fmt: skip
    _daemon(stack, root, "munged", "-F", "--force", *(f"--{k}={v}" for k, v in munge.items()))
    slurm = Slurm(root)
    slurm.wait_for((root / "munge.sock").exists, "munge")
    _daemon(stack, root, "slurmctld", "-D", "-f", str(root / "slurm.conf"))
    for n in range(1, NODES + 1):
        (root / f"spool.node{n}").mkdir()
        _daemon(stack, root, "slurmd", "-D", "-f", str(root / "slurm.conf"), "-N", f"node{n}")
    slurm.wait_for(lambda: _answers(slurm), "nodes")
    stack.callback(_cancel_all, slurm)
    return slurm


def _answers(slurm: Slurm) -> bool:
    try:
        return slurm.all_idle()
    except (AssertionError, subprocess.TimeoutExpired):
        return False  # the controller does not answer yet


def _cancel_all(slurm: Slurm) -> None:
    left = slurm.jobs()
    if left:
        slurm.cancel(*left)
        slurm.wait_for(lambda: not slurm.jobs(), "the end of all jobs")


def _daemon(stack: ExitStack, root: Path, name: str, *words: str) -> None:
    with (root / f"{name}.out.log").open("a") as log:
        program = shutil.which(name, path=SEARCHED)
        assert program is not None
        process = subprocess.Popen(
            [program, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
