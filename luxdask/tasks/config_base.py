"""What all settings models share: strict types, shorthands, and one source for help and levels."""

from __future__ import annotations

import os
from typing import Annotated, Any, ClassVar, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

BASIC, INTERMEDIATE, ADVANCED = 0, 1, 2


def option(
    default: object, level: int, help: str, *, allowed: str | None = None, **bounds: Any
) -> Any:
    """One setting: default, usage level (0 to 2), one sentence of help, and pydantic's bounds.

    `allowed` says in words what is allowed, where type and bounds do not say it well.
    """
    extra: dict[str, Any] = {"level": level}
    if allowed is not None:
        extra["allowed"] = allowed
    return Field(default=default, description=help, json_schema_extra=extra, **bounds)


def section(model: type[BaseModel], help: str) -> Any:
    """A group of settings below a key."""
    return Field(default_factory=model, description=help)


def _as_name(given: object) -> object:
    """Channels are called "0", but people write 0."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _as_path(given: object) -> object:
    return os.fspath(given) if isinstance(given, os.PathLike) else given


Name = Annotated[str, BeforeValidator(_as_name)]
FilePath = Annotated[str, BeforeValidator(_as_path)]


def _show_shorthand(schema: dict[str, Any], model: type[Any]) -> None:
    """Let editors that check against the JSON schema accept the shorthands as well."""
    shorthand = "number" if model.number_keys else "boolean"
    if model.number_keys or "enabled" in model.model_fields:
        document = dict(schema)
        schema.clear()
        schema["anyOf"] = [{"type": shorthand}, document]


class Settings(BaseModel):
    """Base of all settings: immutable, no unknown keys, no silent conversion of types.

    A model with the field `enabled` also accepts true or false in place of the object; one that
    names `number_keys` also accepts a number, which stands for each of these keys.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra=_show_shorthand,
    )

    number_keys: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _accept_shorthand(cls, given: object) -> object:
        document = expand(cls, given)
        if not isinstance(document, dict):
            return document
        return {key: _as_tuple(cls, key, value) for key, value in document.items()}


def expand(model: type[Settings], given: object) -> object:
    """Replace a shorthand by the object it stands for; anything else is returned as it is."""
    if isinstance(given, bool):
        return {"enabled": given} if "enabled" in model.model_fields else given
    if isinstance(given, (int, float)) and model.number_keys:
        return dict.fromkeys(model.number_keys, given)
    return given


def _as_tuple(model: type[Settings], key: object, value: object) -> object:
    """JSON knows lists only, and one value stands for a list of one."""
    if isinstance(value, list):
        return tuple(value)
    field = model.model_fields.get(key) if isinstance(key, str) else None
    is_list = field is not None and get_origin(field.annotation) is tuple
    if is_list and isinstance(value, (str, int, os.PathLike)) and not isinstance(value, bool):
        return (value,)
    return value
