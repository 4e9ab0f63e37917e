"""Which views share a map: those of one angle and time point lie beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luxdask.model.view import View
    from luxdask.report.registration_stage import Stage

Key = tuple[int, float]


def map_groups(stage: Stage, most: int) -> tuple[list[tuple[str, tuple[View, ...]]], int]:
    """Parts of a stage with their titles, and how many parts are left out.

    Tiles are drawn per time point and angle, turned and opposing views all together. Parts with
    failed links come before others where not all fit.
    """
    keys = {v.id: _key(stage, v) for v in stage.views}
    groups: dict[Key, list[View]] = {}
    for view in stage.views:
        groups.setdefault(keys[view.id], []).append(view)
    failures = dict.fromkeys(groups, 0)
    for link in stage.untrusted:
        if link.moving in keys:
            failures[keys[link.moving]] += 1
    ranked = sorted(groups, key=lambda key: (-failures[key], -len(groups[key])))[:most]
    chosen = [(_title(key, list(groups)), tuple(groups[key])) for key in sorted(ranked)]
    return chosen, len(groups) - len(chosen)


def _key(stage: Stage, view: View) -> Key:
    turned = stage.kind != "tiles"
    return (view.id.time_point, 0.0 if turned else round(view.angle_deg, 1))


def _title(key: Key, keys: Sequence[Key]) -> str:
    words = []
    if len({time for time, _ in keys}) > 1:
        words.append(f"time point {key[0]}")
    if len({angle for _, angle in keys}) > 1:
        words.append(f"{key[1]:g}°")
    return ", ".join(words)
