"""A multi-transform file that does nothing yet, with comments for who completes it by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from luxdask.io.open_notes import ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luxdask.model.experiment import Experiment

_LISTED = 20
_TEMPLATE = """\
// Transforms added to those of the images' metadata. They count where
// input.metadata.multi_transform.enabled is on. All numbers: width, height, depth.
{
  "affines": [
    {
      // For which images; an empty list stands for all.
      "time_points": @time_points, // there are: @all_times
      "channels": @channels, // there are: @all_channels
      "stacks": @stacks, // there are: @all_stacks; "1" stands for all tiles of stack 1
      "objectives": @objectives, // there are: @all_objectives
      "cameras": @cameras, // there are: @all_cameras

      // Applied to voxel positions, before the image's own transform; the first one first.
      "prepend": [
        {
          "matrix": [
            [1.0, 0.0, 0.0], // rows; this matrix does nothing
            [0.0, 1.0, 0.0],
            [0.0, 0.0, 1.0]
          ],
          "translation": [0.0, 0.0, 0.0] // voxels
        }
      ],

      // Stand for the image's own transform; empty: it is kept.
      "replace_by": [],

      // Applied after the image's own transform, in sample space (um).
      "append": [
        {
          "matrix": [
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [0.0, 0.0, 1.0]
          ],
          "translation": [0.0, 0.0, 0.0] // um
        }
      ]
    }
  ]
}
"""


def mtf_template(
    experiment: Experiment,
    *,
    time_points: Sequence[int] = (),
    channels: Sequence[str] = (),
    stacks: Sequence[str] = (),
    objectives: Sequence[str] = (),
    cameras: Sequence[str] = (),
) -> str:
    """The text of the file: one entry for these images, and the names that there are."""
    values = {
        "all_times": ranges(list(experiment.time_points)),
        "all_channels": _listed(experiment.channels),
        "all_stacks": _listed(experiment.stacks),
        "all_objectives": _listed(experiment.objectives),
        "all_cameras": _listed(experiment.cameras),
        "time_points": json.dumps(list(time_points)),
        "channels": json.dumps(list(channels)),
        "stacks": json.dumps(list(stacks)),
        "objectives": json.dumps(list(objectives)),
        "cameras": json.dumps(list(cameras)),
    }
    text = _TEMPLATE
    for name, value in values.items():
        text = text.replace(f"@{name}", value)
    return text


def _listed(names: Iterable[str]) -> str:
    """Names in one line of a comment."""
    ordered = [json.dumps(name) for name in names]
    more = len(ordered) - _LISTED
    return ", ".join(ordered[:_LISTED]) + (f" and {more} more" if more > 0 else "")
