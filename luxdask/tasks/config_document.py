"""From a JSON document, or a pydantic complaint about one, to values and plain words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from luxdask.errors import ConfigError
from luxdask.tasks.config_fields import allowed_text, section_of, unknown_key_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from luxdask.tasks.config_base import Settings

_STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_LONGEST_SHOWN = 80


def read_document(path: Path) -> Any:
    """Content of a JSON file, which may hold // and /* */ comments.

    Raises
    ------
    ConfigError
        Where the file cannot be read or is not JSON; it names the file, line and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; expected a task as JSON") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; expected the JSON file of a task") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file; expected a task as JSON") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    return parse_json(text, str(path))


def parse_json(text: str, source: str) -> Any:
    """Content of a JSON text with comments; `source` names it in errors."""
    try:
        return json.loads(
            without_comments(text), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{source} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None


def without_comments(text: str) -> str:
    """The text with comments blanked out, so that lines and columns stay where they are."""

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)

    return _STRING_OR_COMMENT.sub(blank, text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice in one object; keep one of them")
    return document


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number that a setting can have")


def explain(error: ValidationError, model: type[Settings], source: str) -> ConfigError:
    """All problems of a document, one per line: the key, what was given, what is allowed."""
    lines: dict[str, str] = {}
    for problem in error.errors():  # each member of a union complains by itself: keep the first
        lines.setdefault(_locate(problem["loc"], model)[0], _line(problem, model))
    text = "".join(f"\n  {line}" for line in lines.values())
    return ConfigError(f"{source} cannot be used:{text}")


def _line(problem: ErrorDetails, model: type[Settings]) -> str:
    key, field = _locate(problem["loc"], model)
    if problem["type"] == "extra_forbidden":
        return unknown_key_text(model, key)
    if field is None:  # what does not belong to one key says all there is to say
        return str(problem.get("ctx", {}).get("error", f"expected an object, {_given(problem)}"))
    return f"{key}: {_given(problem)}; allowed: {allowed_text(field)}"


def _given(problem: ErrorDetails) -> str:
    try:
        text = json.dumps(problem["input"], ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(problem["input"])
    short = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    return f"given {short}"


def _locate(loc: Sequence[int | str], model: type[Settings]) -> tuple[str, FieldInfo | None]:
    """Dotted key and field of a problem; the names of union members are dropped from the key."""
    key, field = "", None
    current: type[Settings] | None = model
    for part in loc:
        if current is not None:
            field = current.model_fields.get(str(part))
            key = f"{key}.{part}" if key else str(part)
            current = None if field is None else section_of(field)
        elif isinstance(part, int):
            key = f"{key}[{part}]"
    return key, field
