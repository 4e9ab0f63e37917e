"""Write whole files so that a reader sees the old one or the new one, never half of it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from luxdask.errors import LuxdaskError, OutputError
from luxdask.io.durable import sync_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes the place of `path` when the block ends well.

    The temporary file lies in the same folder, so relative links written into it stay true.
    durable : the new file is on the disk when this returns, and outlives a power failure.
    Raises `OutputError` naming `path` where the disk refuses; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        yield temporary
        if durable:
            sync_file(str(temporary))
        temporary.replace(path)
        if durable:
            sync_file(str(path.parent))
    except LuxdaskError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot write this file: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
