import json

import pytest

from luxdask.errors import ConfigError
from luxdask.tasks.config import TaskConfig, parse_config, set_values
from luxdask.tasks.options import LEVELS, at_level, changed_keys, options


def test_every_setting_says_what_it_is() -> None:
    found = options()
    assert len({o.key for o in found}) == len(found) > 70
    for o in found:
        assert o.level in range(3), o.key
        assert o.allowed, o.key
        assert o.help.endswith("."), o.key


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("fusion.blending.width_um", "µm"),
        ("registration.tiles.maximum_translation_um", "µm"),
        ("input.flatfield.smoothing_kernel_px", "pixels"),
        ("compute.chunk_vx", "voxels"),
        ("compute.memory_limit", "bytes"),
        ("registration.subtract_background", "grey values"),
    ],
)
def test_help_names_the_unit(key: str, words: str) -> None:
    assert words in next(o.help for o in options() if o.key == key)


def test_levels_nest() -> None:
    basic, intermediate, advanced = ({o.key for o in options(level)} for level in LEVELS)
    assert basic < intermediate < advanced
    assert "output.sampling.width" in basic
    assert "fusion.load_only_full_chunks" in intermediate - basic
    assert "fusion.interpolation" in advanced - intermediate


@pytest.mark.parametrize("level", ["expert", 3, -1, 1.5])
def test_unknown_level(level: object) -> None:
    with pytest.raises(ConfigError, match="basic, intermediate, advanced"):
        options(level)  # type: ignore[arg-type]


def test_a_level_shows_its_settings_and_the_others_take_their_defaults() -> None:
    config = set_values(TaskConfig(), {"output.sampling": 2, "fusion.interpolation": "cubic"})
    document = at_level(config, "basic")
    assert document["output"]["sampling"]["width"] == 2
    assert "interpolation" not in document["fusion"]
    assert "metadata" not in document["input"]  # a group without a shown setting is left out
    again = parse_config(json.loads(json.dumps(document)))
    assert again == set_values(config, {"fusion.interpolation": "linear"})


def test_what_was_changed_can_be_shown_as_well() -> None:
    config = set_values(TaskConfig(), {"fusion.interpolation": "cubic", "compute.n_workers": 3})
    keys = changed_keys(config)
    assert keys == ("fusion.interpolation", "compute.n_workers")
    assert parse_config(at_level(config, 0, also=keys)) == config


def test_groups_can_be_named() -> None:
    document = at_level(TaskConfig(), 0, also=["input.flatfield"])
    assert list(document["input"]["flatfield"]) == list(TaskConfig().input.flatfield.model_dump())


def test_the_highest_level_shows_everything() -> None:
    config = TaskConfig()
    assert at_level(config, "advanced") == config.model_dump(mode="json")
