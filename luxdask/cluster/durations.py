"""Lengths of time as people and batch systems write them."""

from __future__ import annotations

import re

_UNITS_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_WITH_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+(?::\d+){0,2})")


def parse_duration(given: float | str) -> float:
    """Seconds of 90, "90 s", "5 min", "2 h", "1 d", or "hh:mm:ss"; raises ValueError otherwise."""
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return float(given)
    match = _WITH_UNIT.fullmatch(str(given).strip())
    if match is not None:
        return float(match[1]) * _UNITS_S[match[2].lower()]
    hours = re.fullmatch(r"(\d+):(\d+):(\d+)", str(given).strip())
    if hours is None:
        raise ValueError('expected seconds, or text such as "5 min", "2 h" or "01:30:00"')
    return int(hours[1]) * 3600.0 + int(hours[2]) * 60.0 + int(hours[3])


def parse_walltime(given: float | str, system: str) -> float | None:
    """Seconds of a job's wall time as its batch system reads it; None where that is unclear.

    SLURM: minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s. LSF: minutes or h:m. Others: seconds, or h:m:s.
    """
    match = _CLOCK.fullmatch(str(given).strip())
    if match is None:
        return None
    days, parts = int(match[1] or 0), [int(part) for part in match[2].split(":")]
    if match[1] is not None:  # d-h, d-h:m, d-h:m:s
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    elif system == "lsf":
        hours, minutes, seconds = (*parts, 0) if len(parts) == 2 else (0, parts[0], 0)
    elif system == "slurm":
        hours, minutes, seconds = (0, *parts) if len(parts) == 2 else (0, parts[0], 0)
    else:
        hours, minutes, seconds = (0, *parts) if len(parts) == 2 else (0, 0, parts[0])
    return days * 86400.0 + hours * 3600.0 + minutes * 60.0 + seconds
