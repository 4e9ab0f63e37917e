"""Settings below `output` and `compute`: what is written where, and who computes it."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from luxdask.tasks.config_base import (
    ADVANCED,
    BASIC,
    INTERMEDIATE,
    FilePath,
    Settings,
    option,
    section,
)

Format = Literal["lux", "bdv", "imaris", "ome-zarr"]

CHUNK_MULTIPLE = 64
_ADDRESS = re.compile(r"(tcp|tls|ucx|ucxx|ws|wss|inproc)://\S+")
_SPEC_SUFFIXES = (".toml", ".json")
_BATCH = ("slurm", "pbs", "sge", "lsf", "oar", "htcondor", "moab")
_CLUSTERS = ("local", "threads", "processes", "cuda", *_BATCH)
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "b": 1}
_UNITS |= {f"{p}b": 1000**n for n, p in enumerate("kmgtp", start=1)}
_UNITS |= {f"{p}ib": 1024**n for n, p in enumerate("kmgtp", start=1)}


def parse_size(given: int | str) -> int:
    """Bytes of a size such as 4000000000 or "4 GiB"; raises ValueError where it is none."""
    match = _SIZE.fullmatch(str(given))
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError('expected bytes or a size such as "4 GiB"')
    size_bytes = int(float(match[1]) * _UNITS[match[2].lower()])
    if size_bytes < 1:
        raise ValueError("expected more than 0 bytes")
    return size_bytes


def is_address(cluster: str) -> bool:
    """Whether `compute.cluster` is the address of a running scheduler."""
    return _ADDRESS.fullmatch(cluster) is not None


def _check_cluster(given: str) -> str:
    if given in _CLUSTERS or is_address(given) or given.lower().endswith(_SPEC_SUFFIXES):
        return given
    raise ValueError("neither a kind of cluster, nor an address, nor a file")


def _check_size(given: int | str | None) -> int | str | None:
    if given is not None:
        parse_size(given)
    return given


def _check_chunk(given: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    if given is not None and any(n < 1 or n % CHUNK_MULTIPLE for n in given):
        raise ValueError("not multiples of 64")
    return given


def _once_each(given: tuple[Format, ...]) -> tuple[Format, ...]:
    return tuple(dict.fromkeys(given))


class SamplingConfig(Settings):
    """Size of the output voxels."""

    number_keys: ClassVar[tuple[str, ...]] = ("width", "height", "depth")

    width: float = option(
        1.0,
        BASIC,
        "Sampling factor along the width; above 1 makes fewer voxels, below 1 more.",
        gt=0,
        le=1000,
    )
    height: float = option(
        1.0,
        BASIC,
        "Sampling factor along the height; above 1 makes fewer voxels, below 1 more.",
        gt=0,
        le=1000,
    )
    depth: float = option(
        1.0,
        BASIC,
        "Sampling factor along the depth; above 1 makes fewer voxels, below 1 more.",
        gt=0,
        le=1000,
    )
    isotropic: bool = option(
        True,
        BASIC,
        "Whether the depth factor multiplies the lateral voxel size (equal factors make cubes); "
        "otherwise it multiplies the plane distance of the input.",
    )


class OutputConfig(Settings):
    """What is written, and where."""

    sampling: SamplingConfig = section(SamplingConfig, "Size of the output voxels.")
    bounding_boxes: Literal["UnionAll", "UnionsOverlapping", "Intersections", "Separate"] = option(
        "UnionAll",
        BASIC,
        "Which volumes are written: all stacks in one image, one image per group of overlapping "
        "stacks, the common volume of each group, or each stack by itself.",
    )
    views_separately: bool = option(
        False, INTERMEDIATE, "Whether each view is written in sample space as well."
    )
    formats: Annotated[tuple[Format, ...], AfterValidator(_once_each)] = option(
        ("lux", "bdv", "imaris"),
        BASIC,
        "Which formats are written.",
        allowed='list of "lux", "bdv", "imaris", "ome-zarr"',
    )
    imaris: Literal["links", "copy"] = option(
        "links",
        INTERMEDIATE,
        "Whether the Imaris file links to the .lux.h5 images or holds its own copy.",
    )
    folder: FilePath | None = option(
        None,
        INTERMEDIATE,
        "Folder in which task folders are made; null means processed in the experiment.",
    )
    ome_zarr_url: FilePath | None = option(
        None,
        INTERMEDIATE,
        "Path or fsspec URL under which the OME-Zarr images are written; null means the task "
        "folder.",
    )


class ComputeConfig(Settings):
    """Who computes it."""

    cluster: Annotated[FilePath, AfterValidator(_check_cluster)] = option(
        "local",
        BASIC,
        "Where the task runs: this machine, its GPUs, a batch system, or a running scheduler.",
        allowed='"local" | "cuda" | "slurm" | "pbs" | "sge" | "lsf" | "oar" | "htcondor" | '
        '"moab" | "threads" | "processes" | scheduler address (tcp://host:port, tls://host:port) | '
        "path of a cluster description (.toml, .json)",
    )
    device: Literal["cpu", "cuda"] = option(
        "cpu",
        INTERMEDIATE,
        "What fuses the chunks: the processor cores, or the NVIDIA GPU of each worker.",
    )
    n_workers: int | None = option(
        None, INTERMEDIATE, "Number of worker processes; null means automatic.", ge=1
    )
    threads_per_worker: int | None = option(
        None, ADVANCED, "Number of threads of each worker; null means automatic.", ge=1
    )
    memory_limit: Annotated[int | str | None, AfterValidator(_check_size)] = option(
        None,
        INTERMEDIATE,
        "Memory of each worker in bytes or with a unit; null means automatic.",
        allowed='bytes | text such as "4 GiB" | null',
    )
    chunk_vx: Annotated[tuple[int, int, int] | None, AfterValidator(_check_chunk)] = option(
        None,
        ADVANCED,
        "Size (z, y, x) of the chunks in which output is computed, in voxels; null means "
        "automatic.",
        allowed="list of three multiples of 64 (z, y, x) | null",
    )

    @property
    def memory_limit_bytes(self) -> int | None:
        """Memory of each worker in bytes; None means automatic."""
        return None if self.memory_limit is None else parse_size(self.memory_limit)
