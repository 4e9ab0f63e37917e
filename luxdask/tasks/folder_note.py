"""Tells the program that started a run where its task folder is."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from luxdask.errors import OutputError
from luxdask.io.replace_file import replacing

if TYPE_CHECKING:
    from luxdask.tasks.folder import TaskFolder

log = logging.getLogger(__name__)

VARIABLE = "LUXDASK_FOLDER_FILE"
"""A file named by this variable gets the path of the run's task folder."""


def note_folder(folder: TaskFolder) -> None:
    """Write the folder's path to the file that was asked for; a run never fails for it."""
    asked = os.environ.get(VARIABLE)
    if not asked:
        return
    try:
        with replacing(Path(asked)) as temporary:
            temporary.write_text(str(folder.path), encoding="utf-8")
    except OutputError as error:
        log.warning("the folder could not be told to who asked for it: %s", error)
