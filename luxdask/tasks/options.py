"""All settings as a list, for the command line and the docs, and documents of one usage level."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from luxdask.errors import ConfigError
from luxdask.tasks.config import TaskConfig
from luxdask.tasks.config_fields import allowed_text, value_at, walk_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic.fields import FieldInfo

LEVELS = ("basic", "intermediate", "advanced")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: where it stands, what it may be, and what it does.

    Attributes
    ----------
    key
        Dotted key, "fusion.blending.width_um".
    allowed
        Type and bounds in words.
    level
        Usage level: 0 basic, 1 intermediate, 2 advanced.
    help
        One sentence, with the unit where there is one.
    """

    key: str
    allowed: str
    default: Any
    level: int
    help: str


@cache
def options(level: int | str = "advanced") -> tuple[Option, ...]:
    """All settings of a usage level or lower, in the order of the document."""
    highest = level_number(level)
    found = (_option(key, field) for key, field in walk_fields(TaskConfig))
    return tuple(o for o in found if o.level <= highest)


def _option(key: str, field: FieldInfo) -> Option:
    extra: Any = field.json_schema_extra
    help_text = field.description or ""
    return Option(key, allowed_text(field), field.default, extra["level"], help_text)


def level_number(level: int | str) -> int:
    """Usage level from its name or number; raises `ConfigError` for any other."""
    if isinstance(level, str) and level in LEVELS:
        return LEVELS.index(level)
    if level in range(len(LEVELS)):
        return int(level)
    raise ConfigError(f"usage level: given {level!r}; allowed: {', '.join(LEVELS)} (or 0, 1, 2)")


def at_level(config: TaskConfig, level: int | str, *, also: Iterable[str] = ()) -> dict[str, Any]:
    """The document with the settings of a usage level or lower, and those `also` named by key.

    Settings left out take their defaults when the document is read. `also` may name groups.
    """
    extra = tuple(also)
    shown = {o.key for o in options(level)}
    document = config.model_dump(mode="json")
    kept = [o.key for o in options() if o.key in shown or _is_named(o.key, extra)]
    result: dict[str, Any] = {}
    for key in kept:
        *groups, name = key.split(".")
        source, target = document, result
        for group in groups:
            source, target = source[group], target.setdefault(group, {})
        target[name] = source[name]
    return result


def _is_named(key: str, names: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def changed_keys(config: TaskConfig, base: TaskConfig | None = None) -> tuple[str, ...]:
    """Keys of the settings that differ from `base`, which is the built-in defaults if not given."""
    other = base or TaskConfig()
    return tuple(o.key for o in options() if value_at(config, o.key) != value_at(other, o.key))
