"""Multi-transform files (``*.mtf.json``): transforms added to those of the images' metadata."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from luxdask.errors import ConfigError
from luxdask.io.affine_json import AffineJson
from luxdask.io.jsonc import parse_jsonc
from luxdask.model.multi_transform import MultiTransform, TransformEntry

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from luxdask.model.experiment import Experiment
    from luxdask.model.geometry import Affine

MTF_NAME = "transforms.mtf.json"
_OTHER_SPELLING = "replace by"
_MOST_PROBLEMS = 5
_ALLOWED = (
    "Allowed are: one list 'affines' of entries; in an entry the lists "
    "time_points, channels, stacks, objectives, cameras (empty: all) and prepend, replace_by, "
    "append of transforms; in a transform 'matrix' (3 rows of 3 numbers) and 'translation' "
    "(3 numbers), in the order width, height, depth."
)


def _none_as_empty(value: Any) -> Any:
    return () if value is None else value


def _number(value: Any) -> Any:
    """Truth values are no numbers, though Python takes them for 0 and 1."""
    if isinstance(value, bool):
        raise ValueError("Input should be a whole number")
    return value


def _name(value: Any) -> Any:
    """Names may be written as numbers, time points as texts."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_Names = Annotated[
    tuple[Annotated[str, BeforeValidator(_name)], ...], BeforeValidator(_none_as_empty)
]
_Numbers = Annotated[
    tuple[Annotated[int, BeforeValidator(_number)], ...], BeforeValidator(_none_as_empty)
]
_Chain = Annotated[tuple[AffineJson, ...], BeforeValidator(_none_as_empty)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Entry(_Strict):
    time_points: _Numbers = ()
    channels: _Names = ()
    stacks: _Names = ()
    objectives: _Names = ()
    cameras: _Names = ()
    prepend: _Chain = ()
    replace_by: _Chain = ()
    append: _Chain = ()


class _Document(_Strict):
    affines: tuple[_Entry, ...]


def find_mtf(experiment: Experiment, explicit: str | os.PathLike[str] | None = None) -> Path | None:
    """The multi-transform file of the images, None where there is none.

    A file given explicitly rules out all others. Otherwise it is `transforms.mtf.json` in the
    folder of the images, or failing that in the folder that contains `raw`.

    Raises
    ------
    ConfigError
        There is no such file as `explicit`, or images in different folders have different files.
    """
    if explicit is not None:
        path = Path(explicit).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"{path}: no such multi-transform file. Give the path of an .mtf.json file, or "
                f"none to use {MTF_NAME} beside the images or beside the raw folder"
            )
        return path
    folders = sorted({Path(view.source.path).parent for view in experiment.views})
    found = {folder: _first_file(folder, Path(experiment.root)) for folder in folders}
    if len(set(found.values())) > 1:
        raise _several_files(found, experiment.root)
    return next(iter(found.values()), None)


def _first_file(*folders: Path) -> Path | None:
    return next((p for folder in folders if (p := folder / MTF_NAME).is_file()), None)


def _several_files(found: Mapping[Path, Path | None], root: str) -> ConfigError:
    files: dict[Path | None, Path] = {}
    for folder, path in found.items():
        files.setdefault(path, folder)
    listed = "; ".join(f"{path or 'none'} for {folder}" for path, folder in files.items())
    return ConfigError(
        f"images in different folders have different multi-transform files: {listed}. Put all "
        f"transforms into {Path(root, MTF_NAME)}, where lists such as 'stacks' say for which "
        "images they are, or name one file in input.metadata.multi_transform.file"
    )


def read_mtf(path: str | os.PathLike[str]) -> MultiTransform:
    """The content of a multi-transform file.

    JSON with comments; ``"replace by"`` is read as ``"replace_by"``, missing and empty lists are
    the same, time points may be texts and names numbers.

    Raises
    ------
    ConfigError
        Naming the file, the entry, and what is allowed: not a file, not JSON, an unknown key, a
        value of the wrong form, or a transform without inverse.
    """
    try:
        document = parse_jsonc(Path(path).read_text(encoding="utf-8"))
        entries = _Document.model_validate(_one_spelling(document)).affines
    except OSError as error:
        raise ConfigError(f"{path}: cannot read this file: {error.strerror or error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explained(error)}. {_ALLOWED}") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise ConfigError(f"{path}: {error}") from error
    return MultiTransform(
        str(path), tuple(_to_entry(entry, path, n) for n, entry in enumerate(entries, 1))
    )


def _one_spelling(document: Any) -> Any:
    """The document with ``replace_by`` for ``replace by``."""
    entries = document.get("affines") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return document
    return {**document, "affines": [_renamed(n, e) for n, e in enumerate(entries, 1)]}


def _renamed(number: int, entry: Any) -> Any:
    if not isinstance(entry, dict) or _OTHER_SPELLING not in entry:
        return entry
    if "replace_by" in entry:
        raise ConfigError(
            f"entry {number} of 'affines' holds both 'replace_by' and 'replace by'; keep one"
        )
    return {key.replace(" ", "_") if key == _OTHER_SPELLING else key: v for key, v in entry.items()}


def _explained(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)
    listed = "; ".join(f"{_place(p['loc'])}{_problem(p)}" for p in problems[:_MOST_PROBLEMS])
    more = len(problems) - _MOST_PROBLEMS
    return listed + (f"; and {more} more" if more > 0 else "")


def _problem(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return "this key is unknown"
    if problem["type"] == "missing":
        return "this key is missing"
    message: str = problem["msg"].removeprefix("Value error, ").replace("tuple", "list")
    return message[:1].lower() + message[1:]


def _place(location: tuple[int | str, ...]) -> str:
    """``affines``, 0, ``prepend``, 1 becomes "entry 1 of affines, prepend 2: "."""
    words = [str(part + 1) if isinstance(part, int) else part for part in location]
    if len(words) > 1 and words[0] == "affines":
        words[:2] = [f"entry {words[1]} of 'affines',"]
    return f"{' '.join(words).rstrip(',')}: " if words else ""


def _to_entry(entry: _Entry, path: str | os.PathLike[str], number: int) -> TransformEntry:
    where = f"{path}: entry {number} of 'affines',"
    return TransformEntry(
        entry.time_points,
        entry.channels,
        entry.stacks,
        entry.objectives,
        entry.cameras,
        prepend=_affines(entry.prepend, f"{where} prepend"),
        replace_by=_affines(entry.replace_by, f"{where} replace_by"),
        append=_affines(entry.append, f"{where} append"),
    )


def _affines(chain: tuple[AffineJson, ...], where: str) -> tuple[Affine, ...]:
    affines = tuple(one.to_affine() for one in chain)
    for number, affine in enumerate(affines):
        if not affine.is_invertible:
            raise ConfigError(
                f"{where} {number + 1}: Affine transform in multi-transform object is invalid "
                f"(not invertible). Rows of its matrix: {[list(r) for r in chain[number].matrix]}. "
                "A scale factor must not be 0, and no row may follow from the others"
            )
    return affines
