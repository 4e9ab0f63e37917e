"""`luxdask submit` on a real batch system: the night goes on without anybody."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from luxdask.cli import main
from luxdask.tasks.receipts import read_receipts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from luxdask.tasks import Task, TaskResult
    from luxdask.testing import Truth

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

LIMIT_S = 240
"""Longest wait for one thing; several jobs start one after the other on a machine of two cores."""

HELD = """\
#!{python}
import os, runpy, sys, time
from pathlib import Path
from luxdask.graph import write

place, fuse, begun = Path({place!r}), write.fuse_chunk, []

def is_held():
    try:
        held_from = int((place / "hold").read_text())
    except FileNotFoundError:
        return False
    return len(begun) >= held_from and not (place / f"go-{{os.getpid()}}").exists()

def held(job):
    with open(place / "computed.txt", "a") as file:
        file.write(f"{{os.getpid()}} {{job.box.start}}\\n")
    begun.append(job)
    limit = time.monotonic() + 800
    while is_held() and time.monotonic() < limit:
        time.sleep(0.02)
    return fuse(job)

write.fuse_chunk = held
if __name__ == "__main__":
    module, sys.argv = sys.argv[2], sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
"""An interpreter for `python -m MODULE` that notes its chunks, and can be held at its n-th one."""

SITE = """\
system = "{system}"
[workers]
cores = 1
memory = "1 GB"
walltime = "00:10:00"
interface = "lo"
nanny = false
python = "{python}"
shared_temp_directory = "{folder}"
[scale]
jobs = 2
[controller]
"""


class Place:
    """A folder with an experiment, a task, and the description of the cluster."""

    def __init__(self, folder: Path, slurm: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.slurm, self._capsys = folder, slurm, capsys
        self.python = folder.parent / "python"  # dask-jobqueue does not quote paths
        self.truths: dict[str, Truth] = {}
        self.python.write_text(HELD.format(python=sys.executable, place=str(folder)))
        self.python.chmod(self.python.stat().st_mode | stat.S_IXUSR)
        self.write_cluster()

    def write_cluster(self, system: str = "slurm", **controller: Any) -> None:
        """The description of the cluster; by default one job does everything by itself."""
        values = {"cores": 1, "memory": "1 GB", "compute": "threads", **controller}
        values["python"] = str(self.python)
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        text = SITE.format(system=system, python=self.python, folder=self.folder.parent)
        (self.folder / "site.toml").write_text(text + "\n".join(lines) + "\n")

    def luxdask(self, *arguments: object) -> tuple[int, str]:
        """Exit code and output of a command."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        captured = self._capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, captured.out + captured.err

    def submit(self, *tasks: object) -> Path:
        """Submit tasks; returns the folder of the submission."""
        code, said = self.luxdask("submit", *tasks, "--cluster", self.folder / "site.toml")
        assert code == 0, said
        (found,) = self.folder.rglob("submission.json")
        return found.parent

    def tasks(self, submission: Path) -> list[dict[str, Any]]:
        """What --status tells about each task."""
        code, said = self.luxdask("submit", "--status", submission, "--json")
        assert code in (0, 1, 3, 130), said
        found: list[dict[str, Any]] = json.loads(said)["tasks"]
        return found

    def wait_for(self, submission: Path, *states: str) -> list[dict[str, Any]]:
        """Until the tasks have these states; returns what --status tells."""

        def reached() -> bool:
            time.sleep(0.3)  # this machine has other things to do than to tell states
            self.last = self.tasks(submission)
            found = tuple(task["state"] for task in self.last)
            assert found == states or found.count("Failed") <= states.count("Failed")
            return found == states

        try:
            self.slurm.wait_for(reached, f"states {states}", LIMIT_S)
        except AssertionError as error:
            logs = "\n".join(p.read_text() for p in submission.glob("logs/*"))
            raise AssertionError(f"{self.last}\n{logs}") from error
        return self.last

    def wait_for_log(self, submission: Path, text: str) -> None:
        """Until the log of the first task has a text."""
        log = submission / "logs/task-1.log"
        self.slurm.wait_for(lambda: text in log.read_text(), text, LIMIT_S)

    def hold(self, chunk: int) -> None:
        """Let every process wait at its n-th chunk."""
        (self.folder / "hold").write_text(str(chunk))

    def release(self, process: str = "") -> None:
        """Let one process go on, or all of them from now on."""
        if process:
            (self.folder / f"go-{process}").touch()
        else:
            (self.folder / "hold").unlink()

    def computed(self) -> list[str]:
        """The chunks that were begun, each with the process that did."""
        path = self.folder / "computed.txt"
        return path.read_text().splitlines() if path.exists() else []

    def processes(self) -> set[str]:
        """Those that computed chunks."""
        return {line.split(" ", 1)[0] for line in self.computed()}

    def wait_until_held(self, chunk: int, known: Collection[str] = ()) -> str:
        """Until a process waits at its n-th chunk that is not known yet; returns which."""
        found: list[str] = []

        def is_held() -> bool:
            begun = [line.split(" ", 1)[0] for line in self.computed()]
            found[:] = [p for p in set(begun) - set(known) if begun.count(p) >= chunk]
            return bool(found)

        self.slurm.wait_for(is_held, f"chunk {chunk}", LIMIT_S)
        return found[0]


@pytest.fixture
def place(slurm: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    folder = tmp_path / "Anna's place"  # blanks and quotes are nothing special
    folder.mkdir()
    return Place(folder, slurm, capsys)


@pytest.fixture
def night(
    place: Place, make_task: Callable[..., Task], copy_experiment: Callable[..., Truth]
) -> Callable[..., Path]:
    """Makes a task file of an experiment of 2 × 3 tiles."""

    def make(name: str = "task", **values: Any) -> Path:
        truth = copy_experiment(place.folder / name, shape=(64, 140, 200), tiles=(2, 3))
        place.truths[name] = truth
        path = place.folder / f"{name}.json"
        make_task(truth, compute__threads_per_worker=1, **values).save(path)
        return path

    return make


@pytest.fixture
def digest(place: Place, run_task: Callable[..., TaskResult]) -> Callable[..., dict[str, str]]:
    """Hashes of a task folder's images."""

    def hashes(folder: str | Path) -> dict[str, str]:
        found = sorted(Path(folder).glob("uni_*.lux.h5"))
        assert found
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in found}

    return hashes


def stem(folder: str) -> str:
    """A task folder's name without its state."""
    return Path(folder).name.removesuffix("_S")


def run_here(task: Path) -> Path:
    """Run a task on this machine, and give its folder."""
    from luxdask.tasks import Task

    return Task.open(task).run().folder


def test_a_submitted_task_completes(
    place: Place, night: Callable[..., Path], digest: Callable[..., dict[str, str]]
) -> None:
    task = night()
    place.write_cluster(compute="workers")
    submission = place.submit(task)
    (told,) = place.wait_for(submission, "Completed")
    assert place.luxdask("submit", "--status", submission)[0] == 0
    assert len(place.processes()) == 2  # the jobs of the workers
    assert Path(told["folder"]).name.endswith("_C")
    assert digest(told["folder"]) == digest(run_here(task))
    # the state is written before the job's process says its last words
    place.wait_for_log(submission, "Completed in")
    code, said = place.luxdask("submit", submission)
    assert (code, "Nothing to submit" in said) == (0, True)


def test_a_cancelled_job_goes_on_where_it_was(
    place: Place, night: Callable[..., Path], digest: Callable[..., dict[str, str]]
) -> None:
    task = night()
    place.write_cluster(compute="workers")
    place.hold(2)
    submission = place.submit(task)
    place.wait_until_held(2)
    (running,) = place.tasks(submission)
    assert running["state"] == "Running"
    place.slurm.wait_for(lambda: read_receipts(Path(running["folder"])), "receipts", LIMIT_S)
    place.slurm.cancel(running["job"])
    place.release()
    place.slurm.wait_for(
        lambda: running["job"] not in place.slurm.jobs(), "the end of the job", LIMIT_S
    )
    (ended,) = place.tasks(submission)
    assert ended["state"] in ("Stopped", "Killed")  # where it was too slow to stop
    assert place.luxdask("submit", "--status", submission)[0] in (130, 4)
    done, before = read_receipts(Path(ended["folder"])), place.processes()
    code, said = place.luxdask("submit", submission)
    assert code == 0, said
    (told,) = place.wait_for(submission, "Completed")
    assert Path(told["folder"]).name == f"{stem(ended['folder'])}_C"
    assert digest(told["folder"]) == digest(run_here(task))
    begun = [line.split(" ", 1) for line in place.computed()]
    again = [chunk for process, chunk in begun if process not in before]
    finished = sum(stage == 0 for _, stage, _ in done)
    assert finished > 0
    assert len(again) == len({chunk for _, chunk in begun}) - finished


def test_a_job_whose_time_is_over_goes_on_by_itself(
    place: Place, night: Callable[..., Path], digest: Callable[..., dict[str, str]]
) -> None:
    """Twice: by the signal of the wall time, and by that of a job which is not cancelled."""
    task = night()
    place.hold(2)
    submission = place.submit(task)
    jobs, processes = [], []
    for signal in ("USR1", "TERM"):
        processes.append(place.wait_until_held(2, processes))
        (running,) = place.tasks(submission)
        jobs.append(running["job"])
        words = ("scancel", f"--signal={signal}", "--batch", running["job"])
        subprocess.run(words, check=True, timeout=60)
        place.wait_for_log(submission, f"SIG{signal}: stopping")
        place.release(processes[-1] if signal == "USR1" else "")
    (told,) = place.wait_for(submission, "Completed")
    assert told["resubmitted"] == 2
    assert len({*jobs, told["job"]}) == 3
    assert digest(told["folder"]) == digest(run_here(task))
    assert len({line.split(" ", 1)[1] for line in place.computed()}) == len(place.computed())


def test_an_array_with_a_damaged_experiment(place: Place, night: Callable[..., Path]) -> None:
    tasks = [night(name) for name in ("first", "damaged", "third")]
    damaged = place.truths["damaged"]
    image = damaged.path(damaged.views[0])
    image.write_bytes(image.read_bytes()[:20000])
    submission = place.submit(*tasks, "--at-a-time", 2)
    assert "--array=1-3%2" in (submission / "scripts/array.sh").read_text()
    told = place.wait_for(submission, "Completed", "Failed", "Completed")
    assert image.name in told[1]["error"]
    assert place.luxdask("submit", "--status", submission)[0] == 1
    assert [task["job"].partition("_")[2] for task in told] == ["1", "2", "3"]


def test_through_qsub(
    place: Place, night: Callable[..., Path], digest: Callable[..., dict[str, str]]
) -> None:
    task = night()
    place.write_cluster("pbs", resource_spec="nodes=1:ppn=1,mem=1gb")
    submission = place.submit(task)
    (told,) = place.wait_for(submission, "Completed")
    assert digest(told["folder"]) == digest(run_here(task))


def test_a_refused_job(place: Place, night: Callable[..., Path]) -> None:
    place.write_cluster(memory="4 TB")
    code, said = place.luxdask("submit", night(), "--cluster", place.folder / "site.toml")
    assert code == 1
    assert "sbatch refused the job" in said
    assert "specification can not be satisfied" in said
    assert not list(place.folder.rglob("submission.json"))
