import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luxdask.errors import ConfigError
from luxdask.tasks.config import VERSION, TaskConfig, parse_config, set_values
from luxdask.tasks.config_output import parse_size

DESIGN_KEYS = {
    "input": "experiment select reference roi flatfield camera_pixels metadata landmarks_file "
    "only_create_main_files value_range",
    "input.select": "time_points channels stacks tiles objectives cameras pms",
    "input.reference": "time_point channel stack objective camera pm",
    "input.roi": "label apply_to_all file",
    "input.flatfield": "enabled correction_images method smoothing_kernel_px maximum_factor "
    "save_layers",
    "input.camera_pixels": "enabled offset gain hot_pixels",
    "input.metadata.multi_transform": "enabled file",
    "registration": "enabled objective_camera tiles rotation landmarks time_points "
    "use_reference_time_point_for_all fine_alignment transform_model subtract_background reuse",
    "registration.objective_camera": "enabled different_cameras different_objectives",
    "registration.tiles": "enabled register_channels maximum_translation_um remove_outliers",
    "registration.tiles.remove_outliers": "mode cost_threshold",
    "registration.rotation": "enabled views_are_prealigned",
    "registration.reuse": "task_folder match_channel",
    "fusion": "enabled fuse_different_cams merge_all_channels image_quality_weighting blending "
    "half_intensity load_only_full_chunks interpolation deconvolution",
    "fusion.image_quality_weighting": "enabled strength",
    "fusion.blending": "enabled width_um",
    "fusion.deconvolution": "enabled psf_lateral_um psf_axial_um psf_file psf_spacing_um "
    "iterations background regularisation order back_projector acceleration",
    "output": "sampling bounding_boxes views_separately formats imaris folder ome_zarr_url",
    "output.sampling": "width height depth isotropic",
    "compute": "cluster device n_workers threads_per_worker memory_limit chunk_vx",
}


@pytest.mark.parametrize("group", DESIGN_KEYS)
def test_the_document_has_the_keys_of_the_design(group: str) -> None:
    document = TaskConfig().model_dump()
    for part in group.split("."):
        document = document[part]
    assert list(document) == DESIGN_KEYS[group].split()


def test_defaults_that_are_known() -> None:
    c = TaskConfig()
    assert c.fusion.enabled
    assert not c.registration.enabled
    assert c.registration.fine_alignment
    assert c.registration.reuse.match_channel
    assert c.registration.tiles.remove_outliers.cost_threshold == 10
    assert c.input.flatfield.smoothing_kernel_px == 9
    assert c.fusion.deconvolution.iterations == 10
    assert c.output.formats == ("lux", "bdv", "imaris")
    assert c.output.sampling.model_dump() == {
        "width": 1.0,
        "height": 1.0,
        "depth": 1.0,
        "isotropic": True,
    }
    assert c.compute.cluster == "local"


RICH = {
    "name": 3,
    "description": "Ovary 3",
    "input": {
        "experiment": ["a.lux.h5", "b.lux.h5"],
        "select": {"time_points": [0, "2-8:2"], "channels": [0, "1"], "pms": [None, "5"]},
        "reference": {"time_point": 2, "stack": 1, "pm": "none"},
        "camera_pixels": {"enabled": True, "offset": {"left": "o.tif", "right": 100}, "gain": 1.5},
    },
    "registration": {"enabled": True, "tiles": {"remove_outliers": {"cost_threshold": 5}}},
    "fusion": {"blending": {"enabled": True, "width_um": 20}, "interpolation": "cubic"},
    "output": {"sampling": 0.5, "formats": ["lux", "ome-zarr"], "ome_zarr_url": "s3://b/x"},
    "compute": {"cluster": "tcp://host:8786", "memory_limit": "4 GiB", "chunk_vx": [64, 256, 256]},
}


@pytest.mark.parametrize("document", [{}, RICH], ids=["defaults", "rich"])
def test_round_trip(document: dict[str, object]) -> None:
    config = parse_config(document)
    assert parse_config(json.loads(config.model_dump_json())) == config
    assert parse_config(config) is config


def test_values_arrive() -> None:
    c = parse_config(RICH)
    assert c.name == "3"
    assert c.input.paths == ("a.lux.h5", "b.lux.h5")
    assert c.input.select.channels == ("0", "1")
    assert c.input.select.pms == (None, "5")
    assert c.input.reference.stack == "1"
    assert c.output.sampling.depth == 0.5
    assert c.compute.memory_limit_bytes == 4 * 2**30
    assert c.compute.chunk_vx == (64, 256, 256)
    plain = c.input.select.to_selection()
    assert plain.time_points == (0, "2-8:2")
    assert c.input.reference.to_reference().pm == "none"


@pytest.mark.parametrize(
    ("given", "same_as"),
    [
        ({"fusion": {"blending": True}}, {"fusion": {"blending": {"enabled": True}}}),
        ({"registration": True}, {"registration": {"enabled": True}}),
        (
            {"output": {"sampling": 2}},
            {"output": {"sampling": {"width": 2.0, "height": 2, "depth": 2}}},
        ),
        ({"input": {"select": {"channels": 1}}}, {"input": {"select": {"channels": ["1"]}}}),
        (
            {"input": {"select": {"time_points": "0-3"}}},
            {"input": {"select": {"time_points": ["0-3"]}}},
        ),
        (
            {"input": {"select": {"time_points": ["7"]}}},
            {"input": {"select": {"time_points": [7]}}},
        ),
        ({"output": {"formats": "lux"}}, {"output": {"formats": ["lux", "lux"]}}),
    ],
)
def test_shorthands(given: dict[str, object], same_as: dict[str, object]) -> None:
    assert parse_config(given) == parse_config(same_as)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {"fusion": {"blending": {"width_um": -3}}},
            "fusion.blending.width_um: given -3; allowed: number > 0 | null",
        ),
        (
            {"fusion": {"blendin": True}},
            "fusion.blendin: unknown setting; did you mean fusion.blending?",
        ),
        ({"blending": True}, "blending: unknown setting; did you mean fusion.blending?"),
        ({"qqqqqqq": 1}, "qqqqqqq: unknown setting; `luxdask schema --table`"),
        ({"fusion": {"enabled": "yes"}}, 'fusion.enabled: given "yes"; allowed: true | false'),
        (
            {"fusion": {"half_intensity": 1}},
            "fusion.half_intensity: given 1; allowed: true | false",
        ),
        ({"registration": 3}, "registration: given 3; allowed: true, false, or an object with"),
        ({"output": {"sampling": "a"}}, 'output.sampling: given "a"; allowed: a number, or an obj'),
        ({"output": {"sampling": 0}}, "output.sampling.depth: given 0; allowed: number > 0 and <="),
        ({"output": {"sampling": 1001}}, "output.sampling.width: given 1001"),
        (
            {"output": {"bounding_boxes": "unionall"}},
            'allowed: "UnionAll" | "UnionsOverlapping" | "Intersections" | "Separate"',
        ),
        ({"output": {"formats": ["tiff"]}}, "output.formats[0]"),
        (
            {"registration": {"tiles": {"register_channels": "All"}}},
            '"SameChannel" | "RegisterDifferentChannels"',
        ),
        (
            {"registration": {"tiles": {"remove_outliers": {"mode": True}}}},
            '"Off" | "AutomaticWithCostThreshold"',
        ),
        (
            {"input": {"select": {"time_points": [3, "9-2"]}}},
            'input.select.time_points[1]: given "9',
        ),
        ({"input": {"select": {"time_points": [-1]}}}, "input.select.time_points[0]: given -1"),
        ({"input": {"reference": {"time_point": 1.5}}}, "whole number >= 0 | null"),
        (
            {"input": {"experiment": 5}},
            "input.experiment: given 5; allowed: path, or list of paths",
        ),
        ({"compute": {"chunk_vx": [64, 100, 64]}}, "three multiples of 64"),
        ({"compute": {"chunk_vx": [64, 64]}}, "three multiples of 64"),
        ({"compute": {"memory_limit": "4 bananas"}}, 'given "4 bananas"'),
        ({"compute": {"cluster": "sulrm"}}, '"local" | "cuda" | "slurm" | "pbs"'),
        ({"compute": {"n_workers": 0}}, "compute.n_workers: given 0; allowed: whole number >= 1"),
        ({"fusion": {"deconvolution": {"iterations": True}}}, "given true"),
        ({"description": "x" * 200}, "text of at most 120 characters"),
        ({"output": {"sampling": float("nan")}}, "output.sampling.width: given NaN"),
        ({"version": 0}, "version: given 0"),
        ({"version": VERSION + 1, "brand_new": 1}, "written by a newer luxdask"),
    ],
)
def test_bad_values_are_refused_by_name(document: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(document)
    assert words in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"fusion": {"blendin": 1}, "compute": {"n_workers": 0, "memory_limit": []}})
    lines = str(caught.value).splitlines()
    assert len(lines) == 4  # one problem each, although memory_limit fails for int and for text


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        ({"output": {"formats": []}}, ["output.formats", "fusion.enabled"]),
        ({"output": {"formats": ["bdv"]}}, ["output.formats", '"lux"']),
        (
            {"output": {"formats": ["lux"], "imaris": "copy"}},
            ["output.imaris", "output.formats"],
        ),
        ({"output": {"ome_zarr_url": "x"}}, ["output.ome_zarr_url", "output.formats"]),
        (
            {"input": {"only_create_main_files": True}, "registration": True},
            ["input.only_create_main_files", "registration.enabled"],
        ),
        (
            {"input": {"only_create_main_files": True}, "output": {"formats": ["ome-zarr"]}},
            ["input.only_create_main_files", "output.formats"],
        ),
        ({"fusion": False}, ["fusion.enabled", "registration.enabled"]),
    ],
)
def test_impossible_combinations(document: dict[str, object], keys: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(document)
    assert all(key in str(caught.value) for key in keys)


@pytest.mark.parametrize(
    "document",
    [
        {"output": {"formats": ["ome-zarr"], "ome_zarr_url": "s3://x/y"}},
        {"fusion": False, "registration": True, "output": {"formats": []}},
        {"input": {"only_create_main_files": True}, "output": {"formats": ["bdv"]}},
    ],
)
def test_possible_combinations(document: dict[str, object]) -> None:
    parse_config(document)


def test_comments_are_read_past(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    path.write_text(
        '{ // half size\n "output": {"sampling": 2}, /* see\n http://x */ "name": "a//b"}'
    )
    config = parse_config(path)
    assert config.output.sampling.width == 2
    assert config.name == "a//b"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{\n  "name": "a", // x\n  "fusion" true }', "line 3, column 12"),
        (b"", "line 1, column 1"),
        (b"[1]", "expected an object, given [1]"),
        (b'{"name": "a", "name": "b"}', "the key 'name' is given twice"),
        (b'{"output": {"sampling": NaN}}', "NaN is not a number"),
        (b"\x89HDF\xff\xfe", "not a text file"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "task.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        parse_config(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        parse_config(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="is a folder"):
        parse_config(str(tmp_path))


def test_set_values_goes_by_dotted_key_in_order() -> None:
    c = set_values(
        TaskConfig(), {"output.sampling": 4, "fusion.blending": True, "output.sampling.width": 2}
    )
    assert (c.output.sampling.width, c.output.sampling.height, c.output.sampling.depth) == (2, 4, 4)
    assert c.fusion.blending.enabled


def test_a_shorthand_keeps_what_it_does_not_name() -> None:
    c = set_values(
        TaskConfig(), {"output.sampling.isotropic": False, "fusion.blending.width_um": 9}
    )
    c = set_values(c, {"output.sampling": 4, "fusion": {"blending": True}})
    assert not c.output.sampling.isotropic
    assert c.fusion.blending.width_um == 9


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("fusion.half_intensity", "true", True),
        ("output.sampling.depth", "2", 2.0),
        ("output.sampling.depth", "0.5", 0.5),
        ("compute.chunk_vx", "[64, 128,256]", (64, 128, 256)),
        ("compute.chunk_vx", "null", None),
        ("fusion.interpolation", "linear", "linear"),
        ("fusion.blending.width_um", "null", None),
        ("output.formats", '["lux"]', ("lux",)),
        ("output.formats", "lux", ("lux",)),
        ("input.select.channels", "0", ("0",)),
        ("input.select.channels", "[0, 1]", ("0", "1")),
        ("input.select.stacks", "1-x03-y04", ("1-x03-y04",)),
        ("input.select.time_points", "3", (3,)),
        ("input.select.time_points", "0-9:2", ("0-9:2",)),
        ("input.select.pms", "none", ("none",)),
        ("input.reference.channel", "0", "0"),
        ("input.reference.channel", "null", None),
        ("input.experiment", "[odd name", "[odd name"),
        ("description", "2", "2"),
        ("description", "[test] null", "[test] null"),
        ("compute.memory_limit", "4 GiB", "4 GiB"),
        ("compute.memory_limit", "4000", 4000),
        ("input.camera_pixels.offset", "100", 100.0),
        ("input.camera_pixels.offset", "left.tif", "left.tif"),
        ("input.camera_pixels.offset", '{"left": 3}', {"left": 3.0}),
    ],
)
def test_texts_of_the_command_line(key: str, text: str, value: object) -> None:
    found: object = set_values(TaskConfig(), {key: text})
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


def test_sections_from_the_command_line() -> None:
    c = set_values(TaskConfig(), {"output.sampling": "4", "fusion.blending": "true"})
    assert c.output.sampling.width == 4
    assert c.fusion.blending.enabled


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("output.samplin", "output.sampling"),
        ("fusion.blending.width", "fusion.blending.width_um"),
        ("sampling", "output.sampling"),
        ("fusion.formats", "output.formats"),
        ("version.major", "version"),
    ],
)
def test_unknown_keys_get_a_suggestion(key: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: unknown setting; did you mean {meant}"):
        set_values(TaskConfig(), {key: 1})


def test_settings_never_change_and_bad_values_leave_them_alone() -> None:
    config = TaskConfig()
    with pytest.raises(ConfigError, match=r"compute\.n_workers"):
        set_values(config, {"output.sampling": 2, "compute.n_workers": "many"})
    assert config == TaskConfig()


def test_numpy_numbers_are_refused_rather_than_misread() -> None:
    with pytest.raises(ConfigError, match=r"output\.sampling"):
        set_values(TaskConfig(), {"output.sampling.width": np.array([1, 2])})


@pytest.mark.parametrize(
    ("given", "size_bytes"),
    [(1000, 1000), ("1000", 1000), ("4 GiB", 2**32), ("1.5kb", 1500), (" 2 MB ", 2_000_000)],
)
def test_sizes(given: int | str, size_bytes: int) -> None:
    assert parse_size(given) == size_bytes


@settings(deadline=None)  # the first example pays for compiling patterns
@given(
    st.dictionaries(
        st.sampled_from(["fusion", "output", "input", "compute", "name", "fuson", "version"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["enabled", "sampling", "select", "cluster", "width", "x"]),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=5,
        ),
    )
)
def test_any_document_is_read_or_refused_with_a_config_error(document: dict[str, object]) -> None:
    try:
        config = parse_config(document)
    except ConfigError:
        return
    assert parse_config(json.loads(config.model_dump_json())) == config
