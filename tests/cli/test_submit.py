"""`luxdask submit` and the jobs it makes, with a stand-in for the commands of PBS."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from luxdask.cli import main
from luxdask.graph import write
from luxdask.tasks.in_job import End
from luxdask.tasks.receipts import read_receipts
from luxdask.tasks.submission import open_submission
from luxdask.tasks.submit import stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.tasks import Task
    from luxdask.testing import Truth

SITE = """
system = "pbs"
[workers]
cores = 1
memory = "1 GB"
[controller]
compute = "threads"
"""
QSUB = """#!{python}
import sys
from pathlib import Path
place = Path({place!r})
if (place / "refuses").exists():
    sys.exit("qsub: Job exceeds queue resource limits")
number = len(list(place.glob("job-*"))) + 1
text = Path(sys.argv[-1]).read_text()
(place / f"job-{{number}}").write_text(" ".join(sys.argv[1:]) + "\\n" + text)
print(f"{{number}}[].server" if "#PBS -J" in text else f"{{number}}.server")
"""
QSTAT = """#!{python}
import sys
from pathlib import Path
path = Path({place!r}) / f"state-{{sys.argv[-1]}}"
if not path.exists():
    sys.exit("qstat: Unknown Job Id")
print("    job_state =", path.read_text())
"""


class Pbs:
    """A batch system that never starts anything by itself."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        for name, text in (("qsub", QSUB), ("qstat", QSTAT), ("qdel", QSTAT)):
            (place / name).write_text(text.format(python=sys.executable, place=str(place)))
            (place / name).chmod(0o755)

    def submitted(self) -> list[str]:
        """Arguments and script of each job."""
        return [path.read_text() for path in sorted(self.place.glob("job-*"))]

    def set_state(self, job: str, state: str) -> None:
        (self.place / f"state-{job}").write_text(state)

    def forget(self) -> None:
        for path in self.place.glob("state-*"):
            path.unlink()


@pytest.fixture
def pbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pbs:
    made = Pbs(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.place}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return made


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    return path


@pytest.fixture
def night(
    tmp_path: Path, make_task: Callable[..., Task], copy_experiment: Callable[..., Truth]
) -> Callable[..., Path]:
    """Makes a task file with an experiment of its own."""

    def make(name: str = "task", **values: Any) -> Path:
        truth = copy_experiment(tmp_path / name, shape=(64, 140, 200))
        path = tmp_path / f"{name}.json"
        make_task(truth, compute__threads_per_worker=1, **values).save(path)
        return path

    return make


@pytest.fixture
def luxdask(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a command; gives its exit code and what it printed."""

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, captured.out + captured.err

    return run


@pytest.fixture
def submit(
    luxdask: Callable[..., tuple[int, str]], site: Path, pbs: Pbs, tmp_path: Path
) -> Callable[..., Path]:
    """Submits tasks and gives the folder of the submission."""

    def run(*tasks: object) -> Path:
        known = set(tmp_path.rglob("submission.json"))
        code, said = luxdask("submit", *tasks, "--cluster", site)
        assert code == 0, said
        (found,) = set(tmp_path.rglob("submission.json")) - known
        return found.parent

    return run


@pytest.fixture
def states(luxdask: Callable[..., tuple[int, str]]) -> Callable[[Path], tuple[int, list[str]]]:
    """Exit code of --status, and the tasks' states."""

    def ask(folder: Path) -> tuple[int, list[str]]:
        code, said = luxdask("submit", "--status", folder, "--json")
        return code, [task["state"] for task in json.loads(said)["tasks"]]

    return ask


def interrupted(monkeypatch: pytest.MonkeyPatch, *numbers: signal.Signals) -> None:
    """Let the next chunk send signals to this process."""
    fuse = write.fuse_chunk

    def interrupt(job: Any) -> Any:
        monkeypatch.setattr(write, "fuse_chunk", fuse)
        for number in numbers:
            os.kill(os.getpid(), number)
        return fuse(job)

    monkeypatch.setattr(write, "fuse_chunk", interrupt)


def test_an_array_to_its_end(
    night: Callable[..., Path],
    submit: Callable[..., Path],
    states: Callable[[Path], tuple[int, list[str]]],
    luxdask: Callable[..., tuple[int, str]],
    pbs: Pbs,
) -> None:
    folder = submit(night("first"), night("second"), "--at-a-time", 1)
    assert pbs.submitted()[0].startswith("./scripts/array.sh\n")
    assert "#PBS -J 1-2%1\n" in pbs.submitted()[0]
    for job in ("1[1].server", "1[2].server"):
        pbs.set_state(job, "Q")
    assert states(folder) == (3, ["Queuing", "Queuing"])
    environment = {**os.environ, "PBS_ARRAY_INDEX": "1", "PBS_JOBID": "1[1].server"}
    done = subprocess.run(
        ["sh", str(folder / "scripts/array.sh")], env=environment, check=False, timeout=200
    )
    assert done.returncode == 0
    assert states(folder) == (3, ["Completed", "Queuing"])
    pbs.forget()
    assert states(folder) == (4, ["Completed", "Killed"])
    code, said = luxdask("submit", folder)
    assert (code, "as job 2.server" in said) == (0, True), said
    assert pbs.submitted()[1].startswith("./scripts/task-2.sh\n")
    assert luxdask("submitted", folder, 2)[0] == 0
    assert states(folder) == (0, ["Completed", "Completed"])
    assert luxdask("submit", "--status", folder)[0] == 0


def test_dry_run(
    night: Callable[..., Path],
    luxdask: Callable[..., tuple[int, str]],
    site: Path,
    pbs: Pbs,
    tmp_path: Path,
) -> None:
    code, said = luxdask("submit", night(), "--cluster", site, "--dry-run")
    assert (code, said[:10]) == (0, "#!/bin/sh\n")
    assert f"exec {sys.executable} -m luxdask submitted {tmp_path}/task/processed/" in said
    assert not pbs.submitted()
    assert not list(tmp_path.rglob("submissions"))


def test_out_of_time_goes_on_until_the_limit(
    night: Callable[..., Path],
    submit: Callable[..., Path],
    states: Callable[[Path], tuple[int, list[str]]],
    luxdask: Callable[..., tuple[int, str]],
    pbs: Pbs,
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site.write_text(f"{SITE}resubmit = 1\n")
    folder = submit(night())
    before = signal.getsignal(signal.SIGTERM)
    interrupted(monkeypatch, signal.SIGUSR1)
    monkeypatch.setenv("PBS_JOBID", "1.server")
    code, said = luxdask("submitted", folder, 1)
    assert (code, "job 2.server goes on" in said) == (130, True), said
    assert signal.getsignal(signal.SIGTERM) is before
    pbs.set_state("2.server", "Q")
    assert states(folder) == (3, ["Queuing"])
    task = Path(json.loads((folder / "states/1.json").read_text())["folder"])
    (stopped,) = task.parent.glob("*_S")
    done = len(read_receipts(stopped))
    assert done > 0
    interrupted(monkeypatch, signal.SIGUSR1)
    monkeypatch.setenv("PBS_JOBID", "2.server")
    assert luxdask("submitted", folder, 1)[0] == 130
    pbs.forget()
    assert states(folder) == (130, ["Stopped"])
    code, said = luxdask("submit", "--status", folder)
    assert "went on 1 times already (controller.resubmit)" in said
    assert len(read_receipts(stopped)) > done
    monkeypatch.delenv("PBS_JOBID")
    assert luxdask("submitted", folder, 1)[0] == 0
    assert states(folder) == (0, ["Completed"])
    assert "Complete already" in luxdask("submitted", folder, 1)[1]


def test_a_cancelled_job_does_not_come_back(
    night: Callable[..., Path],
    submit: Callable[..., Path],
    states: Callable[[Path], tuple[int, list[str]]],
    luxdask: Callable[..., tuple[int, str]],
    pbs: Pbs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = submit(night())
    interrupted(monkeypatch, signal.SIGTERM)
    code, said = luxdask("submitted", folder, 1)
    assert (code, "SIGTERM: stopping" in said) == (130, True)
    assert states(folder) == (130, ["Stopped"])
    assert len(pbs.submitted()) == 1
    code, said = luxdask("submit", folder)
    assert (code, len(pbs.submitted())) == (0, 2), said


def test_a_second_signal_ends_at_once(
    night: Callable[..., Path],
    submit: Callable[..., Path],
    states: Callable[[Path], tuple[int, list[str]]],
    luxdask: Callable[..., tuple[int, str]],
    pbs: Pbs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = submit(night())
    interrupted(monkeypatch, signal.SIGUSR1, signal.SIGTERM)
    assert luxdask("submitted", folder, 1)[0] == 130
    assert len(pbs.submitted()) == 2  # it was the wall time first
    pbs.set_state("2.server", "H")
    assert states(folder) == (3, ["Queuing"])


def test_the_wall_time_comes_within_another_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler of the second must not wait for a lock that the first one has."""
    stop = threading.Event()
    calls: list[int] = []

    def another_within() -> None:
        calls.append(1)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr(stop, "set", another_within)
    controller: Any = SimpleNamespace(walltime_s=None)
    end = End(controller, None, Console(file=io.StringIO()), 0.0, begun=True)
    with end.heard(), end.stopping(stop, None):
        signal.raise_signal(signal.SIGTERM)
    assert len(calls) == 1
    assert end.signals == [signal.SIGTERM, signal.SIGUSR1]


def test_the_clock_ends_a_run(
    night: Callable[..., Path],
    submit: Callable[..., Path],
    luxdask: Callable[..., tuple[int, str]],
    pbs: Pbs,
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wall time that was over before the job began: it stops at once, and gracefully."""
    site.write_text(f'{SITE}walltime = "00:10:00"\n')
    folder = submit(night())
    monkeypatch.setenv("LUXDASK_JOB_STARTED", "1000000000")
    code, said = luxdask("submitted", folder, 1)
    assert (code, "job 2.server goes on" in said) == (130, True), said
    assert len(pbs.submitted()) == 2


def test_no_job_can_go_on(
    night: Callable[..., Path],
    submit: Callable[..., Path],
    states: Callable[[Path], tuple[int, list[str]]],
    luxdask: Callable[..., tuple[int, str]],
    pbs: Pbs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = submit(night())
    (pbs.place / "refuses").touch()
    interrupted(monkeypatch, signal.SIGUSR1)
    assert luxdask("submitted", folder, 1)[0] == 130
    assert states(folder) == (130, ["Stopped"])
    assert "exceeds queue resource limits" in luxdask("submit", "--status", folder)[1]


def test_bad_data_and_vanished_data(
    night: Callable[..., Path],
    submit: Callable[..., Path],
    states: Callable[[Path], tuple[int, list[str]]],
    luxdask: Callable[..., tuple[int, str]],
    tmp_path: Path,
) -> None:
    folder = submit(night("damaged"), night("gone"))
    for image in (tmp_path / "damaged").rglob("*.lux.h5"):
        image.write_bytes(image.read_bytes()[:20000])
    for part in (tmp_path / "gone").iterdir():
        if part.name != "processed":
            shutil.rmtree(part, ignore_errors=True)
    assert luxdask("submitted", folder, 1)[0] == 1
    assert luxdask("submitted", folder, 2)[0] == 2
    assert states(folder) == (1, ["Failed", "Failed"])
    code, said = luxdask("submit", "--status", folder)
    assert (code, "logs/task-1.log" in said) == (1, True)


def test_stopped_folders_go_on(
    tiles: Truth,
    make_task: Callable[..., Task],
    submit: Callable[..., Path],
    luxdask: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    task = make_task(tiles, compute__threads_per_worker=1)
    task.save(tmp_path / "task.json")
    interrupted(monkeypatch, signal.SIGTERM)
    assert luxdask("run", tmp_path / "task.json")[0] == 130
    (stopped,) = Path(tiles.folder, "processed").glob("*_S")
    folder = submit(stopped)
    assert luxdask("submitted", folder, 1)[0] == 0
    assert stopped.with_name(f"{stopped.name.removesuffix('_S')}_C").is_dir()
    code, said = luxdask("submit", stopped, stopped, "--cluster", tmp_path / "site.toml")
    assert code == 2, said


def test_one_after_the_other(
    night: Callable[..., Path],
    submit: Callable[..., Path],
    states: Callable[[Path], tuple[int, list[str]]],
    luxdask: Callable[..., tuple[int, str]],
    pbs: Pbs,
) -> None:
    first = submit(night("first"))
    pbs.set_state("1.server", "R")
    second = submit(night("second"), "--after", first)
    assert pbs.submitted()[1].startswith("-W depend=afterany:1.server ./scripts")
    code, said = luxdask("submitted", second, 1)  # its job began, but the first goes on
    assert (code, "job 3.server waits for it" in said) == (0, True), said
    assert pbs.submitted()[2].startswith("-W depend=afterany:1.server ./scripts")
    pbs.set_state("3.server", "H")
    assert states(second) == (3, ["Queuing"])
    pbs.forget()
    code, said = luxdask("submitted", second, 1)
    assert (code, "was to be complete first" in said) == (1, True), said
    assert luxdask("submitted", first, 1)[0] == 0
    assert luxdask("submitted", second, 1)[0] == 0
    assert states(second) == (0, ["Completed"])


def test_after_a_job(submit: Callable[..., Path], night: Callable[..., Path], pbs: Pbs) -> None:
    submit(night(), "--after", "55.server")
    assert pbs.submitted()[0].startswith("-W depend=afterok:55.server ./scripts")


def test_stopping_what_waits(
    night: Callable[..., Path],
    submit: Callable[..., Path],
    luxdask: Callable[..., tuple[int, str]],
    pbs: Pbs,
) -> None:
    folder = submit(night())
    pbs.set_state("1.server", "Q")
    code, said = luxdask("stop", folder)
    assert (code, "Task 1, job 1.server: taken back" in said) == (0, True), said
    pbs.forget()
    assert "No task of this submission" in luxdask("stop", folder)[1]


def test_stopping_what_runs(
    night: Callable[..., Path],
    submit: Callable[..., Path],
    luxdask: Callable[..., tuple[int, str]],
    states: Callable[[Path], tuple[int, list[str]]],
    pbs: Pbs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = submit(night())
    fuse, asked = write.fuse_chunk, threading.Event()

    def ask_and_wait(job: Any) -> Any:
        if not asked.is_set():
            asked.set()
            pbs.set_state("1.server", "R")
            stop(open_submission(folder))
            (task,) = folder.parents[1].glob("*_Task_*")
            assert (task / "stop.json").exists()
            pbs.forget()
            limit = time.monotonic() + 100
            while "asked to stop" not in (task / "log.txt").read_text():
                assert time.monotonic() < limit
                time.sleep(0.05)
        return fuse(job)

    monkeypatch.setattr(write, "fuse_chunk", ask_and_wait)
    assert luxdask("submitted", folder, 1)[0] == 130
    assert states(folder) == (130, ["Stopped"])
    assert len(pbs.submitted()) == 1  # it does not come back by itself
    assert luxdask("status", folder)[0] == 130


def test_a_silent_batch_system(
    night: Callable[..., Path],
    submit: Callable[..., Path],
    states: Callable[[Path], tuple[int, list[str]]],
    luxdask: Callable[..., tuple[int, str]],
    pbs: Pbs,
) -> None:
    folder = submit(night())
    (pbs.place / "qstat").write_text("#!/bin/sh\necho cannot connect to server >&2\nexit 1\n")
    assert states(folder) == (3, ["Unknown"])
    code, said = luxdask("submit", folder)
    assert (code, "cannot connect to server" in said) == (1, True)
    assert len(pbs.submitted()) == 1


def test_refused(
    night: Callable[..., Path],
    luxdask: Callable[..., tuple[int, str]],
    pbs: Pbs,
    site: Path,
    tmp_path: Path,
) -> None:
    (pbs.place / "refuses").touch()
    code, said = luxdask("submit", night(), "--cluster", site)
    assert (code, "qsub: Job exceeds queue resource limits" in said) == (1, True)
    assert not list(tmp_path.rglob("submissions"))


def test_bad_tasks_are_refused_before(
    night: Callable[..., Path],
    luxdask: Callable[..., tuple[int, str]],
    pbs: Pbs,
    site: Path,
    tmp_path: Path,
) -> None:
    good, bad = night(), tmp_path / "bad.json"
    bad.write_text('{"fusion": {"blendings": true}}')
    code, said = luxdask("submit", good, bad, "--cluster", site)
    assert code == 2
    assert "bad.json" in said
    assert "Nothing was submitted" in said
    assert luxdask("submit", "--cluster", site)[0] == 2
    assert luxdask("submit", good, "--cluster", site, "--after", "no/such")[0] == 2
    code, said = luxdask("submit", good)
    assert (code, "luxdask run TASK --cluster local" in said) == (2, True), said
    assert not pbs.submitted()
    assert not list(tmp_path.rglob("submission.json"))


def test_the_cluster_of_the_tasks(
    night: Callable[..., Path], luxdask: Callable[..., tuple[int, str]]
) -> None:
    first = night("first", compute__cluster="tcp://host:1")
    code, said = luxdask("submit", first)
    assert (code, "'address' is no batch system" in said) == (2, True), said
    code, said = luxdask("submit", first, night("second"))
    assert (code, "different clusters (local, tcp://host:1)" in said) == (2, True)


@pytest.mark.parametrize("text", ["{", '{"version": 2}', "[]"])
def test_a_damaged_submission(
    text: str, night: Callable[..., Path], submit: Callable[..., Path], luxdask: Any
) -> None:
    folder = submit(night())
    (folder / "submission.json").write_text(text)
    code, said = luxdask("submit", "--status", folder)
    assert (code, "damaged, or not of luxdask" in said) == (2, True)
    assert luxdask("submit", "--status", folder.parent)[0] == 2
