"""Description of a cluster: the kind of it, and what its jobs and workers are given."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luxdask.cluster.document import Document
from luxdask.cluster.options import BATCH_SYSTEMS, worker_options
from luxdask.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

SYSTEMS = ("local", "cuda", *BATCH_SYSTEMS, "address")
SUFFIXES = (".toml", ".json")
LOST_AFTER_S, FAILURES = 1800.0, 3

CONTROLLER_KEYS = (
    "cores", "memory", "walltime", "queue", "account", "project", "resource_spec", "disk",
    "job_extra_directives", "job_directives_skip", "job_script_prologue", "python",
    "resubmit", "stop_before", "compute",
)  # fmt: skip
"""Keys of `[controller]`, the job of the controlling process."""

_SECTIONS: dict[str, tuple[str, ...] | None] = {
    "workers": None,  # depends on the system
    "scale": ("jobs", "minimum", "maximum", "lost_after", "failures"),
    "lifetime": ("enabled", "before_end", "stagger"),
    "gpus": ("per_job", "directives", "worker_args"),
    "controller": CONTROLLER_KEYS,
    "security": ("ca_file", "cert", "key"),
    "dask": None,  # any key
}
_ADDRESS = re.compile(r"[a-z]+://\S+")


@dataclass(frozen=True, slots=True)
class SecurityFiles:
    """Certificates (PEM) for the scheduler of an existing cluster."""

    ca_file: str | None = None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How workers leave before their job is ended by the batch system.

    Attributes
    ----------
    before_end_s
        How long before the wall time a worker leaves; None: a tenth of it, 5 minutes at most.
    stagger_s
        Workers leave up to this much earlier, drawn by chance, so that not all leave at once;
        None: as long as `before_end_s`.
    """

    enabled: bool = True
    before_end_s: float | None = None
    stagger_s: float | None = None


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """A cluster, as its description file says.

    Attributes
    ----------
    system
        "local", "cuda", a batch system ("slurm", "pbs", …), or "address".
    options
        `[workers]`: passed to dask-jobqueue, `LocalCluster` or `LocalCUDACluster`.
    jobs, minimum, maximum
        `[scale]`: a fixed number of jobs (of worker processes for "local"), or as many as the work
        asks for, between two bounds.
    lost_after_s
        How long a run waits for workers when all are gone and nobody starts new ones.
    failures
        So many jobs in a row may end before a worker of theirs has connected.
    controller
        `[controller]`: the job of the controlling process.
    gpus_per_job, gpu_directives, gpu_worker_args
        `[gpus]`: GPUs of each job, lines that ask the batch system for them, and arguments of
        `dask cuda worker`.
    security
        `[security]`: certificates for an existing scheduler.
    address
        Of an existing scheduler; None for other systems.
    dask
        `[dask]`: settings of dask by dotted key, for this process and all workers.
    path
        The file; None for a kind of cluster by name.
    """

    system: str
    options: Mapping[str, Any] = field(default_factory=dict)
    jobs: int | None = None
    minimum: int | None = None
    maximum: int | None = None
    lost_after_s: float = LOST_AFTER_S
    failures: int = FAILURES
    lifetime: Lifetime = field(default_factory=Lifetime)
    controller: Mapping[str, Any] = field(default_factory=dict)
    gpus_per_job: int | None = None
    gpu_directives: tuple[str, ...] | None = None
    gpu_worker_args: tuple[str, ...] = ()
    security: SecurityFiles = field(default_factory=SecurityFiles)
    address: str | None = None
    dask: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None

    @property
    def is_batch(self) -> bool:
        """Whether its workers are jobs of a batch system."""
        return self.system in BATCH_SYSTEMS

    @property
    def is_adaptive(self) -> bool:
        """Whether the number of jobs follows the work."""
        return self.maximum is not None


def read_spec(where: str | os.PathLike[str]) -> ClusterSpec:
    """Description of a cluster: a kind by name, a scheduler's address, or a .toml or .json file.

    Raises `ConfigError` that names file and key, and says what is allowed.
    """
    name = str(where)
    if name in ("threads", "processes"):
        return ClusterSpec("local")
    if name in SYSTEMS and name != "address":
        return ClusterSpec(name)
    if _ADDRESS.fullmatch(name):
        return ClusterSpec("address", address=name)
    path = Path(where).expanduser()
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{name!r}: no such cluster. Use {', '.join(SYSTEMS[:-1])}, threads, processes, the "
            "address of a scheduler (tcp://host:port, tls://host:port), or a description "
            f"({' or '.join(SUFFIXES)}; luxdask cluster init makes one)."
        )
    return parse_spec(_load(path), path)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: the description of the cluster cannot be read: {error}") from (
            error
        )
    try:
        found = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except ValueError as error:  # both decoders' errors are ValueErrors
        raise ConfigError(f"{path}: not {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected one object with the key system")
    return found


def parse_spec(content: Mapping[str, Any], path: Path) -> ClusterSpec:
    """A description from what its file holds."""
    given = Document(content, path)
    system = given.one_of("system", SYSTEMS)
    given.only("", ("system", "address", *_SECTIONS))
    for section, allowed in _SECTIONS.items():
        given.section(section)
        if section != "dask":
            given.only(section, allowed or sorted(worker_options(system)))
    return _checked(
        ClusterSpec(
            system,
            options=given.section("workers"),
            jobs=given.count("scale.jobs"),
            minimum=given.count("scale.minimum", least=0),
            maximum=given.count("scale.maximum"),
            lost_after_s=given.seconds("scale.lost_after") or LOST_AFTER_S,
            failures=given.count("scale.failures") or FAILURES,
            lifetime=Lifetime(
                given.flag("lifetime.enabled", True),
                given.seconds("lifetime.before_end"),
                given.seconds("lifetime.stagger"),
            ),
            controller=given.section("controller"),
            gpus_per_job=given.count("gpus.per_job"),
            gpu_directives=given.texts("gpus.directives"),
            gpu_worker_args=given.texts("gpus.worker_args") or (),
            security=SecurityFiles(
                given.file("security.ca_file"),
                given.file("security.cert"),
                given.file("security.key"),
            ),
            address=given.text("address"),
            dask=_flat(given.section("dask")),
            path=str(path),
        ),
        given,
    )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _checked(spec: ClusterSpec, given: Document) -> ClusterSpec:
    """The same description, where its parts go together."""
    if (spec.address is not None) != (spec.system == "address"):
        raise given.error("address", 'belongs to system "address", and only there')
    if spec.address is not None and not _ADDRESS.fullmatch(spec.address):
        raise given.error("address", f"expected tcp://host:port or the like, got {spec.address!r}")
    if spec.is_adaptive and spec.jobs is not None:
        raise given.error("scale.jobs", "give either jobs, or minimum and maximum")
    if spec.minimum is not None and spec.minimum > (spec.maximum or 0):
        raise given.error("scale.minimum", "needs a scale.maximum that is not smaller")
    if spec.gpus_per_job is not None and not spec.is_batch:
        raise given.error("gpus.per_job", 'belongs to batch systems; use system = "cuda" here')
    for name in ("cores", "memory"):
        if spec.is_batch and name not in spec.options:
            raise given.error(f"workers.{name}", "is missing: what one job asks for")
    return spec
