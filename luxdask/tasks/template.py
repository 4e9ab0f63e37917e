"""The user's template ("save as default"): the settings every new task starts from."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from luxdask.errors import ConfigError, OutputError
from luxdask.io.json_file import write_json
from luxdask.tasks.config import TaskConfig, parse_config, set_values
from luxdask.tasks.config_fields import find_field, section_of

FOLDER_VARIABLE = "LUXDASK_CONFIG_DIR"
FILE_NAME = "default_task.json"

# What belongs to one experiment or one run; in a template it would follow into foreign data.
NOT_SAVED = (
    "name",
    "description",
    "input.experiment",
    "input.select",
    "input.reference",
    "output.ome_zarr_url",
)


def template_path() -> Path:
    """Where the template lies: LUXDASK_CONFIG_DIR, else the platform's folder for settings."""
    folder = os.environ.get(FOLDER_VARIABLE) or platformdirs.user_config_dir("luxdask", False)
    return Path(folder) / FILE_NAME


def save_template(config: TaskConfig) -> Path:
    """Make these settings the defaults of new tasks, except what belongs to one experiment.

    Returns the path of the template.

    Raises
    ------
    OutputError
        Where the folder or the file cannot be written.
    """
    path = template_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path.parent} cannot be made: {error.strerror}; set {FOLDER_VARIABLE} to a folder "
            "you may write to"
        ) from error
    write_json(path, without_experiment(config).model_dump(mode="json"))
    return path


def without_experiment(config: TaskConfig) -> TaskConfig:
    """The settings with everything that belongs to one experiment at its built-in default."""
    return set_values(config, {key: _built_in(key) for key in NOT_SAVED})


def _built_in(key: str) -> object:
    field = find_field(TaskConfig, key)
    below = section_of(field)
    return field.default if below is None else below().model_dump()


def load_template() -> TaskConfig:
    """The user's template, or the built-in defaults where there is none.

    Raises
    ------
    ConfigError
        Where the template cannot be read or used; it says how to reset it.
    """
    path = template_path()
    if not path.exists():
        return TaskConfig()
    try:
        return parse_config(path)
    except ConfigError as error:
        raise ConfigError(
            f"{error}\nThis file holds your saved defaults; remove it with "
            "`luxdask defaults reset`, or save others with `luxdask defaults save TASK.json`"
        ) from error


def reset_template() -> bool:
    """Remove the template, so that the built-in defaults hold; returns whether there was one."""
    path = template_path()
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(f"{path} cannot be removed: {error.strerror}") from error
    return True
