"""File names of outputs: made of metadata, and safe on every file system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

from luxdask.model.output import joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luxdask.model.output import Output
    from luxdask.model.view import View

LUX_SUFFIX = ".lux.h5"
MAX_BYTES = 32
"""Longest part taken from one metadata name: six of them, their labels, the suffix and the ending
of a temporary file stay below the 255 bytes that file systems allow."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)


def safe_name(name: str, max_bytes: int = MAX_BYTES) -> str:
    """A name from metadata as a part of a file name.

    Only ASCII letters, digits and ``. _ + -`` remain (accents are dropped, the rest becomes ``_``),
    no leading or trailing dot, no ``..``, no name that Windows reserves, at most `max_bytes`, never
    empty. A cut name ends in a checksum of the whole one, so that two long names stay different.
    """
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = re.sub(r"\.{2,}", "_", _UNSAFE.sub("_", plain)).strip(".")
    if not plain.strip("_"):
        return f"unnamed-{_checksum(name)}" if name else "unnamed"
    if _RESERVED.match(plain):
        plain = f"_{plain}"
    if len(plain) > max_bytes:
        plain = f"{plain[: max_bytes - 9].rstrip('.')}-{_checksum(name)}"
    return plain


def output_stem(output: Output) -> str:
    """File name of an output image without its ending, as the vendor's software builds it.

    ``<mode>_tp-<t>_ch-<c>[_pm-<id>]_st-<s>_obj-<o>_cam-<k>_etc``; a view that is added separately
    has ``<mode>_view`` in front. Two boxes of one image may share a name: see `output_stems`.
    """
    mode = safe_name(output.mode) + ("_view" if output.separate_view else "")
    pm = "" if output.pm is None else f"_pm-{safe_name(output.pm)}"
    return (
        f"{mode}_tp-{output.time_point}_ch-{safe_name(output.channel)}{pm}"
        f"_st-{safe_name(output.stack)}_obj-{safe_name(output.objective)}"
        f"_cam-{safe_name(output.camera)}_etc"
    )


def output_stems(outputs: Sequence[Output]) -> tuple[str, ...]:
    """Distinct stems of all images of one folder, in the given order.

    Where several boxes have one name, all but the first get ``_box-<n>`` before ``_etc``; capital
    letters alone do not tell names apart.
    """
    stems = [output_stem(output) for output in outputs]
    taken: set[str] = set()
    unique = []
    for stem in stems:
        name, n = stem, 1
        while name.lower() in taken:
            n += 1
            name = f"{stem.removesuffix('_etc')}_box-{n}_etc"
        taken.add(name.lower())
        unique.append(name)
    return tuple(unique)


def image_name(stem: str) -> str:
    """File name of the image with this stem."""
    return stem + LUX_SUFFIX


def main_stem(views: Sequence[View], added: bool = False) -> str:
    """Stem of the main files for these images: ``main_st-<stacks>`` or ``main_ADDED_st-<stacks>``.

    The first two distinct stacks stand for all. `added` marks main files for existing images.
    """
    stacks = safe_name(joined([view.id.stack for view in views]))
    return f"main_ADDED_st-{stacks}" if added else f"main_st-{stacks}"


def _checksum(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
