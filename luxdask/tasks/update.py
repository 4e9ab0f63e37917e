"""Bring a task folder up to date: what has changed is what is done again.

The steps may be cut short at any moment. `begin_update` leaves a mark, so that whatever runs the
folder next goes on with the update; `commit_update` first takes back the receipts of what is to be
done again, then notes the new plan, and then removes the mark.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luxdask.io.link_log import LINK_LOG
from luxdask.io.lux_writer import sidecar_path
from luxdask.io.names import image_name
from luxdask.io.registration_file import FOLDERS, LANDMARK_FOLDER, SUFFIX, WHOLE_FOLDER
from luxdask.tasks.images import MAIN_LUX
from luxdask.tasks.plan_record import PlanRecord, covered_chunks, read_plan, record_of, write_plan
from luxdask.tasks.receipts import ReceiptLog, done_receipts
from luxdask.tasks.registration_files import PAIR_INPUTS
from luxdask.tasks.stages import QUALITY_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from luxdask.tasks.chunk_inputs import ChunkInputs
    from luxdask.tasks.images import ImageFiles
    from luxdask.tasks.plan_record import PlannedImage
    from luxdask.tasks.receipts import ReceiptKey

log = logging.getLogger(__name__)

MARK = ".update"
_MAIN_FILES = ("main_st-*_bdv.h5", "main_st-*_bdv.xml", "main_st-*.ims", MAIN_LUX, "overview.png")
_VIEWS_NAMED = 3


def is_updating(folder: Path) -> bool:
    """Whether an update of this task folder was begun and not committed."""
    return (folder / MARK).exists()


def begin_update(folder: Path) -> None:
    """Mark the folder and remove what is made anew as a whole: transforms, maps, main files."""
    if is_updating(folder):
        return
    (folder / MARK).touch()
    if not (folder / PAIR_INPUTS).exists():  # nobody knows what these links were measured with
        (folder / LINK_LOG).unlink(missing_ok=True)
    shutil.rmtree(folder / QUALITY_FOLDER, ignore_errors=True)
    for name in (*FOLDERS.values(), LANDMARK_FOLDER, WHOLE_FOLDER):
        for file in (folder / name).glob(f"*{SUFFIX}"):
            file.unlink()
    for pattern in _MAIN_FILES:
        for file in folder.glob(pattern):
            file.unlink()


@dataclass(frozen=True, slots=True)
class _Image:
    """An image of the new plan beside what the folder has of it."""

    output: int
    new: PlannedImage
    old: PlannedImage | None

    @property
    def is_kept(self) -> bool:
        """Whether its voxels lie where they lay, so that its file can stay."""
        old, new = self.old, self.new
        return old is not None and (old.grid, old.chunk) == (new.grid, new.chunk)


def commit_update(files: ImageFiles, inputs: ChunkInputs, may_write: Callable[[], None]) -> str:
    """Take back the receipts of all that is to be done again; returns in words what and why."""
    folder = files.folder
    before = read_plan(folder) or PlanRecord((), files.run)
    record = record_of(files.plan, inputs, before, files.run)
    old = {image.name: image for image in before.images}
    images = [_Image(n, new, old.pop(new.name, None)) for n, new in enumerate(record.images)]
    receipts = done_receipts(folder)
    valid = set(_valid(images, files, inputs, receipts))
    stale = {key for key in receipts if key not in valid} | set(_uncovered(images))
    with ReceiptLog(folder, may_write) as kept:
        kept.undo(sorted(stale))
    _remove_files(folder, [i.new.name for i in images if not i.is_kept] + list(old))
    _remove_zarrs(files)
    for image in images:
        if image.is_kept:
            files.renew_metadata(image.output)
    write_plan(folder, record)
    (folder / MARK).unlink(missing_ok=True)
    said = _in_words(images, list(old), valid, files)
    log.info("update: %s", said)
    return said


def _valid(
    images: Iterable[_Image],
    files: ImageFiles,
    inputs: ChunkInputs,
    receipts: dict[ReceiptKey, str],
) -> Iterator[ReceiptKey]:
    """Receipts of chunks whose inputs are what they were."""
    kept = {i.new.number: i.output for i in images if i.is_kept and files.exist(i.output)}
    for (number, stage, chunk), digest in receipts.items():
        output = kept.get(number)
        if output is None or not _is_in(files, output, stage, chunk):
            continue
        if digest == inputs.digest(output, stage, chunk):
            yield number, stage, chunk


def _is_in(files: ImageFiles, output: int, stage: int, chunk: int) -> bool:
    """Whether the plan has such a chunk; a damaged list may name any."""
    planned = files.plan.outputs[output]
    if stage == 0:
        return chunk < len(planned.chunks)
    return stage < len(planned.stages) and chunk < planned.coarsen_count(stage)


def _uncovered(images: Iterable[_Image]) -> Iterator[ReceiptKey]:
    """Chunks that views covered, whether they were computed or not, and cover no more."""
    for image in images:
        if image.is_kept and image.old is not None:
            gone = covered_chunks(image.old) - covered_chunks(image.new)
            yield from ((image.new.number, 0, chunk) for chunk in gone)


def _remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove images that no longer are part of the task, or lie on other voxels now."""
    for name in names:
        path = folder / image_name(name)
        path.unlink(missing_ok=True)
        sidecar_path(str(path)).unlink(missing_ok=True)


def _remove_zarrs(files: ImageFiles) -> None:
    """Remove OME-Zarr images of the folder that no longer are part of the task."""
    wanted = files.zarr_names()
    for path in files.folder.glob("*.ome.zarr"):
        if path.name not in wanted:
            shutil.rmtree(path, ignore_errors=True)


def _in_words(
    images: list[_Image], gone: list[str], valid: set[ReceiptKey], files: ImageFiles
) -> str:
    total = sum(files.plan.outputs[i.output].task_count for i in images)
    covered = {i.new.number: covered_chunks(i.new) for i in images}
    kept = sum(stage > 0 or chunk in covered[number] for number, stage, chunk in valid)
    again = total - kept
    if not again and not gone:
        return f"nothing has changed; all {total} chunks are up to date"
    reasons = list(dict.fromkeys(reason for image in images for reason in _reasons(image)))
    if gone:
        reasons.append(f"{_some(gone, 'image')} of before removed")
    because = "; ".join(reasons) or "they were not finished before"
    return f"{again} of {total} chunks are done again, because of: {because}"


def _reasons(image: _Image) -> Iterator[str]:
    old, new = image.old, image.new
    if old is None:
        yield "images that are new"
        return
    if not old.settings:
        yield "images made by a version of luxdask that noted no inputs"
        return
    if not image.is_kept:
        yield f"other voxels of image {new.name}: its bounding box or sampling has changed"
        return
    if old.settings != new.settings:
        yield "settings of fusion or output"
    both = old.views.keys() & new.views.keys()
    groups = {
        "moved": [v for v in sorted(both) if old.views[v][0] != new.views[v][0]],
        "with another file": [v for v in sorted(both) if old.views[v][1] != new.views[v][1]],
        "new": sorted(new.views.keys() - old.views.keys()),
        "gone": sorted(old.views.keys() - new.views.keys()),
    }
    for word, views in groups.items():
        if views:
            yield f"{_some(views, 'view')} {word}"


def _some(names: list[str], word: str) -> str:
    """How many, and the first of them by name."""
    shown = ", ".join(names[:_VIEWS_NAMED]) + (", …" if len(names) > _VIEWS_NAMED else "")
    return f"{len(names)} {word}{'s' if len(names) > 1 else ''} ({shown})"
