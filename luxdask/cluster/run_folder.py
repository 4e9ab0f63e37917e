"""Folder of one run on a cluster that only its user can read: certificates and logs of jobs."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import platformdirs
import psutil

from luxdask.cluster.certificates import make_certificate
from luxdask.errors import ClusterError

if TYPE_CHECKING:
    import distributed

FOLDER_VARIABLE = "LUXDASK_STATE_DIR"
PREFIX = "run"


class RunFolder:
    """Where the jobs of one run find what they need; it must be seen by all nodes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls, parent: str | None = None) -> RunFolder:
        """A new folder below `parent`, by default in the user's folder for states.

        Raises `ClusterError` where it cannot be made, or others could read it.
        """
        place = _expanded(parent) if parent else default_parent()
        _forget_dead_runs(place)
        path = place / f"{PREFIX}-{socket.gethostname()}-{os.getpid()}-{token_hex(4)}"
        try:
            path.mkdir(mode=0o700, parents=True)
            path.chmod(0o700)
            (path / "logs").mkdir()
        except OSError as error:
            raise ClusterError(
                f"{path} cannot be made: {error.strerror}. Jobs read their certificates there: set "
                "workers.shared_temp_directory to a folder that you may write and all nodes see."
            ) from error
        _require_private(path)
        return cls(path)

    @property
    def logs(self) -> Path:
        """Where jobs write what they say."""
        return self.path / "logs"

    def security(self) -> distributed.Security:
        """Certificates for everybody in this run, as paths of files that jobs can read."""
        import distributed

        pem = make_certificate()
        cert = _write_private(self.path / "cert.pem", pem.certificate)
        key = _write_private(self.path / "key.pem", pem.key)
        roles = ("client", "scheduler", "worker")
        files = {f"tls_{role}_cert": cert for role in roles}
        files |= {f"tls_{role}_key": key for role in roles}
        return distributed.Security(require_encryption=True, tls_ca_file=cert, **files)

    def close(self, *, keep_logs: bool = False) -> None:
        """Remove the certificates, and everything unless the logs are to be read."""
        for path in self.path.glob("*.pem"):
            path.unlink(missing_ok=True)
        if not keep_logs:
            shutil.rmtree(self.path, ignore_errors=True)


def default_parent() -> Path:
    """Below LUXDASK_STATE_DIR, else the platform's folder for states, which is in the home."""
    folder = os.environ.get(FOLDER_VARIABLE) or platformdirs.user_state_dir("luxdask", False)
    return Path(folder) / "clusters"


def _expanded(folder: str) -> Path:
    return Path(os.path.expandvars(folder)).expanduser().absolute()


def _require_private(path: Path) -> None:
    """Some network file systems show other permissions than those that were set."""
    found = path.stat()
    others = stat.S_IMODE(found.st_mode) & 0o077
    if others and hasattr(os, "getuid"):
        shutil.rmtree(path, ignore_errors=True)
        raise ClusterError(
            f"{path}: others could read the run's private key (mode "
            f"{stat.S_IMODE(found.st_mode):o}). Set workers.shared_temp_directory to a folder on a "
            "file system that keeps permissions."
        )


def _write_private(path: Path, content: bytes) -> str:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
    return str(path)


def _forget_dead_runs(parent: Path) -> None:
    """Remove the certificates of runs of this machine that were killed."""
    for path in parent.glob(f"{PREFIX}-{socket.gethostname()}-*-*"):
        pid = path.name.rsplit("-", 2)[1]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            RunFolder(path).close()
