"""The settings as a tree of keys: finding one, naming its type, suggesting the one meant."""

from __future__ import annotations

from difflib import get_close_matches
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from luxdask.errors import ConfigError
from luxdask.tasks.config_base import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

_WORDS = {bool: "true | false", int: "whole number", float: "number", str: "text", NoneType: "null"}
_BOUNDS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))


def section_of(field: FieldInfo) -> type[Settings] | None:
    """The model of a group of settings, None for a single setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def walk_fields(model: type[Settings], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """All single settings below a model with their dotted keys, in the order of the document."""
    for name, field in model.model_fields.items():
        below = section_of(field)
        if below is None:
            yield prefix + name, field
        else:
            yield from walk_fields(below, f"{prefix}{name}.")


def walk_keys(model: type[Settings], prefix: str = "") -> Iterator[str]:
    """The dotted keys of all settings and groups below a model."""
    for name, field in model.model_fields.items():
        yield prefix + name
        below = section_of(field)
        if below is not None:
            yield from walk_keys(below, f"{prefix}{name}.")


def find_field(model: type[Settings], key: str) -> FieldInfo:
    """The field under a dotted key; raises `ConfigError` with the closest known key."""
    current: type[Settings] | None = model
    field: FieldInfo | None = None
    for part in key.split("."):
        field = None if current is None else current.model_fields.get(part)
        if field is None:
            raise ConfigError(unknown_key_text(model, key))
        current = section_of(field)
    assert field is not None  # a split has at least one part
    return field


def value_at(settings: Settings, key: str) -> Any:
    """The value under a dotted key."""
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def unknown_key_text(model: type[Settings], key: str) -> str:
    """What to say about a key that does not exist."""
    close = _closest(list(walk_keys(model)), key)
    if close:
        return f"{key}: unknown setting; did you mean {close}?"
    return f"{key}: unknown setting; `luxdask schema --table` lists all of them"


def _closest(known: list[str], key: str) -> str | None:
    """A similar name in the same group, else the same name in another, else the most similar."""
    group, _, name = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == group}
    for similar in get_close_matches(name, siblings, n=1):
        return siblings[similar]
    same_name = [k for k in known if k.rpartition(".")[2] == name]
    found = get_close_matches(key, same_name, n=1, cutoff=0.0) or get_close_matches(key, known, n=1)
    return found[0] if found else None


def allowed_text(field: FieldInfo) -> str:
    """What a setting may be, in words."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "allowed" in extra:
        return str(extra["allowed"])
    below = section_of(field)
    if below is not None:
        short = "true, false, or " if "enabled" in below.model_fields else ""
        short = "a number, or " if below.number_keys else short
        return f"{short}an object with {', '.join(below.model_fields)}"
    return _type_words(field.annotation, _bounds_text(field))


def _bounds_text(field: FieldInfo) -> str:
    found = [
        f"{sign} {getattr(bound, name):g}"
        for name, sign in _BOUNDS
        for bound in field.metadata
        if hasattr(bound, name)
    ]
    return f" {' and '.join(found)}" if found else ""


def _type_words(kind: Any, bounds: str = "") -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _type_words(args[0], bounds)
    if origin is Literal:
        return " | ".join(f'"{a}"' for a in args)
    if origin in (Union, UnionType):
        return " | ".join(_type_words(a, bounds) for a in args)
    if origin is tuple:
        return f"list of {_type_words(args[0])}"
    return _WORDS[kind] + (bounds if kind in (int, float) else "")


def leaf_types(kind: Any) -> set[Any]:
    """The plain types that a setting is made of, None included."""
    args = get_args(kind)
    if get_origin(kind) is Annotated:
        return leaf_types(args[0])
    if get_origin(kind) is Literal:
        return {type(a) for a in args}
    return set().union(*(leaf_types(a) for a in args if a is not ...)) if args else {kind}
