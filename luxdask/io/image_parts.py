"""How files that people write name the images that an entry is about, checked on reading."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict

from luxdask.io.image_ids import named_image


class StrictEntry(BaseModel):
    """Base of what stands in such files: no unknown keys; numbers may stand for names."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False
    )


class ImageParts(StrictEntry):
    """Parts of an identity; null and missing are the same."""

    stack: str | None = None
    tile: str | None = None
    channel: str | None = None
    objective: str | None = None
    camera: str | None = None
    time_point: str | None = None
    pm: str | None = None


def parts_of_name(value: Any) -> Any:
    """Parts from a text such as "ch-1_st-1-x03-y04"; anything else as it is."""
    return asdict(named_image(value)) if isinstance(value, str) else value
