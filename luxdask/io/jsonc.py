"""JSON with comments: ``//`` and ``/* */`` comments and trailing commas, outside of strings."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"""(?P<string> "(?:[^"\\\n]|\\.)*" )
      | (?P<comment> //[^\n]* | /\*.*?\*/ )
      | (?P<open_comment> /\* )
      | (?P<space> \s+ )
      | (?P<comma> , )
      | (?P<end> [\]}] )
      | (?P<other> [^\s"/,\]}]+ | . )""",
    re.DOTALL | re.VERBOSE,
)
_LINE = re.compile(r"[^\n]")


def parse_jsonc(text: str) -> Any:
    """The document in a JSON text that people have written.

    Comments and commas behind the last item are passed over, and so is a byte-order mark. A name
    that appears twice in one object, NaN and Infinity are refused: each is a slip of the pen.

    Raises
    ------
    ConfigError
        Not JSON; the message gives line and column, not the file, which the caller knows.
    """
    plain = _plain_json(text.removeprefix("\ufeff"))
    try:
        return json.loads(plain, object_pairs_hook=_distinct, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        ) from error
    except RecursionError as error:
        raise ConfigError("not usable as JSON: brackets are nested too deeply") from error
    except ConfigError:
        raise
    except ValueError as error:  # a number with thousands of digits
        raise ConfigError(f"not usable as JSON: {error}") from error


def _plain_json(text: str) -> str:
    """The same text with blanks for comments and trailing commas, so that positions stay true."""
    pieces: list[str] = []
    comma = last = None
    for kind, piece in _tokens(text):
        if kind == "comment":
            pieces.append(_LINE.sub(" ", piece))
            continue
        if kind == "end" and comma is not None:
            pieces[comma] = " "
        if kind != "space":
            # a comma trails an item, never an opening bracket or another comma
            follows_item = last is not None and last not in "[{,:"
            comma = len(pieces) if kind == "comma" and follows_item else None
            last = piece[-1]
        pieces.append(piece)
    return "".join(pieces)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind == "open_comment":
            raise ConfigError(f"{_place(text, match.start())}: this comment /* is never closed")
        yield kind, match[0]


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"


def _distinct(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in items:
        if name in found:
            raise ConfigError(f"the name {name!r} appears twice in one object; keep one of them")
        found[name] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ConfigError(f"{name} is not a number that can be used; give a finite one")
