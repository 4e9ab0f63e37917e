"""The settings of a task (`config_task.json`): reading, checking and changing them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, model_validator

from luxdask.errors import ConfigError
from luxdask.tasks.config_base import BASIC, Name, Settings, expand, option, section
from luxdask.tasks.config_document import explain, read_document
from luxdask.tasks.config_fields import find_field, leaf_types, section_of
from luxdask.tasks.config_fusion import FusionConfig
from luxdask.tasks.config_input import InputConfig
from luxdask.tasks.config_output import ComputeConfig, OutputConfig
from luxdask.tasks.config_registration import RegistrationConfig

if TYPE_CHECKING:
    import os

VERSION = 1


class TaskConfig(Settings):
    """All settings of one task.

    Immutable; change it with `set_values`. `model_dump_json` writes the document that
    `parse_config` reads.
    """

    version: int = option(
        VERSION, BASIC, "Version of this document.", allowed="1", ge=1, le=VERSION
    )
    name: Name = option(
        "",
        BASIC,
        "Number or name of the task; empty means the next number.",
        allowed="text of at most 60 characters",
        max_length=60,
    )
    description: Name = option(
        "",
        BASIC,
        "What the task is about, in words; part of the folder's name.",
        allowed="text of at most 120 characters",
        max_length=120,
    )
    input: InputConfig = section(InputConfig, "The images of the task.")
    registration: RegistrationConfig = section(
        RegistrationConfig, "Alignment of the views beyond their metadata."
    )
    fusion: FusionConfig = section(FusionConfig, "How the views become one image.")
    output: OutputConfig = section(OutputConfig, "What is written, and where.")
    compute: ComputeConfig = section(ComputeConfig, "Who computes it.")

    @model_validator(mode="after")
    def _check_combinations(self) -> TaskConfig:
        problems = [text for is_wrong, text in _combinations(self) if is_wrong]
        if problems:
            raise ValueError("\n  ".join(problems))
        return self


_Rule = tuple[bool, str]


def _combinations(config: TaskConfig) -> list[_Rule]:
    """Combinations that cannot work: whether each is given, and what to do about it."""
    nothing = not (
        config.fusion.enabled or config.registration.enabled or config.input.only_create_main_files
    )
    return [
        *_format_rules(config),
        *_format_option_rules(config),
        *_main_file_rules(config),
        (
            nothing,
            "fusion.enabled, registration.enabled and input.only_create_main_files are all false, "
            "so there is nothing to do: set one of them to true",
        ),
    ]


def _format_rules(config: TaskConfig) -> list[_Rule]:
    fuses = config.fusion.enabled and not config.input.only_create_main_files
    formats = config.output.formats
    linking = " and ".join(f for f in ("bdv", "imaris") if f in formats)
    return [
        (
            fuses and not formats,
            'output.formats is empty although fusion.enabled is true: name a format ("lux", "bdv", '
            '"imaris", "ome-zarr") or set fusion.enabled to false',
        ),
        (
            fuses and bool(linking) and "lux" not in formats,
            f'output.formats names {linking} without "lux": these main files need the .lux.h5 '
            f'images, so add "lux" or leave out {linking}',
        ),
    ]


def _format_option_rules(config: TaskConfig) -> list[_Rule]:
    formats = config.output.formats
    return [
        (
            config.output.imaris == "copy" and "imaris" not in formats,
            'output.imaris is "copy" although output.formats does not name "imaris": add it, or '
            'set output.imaris to "links"',
        ),
        (
            config.output.ome_zarr_url is not None and "ome-zarr" not in formats,
            'output.ome_zarr_url is given although output.formats does not name "ome-zarr": add '
            "it, or set output.ome_zarr_url to null",
        ),
    ]


def _main_file_rules(config: TaskConfig) -> list[_Rule]:
    only_main = config.input.only_create_main_files
    return [
        (
            only_main and config.registration.enabled,
            "input.only_create_main_files and registration.enabled are both true, but main files "
            "alone register nothing: set one of them to false",
        ),
        (
            only_main and not {"lux", "bdv", "imaris"} & set(config.output.formats),
            "input.only_create_main_files is true although output.formats names none that has "
            'main files: add "lux", "bdv" or "imaris"',
        ),
    ]


def parse_config(source: TaskConfig | Mapping[str, Any] | str | os.PathLike[str]) -> TaskConfig:
    """Settings from a JSON file (comments allowed) or from its content.

    Raises
    ------
    ConfigError
        Where the file cannot be read, or settings are unknown, of the wrong type, out of bounds
        or impossible together. The message lists every problem with its key.
    """
    if isinstance(source, TaskConfig):
        return source
    if isinstance(source, Mapping):
        return _validated(dict(source), "The settings")
    path = Path(source)
    return _validated(read_document(path), str(path))


def _validated(document: Any, source: str) -> TaskConfig:
    version = document.get("version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise ConfigError(
            f"{source}: written by a newer luxdask (version {version} of the document; this one "
            f"reads up to {VERSION}); update luxdask, or make the task anew"
        )
    try:
        return TaskConfig.model_validate(document)
    except ValidationError as error:
        raise explain(error, TaskConfig, source) from None


def set_values(config: TaskConfig, values: Mapping[str, Any]) -> TaskConfig:
    """The same settings with other values under the given dotted keys, set one after the other.

    A group takes its shorthand or an object with some of its keys; what is not named stays. Text
    for a setting that is not text is read as JSON (``"true"``, ``"2"``, ``"[1, 2]"``).

    Raises
    ------
    ConfigError
        As `parse_config`; for an unknown key with the closest known one.
    """
    document = config.model_dump()
    for key, value in values.items():
        find_field(TaskConfig, key)
        _merge(document, TaskConfig, _nested(key, value))
    return _validated(document, "The settings")


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


def _merge(document: dict[str, Any], model: type[Settings], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        field = model.model_fields.get(name)
        below = None if field is None else section_of(field)
        if below is not None:
            value = expand(below, _from_text(value))
            if isinstance(value, dict) and isinstance(document.get(name), dict):
                _merge(document[name], below, value)
                continue
        elif field is not None and _reads_as_json(field.annotation, value):
            value = _from_text(value)
        document[name] = value


def _reads_as_json(kind: Any, value: Any) -> bool:
    """Whether a text is meant as JSON; names such as "0" and free text stay text."""
    if not isinstance(value, str):
        return False
    kinds = leaf_types(kind)
    if kinds & {int, float, bool} or (value == "null" and type(None) in kinds):
        return True
    return kind is not str and value.startswith(("[", "{"))


def _from_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
