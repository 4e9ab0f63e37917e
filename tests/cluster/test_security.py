"""Who can read the certificates of a run, and what is left of it."""

from __future__ import annotations

import os
import socket
import ssl
import stat
from pathlib import Path

import pytest

from luxdask.cluster.run_folder import RunFolder, default_parent
from luxdask.errors import ClusterError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def loose_umask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("loose_umask")
def test_only_the_user_can_read_it(tmp_path: Path) -> None:
    folder = RunFolder.make(str(tmp_path / "shared"))
    security = folder.security()
    assert mode(folder.path) == 0o700
    assert {path.name: mode(path) for path in folder.path.glob("*.pem")} == {
        "cert.pem": 0o600,
        "key.pem": 0o600,
    }
    assert security.require_encryption
    for role in ("client", "scheduler", "worker"):
        config = security.get_tls_config_for_role(role)
        assert config["key"] == str(folder.path / "key.pem")
        assert config["cert"] == config["ca_file"] == str(folder.path / "cert.pem")
        assert isinstance(security.get_connection_args(role)["ssl_context"], ssl.SSLContext)


def test_certificates_go_and_logs_may_stay(tmp_path: Path) -> None:
    folder = RunFolder.make(str(tmp_path))
    folder.security()
    (folder.logs / "job.err").write_text("words")
    folder.close(keep_logs=True)
    assert not list(folder.path.glob("*.pem"))
    assert (folder.logs / "job.err").exists()
    folder.close()
    assert not folder.path.exists()
    folder.close()  # twice does no harm


def test_each_run_has_its_own(tmp_path: Path) -> None:
    one, two = RunFolder.make(str(tmp_path)), RunFolder.make(str(tmp_path))
    assert one.path != two.path
    one.security()
    two.security()
    assert (one.path / "key.pem").read_bytes() != (two.path / "key.pem").read_bytes()


def test_certificates_of_killed_runs_are_removed(tmp_path: Path) -> None:
    dead = tmp_path / f"run-{socket.gethostname()}-{2**22 + 1}-abcd"
    other_host = tmp_path / f"run-elsewhere-{2**22 + 1}-abcd"
    for path in (dead, other_host):
        path.mkdir()
        (path / "key.pem").touch()
    alive = RunFolder.make(str(tmp_path))
    RunFolder.make(str(tmp_path))
    assert not dead.exists()
    assert other_host.exists()
    assert alive.path.exists()


def test_file_system_without_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    monkeypatch.setattr(Path, "mkdir", lambda self, **_: os.makedirs(self, 0o777, exist_ok=True))
    before = os.umask(0)
    try:
        with pytest.raises(ClusterError, match="others could read the run's private key"):
            RunFolder.make(str(tmp_path / "open"))
    finally:
        os.umask(before)
    assert not list((tmp_path / "open").iterdir())


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClusterError, match=r"cannot be made: .* workers\.shared_temp_directory"):
        RunFolder.make(str(tmp_path / "file"))


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUXDASK_STATE_DIR", str(tmp_path / "state"))
    assert default_parent() == tmp_path / "state" / "clusters"
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    assert RunFolder.make("$SCRATCH/tls").path.parent == tmp_path / "scratch" / "tls"
