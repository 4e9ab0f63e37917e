"""The process of a queued task: how it is started, found again, and asked to stop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from luxdask.errors import OutputError
from luxdask.tasks.folder_note import VARIABLE
from luxdask.tasks.process_mark import mark_of, still_runs
from luxdask.tasks.reporter import now_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GO = "go"
"""What a started process waits for: its mark is in the queue's file, so that it cannot get lost."""

CHILD = (sys.executable, "-P", "-m", "luxdask.cli.queue_child")
"""Program of a queued task; it gets the file for its exit code, then the words of the command."""

HEADER = "--- luxdask queue: "
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_END_S = 60.0
_ON_WINDOWS = sys.platform == "win32"


@dataclass(frozen=True, slots=True)
class QueueFiles:
    """Files beside the queue that belong to one task."""

    folder: Path
    number: int

    @classmethod
    def of(cls, queue: Path, number: int) -> QueueFiles:
        """Files of a task of the queue at this path."""
        return cls(queue.with_name(f"{queue.stem}_files"), number)

    def _path(self, suffix: str) -> Path:
        return self.folder / f"task-{self.number}.{suffix}"

    @property
    def settings(self) -> Path:
        """Settings as they were given to the process."""
        return self._path("json")

    @property
    def log(self) -> Path:
        """What the process said."""
        return self._path("log")

    @property
    def folder_note(self) -> Path:
        """Path of the task folder, written by the process."""
        return self._path("folder")

    @property
    def end(self) -> Path:
        """Exit code, written by the process."""
        return self._path("end")

    def noted_folder(self) -> str | None:
        """The task folder that the process has told."""
        return _text(self.folder_note) or None

    def exit_code(self) -> int | None:
        """The exit code that the process has left."""
        try:
            return int(_text(self.end))
        except ValueError:
            return None

    def remove(self, *paths: Path) -> None:
        """Remove files of the task, all of them if none is named."""
        for path in paths or (self.settings, self.log, self.folder_note, self.end):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


@cache
def boot_id() -> str:
    """What tells one start of this machine from the next."""
    return _text(_BOOT_ID) or f"{psutil.boot_time():.0f}"


def process_mark(pid: int | None = None) -> dict[str, Any]:
    """Host, number, start time and boot of a process of this host, by default this one."""
    return mark_of(psutil.Process(pid)) | {"boot": boot_id()}


def is_here(mark: Mapping[str, Any]) -> bool:
    """Whether a mark was made on this host."""
    return mark.get("host") == socket.gethostname()


def is_before_reboot(mark: Mapping[str, Any]) -> bool:
    """Whether this host was started again since the mark was made."""
    return is_here(mark) and mark.get("boot") != boot_id()


def runs_here(mark: Mapping[str, Any]) -> bool:
    """Whether the process of a mark still runs on this host."""
    return is_here(mark) and mark.get("boot") == boot_id() and still_runs(mark)


def send_stop(mark: Mapping[str, Any], *, at_once: bool = False) -> None:
    """Ask a process of this host to stop gracefully, or end it; nothing where it is gone."""
    if not runs_here(mark):
        return
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(mark["pid"]))
        if not at_once:
            process.terminate()
            return
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                member.kill()


def launch(
    files: QueueFiles,
    target: str,
    cwd: str,
    *,
    device: str | None = None,
    program: Sequence[str] = CHILD,
) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start the process of a task, and its mark; it begins its work when `let_go` is called.

    target : task file, or folder of a task that goes on.
    device : GPU that the process may use; None leaves the environment as it is.
    It is the first of a session of its own: Ctrl-C on the queue's terminal does not reach it.
    Raises `OutputError` where it cannot be started.
    """
    environment = {**os.environ, VARIABLE: str(files.folder_note)}
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    try:
        with files.log.open("ab") as log:
            log.write(f"{HEADER}{now_text()} luxdask run {target} ---\n".encode())
            log.flush()
            process = subprocess.Popen(
                [*program, str(files.end), "run", target],
                cwd=cwd,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=not _ON_WINDOWS,
            )
    except OSError as error:
        raise OutputError(f"the process of the task cannot be started: {error}") from error
    try:
        return process, process_mark(process.pid)
    except psutil.Error as error:
        let_go(process, begin=False)
        raise OutputError(f"the process of the task has died at once: {error}") from error


def let_go(process: subprocess.Popen[bytes], *, begin: bool = True) -> None:
    """Let a started process begin its work, or end without having begun."""
    pipe = process.stdin
    if pipe is None:
        return
    with suppress(OSError):  # it may have died meanwhile
        if begin:
            pipe.write(f"{GO}\n".encode())
        pipe.close()
    if not begin:
        _wait_or_kill(process)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_END_S)


def last_error(log: Path, *, longest: int = 2000) -> str | None:
    """What the process said last: its error where there is one, else its last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 65536))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    said = text.rpartition(HEADER)[2].partition("\n")[2].strip()
    _, is_error, error = f"\n{said}".rpartition("\nError: ")
    lines = (error if is_error else said.rpartition("\n")[2]).splitlines()
    return "\n".join(line.rstrip() for line in lines)[:longest] or None
