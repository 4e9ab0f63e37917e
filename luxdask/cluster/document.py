"""Typed values out of a description file, with errors that name file and key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from luxdask.cluster.durations import parse_duration
from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


class Document:
    """One parsed file: an object of sections. Keys are given with a dot: "scale.jobs"."""

    def __init__(self, content: Mapping[str, Any], path: Path) -> None:
        self._content, self.path = content, path

    def error(self, key: str, said: str) -> ConfigError:
        """An error about one key of this file."""
        return ConfigError(f"{self.path}: {key}: {said}")

    def section(self, name: str) -> dict[str, Any]:
        """A section; empty where it is left out."""
        found = self._content.get(name, {})
        if not isinstance(found, dict):
            raise self.error(name, f"expected a section, got {found!r}")
        return found

    def only(self, section: str, allowed: Collection[str]) -> None:
        """Refuse keys that are not known."""
        keys = self.section(section) if section else self._content
        for key in keys:
            if key not in allowed:
                name = f"{section}.{key}" if section else key
                words = ", ".join(allowed) or "nothing for this kind of cluster"
                raise self.error(name, f"no such setting; allowed: {words}")

    def one_of(self, key: str, allowed: Sequence[str]) -> str:
        """One of several words; must be given."""
        found = self.text(key)
        if found is None or found not in allowed:
            said = "is missing" if found is None else f"{found!r} is not known"
            raise self.error(key, f"{said}; allowed: {', '.join(allowed)}")
        return found

    def text(self, key: str) -> str | None:
        """A text."""
        found = self._value(key)
        if found is not None and not isinstance(found, str):
            raise self.error(key, f"expected a text, got {found!r}")
        return found

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of texts."""
        found = self._value(key)
        if found is None:
            return None
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise self.error(key, f"expected a list of texts, got {found!r}")
        return tuple(found)

    def count(self, key: str, *, least: int = 1) -> int | None:
        """A whole number that is not too small."""
        found = self._value(key)
        if found is not None and (type(found) is not int or found < least):
            raise self.error(key, f"expected a whole number from {least} on, got {found!r}")
        return found

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        found = self._value(key)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise self.error(key, f"expected true or false, got {found!r}")
        return found

    def seconds(self, key: str) -> float | None:
        """A length of time."""
        found = self._value(key)
        try:
            return None if found is None else parse_duration(found)
        except ValueError as error:
            raise self.error(key, f"{error}, got {found!r}") from error

    def file(self, key: str) -> str | None:
        """Path of a file that exists; a relative one is meant from this file's folder."""
        found = self.text(key)
        if found is None:
            return None
        path = self.path.parent.absolute() / Path(found).expanduser()
        if not path.is_file():
            raise self.error(key, f"there is no file {path}")
        return str(path)

    def _value(self, key: str) -> Any:
        section, _, name = key.rpartition(".")
        return (self.section(section) if section else self._content).get(name)
