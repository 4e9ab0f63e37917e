"""Disks that are full or read-only, and inputs that go away in mid-run: said, and nothing is lost.

Where the tests run as root, the disk is a small tmpfs of its own; a stand-in serves elsewhere.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from luxdask.errors import ExperimentNotFoundError, ImageFileError, LuxdaskError, OutputError
from luxdask.tasks import Task
from luxdask.tasks.folder import STATUS
from luxdask.tasks.lock import LOCK
from luxdask.tasks.receipts import done_receipts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luxdask.cluster.events import Progress
    from luxdask.testing import Truth


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB; the images of `tiles` need 26."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", place)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def mount(*arguments: object) -> None:
    command = ["mount", *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"disks cannot be mounted here: {done.stderr.strip()}")


class After:
    """Does something in mid-run, when so many chunks are done."""

    def __init__(self, chunks: int, action: Callable[[], object]) -> None:
        self.chunks, self.action, self.is_done = chunks, action, False

    def __call__(self, progress: Progress) -> None:
        if progress.stage == "fusion" and progress.done >= self.chunks and not self.is_done:
            self.is_done = True
            self.action()


def check_images(folder: Path, truth: Truth) -> None:
    for channel, path in enumerate(sorted(folder.glob("uni*.lux.h5"))):
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["Data"][:], truth.read_volume(channel))


def resume(folder: Path, truth: Truth, cluster: Any) -> None:
    """Go on with a failed run; chunks that were reported done are not done again."""
    done = done_receipts(folder)
    counts: list[int] = []

    def count(progress: Progress) -> None:
        if progress.stage == "fusion":
            counts.append(progress.done - progress.done_before)

    result = Task.open(folder, resume=True).run(cluster=cluster, listeners=(count,))
    assert counts[-1] == len(done_receipts(result.folder)) - len(done)
    check_images(result.folder, truth)


def failed(parent: Path) -> Path:
    (folder,) = parent.glob("*_F")
    assert json.loads((folder / STATUS).read_text())["state"] == "Failed"
    return folder


def test_full_disk(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any, small_disk: Path
) -> None:
    task = make_task(tiles, output__folder=str(small_disk), output__formats=["lux"])
    with pytest.raises(OutputError, match=r"No space left.*make room, then go on with"):
        task.run(cluster=one_thread, check_disk=False)
    (folder,) = small_disk.iterdir()
    assert folder.name.endswith("_F")
    mount("-o", "remount,size=64m", small_disk)
    resume(folder, tiles, one_thread)


def test_disk_that_becomes_read_only(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the state can be written; the folder resumes as that of a killed run does."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    def become_read_only() -> None:
        for owner, name in ((os, "pwrite"), (os, "fsync"), (Path, "rename"), (Path, "replace")):
            monkeypatch.setattr(owner, name, refuse)
        monkeypatch.setattr(Path, "unlink", refuse)

    with pytest.raises(OutputError, match="Read-only file system"):
        make_task(tiles).run(cluster=one_thread, listeners=(After(5, become_read_only),))
    monkeypatch.undo()
    (folder,) = Path(tiles.folder, "processed").iterdir()
    assert not folder.name.endswith("_F")
    (folder / LOCK).unlink()  # this process still lives
    resume(folder, tiles, one_thread)


def test_read_only_output_folder(
    tiles: Truth, make_task: Callable[..., Task], small_disk: Path
) -> None:
    mount("-o", "remount,ro", small_disk)
    with pytest.raises(OutputError, match=r"cannot make a task folder: Read-only.*output\.folder"):
        make_task(tiles, output__folder=str(small_disk)).run(check_disk=False)


def test_quota(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems tell of a full quota only when the data reach the disk."""

    def refuse(_: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    after = After(6, lambda: monkeypatch.setattr(os, "fsync", refuse))
    with pytest.raises(OutputError, match=r"Disk quota exceeded.*or your quota\) is full"):
        make_task(tiles).run(cluster=one_thread, listeners=(after,))
    monkeypatch.undo()
    resume(failed(Path(tiles.folder, "processed")), tiles, one_thread)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


@pytest.mark.parametrize("damage", [truncate, Path.unlink], ids=["truncated", "deleted"])
def test_input_that_goes_away_in_mid_run(
    tiles: Truth,
    make_task: Callable[..., Task],
    one_thread: Any,
    damage: Callable[[Path], None],
) -> None:
    path = tiles.path(tiles.views[-1])
    healthy = path.read_bytes()
    after = After(6, lambda: damage(path))
    with pytest.raises(ImageFileError, match=path.name):
        make_task(tiles).run(cluster=one_thread, listeners=(after,))
    folder = failed(Path(tiles.folder, "processed"))
    path.write_bytes(healthy)
    resume(folder, tiles, one_thread)


def test_permission_taken_in_mid_run(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in, since root may read everything."""
    path = str(tiles.path(tiles.views[-1]))
    real = os.open

    def refuse(name: Any, *rest: Any, **more: Any) -> int:
        if str(name) == path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(name, *rest, **more)

    after = After(6, lambda: monkeypatch.setattr(os, "open", refuse))
    with pytest.raises(LuxdaskError, match="Permission denied"):
        make_task(tiles).run(cluster=one_thread, listeners=(after,))
    monkeypatch.undo()
    resume(failed(Path(tiles.folder, "processed")), tiles, one_thread)


def test_experiment_moved_in_mid_run(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any, tmp_path: Path
) -> None:
    raw = Path(tiles.folder, "raw")
    after = After(6, lambda: raw.rename(tmp_path / "elsewhere"))
    with pytest.raises(LuxdaskError, match=tiles.folder):
        make_task(tiles).run(cluster=one_thread, listeners=(after,))
    folder = failed(Path(tiles.folder, "processed"))
    with pytest.raises(ExperimentNotFoundError):
        Task.open(folder, resume=True).run(cluster=one_thread)
    (tmp_path / "elsewhere").rename(raw)
    resume(folder, tiles, one_thread)


def test_experiment_moved_with_its_task(
    tiles: Truth, make_task: Callable[..., Task], one_thread: Any, tmp_path: Path
) -> None:
    """A stopped task goes on wherever the whole experiment has gone."""

    def end() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_task(tiles).run(cluster=one_thread, listeners=(After(6, end),))
    moved = Path(tiles.folder).rename(tmp_path / "moved")
    (folder,) = (moved / "processed").glob("*_S")
    result = Task.open(folder).run(cluster=one_thread)
    assert result.folder.parent == moved / "processed"
    for channel, path in enumerate(result.images):
        with h5py.File(path) as file:
            assert file["Data"].shape == tiles.shape
            assert channel in (0, 1)
