"""Program of a queued task: waits until the queue has noted it, and leaves its exit code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from luxdask.cli import FAILED, main
from luxdask.errors import OutputError
from luxdask.io.replace_file import replacing
from luxdask.tasks.queue_process import GO


def run_child(end_file: str, arguments: list[str]) -> int:
    """Run a command when the queue says so; its exit code is also written to a file."""
    if sys.stdin.readline().strip() != GO:
        return FAILED  # the queue has died, and nobody knows of this process
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = FAILED
    try:
        main(arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else FAILED
    finally:
        with suppress(OutputError), replacing(Path(end_file)) as temporary:
            temporary.write_text(str(code), encoding="ascii")
    return code


if __name__ == "__main__":
    sys.exit(run_child(sys.argv[1], sys.argv[2:]))
