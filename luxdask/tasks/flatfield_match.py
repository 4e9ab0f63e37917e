"""Which correction images belong to which sample images, and whether they may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luxdask.model.view import View

_NEAR = 1e-3
"""Magnifications and pixel sizes that differ by less than this part are the same."""


def correction_images(sample: View, images: Sequence[View]) -> tuple[View, ...]:
    """The correction images of a sample image: of its objective and camera, and its channel.

    Where there is one channel only, it serves all. Raises `ConfigError` where there is none, or
    one of them does not fulfil what flatfield correction needs.
    """
    i = sample.id
    sides = [v for v in images if (v.id.objective, v.id.camera) == (i.objective, i.camera)]
    same = [v for v in sides if v.id.channel == i.channel]
    if not same and len({v.id.channel for v in sides}) == 1:
        same = sides
    if not same:
        there = ", ".join(sorted({_place(v) for v in images})) or "none"
        raise ConfigError(
            f"input.flatfield.correction_images: none for {_place(sample)}; there are: {there}. "
            "Correction images need the objective and camera of the sample images, and their "
            "channel or just one"
        )
    for image in same:
        _check(sample, image)
    if len({(v.shape[1:], v.camera_frame) for v in same}) > 1:
        raise ConfigError(
            f"input.flatfield.correction_images: those for {_place(sample)} differ in size or "
            "crop; name images of one crop"
        )
    return tuple(same)


def first_pixel(sample: View, image: View) -> tuple[int, int]:
    """Pixel of a correction image that the sample image begins with (row, column)."""
    if _is_same_crop(sample, image):
        return 0, 0
    return sample.camera_frame.crop_offset_px


def _place(view: View) -> str:
    i = view.id
    return f"ch:{i.channel} obj:{i.objective} cam:{i.camera}"


def _check(sample: View, image: View) -> None:
    ours, theirs = sample.camera_frame.magnification, image.camera_frame.magnification
    if ours and theirs and not _is_near(ours, theirs):
        raise _refused(
            sample, image, "magnification", f"{ours:g}", f"{theirs:g}", "take others at the same"
        )
    sizes = [(v.spacing_um[2], v.spacing_um[1]) for v in (sample, image)]
    if not all(map(_is_near, *sizes)):
        ours_um, theirs_um = (f"{w:g} x {h:g} µm" for w, h in sizes)
        raise _refused(
            sample, image, "pixel size", ours_um, theirs_um,
            "where the sample images were downsampled, downsample the correction images in a task "
            "of their own, and name its images",
        )  # fmt: skip
    if not _is_same_crop(sample, image) and not (_is_raw(sample) and _is_whole(image)):
        raise _refused(
            sample, image, "crop", _crop(sample), _crop(image),
            "correction images need the crop of the sample images, or are raw and show the whole "
            "sensor while the sample images are raw",
        )  # fmt: skip


def _refused(
    sample: View, image: View, what: str, ours: str, theirs: str, advice: str
) -> ConfigError:
    return ConfigError(
        f"input.flatfield.correction_images: {image.source.path} has a {what} of {theirs}, but "
        f"{sample.source.path} one of {ours}: {advice}"
    )


def _is_near(a: float, b: float) -> bool:
    return abs(a - b) <= _NEAR * max(abs(a), abs(b))


def _is_same_crop(sample: View, image: View) -> bool:
    """Same size, and the same offset as far as the metadata tells both."""
    if sample.shape[1:] != image.shape[1:]:
        return False
    ours, theirs = sample.camera_frame, image.camera_frame
    if not (ours.is_known and theirs.is_known):
        return True
    return (ours.crop_offset_px, ours.crop_size_px) == (theirs.crop_offset_px, theirs.crop_size_px)


def _is_raw(view: View) -> bool:
    return view.camera_frame.is_known and view.camera_frame.crop_size_px == view.shape[1:]


def _is_whole(image: View) -> bool:
    return _is_raw(image) and image.camera_frame.is_full


def _crop(view: View) -> str:
    frame, (ny, nx) = view.camera_frame, view.shape[1:]
    size = f"{nx} x {ny} pixels"
    if not frame.is_known:
        return size
    top, left = frame.crop_offset_px
    width, height = frame.crop_size_px[1], frame.crop_size_px[0]
    raw = "" if _is_raw(view) else f" (processed, taken as {width} x {height})"
    return f"{size} from column {left}, row {top}{raw}"
