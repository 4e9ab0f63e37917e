"""A task: settings for one experiment, that compile into a plan and run in a folder."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from luxdask.cluster import connect
from luxdask.cluster.execute import execute
from luxdask.errors import ConfigError, ExperimentNotFoundError, OutputError
from luxdask.graph.device import device_check
from luxdask.io import open_experiment
from luxdask.io.json_file import write_json
from luxdask.tasks.compile import PROCESSED, compile_plan, free_disk, output_parent, select_inputs
from luxdask.tasks.config import TaskConfig, parse_config, set_values
from luxdask.tasks.defaults import ChangedDefault, automatic_defaults
from luxdask.tasks.folder import CONFIG, TaskFolder, check_resumable, find_folder, make_folder
from luxdask.tasks.folder_note import note_folder
from luxdask.tasks.images import MainImage, write_main_files
from luxdask.tasks.options import at_level
from luxdask.tasks.plan_record import read_plan
from luxdask.tasks.run import RunOptions, TaskResult, run_plan
from luxdask.tasks.template import load_template
from luxdask.tasks.update import begin_update, is_updating

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from luxdask.cluster.backend import Backend
    from luxdask.cluster.events import Listener
    from luxdask.graph.plan import Plan
    from luxdask.model.experiment import Experiment
    from luxdask.tasks.registration_result import Registration
    from luxdask.tasks.run import Recompile

GIVEN = "config_task_given.json"


@dataclass(frozen=True)
class Task:
    """Settings of one task; immutable.

    Attributes
    ----------
    config
        All settings.
    changed_defaults
        Defaults that were set because of the images, each with its reason.
    folder
        The folder of a stopped task that this one goes on with; None for a new task.
    updates
        Whether the folder is brought up to date: what has changed there is done again.
    """

    config: TaskConfig
    changed_defaults: tuple[ChangedDefault, ...] = ()
    folder: TaskFolder | None = None
    updates: bool = False

    @classmethod
    def new(
        cls,
        experiment: Experiment,
        *,
        level: str = "advanced",
        values: Mapping[str, Any] | None = None,
    ) -> Task:
        """Settings for an experiment: the user's template, automatic defaults, then `values`.

        level : settings above this usage level ("basic", "intermediate", "advanced") that the
            template changed go back to their defaults.
        values : settings by dotted key, such as ``{"output.sampling": 4}``.
        """
        base = parse_config(at_level(load_template(), level))
        base = set_values(base, {"input.experiment": experiment.path})
        config, changed = automatic_defaults(experiment, base)
        return cls(set_values(config, values or {}), changed)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, resume: bool = False) -> Task:
        """A task from its JSON file, or from the folder of a stopped or failed one.

        A stopped task goes on in its folder, with its settings. A failed one starts anew in a fresh
        folder, or goes on in its own with `resume`. The folder may be given by any name it has had.
        """
        place = find_folder(Path(path))
        if not place.is_dir():
            return cls(parse_config(place))
        folder = TaskFolder(place.resolve())
        check_resumable(folder)
        config = parse_config(place / CONFIG)
        goes_on = folder.state in ("Stopped", "Running") or resume
        if not goes_on:
            return cls(config)
        return cls(config, folder=folder, updates=is_updating(folder.path))

    @classmethod
    def update(
        cls, folder: str | os.PathLike[str], task: str | os.PathLike[str] | None = None
    ) -> Task:
        """A task that brings the folder of a completed, stopped or failed one up to date.

        Only chunks are computed again whose inputs have changed: files or places of views, or
        settings.

        task : a task file whose settings the folder gets; by default it keeps its own.
        """
        place = TaskFolder(find_folder(Path(folder)).resolve())
        check_resumable(place, update=True)
        config = parse_config(Path(task) if task is not None else place.path / CONFIG)
        return cls(config, folder=place, updates=True)

    def replace(self, values: Mapping[str, Any]) -> Task:
        """The same task with other values, given by dotted key.

        Raises `ConfigError` for unknown keys and impossible values, and for a stopped task: its
        chunks were made with its settings. Only `compute` may change there.
        """
        fixed = self.folder is not None and not self.updates
        if fixed and not all(key.startswith("compute.") for key in values):
            assert self.folder is not None
            raise ConfigError(
                f"{self.folder.path}: the settings of a stopped task cannot change; "
                "make a new task instead"
            )
        return replace(self, config=set_values(self.config, values))

    def open_experiment(self) -> Experiment:
        """Open what `input.experiment` names."""
        if not self.config.input.experiment:
            raise ExperimentNotFoundError(
                "input.experiment is empty: set it to the folder of an experiment"
            )
        named = self.config.input.experiment
        if self.folder is not None and isinstance(named, str):
            named = _moved_along(named, self.folder.path)
        return open_experiment(named)

    def compile(self, experiment: Experiment, cluster: Backend | None = None) -> Plan:
        """Plan the task: grids, chunks and lazy images; reads no voxel.

        cluster : workers it is planned for; by default those that `compute` names.
        """
        recorded = None if self.folder is None else read_plan(self.folder.path)
        capacity = getattr(cluster, "capacity", None)
        return compile_plan(
            self.config, experiment, recorded, capacity=capacity, update=self.updates
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all settings as a task file."""
        write_json(path, self.config.model_dump(mode="json"))

    def run(
        self,
        experiment: Experiment | None = None,
        cluster: Backend | None = None,
        *,
        listeners: Sequence[Listener] = (),
        stop: Event | None = None,
        check_disk: bool = True,
        entered: Callable[[Path], None] | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> TaskResult:
        """Run the task to its end in a task folder; returns where everything is.

        cluster : workers from `luxdask.connect`, which are left as they are; by default what
            `compute` says.
        listeners : called with `luxdask.cluster.events.Progress` in this thread.
        stop : when set, the task ends gracefully and can be resumed.
        check_disk : refuse to start where the images will not fit on the disk.
        entered : called with the task folder before anything is computed in it.
        announce : called with what an update does again, and why, before it begins.
        Raises `TaskStopped` or `TaskFailedError`, and `ConfigError` and the like before anything
        starts.
        """
        if self.folder is not None:
            check_resumable(self.folder, update=self.updates)
        opened = experiment or self.open_experiment()
        if self.config.input.only_create_main_files:
            return self._create_main_files(opened)
        plan = self.compile(opened, cluster)
        if check_disk:
            _check_disk(plan, self.folder)
        with nullcontext(cluster) if cluster else self._connect() as backend:
            if self.config.compute.device == "cuda":
                _check_device(backend)
            folder = self._enter_folder(plan)
            if entered is not None:
                entered(folder.path)
            options = RunOptions(
                self.config.output,
                opened.root,
                self._recompiler(opened, cluster),
                self._begin_update if self.updates else None,
                announce or (lambda _: None),
            )
            return run_plan(plan, options, folder, backend, stop or Event(), listeners)

    def _begin_update(self, folder: TaskFolder) -> None:
        begin_update(folder.path)
        self._record(folder)

    def _recompiler(self, experiment: Experiment, cluster: Backend | None) -> Recompile:
        """How the plan follows from a registration; a resumed task keeps its chunks."""

        def recompile(registration: Registration, folder: TaskFolder) -> Plan:
            recorded = read_plan(folder.path)
            capacity = getattr(cluster, "capacity", None)
            return compile_plan(
                self.config, experiment, recorded, registration, capacity, update=self.updates
            )

        return recompile

    def _connect(self) -> Backend:
        compute = self.config.compute
        return connect(
            compute.cluster,
            n_workers=compute.n_workers,
            threads_per_worker=compute.threads_per_worker,
            memory_limit=compute.memory_limit_bytes,
        )

    def _enter_folder(self, plan: Plan) -> TaskFolder:
        """The stopped task's folder, or a new one with the settings in it."""
        folder = self.folder
        if folder is None:
            folder = make_folder(Path(plan.folder), self.config.name, self.config.description)
            self._record(folder)
        note_folder(folder)
        return folder

    def _record(self, folder: TaskFolder) -> None:
        """Keep the settings: complete ones to run again, and what was given."""
        given = self.config.model_dump(mode="json", exclude_unset=True)
        write_json(folder.path / GIVEN, given, durable=True)
        write_json(folder.path / CONFIG, self.config.model_dump(mode="json"), durable=True)

    def _create_main_files(self, experiment: Experiment) -> TaskResult:
        """Main files beside existing images, or in a task folder for raw ones."""
        chosen = select_inputs(self.config, experiment)
        images = [MainImage(view) for view in chosen.views]
        if experiment.kind == "task":
            folder = Path(experiment.path)
        else:
            parent = output_parent(self.config, experiment)
            made = make_folder(parent, self.config.name, self.config.description)
            self._record(made)
            folder = made.renamed("Completed").path
        files = write_main_files(folder, images, self.config.output, added=True)
        note_folder(TaskFolder(folder))
        sources = tuple(Path(view.source.path) for view in chosen.views)
        return TaskResult(folder, sources, tuple(files), 0.0, 0)


def _moved_along(experiment: str, folder: Path) -> str:
    """Where an experiment lies now that was moved as a whole, with the task folder in it."""
    is_there = Path(experiment).expanduser().exists()
    return experiment if is_there or folder.parent.name != PROCESSED else str(folder.parents[1])


def _check_device(backend: Backend) -> None:
    """Raise `ClusterError` with the reason where the workers have no GPU; ours does not matter."""
    execute([device_check()], backend, lambda _: (), Event(), lambda _: 'compute.device "cuda"')


def _check_disk(plan: Plan, folder: TaskFolder | None) -> None:
    """Raise `OutputError` where the images will not fit; what a stopped task wrote counts."""
    needed = plan.summary().disk_needed_bytes
    if folder is not None:
        needed -= folder.used_bytes()
    free = free_disk(Path(plan.folder))
    if free is not None and needed > free:
        raise OutputError(
            f"{plan.folder}: the images need {needed / 1e9:.3g} GB, but only {free / 1e9:.3g} GB "
            "are free. Free some space, set output.folder to another disk, or raise "
            "output.sampling (or start with --no-disk-check)."
        )
