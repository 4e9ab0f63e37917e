"""JSON files as people read them, never half written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luxdask.io.replace_file import replacing

if TYPE_CHECKING:
    import os


def json_text(document: Any) -> str:
    """Readable JSON with a line break at the end."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write_json(path: str | os.PathLike[str], document: Any, *, durable: bool = False) -> None:
    """Write a document beside its place, then rename it; raises `OutputError` where that fails.

    durable : it outlives a power failure as soon as this returns.
    """
    with replacing(Path(path), durable=durable) as temporary:
        temporary.write_text(json_text(document), encoding="utf-8")
