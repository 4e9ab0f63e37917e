"""Write whole files so that a reader sees the old one or the new one, never half of it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from luxdask.errors import LuxdaskError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes the place of `path` when the block ends well.

    The temporary file lies in the same folder, so relative links written into it stay true.
    Raises `OutputError` naming `path` where the disk refuses; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        yield temporary
        temporary.replace(path)
    except LuxdaskError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot write this file: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
