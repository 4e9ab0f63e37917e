"""Main files: groups, links, moved experiments, Windows paths, what is dead."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import luxdask
from luxdask.errors import ExperimentNotFoundError
from luxdask.io.lux_writer import LuxWriter
from luxdask.io.nested import locate
from luxdask.io.reader import reader_for
from luxdask.model.geometry import Box, Shape
from luxdask.model.view import View, ViewId

IDS = tuple(ViewId(t, "0", s, "bottom", "long") for t in (0, 1) for s in ("1-x00-y00", "1-x00-y01"))
SHAPE: Shape = (8, 10, 12)
LEVELS: tuple[Shape, ...] = ((1, 1, 1), (2, 2, 2))
Chain = list[dict[str, object]]


def metadata(identity: ViewId, source: str = "") -> str:
    z, y, x = SHAPE
    chain: Chain = [{"matrix": np.eye(3).tolist(), "translation": [0, 0, 0]}]
    information = {
        "time_point": str(identity.time_point),
        "channel": identity.channel,
        "stack": identity.stack,
        "objective": identity.objective,
        "camera": identity.camera,
        "sources": [source],
        "image_size_vx": {"width": x, "height": y, "depth": z},
        "affine_to_sample": chain,
    }
    return json.dumps({"processingInformation": information})


def raw_name(identity: ViewId) -> str:
    folder = f"stack_{identity.stack}_channel_0_obj_bottom"
    return f"raw/{folder}/Cam_long_{identity.time_point:05d}.lux.h5"


def group_name(identity: ViewId) -> str:
    stack = f"raw_stack_{identity.stack}_obj_bottom"
    return f"timepoint_{identity.time_point}/channel_0_cam_long/{stack}"


def grey(identity: ViewId) -> int:
    return 100 * identity.time_point + int(identity.stack[-1]) + 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "2026-03-02_194519"
    for identity in IDS:
        path = folder / raw_name(identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = LuxWriter(str(path), SHAPE, (1, 1, 1), LEVELS, metadata(identity))
        writer.create()
        for n, f in enumerate((1, 2)):
            shape = [s // f for s in SHAPE]
            writer.write(n, (0, 0, 0), np.full(shape, grey(identity), np.uint16))
    return folder


def add_main(path: Path, prefix: str, slashes: str = "/", dataset: str = "Data") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for identity in IDS:
            target = (prefix + raw_name(identity)).replace("/", slashes)
            group = file.create_group(group_name(identity))
            group["Data"] = h5py.ExternalLink(target, dataset)
            group["metadata"] = h5py.ExternalLink(target, "metadata")
    return path


def values(view: View) -> set[int]:
    """Grey values of both levels."""
    reader = reader_for(view.source)
    assert reader.levels(view.source) == LEVELS
    found = set()
    for factor in LEVELS:
        shape = (SHAPE[0] // factor[0], SHAPE[1] // factor[1], SHAPE[2] // factor[2])
        out = np.empty(shape, np.uint16)
        reader.read_into(view.source, Box.of_shape(shape), out, level=factor)
        found |= set(out.ravel().tolist())
    return found


@pytest.mark.parametrize(
    ("place", "prefix", "slashes"),
    [
        ("main_raw.lux.h5", "", "/"),
        ("main_raw.lux.h5", "./", "/"),
        ("main_raw.lux.h5", "", "\\"),
        ("main_raw.lux.h5", "D:/data/2026-03-02_194519/", "\\"),
        ("main_raw.lux.h5", "//server/share/x/2026-03-02_194519/", "\\"),
        ("main_raw.lux.h5", "D:/data/renamed since/", "/"),
        ("main_raw.lux.h5", "/mnt/elsewhere/2026-03-02_194519/", "/"),
        ("processed/Task_1_C/main_ADDED.lux.h5", "../../", "/"),
        ("processed/Task_1_C/main_ADDED.lux.h5", "../../", "\\"),
        ("processed/Task_1_C/main_ADDED.lux.h5", "E:/2026-03-02_194519/", "\\"),
    ],
)
@pytest.mark.parametrize("has_sidecars", [True, False])
def test_links_lead_to_the_raw_images(
    root: Path, place: str, prefix: str, slashes: str, has_sidecars: bool
) -> None:
    if not has_sidecars:
        for sidecar in root.rglob("*.json"):
            sidecar.unlink()
    experiment = luxdask.open_experiment(add_main(root / place, prefix, slashes))
    assert (experiment.kind, experiment.root) == ("main", str(root))
    assert [view.id for view in experiment.views] == list(IDS)
    for view in experiment.views:
        assert Path(view.source.path).samefile(root / raw_name(view.id))
        assert (view.source.sidecar is not None) == has_sidecars
        assert values(view) == {grey(view.id)}


def test_linked_images_are_not_opened_when_they_have_sidecars(root: Path) -> None:
    main = add_main(root / "main_raw.lux.h5", "")
    for image in (root / "raw").rglob("*.lux.h5"):
        image.write_bytes(b"")
    assert len(luxdask.open_experiment(main)) == len(IDS)


def test_dead_links_are_noted(root: Path) -> None:
    main = add_main(root / "main_raw.lux.h5", "")
    (root / raw_name(IDS[3])).unlink()
    experiment = luxdask.open_experiment(main)
    assert [view.id for view in experiment.views] == list(IDS[:3])
    assert (
        f"/{group_name(IDS[3])}: the linked file {raw_name(IDS[3])} is not there"
        in (experiment.notes[0])
    )
    assert "missing: ch:0 st:1-x00-y01" in experiment.notes[1]
    for identity in IDS[:3]:
        (root / raw_name(identity)).unlink()
    with pytest.raises(ExperimentNotFoundError, match="is not there"):
        luxdask.open_experiment(main)


def test_images_inside_the_nested_file(tmp_path: Path) -> None:
    path = tmp_path / "all.lux.h5"
    with h5py.File(path, "w") as file:
        for identity in IDS:
            group = file.create_group(group_name(identity))
            group["Data"] = np.full(SHAPE, grey(identity), np.uint16)
            group["Data_2_2_2"] = np.full((64, 64, 64), grey(identity), np.uint16)  # padded
            group["metadata"] = metadata(identity)
        file["soft/link"] = 1
        file["timepoint_0/channel_0_cam_long/linked"] = h5py.SoftLink("/nowhere")
        file.create_group("timepoint_9/channel_0/raw_empty")
    experiment = luxdask.open_experiment(path)
    assert [view.id for view in experiment.views] == list(IDS)
    assert all(values(view) == {grey(view.id)} for view in experiment.views)
    assert experiment.notes == (
        f"{path}: /timepoint_9/channel_0/raw_empty: no 'Data' in this group, not used",
    )
    in_folder = pytest.raises(ExperimentNotFoundError, match="open it by its own path")
    with in_folder:
        luxdask.open_experiment(tmp_path)


def test_metadata_of_the_main_file_itself_wins_over_the_linked_image(root: Path) -> None:
    main = root / "main_processed.lux.h5"
    corrected = replace(IDS[0], stack="corrected")
    with h5py.File(main, "w") as file:
        group = file.create_group(group_name(IDS[0]))
        group["Data"] = h5py.ExternalLink(raw_name(IDS[0]), "Data")
        group["metadata"] = metadata(corrected)
    (view,) = luxdask.open_experiment(main).views
    assert view.id == corrected
    assert values(view) == {grey(IDS[0])}


def test_links_without_metadata_use_that_of_the_target(root: Path) -> None:
    main = add_main(root / "main_raw.lux.h5", "")
    with h5py.File(main, "r+") as file:
        for identity in IDS:
            del file[group_name(identity)]["metadata"]
    assert [view.id for view in luxdask.open_experiment(main).views] == list(IDS)


def test_layout_of_2020(tmp_path: Path) -> None:
    path = tmp_path / "main.lux.h5"
    with h5py.File(path, "w") as file:
        for n, identity in enumerate(IDS[:2]):
            view = file.create_group(f"timepoint_0/channel_0/view_{n}")
            view["res_0/data"] = np.full(SHAPE, grey(identity), np.uint16)
            view["res_0/metadata"] = metadata(identity)
            view["res_1/data"] = np.zeros((4, 5, 6), np.uint16)
    experiment = luxdask.open_experiment(path)
    assert [view.id for view in experiment.views] == list(IDS[:2])
    assert reader_for(experiment.views[0].source).levels(experiment.views[0].source) == LEVELS[:1]


def test_main_file_in_a_list(root: Path) -> None:
    main = add_main(root / "main_raw.lux.h5", "")
    experiment = luxdask.open_experiment([main, root / raw_name(IDS[0])])
    assert (experiment.kind, len(experiment)) == ("files", len(IDS))
    assert "same identity" in experiment.notes[0]


def test_the_longest_tail_wins_and_only_regular_files_count(tmp_path: Path) -> None:
    main = str(tmp_path / "main.lux.h5")
    near, far = tmp_path / "a.lux.h5", tmp_path / "raw/s/a.lux.h5"
    far.parent.mkdir(parents=True)
    near.touch()
    far.touch()
    assert locate(r"C:\x\raw\s\a.lux.h5", main) == str(far)
    assert locate(r"C:\x\raw\other\a.lux.h5", main) == str(near)
    assert locate(r"C:\x\raw\s", main) is None
    assert locate("../" + tmp_path.name + "/a.lux.h5", main) == str(near)
