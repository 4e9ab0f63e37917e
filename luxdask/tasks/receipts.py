"""The list of finished write tasks of a task folder: what a resumed run does not do again.

Lines are only ever added, and the last one of a chunk counts: `0 0 17 5d41402abc4b2a76.` says that
chunk 17 of image 0, stage 0, is on the disk, made of inputs with that checksum; `0 0 17 -.` that it
is not, any more. A line is written when the voxels that it reports have reached the disk, so that
neither a killed process nor a power failure leaves a line that lies.
"""

from __future__ import annotations

import logging
import os
import re
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING

from luxdask.errors import LuxdaskError, OutputError
from luxdask.io.durable import sync_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

log = logging.getLogger(__name__)

RECEIPTS = "receipts.txt"
INTERVAL_S = 1.0
"""Receipts wait so long for others, as bringing files to the disk costs time."""
AT_MOST = 256
"""With so many waiting they are written at once."""
UNDONE = "-"

ReceiptKey = tuple[int, int, int]
"""Image (its number in `plan.json`), stage and chunk of a write task."""

_LINE = re.compile(r"^(\d+) (\d+) (\d+)(?: ([0-9a-f]+|-))?\.$", re.MULTILINE)


def read_receipts(folder: Path) -> dict[ReceiptKey, str]:
    """Last word on each write task: the checksum of its inputs, or "-" where it is not done.

    A half-written last line is ignored. The checksum is empty in lists of older versions.
    """
    try:
        text = (folder / RECEIPTS).read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    return {(int(o), int(s), int(c)): digest for o, s, c, digest in _LINE.findall(text)}


def done_receipts(folder: Path) -> dict[ReceiptKey, str]:
    """Write tasks that are done, with the checksums of their inputs."""
    return {key: digest for key, digest in read_receipts(folder).items() if digest != UNDONE}


class ReceiptLog:
    """Adds to the list, about once a second, each time after the reported voxels are on the disk.

    Used as a context manager; leaving it writes everything out.

    may_write : called before each writing; raises where this run has lost its folder.
    Raises `OutputError` where the disk refuses, here, in `add` or on leaving.
    """

    def __init__(self, folder: Path, may_write: Callable[[], None] = lambda: None) -> None:
        self._path = folder / RECEIPTS
        self._may_write = may_write
        self._waiting: list[str] = []
        self._files: set[str] = set()
        self._wake, self._writing = Condition(), Lock()
        self._closing = False
        self._error: LuxdaskError | None = None
        try:
            # ends the line that a killed run may have left half written
            self._file = self._path.open("a", encoding="ascii")
            self._file.write("\n")
        except OSError as error:
            raise self._refused(error) from error
        self._thread = Thread(target=self._work, name="receipts", daemon=True)
        self._thread.start()

    def add(self, key: ReceiptKey, digest: str = "", files: Iterable[str] = ()) -> None:
        """Note a finished task and the files that hold its voxels; returns at once."""
        with self._wake:
            if self._error is not None:
                raise self._error
            self._waiting.append(_line(key, digest))
            self._files.update(files)
            if len(self._waiting) >= AT_MOST:
                self._wake.notify()

    def undo(self, keys: Iterable[ReceiptKey]) -> None:
        """Note that tasks are not done, any more; on the disk when this returns."""
        with self._wake:
            self._waiting.extend(_line(key, UNDONE) for key in keys)
            self._write(*self._take())
            if self._error is not None:
                raise self._error

    def __enter__(self) -> ReceiptLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._write(*self._take())
        try:
            self._file.close()
        except OSError as failed:
            self._error = self._error or self._refused(failed)
        if self._error is not None and kind is None:
            raise self._error
        if self._error is not None and self._error is not error:
            log.warning("receipts are lost: %s", self._error)

    def _work(self) -> None:
        """The thread that writes, so that nobody waits for the disk."""
        while True:
            with self._wake:
                if not self._closing:
                    self._wake.wait(INTERVAL_S)
                if self._closing:
                    return
                batch = self._take()
            self._write(*batch)

    def _take(self) -> tuple[list[str], set[str]]:
        lines, files = self._waiting, self._files
        self._waiting, self._files = [], set()
        return lines, files

    def _write(self, lines: list[str], files: set[str]) -> None:
        """First the voxels, then the lines about them; nothing more after an error."""
        if not lines or self._error is not None:
            return
        try:
            with self._writing:
                self._may_write()
                sync_files(files)
                self._file.write("".join(lines))
                self._file.flush()
                os.fsync(self._file.fileno())
        except LuxdaskError as error:
            self._error = error
        except OSError as error:
            self._error = self._refused(error)

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(f"{error.filename or self._path}: cannot write: {error}")


def _line(key: ReceiptKey, digest: str) -> str:
    return "{} {} {}{}.\n".format(*key, f" {digest}" if digest else "")
