"""Tasks whose workers are jobs of a real batch system, and what may happen to these jobs."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from luxdask.cli import main
from luxdask.cluster import connect
from luxdask.cluster.certificates import make_certificate
from luxdask.cluster.dask_backend import DaskBackend
from luxdask.errors import ClusterError
from luxdask.io import open_experiment
from luxdask.tasks import Task
from luxdask.testing import small_experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slurm

LIMIT_S = 60

SITE = """
system = "{system}"
[workers]
cores = 1
memory = "1 GB"
walltime = "00:10:00"
interface = "lo"
shared_temp_directory = "{folder}"
log_directory = "{folder}/logs"
worker_extra_args = ["--preload", "{folder}/slow.py"]
{workers}
[scale]
{scale}
"""

# So that something can happen in the middle of a run.
SLOW = """
import time
from luxdask.io.lux_writer import LuxWriter

def slow_write(self, level, start, block):
    if level == 0:
        time.sleep(0.25)
    return LuxWriter.quick_write(self, level, start, block)

if not hasattr(LuxWriter, "quick_write"):  # this file may be loaded twice
    LuxWriter.quick_write, LuxWriter.write = LuxWriter.write, slow_write
"""


@pytest.fixture(autouse=True)
def _look_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """This batch system may be asked often, and lists a job as soon as it is submitted."""
    monkeypatch.setattr("luxdask.cluster.jobs.LOOK_S", 0.3)
    for name in ("ASK_EVERY_S", "ASK_AGAIN_S", "YOUNG_S"):
        monkeypatch.setattr(f"luxdask.cluster.jobs.{name}", 1.0)


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., str]:
    """Writes the description of a cluster whose workers are slow."""

    def write(
        system: str = "slurm", scale: str = "jobs = 3", workers: str = "", more: str = ""
    ) -> str:
        (tmp_path / "slow.py").write_text(SLOW)
        path = tmp_path / "site.toml"
        text = SITE.format(system=system, folder=tmp_path, scale=scale, workers=workers)
        path.write_text(text + more)
        return str(path)

    return write


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Six tiles, in 18 chunks."""
    folder = tmp_path_factory.mktemp("six")
    small_experiment(folder, shape=(70, 170, 260), tiles=(2, 3), overlap=0.2)
    return Task.new(open_experiment(folder), values={"compute.chunk_vx": [64, 64, 64]})


@pytest.fixture(scope="module")
def expected(task: Task) -> dict[str, bytes]:
    return images(task.run().folder)


def images(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name.startswith("uni_")}


class Once:
    """Does something in the middle of a run, when some chunks are done."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act, self.has_acted = act, False

    def __call__(self, progress: Any) -> None:
        if progress.stage == "fusion" and progress.done >= 2 and not self.has_acted:
            assert progress.done < progress.total
            self.has_acted = True
            self.act()


def keeper(backend: Any) -> Any:
    assert isinstance(backend, DaskBackend)
    return backend._cluster.keeper


def nodes(backend: Any, slurm: Any) -> dict[str, str]:
    """Node of every job whose worker is here."""
    found = {
        job.number: slurm.node_of(job.number) for job in keeper(backend)._all() if job.connected
    }
    return {number: node for number, node in found.items() if node}


def test_slurm(
    slurm: Any, site: Callable[..., str], task: Task, expected: dict[str, bytes]
) -> None:
    """Three nodes give the bytes of one thread; and again while a job is cancelled."""
    with connect(site(workers='job_extra_directives = ["--exclusive"]')) as cluster:
        slurm.wait_for(lambda: len(nodes(cluster, slurm)) == 3, "three workers")
        assert set(nodes(cluster, slurm).values()) == {"node1", "node2", "node3"}
        assert images(task.run(cluster=cluster).folder) == expected

        def cancel_one() -> None:
            gone, *_ = nodes(cluster, slurm)
            slurm.cancel(gone)
            slurm.wait_for(lambda: gone not in nodes(cluster, slurm), "the end of a job")
            slurm.wait_for(lambda: len(nodes(cluster, slurm)) == 3, "its replacement")

        listener = Once(cancel_one)
        assert images(task.run(cluster=cluster, listeners=[listener]).folder) == expected
        assert listener.has_acted
        folder = cluster._cluster.folder.path
    assert not folder.exists()
    slurm.wait_for(lambda: not slurm.jobs(), "the end of the jobs")


def test_node_that_goes_down(
    slurm: Any, site: Callable[..., str], task: Task, expected: dict[str, bytes]
) -> None:
    with connect(
        site(scale="jobs = 2", workers='job_extra_directives = ["--exclusive"]')
    ) as cluster:
        slurm.wait_for(lambda: len(nodes(cluster, slurm)) == 2, "two workers")

        def set_down() -> None:
            node, *_ = nodes(cluster, slurm).values()
            slurm.set_node(node, "down")
            slurm.wait_for(lambda: node not in nodes(cluster, slurm).values(), "the end of its job")
            slurm.wait_for(lambda: len(nodes(cluster, slurm)) == 2, "a job on another node")

        listener = Once(set_down)
        assert images(task.run(cluster=cluster, listeners=[listener]).folder) == expected
    assert listener.has_acted


def test_lifetime_that_ends(
    slurm: Any, site: Callable[..., str], task: Task, expected: dict[str, bytes]
) -> None:
    """Workers leave before the wall time, and jobs that follow go on."""
    more = '[lifetime]\nbefore_end = "589 s"\nstagger = "2 s"\n'  # 10 s, plus or minus 1 s
    with connect(site(scale="jobs = 2", more=more)) as cluster:
        slurm.wait_for(lambda: len(nodes(cluster, slurm)) == 2, "two workers")
        first = set(keeper(cluster).job_ids)

        def outlive() -> None:
            slurm.wait_for(lambda: not first & set(keeper(cluster).job_ids), "other jobs")

        listener = Once(outlive)
        assert images(task.run(cluster=cluster, listeners=[listener]).folder) == expected
        assert listener.has_acted


def test_pbs(
    slurm: Any,
    site: Callable[..., str],
    task: Task,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # where this front end leaves what jobs say
    with connect(site("pbs", scale="jobs = 2")) as cluster:
        assert images(task.run(cluster=cluster).folder) == expected
        slurm.wait_for(lambda: len(nodes(cluster, slurm)) == 2, "two workers")
        gone, *_ = nodes(cluster, slurm)
        slurm.cancel(gone)
        slurm.wait_for(lambda: gone not in nodes(cluster, slurm), "the end of a job")
        slurm.wait_for(lambda: len(nodes(cluster, slurm)) == 2, "its replacement")


def test_jobs_follow_the_work(
    slurm: Any,
    site: Callable[..., str],
    task: Task,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("luxdask.cluster.jobs.SHRINK_AFTER_S", 1.0)
    slurm.wait_for(lambda: not slurm.jobs(), "the end of jobs of the test before")
    with connect(site(scale="minimum = 0\nmaximum = 2")) as cluster:
        assert not slurm.jobs()
        most = 0

        def count(_: Any) -> None:
            nonlocal most
            most = max(most, len(keeper(cluster).job_ids))

        assert images(task.run(cluster=cluster, listeners=[count]).folder) == expected
        assert most == 2
        slurm.wait_for(lambda: not slurm.jobs(), "the end of jobs without work")


def test_jobs_that_end_at_once(
    slurm: Any, site: Callable[..., str], task: Task, tmp_path: Path
) -> None:
    workers = f'python = "{tmp_path}/no_python"'
    with connect(site(scale="jobs = 1\nfailures = 2", workers=workers)) as cluster:
        assert keeper(cluster).supervise() == "1 job queued"
        slurm.wait_for(lambda: keeper(cluster).has_failed, "an error")
        with pytest.raises(ClusterError, match=r"2 jobs in a row ended(?s:.*)no_python"):
            keeper(cluster).supervise()


def test_refused_job(slurm: Any, site: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"cannot be submitted to slurm(?s:.*)partition"):
        connect(site(workers='queue = "nowhere"'))
    assert not list(tmp_path.glob("run-*"))


# ---- who may come in ----


def test_who_may_come_in(slurm: Any, site: Callable[..., str], task: Task, tmp_path: Path) -> None:
    """All that listens beyond loopback speaks TLS, and only with the run's certificates."""
    before = set(_listening(psutil.Process()))
    port = _free_port()
    options = (
        'scheduler_options = { host = "tls://0.0.0.0", '
        f'port = {port}, contact_address = "tls://127.0.0.1:{port}" }}'
    )
    with connect(site(scale="jobs = 1", workers=options)) as cluster:
        slurm.wait_for(lambda: nodes(cluster, slurm), "a worker")
        here = set(_listening(psutil.Process())) - before
        there = {found for worker in _processes(tmp_path) for found in _listening(worker)}
        beyond = {found for found in here | there if found[0] != "127.0.0.1"}
        assert beyond == {("0.0.0.0", port)} or beyond == {("0.0.0.0", port), ("::", port)}
        plain = {found for found in here | there if _is_dashboard(found[1])}
        assert not plain & beyond
        assert len(plain) == 2  # of the scheduler and of the worker
        others = (here | there) - plain
        assert len({port for _, port in others}) == 3  # scheduler, nanny and worker
        assert all(_speaks_tls(port) for _, port in others)
        files = cluster._cluster.folder.path
        _check_private(files)
        assert _greeting(port, _context(files / "cert.pem", files / "key.pem"))
        assert not _greeting(port, _context())
        pem = make_certificate()
        (tmp_path / "other.pem").write_bytes(pem.certificate + pem.key)
        assert not _greeting(port, _context(tmp_path / "other.pem"))
        assert not _greeting(port, None)


def _check_private(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    keys = list(folder.glob("*.pem"))
    assert len(keys) == 2
    for path in keys:
        assert path.stat().st_mode & 0o777 == 0o600
        secret = path.read_text().splitlines()[1]
        for process in psutil.process_iter():
            try:
                assert secret not in " ".join(process.cmdline())
            except psutil.Error:
                continue  # it has ended


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _listening(process: psutil.Process) -> list[tuple[str, int]]:
    found = process.net_connections(kind="tcp")
    return [(c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN]


def _processes(folder: Path) -> list[psutil.Process]:
    """Processes of the jobs of a run, which are told its certificates."""
    found = []
    for process in psutil.process_iter():
        try:
            if f"{folder}/run-" in " ".join(process.cmdline()):
                found += [process, *process.children(recursive=True)]
        except psutil.Error:
            continue  # it has ended
    return [process for process in found if process.pid != psutil.Process().pid]


def _context(cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if cert is not None:
        made.load_cert_chain(cert, key)
    return made


def _is_dashboard(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as plain:
        try:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return plain.recv(16).startswith(b"HTTP")
        except ConnectionError:
            return False


def _speaks_tls(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as plain:
        try:
            with _context().wrap_socket(plain):
                return True
        except OSError:
            return False


def _greeting(port: int, context: ssl.SSLContext | None) -> bytes:
    """What the scheduler says to who has just connected; nothing where it refuses."""
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as plain:
        try:
            if context is None:
                plain.sendall(b"\0" * 64)
                return plain.recv(16)
            with context.wrap_socket(plain) as wrapped:
                return wrapped.recv(16)
        except (ssl.SSLError, ConnectionError):
            return b""


def test_one_worker_is_tried(
    slurm: Any, site: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cluster", "test", site(), "--path", str(tmp_path)])
    said = capsys.readouterr().out
    assert ended.value.code in (0, None), said
    assert "waiting for workers: 1 job queued" in said
    assert f"{tmp_path} is visible on the worker" in said
    slurm.wait_for(lambda: not slurm.jobs(), "the end of the job")
