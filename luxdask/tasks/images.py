"""The files of a task: one writer per image and format, and the main files that link them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from luxdask.io.bdv import write_bdv
from luxdask.io.fused_metadata import fused_metadata
from luxdask.io.imaris import imaris_groups, imaris_paths, write_imaris_links
from luxdask.io.imaris_copy import write_imaris_copy
from luxdask.io.lux_metadata import read_view
from luxdask.io.lux_writer import LuxWriter, sidecar_path
from luxdask.io.main_lux import write_main_lux
from luxdask.io.names import image_name, main_stem
from luxdask.io.omezarr import OmeZarrWriter, set_display_range
from luxdask.io.omezarr_metadata import OmeChannel
from luxdask.model.view import Source, natural_key
from luxdask.tasks.folder import stem_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from luxdask.graph.plan import Plan
    from luxdask.graph.planned import PlannedOutput
    from luxdask.io.writer import Writer
    from luxdask.model.output import Output
    from luxdask.model.view import View
    from luxdask.tasks.config_output import OutputConfig

MAIN_LUX = "main_processed.lux.h5"


@dataclass(frozen=True)
class ImageFiles:
    """Names and writers of all images of a plan in one folder.

    run : tells images of this folder apart from those of others; by default the folder's name.
    """

    plan: Plan
    folder: Path
    config: OutputConfig
    run: str = ""
    _made: dict[int, tuple[Writer, ...]] = field(default_factory=dict, repr=False, compare=False)

    def writers(self, number: int) -> tuple[Writer, ...]:
        """Writers of one output, their files made where they do not exist yet."""
        if number not in self._made:
            planned = self.plan.outputs[number]
            made: list[Writer] = []
            if "lux" in self.config.formats:
                made.append(self._lux(planned))
            if "ome-zarr" in self.config.formats:
                writer = self._ome_zarr(planned)
                writer.create()
                made.append(writer)
            self._made[number] = tuple(made)
        return self._made[number]

    def stored_as(self, number: int) -> tuple[object, ...]:
        """What the files of an output are, beside its voxels: formats, place in 5-D images."""
        formats = tuple(sorted({"lux", "ome-zarr"} & set(self.config.formats)))
        if "ome-zarr" not in formats:
            return formats
        writer = self._ome_zarr(self.plan.outputs[number])
        axes = (writer.time_points, tuple(c.name for c in writer.channels), writer.index)
        return (*formats, self.config.ome_zarr_url, axes)

    def exist(self, number: int) -> bool:
        """Whether all files of an output are there, so that receipts can be true."""
        planned = self.plan.outputs[number]
        has_lux = "lux" not in self.config.formats or self._has_lux(planned)
        return has_lux and (
            "ome-zarr" not in self.config.formats or self._ome_zarr(planned).exists()
        )

    def _has_lux(self, planned: PlannedOutput) -> bool:
        path = self.lux_path(planned)
        return path.exists() and sidecar_path(str(path)).exists()

    def lux_path(self, planned: PlannedOutput) -> Path:
        """The `.lux.h5` file of an output."""
        return self.folder / image_name(planned.name)

    def _lux(self, planned: PlannedOutput) -> LuxWriter:
        path, grid = self.lux_path(planned), planned.output.grid
        exists = self._has_lux(planned)
        metadata = "{}" if exists else fused_metadata(planned.output)
        writer = LuxWriter(str(path), grid.shape, grid.spacing_um, planned.levels, metadata)
        if not exists:
            writer.create()
        return writer

    def _ome_zarr(self, planned: PlannedOutput) -> OmeZarrWriter:
        siblings = [p.output for p in self.plan.outputs if _image(p) == _image(planned)]
        channels = sorted({_channel(o) for o in siblings}, key=natural_key)
        times = sorted({o.time_point for o in siblings})
        name = self._zarr_name(planned)
        output = planned.output
        return OmeZarrWriter(
            url=f"{str(self.config.ome_zarr_url or self.folder).rstrip('/')}/{name}.ome.zarr",
            grid=output.grid,
            levels=planned.levels,
            shards=planned.shards(),
            name=name,
            index=(times.index(output.time_point), channels.index(_channel(output))),
            channels=tuple(OmeChannel(c) for c in channels),
            time_points=tuple(times),
            run=self.run or stem_of(self.folder.name),
        )

    def zarr_names(self) -> set[str]:
        """Names of all OME-Zarr images of the plan."""
        if "ome-zarr" not in self.config.formats:
            return set()
        return {f"{self._zarr_name(planned)}.ome.zarr" for planned in self.plan.outputs}

    def renew_metadata(self, number: int) -> None:
        """Give an image that stays the metadata of its inputs as they are now."""
        planned = self.plan.outputs[number]
        if "lux" in self.config.formats and self._has_lux(planned):
            grid, path = planned.output.grid, str(self.lux_path(planned))
            metadata = fused_metadata(planned.output)
            LuxWriter(path, grid.shape, grid.spacing_um, planned.levels, metadata).renew()

    def _zarr_name(self, planned: PlannedOutput) -> str:
        """The name of an image without what its axes t and c hold."""
        first = next(p for p in self.plan.outputs if _image(p) == _image(planned))
        mode, _, rest = first.name.partition("_tp-")
        return f"{mode}_st-{rest.partition('_st-')[2]}"

    def finish_ome_zarr(self) -> list[str]:
        """Give viewers a fitting contrast; returns the URLs of the images."""
        urls: dict[str, OmeZarrWriter] = {}
        if "ome-zarr" in self.config.formats:
            for planned in self.plan.outputs:
                writer = self._ome_zarr(planned)
                urls.setdefault(writer.url, writer)
        for writer in urls.values():
            set_display_range(writer)
        return list(urls)


def _image(planned: PlannedOutput) -> tuple[object, ...]:
    """What makes outputs one 5-D image: all but time point, channel and PM id."""
    o = planned.output
    view = o.stack if o.separate_view else ""
    return (o.group, o.separate_view, view, o.objective, o.camera)


def _channel(output: Output) -> str:
    return output.channel if output.pm is None else f"{output.channel} pm {output.pm}"


@dataclass(frozen=True, slots=True)
class MainImage:
    """An image that main files link: which box it shows, and whether it is a single view of it."""

    view: View
    group: int = 0
    separate_view: bool = False


def written_images(files: ImageFiles) -> list[MainImage]:
    """The images of a finished plan, as they will be opened again."""
    found = []
    for planned in files.plan.outputs:
        path = str(files.lux_path(planned))
        view, _ = read_view(Source(path, sidecar=str(sidecar_path(path))))
        found.append(MainImage(view, planned.output.group, planned.output.separate_view))
    return found


def write_main_files(
    folder: Path,
    images: Sequence[MainImage],
    config: OutputConfig,
    *,
    added: bool = False,
) -> list[Path]:
    """Write the main files of images: one set per box, named after what is fused in it."""
    boxes: dict[int, list[MainImage]] = defaultdict(list)
    for image in images:
        boxes[image.group].append(image)
    made: list[Path] = []
    stems: set[str] = set()
    for members in boxes.values():
        fused = [m.view for m in members if not m.separate_view]
        stem = _free_stem(main_stem(fused, added), stems)
        views = [m.view for m in members]
        if "bdv" in config.formats:
            made.extend(write_bdv(folder, stem, views))
        if "imaris" in config.formats:
            made.extend(_write_imaris(folder, stem, views, config.imaris))
    if "lux" in config.formats:
        name = MAIN_LUX.replace("main_", "main_ADDED_") if added else MAIN_LUX
        write_main_lux(folder / name, [image.view for image in images])
        made.append(folder / name)
    return made


def _write_imaris(folder: Path, stem: str, views: Sequence[View], how: str) -> Iterable[Path]:
    groups = imaris_groups(views)
    paths = imaris_paths(folder, stem, len(groups))
    for path, group in zip(paths, groups, strict=True):
        (write_imaris_copy if how == "copy" else write_imaris_links)(path, group)
    return paths


def _free_stem(stem: str, taken: set[str]) -> str:
    name, n = stem, 1
    while name.lower() in taken:
        n += 1
        name = f"{stem}_box-{n}"
    taken.add(name.lower())
    return name
