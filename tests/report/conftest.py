from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import luxdask
from luxdask.testing.experiment_writer import small_experiment

if TYPE_CHECKING:
    from pathlib import Path

    from luxdask.model.experiment import Experiment


@pytest.fixture(scope="session")
def opposed(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Two opposing objectives, 1 x 2 tiles, two channels."""
    folder: Path = tmp_path_factory.mktemp("report") / "experiment"
    small_experiment(folder, objectives=2, channels=2, channel_descriptions=("GFP",))
    return luxdask.open_experiment(folder)


@pytest.fixture(scope="session")
def fused(opposed: Experiment) -> tuple[Path, ...]:
    """The two fused channels."""
    values = {"fusion.fuse_different_cams": True, "output.formats": ["lux"]}
    task = luxdask.Task.new(opposed, values=values)
    return task.run(opposed, luxdask.connect("threads")).images
