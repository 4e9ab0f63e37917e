"""The usage level as an option of several commands."""

from __future__ import annotations

from enum import StrEnum


class UsageLevel(StrEnum):
    """Which settings are shown."""

    BASIC = "basic"
    INTERMEDIATE = "intermediate"
    ADVANCED = "advanced"
