"""The links of a running task, each written down as soon as it is measured.

A stopped or killed registration goes on from here; the solved links lie in ``.tf.json`` files.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from luxdask.errors import MetadataError, OutputError
from luxdask.io.registration_document import link_document, parse_document
from luxdask.io.replace_file import replacing
from luxdask.model.links import Link

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from types import TracebackType

log = logging.getLogger(__name__)

LINK_LOG = "registration/links.jsonl"


class LinkLog:
    """Appends links to `registration/links.jsonl` of a task folder; several threads may add.

    Raises `OutputError` where the disk refuses, here and in `add`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder, LINK_LOG)
        self._lock = Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
            # ends the line that a killed run may have left half written
            if self._file.tell():
                self._file.write("\n")
        except OSError as error:
            raise self._refused(error) from error

    def add(self, link: Link) -> None:
        """Write a link down, so that it outlives this process."""
        line = json.dumps(link_document(link), separators=(",", ":"))
        try:
            with self._lock:
                self._file.write(f"{line}\n")
                self._file.flush()
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Close the file; what cannot be written is only measured again."""
        try:
            self._file.close()
        except OSError as error:
            log.warning("%s: links are lost: %s", self.path, error)

    def __enter__(self) -> LinkLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path}: cannot write: {error.strerror or error}")


def keep_links(folder: str | os.PathLike[str], links: Iterable[Link]) -> None:
    """Leave only these links in the log, so that all others are measured again."""
    path = Path(folder, LINK_LOG)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=True) as temporary:
        lines = (json.dumps(link_document(link), separators=(",", ":")) for link in links)
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_link_log(folder: str | os.PathLike[str]) -> tuple[Link, ...]:
    """The links written down in a task folder, the last of each pair; none where there is no log.

    Lines that are not whole (the process was killed, the disk full) are passed over: their links
    are measured again.
    """
    path = Path(folder, LINK_LOG)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return ()
    links: dict[tuple[object, ...], Link] = {}
    torn = 0
    for line in filter(bytes.strip, lines):
        link = _link(line, str(path))
        if link is None:
            torn += 1
        else:
            links[(link.kind, link.fixed, link.moving)] = link
    if torn:
        log.info("%s: %d lines are not whole and passed over", path, torn)
    return tuple(links.values())


def _link(line: bytes, where: str) -> Link | None:
    try:
        found = parse_document(line, where)
    except MetadataError:
        return None
    return found if isinstance(found, Link) else None
