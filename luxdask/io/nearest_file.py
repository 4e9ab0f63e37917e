"""Files that people put beside the images or above them: the nearest counts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luxdask.model.experiment import Experiment


def nearest_file(experiment: Experiment, name: str) -> Path | None:
    """The file of this name in the folder of all images, or above, up to the experiment's."""
    candidates = (folder / name for folder in _folders(experiment))
    return next((path for path in candidates if path.is_file()), None)


def _folders(experiment: Experiment) -> list[Path]:
    """From the common folder of the images up to the experiment's folder."""
    root = Path(experiment.root)
    try:
        common = Path(
            os.path.commonpath([os.path.dirname(v.source.path) for v in experiment.views])
        )
    except ValueError:  # no views, or several drives of Windows
        return [root]
    above = [common, *common.parents]
    return above[: above.index(root) + 1] if root in above else [common, root]
