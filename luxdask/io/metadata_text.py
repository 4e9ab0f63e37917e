"""Where the JSON metadata of an image comes from: the sidecar first, else the file itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import h5py
import numpy as np

from luxdask.errors import ImageFileError, MetadataError
from luxdask.io.chunk_table import open_h5

if TYPE_CHECKING:
    from collections.abc import Callable

    from luxdask.model.view import Source

T = TypeVar("T")


class UnreadableMetadataError(MetadataError):
    """The text is not metadata at all, so that another place may be tried."""


def plain_text(value: Any) -> str:
    """Text of whatever HDF5 returned: bytes, str, an array of one of them, an array of characters.

    NUL padding and a byte-order mark are dropped; bytes that are not UTF-8 are taken as Latin-1.
    """
    if isinstance(value, np.ndarray):
        one_item = value.size == 1 and value.dtype.kind in "OSU"
        value = value.reshape(-1)[0] if one_item else value.tobytes()
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    return str(value).strip("\0\ufeff \t\r\n")


def first_readable(source: Source, parse: Callable[[str, str], T]) -> tuple[T, tuple[str, ...]]:
    """What `parse(text, where)` makes of the sidecar or, failing that, of the dataset in the file.

    Returns the result and a note where the sidecar was unusable. Raises `MetadataError` naming
    both places where neither holds metadata, `ImageFileError` where the only place is a bad file.
    """
    if source.foreign is not None:
        raise MetadataError(
            f"{source.path}: an image of {source.foreign.format} has no Luxendo metadata"
        )
    problem = ""
    if source.sidecar is not None:
        try:
            return parse(_sidecar_text(source.sidecar), source.sidecar), ()
        except UnreadableMetadataError as error:
            problem = str(error)
    try:
        embedded = parse(_embedded_text(source), f"{source.path}: {source.metadata}")
    except (UnreadableMetadataError, ImageFileError) as error:
        if not problem:
            raise
        raise MetadataError(
            f"{source.path}: no usable metadata. Sidecar: {problem} Image: {error} "
            "Copy the sidecar again from the microscope."
        ) from error
    return embedded, ((f"{problem} The metadata inside the image was used.",) if problem else ())


def _sidecar_text(path: str) -> str:
    try:
        return plain_text(Path(path).read_bytes())
    except OSError as error:
        raise UnreadableMetadataError(f"{path}: {error.strerror or error}.") from error


def _embedded_text(source: Source) -> str:
    with open_h5(source.path) as file:
        try:
            dataset = file[source.metadata]
        except KeyError as error:
            raise UnreadableMetadataError(
                f"{source.path}: no metadata: neither a .json file beside it nor a dataset "
                f"{source.metadata!r} in it; it holds {sorted(file)[:8]}."
            ) from error
        if not isinstance(dataset, h5py.Dataset):
            raise UnreadableMetadataError(f"{source.path}: {source.metadata!r} is not a dataset.")
        return plain_text(dataset[()])
