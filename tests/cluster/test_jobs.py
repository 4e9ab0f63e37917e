"""The number of jobs is kept, without a batch system: a stand-in says what has happened."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import distributed
import pytest

from luxdask.cluster import jobs
from luxdask.cluster.jobs import JobKeeper, jobs_for_work
from luxdask.cluster.spec import ClusterSpec
from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from pathlib import Path


class FakeCluster:
    """What a keeper needs of dask-jobqueue; time stands still unless it is told."""

    def __init__(self) -> None:
        self.scheduler = SimpleNamespace(
            address="tls://a:1", contact_address=None, workers={}, queued=(), unrunnable=()
        )
        self.listed: set[str] = set()
        self.refuses = False
        self.now = 1000.0

    def new_worker_spec(self) -> dict[str, Any]:
        security = distributed.Security(tls_worker_cert="/a b/cert.pem")
        return {"name": {"cls": self._job, "options": {"security": security}}}

    def _job(self, address: str, *, name: str, security: distributed.Security) -> Any:
        assert security.tls_worker_cert == "'/a b/cert.pem'"
        made = SimpleNamespace(name=name, job_id=None)
        made.start = lambda: self._submit(made)
        made.close = lambda: self.listed.discard(made.job_id)
        return made

    def _submit(self, job: Any) -> None:
        if self.refuses:
            raise RuntimeError("sbatch: no such partition")
        job.job_id = str(100 + int(job.name.partition("-")[2]))
        self.listed.add(job.job_id)

    def sync(self, call: Any, callback_timeout: float) -> None:
        call()

    def connect(self, name: str, busy: int = 0) -> None:
        worker = SimpleNamespace(name=name, processing=range(busy))
        self.scheduler.workers[name] = worker

    def leave(self, name: str) -> None:
        del self.scheduler.workers[name]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    made = FakeCluster()
    monkeypatch.setattr(jobs, "listed_jobs", lambda _: set(made.listed))
    monkeypatch.setattr(jobs.time, "monotonic", lambda: made.now)
    return made


class Wanted:
    number = 2

    def __call__(self) -> int:
        return self.number


def keeper(cluster: FakeCluster, logs: Path | None = None, wanted: Any = None) -> JobKeeper:
    made = JobKeeper(cluster, ClusterSpec("slurm"), logs, wanted or Wanted())
    made.fill()
    return made


def pass_time(cluster: FakeCluster, kept: JobKeeper, seconds: int) -> None:
    for _ in range(seconds):
        cluster.now += 1
        kept.turn()


def test_what_is_waited_for(cluster: FakeCluster) -> None:
    kept = keeper(cluster)
    assert kept.job_ids == ("100", "101")
    assert kept.supervise() == "2 jobs queued"
    cluster.connect("luxdask-0")
    pass_time(cluster, kept, 1)
    assert kept.supervise() == "1 job queued"
    cluster.connect("luxdask-1-0")  # one of several processes
    pass_time(cluster, kept, 1)
    assert kept.supervise() == ""


def test_jobs_that_wait_for_days_are_left_alone(cluster: FakeCluster) -> None:
    kept = keeper(cluster)
    pass_time(cluster, kept, 5)
    cluster.now += 3 * 86400
    pass_time(cluster, kept, 60)
    assert kept.job_ids == ("100", "101")


def test_ended_jobs_are_replaced(cluster: FakeCluster) -> None:
    kept = keeper(cluster)
    cluster.connect("luxdask-0")
    cluster.connect("luxdask-1")
    pass_time(cluster, kept, 1)
    cluster.leave("luxdask-0")
    pass_time(cluster, kept, 30)
    assert kept.job_ids == ("100", "101")  # still listed: the worker may come back
    cluster.listed.discard("100")
    pass_time(cluster, kept, 30)
    assert kept.job_ids == ("101", "102")


def test_listing_that_is_late_or_missing(cluster: FakeCluster, monkeypatch: Any) -> None:
    """A job just submitted may not be listed yet, and a batch system may not answer."""
    kept = keeper(cluster)
    cluster.listed.clear()
    pass_time(cluster, kept, int(jobs.YOUNG_S) - 1)
    cluster.listed |= {"100", "101"}
    pass_time(cluster, kept, 60)
    monkeypatch.setattr(jobs, "listed_jobs", lambda _: None)
    pass_time(cluster, kept, 60)
    assert kept.job_ids == ("100", "101")


def test_listed_job_without_workers_is_given_up_at_last(cluster: FakeCluster) -> None:
    kept = keeper(cluster)
    cluster.connect("luxdask-0")
    pass_time(cluster, kept, 1)
    cluster.leave("luxdask-0")
    pass_time(cluster, kept, int(jobs.UNHEARD_S) + 60)
    assert kept.job_ids == ("101", "102")


def test_jobs_that_never_connect(cluster: FakeCluster, tmp_path: Path) -> None:
    (tmp_path / "luxdask-102.err").write_text("first\n" * 50 + "no module named luxdask\n")
    kept = keeper(cluster, tmp_path)

    def fail_always() -> None:
        for _ in range(200):
            cluster.listed.clear()
            pass_time(cluster, kept, 1)

    with pytest.raises(ClusterError, match=r"3 jobs in a row(?s:.*)no module named") as caught:
        fail_always()
    assert str(caught.value).count("\n") <= jobs.TAIL_LINES


def test_one_that_connects_starts_the_count_again(cluster: FakeCluster) -> None:
    kept = keeper(cluster, wanted=lambda: 1)
    for n in range(8):
        if n % 2:
            cluster.connect(f"luxdask-{n}")
            pass_time(cluster, kept, 1)
            cluster.leave(f"luxdask-{n}")
        cluster.listed.clear()
        while kept.job_ids == (str(100 + n),):
            pass_time(cluster, kept, 1)
            cluster.listed.discard(str(100 + n))


def test_refused_jobs(cluster: FakeCluster) -> None:
    cluster.refuses = True
    with pytest.raises(ClusterError, match="no such partition"):
        keeper(cluster)


def test_supervision_that_breaks(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, instead of waiting for ever."""
    kept = keeper(cluster)
    monkeypatch.setattr(jobs, "LOOK_S", 0.0)
    cluster.scheduler.workers = None
    kept._run()
    with pytest.raises(ClusterError, match="no longer looked after"):
        kept.supervise()


def test_idle_jobs_end_after_a_while(cluster: FakeCluster) -> None:
    wanted = Wanted()
    kept = keeper(cluster, wanted=wanted)
    cluster.connect("luxdask-0", busy=1)
    cluster.connect("luxdask-1")
    wanted.number = 0
    pass_time(cluster, kept, int(jobs.SHRINK_AFTER_S) - 1)
    assert kept.job_ids == ("100", "101")
    pass_time(cluster, kept, 5)
    assert kept.job_ids == ("100",)  # the other one computes
    wanted.number = 2
    pass_time(cluster, kept, 1)
    assert kept.job_ids == ("100", "102")


@pytest.mark.parametrize(
    ("queued", "busy", "expected"), [(0, 0, 1), (1, 0, 1), (9, 4, 4), (500, 8, 20)]
)
def test_jobs_for_work(queued: int, busy: int, expected: int) -> None:
    worker = SimpleNamespace(processing=range(busy))
    scheduler = SimpleNamespace(workers={"a": worker}, queued=range(queued), unrunnable=())
    assert jobs_for_work(scheduler, threads_per_job=4, least=1, most=20) == expected
