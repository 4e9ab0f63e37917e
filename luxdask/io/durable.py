"""Bytes that outlive a power failure: files brought to the disk, and by whom.

What a process writes lies in the memory of its machine first. A process of the same machine can
bring it to the disk, whoever has written it; a process of another machine cannot.
"""

from __future__ import annotations

import errno
import os
import socket
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""What file systems answer that cannot bring a folder to the disk by itself."""


@lru_cache(maxsize=1)
def this_machine() -> str:
    """A name that tells this machine, since it was started, apart from all others."""
    try:
        return f"{socket.gethostname()} {_BOOT_ID.read_text(encoding='ascii').strip()}"
    except OSError:
        return socket.gethostname()


def sync_files(paths: Iterable[str]) -> None:
    """Bring files and folders to the disk, as far as this machine holds anything of them.

    One that is gone is passed over: nothing of it can be lost. Raises `OSError` naming the file
    where the disk refuses what was written before.
    """
    for path in sorted(set(paths)):
        try:
            sync_file(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error


def sync_file(path: str) -> None:
    """Bring one file or folder to the disk."""
    is_folder = os.path.isdir(path)
    if is_folder and os.name == "nt":  # folders cannot be opened there
        return
    # Windows wants the right to write, read-only file systems refuse it
    flags = os.O_RDWR if os.name == "nt" else os.O_RDONLY
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (is_folder and error.errno in _NOT_SUPPORTED):
            raise
    finally:
        os.close(descriptor)
