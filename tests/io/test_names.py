from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luxdask.io.names import (
    LUX_SUFFIX,
    image_name,
    main_stem,
    output_stem,
    output_stems,
    safe_name,
)
from luxdask.model.geometry import Affine, Grid
from luxdask.model.output import Output
from luxdask.model.view import Source, View, ViewId

GRID = Grid((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def view(
    stack: str = "0-x00-y00", *, channel: str = "0", camera: str = "left", pm: str | None = None
) -> View:
    identity = ViewId(0, channel, stack, "left", camera, pm)
    return View(identity, Source("/x.lux.h5"), (4, 4, 4), (1.0, 1.0, 1.0), Affine())


def output(*views: View, mode: str = "uni", separate_view: bool = False) -> Output:
    return Output(mode, GRID, views, separate_view)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("left", "left"),
        ("1-x03-y04", "1-x03-y04"),
        ("Fused-left-right", "Fused-left-right"),
        ("Line 0.5 fgn 0.1", "Line_0.5_fgn_0.1"),
        ("../../etc/passwd", "____etc_passwd"),
        ("a/b\\c:d|e", "a_b_c_d_e"),
        (".hidden", "hidden"),
        ("tail.", "tail"),
        ("with\nline\0break\x7f", "with_line_break_"),
        ("Größe µm", "Gro_e_m"),
        ("", "unnamed"),
        ("con", "_con"),
        ("LPT1.txt", "_LPT1.txt"),
        ("console", "console"),
    ],
)
def test_names_from_metadata_become_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_names_without_any_usable_letter_stay_different() -> None:
    names = [safe_name(name) for name in ("..", "/", "日本", "中国")]
    assert len(set(names)) == 4
    assert all(name.startswith("unnamed-") for name in names)


def test_a_long_name_is_cut_and_keeps_a_checksum() -> None:
    one, other = safe_name("x" * 300), safe_name("x" * 301)
    assert one != other
    assert len(one) == len(other) == 32


@given(st.text())
def test_any_name_is_a_safe_path_part(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert len(safe.encode()) <= 32
    assert safe.isascii()
    assert safe.isprintable()
    assert not set(safe) & set('/\\<>:"|?* ')
    assert ".." not in safe
    assert not safe.startswith(".")
    assert not safe.endswith(".")
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("image", "stem"),
    [
        (output(view()), "uni_tp-0_ch-0_st-0-x00-y00_obj-left_cam-left_etc"),
        (
            output(view("1-x00-y00"), view("1-x00-y01"), view("1-x00-y02")),
            "uni_tp-0_ch-0_st-1-x00-y00-1-x00-y01_obj-left_cam-left_etc",
        ),
        (
            output(view(pm="5"), mode="int"),
            "int_tp-0_ch-0_pm-5_st-0-x00-y00_obj-left_cam-left_etc",
        ),
        (
            output(view(), mode="sep", separate_view=True),
            "sep_view_tp-0_ch-0_st-0-x00-y00_obj-left_cam-left_etc",
        ),
        (
            output(view(camera="left"), view(camera="right")),
            "uni_tp-0_ch-0_st-0-x00-y00_obj-left_cam-left-right_etc",
        ),
        (
            output(view(channel="GFP 488/20")),
            "uni_tp-0_ch-GFP_488_20_st-0-x00-y00_obj-left_cam-left_etc",
        ),
    ],
    ids=["plain", "tiles", "pm", "separate", "cameras", "unsafe"],
)
def test_output_stems_follow_the_vendor(image: Output, stem: str) -> None:
    assert output_stem(image) == stem
    assert image_name(stem) == stem + ".lux.h5"


def test_boxes_of_one_image_get_different_stems() -> None:
    images = [output(view()), output(view("0-X00-y00")), output(view()), output(view("9"))]
    first, second, third, other = output_stems(images)
    assert first == "uni_tp-0_ch-0_st-0-x00-y00_obj-left_cam-left_etc"
    assert second == "uni_tp-0_ch-0_st-0-X00-y00_obj-left_cam-left_box-2_etc"
    assert third == "uni_tp-0_ch-0_st-0-x00-y00_obj-left_cam-left_box-3_etc"
    assert other == output_stem(images[3])


def test_the_longest_name_fits_a_file_system() -> None:
    long = "y" * 400
    image = output(view(long, channel=long, camera=long, pm=long), separate_view=True)
    assert len(f".{output_stem(image)}{LUX_SUFFIX}.1234567.tmp".encode()) <= 255


def test_main_stems() -> None:
    tiles = [view("1-x00-y00"), view("1-x00-y01"), view("1-x01-y00")]
    assert main_stem(tiles) == "main_st-1-x00-y00-1-x00-y01"
    assert main_stem([view("0-x00-y00-0-x00-y01")]) == "main_st-0-x00-y00-0-x00-y01"
    assert main_stem(tiles[:1], added=True) == "main_ADDED_st-1-x00-y00"
