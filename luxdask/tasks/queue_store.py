"""The file of a queue: an SQLite database that several programs may use at once."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from luxdask.errors import ConfigError, OutputError
from luxdask.tasks.queue_task import STATES

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER_VARIABLE = "LUXDASK_STATE_DIR"
FILE_NAME = "queue.sqlite"
VERSION = 1
BUSY_S = 60.0
"""How long a program waits for another that writes."""

_APPLICATION_ID = 0x4C755851
_STATES = ", ".join(f"'{state}'" for state in STATES)
_TABLES = (
    f"""CREATE TABLE tasks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        state TEXT NOT NULL CHECK (state IN ({_STATES})),
        position INTEGER NOT NULL,
        settings TEXT NOT NULL,
        source TEXT NOT NULL,
        cwd TEXT NOT NULL,
        after TEXT NOT NULL DEFAULT '[]',
        reuse INTEGER,
        folder TEXT,
        mark TEXT,
        device TEXT,
        stopping INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        error TEXT,
        added TEXT,
        started TEXT,
        ended TEXT)""",
    """CREATE TABLE runner (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        mark TEXT NOT NULL,
        token TEXT NOT NULL,
        beat REAL NOT NULL)""",
)


def default_path() -> Path:
    """The user's queue: in LUXDASK_STATE_DIR, else in the platform's folder for states."""
    folder = os.environ.get(FOLDER_VARIABLE) or platformdirs.user_state_dir("luxdask", False)
    return Path(folder) / FILE_NAME


class Store:
    """Transactions on the file of a queue.

    Each opens the file, and closes it at its end. The journal is a file beside it, which network
    file systems can do as well; the write-ahead log of SQLite they cannot.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A look at the queue; None where there is none yet."""
        if not self.path.exists():
            yield None
            return
        writable = os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        with self._opened("rw" if writable else "ro") as connection:
            if not _is_empty(connection):
                _check(connection, self.path)
                yield connection
            else:
                yield None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A change of the queue, all or nothing; others wait meanwhile."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_usable(self.path, error.strerror or str(error)) from error
        with self._opened("rwc") as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if _is_empty(connection):
                    _create(connection)
                _check(connection, self.path)
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _opened(self, mode: str) -> Iterator[sqlite3.Connection]:
        try:
            uri = f"{self.path.absolute().as_uri()}?mode={mode}"
            opened = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
            with closing(opened) as connection:
                connection.row_factory = sqlite3.Row
                yield connection
        except sqlite3.Error as error:
            raise _explained(self.path, error) from error


def _is_empty(connection: sqlite3.Connection) -> bool:
    count = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not count and not _number(connection, "user_version")


def _create(connection: sqlite3.Connection) -> None:
    for table in _TABLES:
        connection.execute(table)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if _number(connection, "application_id") != _APPLICATION_ID:
        raise ConfigError(f"{path} is a database, but not a queue of luxdask; name another file")
    version = _number(connection, "user_version")
    if version > VERSION:
        raise ConfigError(
            f"{path}: written by a newer luxdask (version {version} of the queue; this one knows "
            f"up to {VERSION}); update luxdask, or use another queue with --queue"
        )


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _explained(path: Path, error: sqlite3.Error) -> ConfigError | OutputError:
    text = str(error)
    if isinstance(error, sqlite3.OperationalError) and "no such" not in text:
        if "locked" in text or "busy" in text:
            text = f"another program has kept it locked for {BUSY_S:.0f} s"
        return _not_usable(path, text)
    return ConfigError(
        f"{path} is not a queue of luxdask, or it is damaged ({text}). Move it away to begin with "
        "an empty list; task folders are not touched by that, and `luxdask queue import FOLDER` "
        "takes them into a list again"
    )


def _not_usable(path: Path, problem: str) -> OutputError:
    return OutputError(
        f"{path}: the queue cannot be used: {problem}. Name another place with --queue or "
        f"{FOLDER_VARIABLE}"
    )
