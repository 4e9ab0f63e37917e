"""Descriptions of clusters: what they may hold, and what is said where they cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from luxdask.cluster.durations import parse_duration, parse_walltime
from luxdask.cluster.options import BATCH_SYSTEMS, worker_options
from luxdask.cluster.spec import ClusterSpec, SecurityFiles, parse_spec, read_spec
from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SLURM = """
system = "slurm"
[workers]
cores = 16
memory = "64 GB"
walltime = "08:00:00"
job_extra_directives = ["--exclusive"]
[scale]
minimum = 1
maximum = 20
[lifetime]
before_end = "10 min"
[controller]
cores = 2
memory = "8 GB"
[gpus]
per_job = 2
[dask]
"distributed.comm.timeouts.tcp" = "90s"
[dask.distributed.worker]
"memory.target" = 0.9
"""
JOB = {"cores": 4, "memory": "8GB"}


def written(tmp_path: Path, text: str, name: str = "site.toml") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_toml(tmp_path: Path) -> None:
    path = written(tmp_path, SLURM)
    spec = read_spec(path)
    assert (spec.system, spec.is_batch, spec.is_adaptive) == ("slurm", True, True)
    assert spec.options["job_extra_directives"] == ["--exclusive"]
    assert (spec.jobs, spec.minimum, spec.maximum) == (None, 1, 20)
    assert spec.lifetime.before_end_s == 600
    assert spec.controller == {"cores": 2, "memory": "8 GB"}
    assert spec.gpus_per_job == 2
    assert spec.dask == {
        "distributed.comm.timeouts.tcp": "90s",
        "distributed.worker.memory.target": 0.9,
    }
    assert spec.path == str(path)


def test_json_is_the_same(tmp_path: Path) -> None:
    text = '{"system": "pbs", "workers": {"cores": 4, "memory": "8GB"}, "scale": {"jobs": 3}}'
    spec = read_spec(written(tmp_path, text, "site.json"))
    assert (spec.system, spec.options, spec.jobs) == ("pbs", JOB, 3)


@pytest.mark.parametrize("name", ["local", "cuda", *BATCH_SYSTEMS])
def test_kinds(name: str) -> None:
    assert read_spec(name) == ClusterSpec(name)


def test_words_and_addresses() -> None:
    assert read_spec("processes").system == "local"
    found = read_spec("tls://head:8786")
    assert (found.system, found.address) == ("address", "tls://head:8786")


def test_certificates_lie_beside_the_file(tmp_path: Path) -> None:
    written(tmp_path, "PEM", "ca.pem")
    text = 'system = "address"\naddress = "tls://a:1"\n[security]\nca_file = "ca.pem"'
    spec = read_spec(written(tmp_path, text))
    assert spec.security == SecurityFiles(ca_file=str(tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "system: is missing; allowed: local, cuda, slurm, pbs"),
        ({"system": "moon"}, "system: 'moon' is not known"),
        ({"system": "local", "wokers": {}}, "wokers: no such setting; allowed: system"),
        ({"system": "local", "workers": 3}, "workers: expected a section"),
        ({"system": "slurm", "workers": {**JOB, "coers": 1}}, r"workers\.coers: no such .* cores"),
        ({"system": "pbs", "workers": {**JOB, "env_extra": []}}, r"workers\.env_extra: no such"),
        ({"system": "slurm", "workers": {"cores": 2}}, r"workers\.memory: is missing"),
        ({"system": "slurm", "workers": JOB, "scale": {"jobs": 0}}, r"scale\.jobs: .* from 1 on"),
        ({"system": "slurm", "workers": JOB, "scale": {"jobs": True}}, r"scale\.jobs: .*True"),
        ({"system": "slurm", "workers": JOB, "scale": {"jobs": 1, "maximum": 2}}, "either jobs"),
        ({"system": "slurm", "workers": JOB, "scale": {"minimum": 2}}, r"scale\.minimum: needs"),
        ({"system": "slurm", "workers": JOB, "scale": {"lost_after": "soon"}}, "lost_after: expec"),
        ({"system": "slurm", "workers": JOB, "lifetime": {"enabled": 1}}, "true or false"),
        ({"system": "slurm", "workers": JOB, "gpus": {"directives": "x"}}, "list of texts"),
        ({"system": "slurm", "workers": JOB, "controller": {"core": 1}}, r"controller\.core: no"),
        ({"system": "local", "gpus": {"per_job": 1}}, r'gpus\.per_job: .*"cuda"'),
        ({"system": "address"}, "address: belongs to"),
        ({"system": "local", "address": "tcp://a:1"}, "address: belongs to"),
        ({"system": "address", "address": "head"}, "address: expected tcp"),
        ({"system": "address", "address": "tls://a:1", "security": {"key": "no.pem"}}, "no file"),
    ],
)
def test_refused(content: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_spec(content, tmp_path / "site.toml")
    assert "site.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("site.toml", "system = ", "not TOML"),
        ("site.json", "{", "not JSON"),
        ("site.json", "[]", "one object"),
        ("site.yaml", "system: slurm", "no such cluster"),
    ],
)
def test_unreadable(name: str, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        read_spec(written(tmp_path, text, name))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"away\.toml: the description .* cannot be read"):
        read_spec(tmp_path / "away.toml")


@pytest.mark.parametrize("system", BATCH_SYSTEMS)
def test_options_of_batch_systems(system: str) -> None:
    found = worker_options(system)
    assert {"cores", "memory", "processes", "local_directory", "job_extra_directives"} <= found
    assert not {"self", "security", "scheduler", "protocol", "n_workers", "kwargs"} & found


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(90, 90), ("90 s", 90), ("1.5 min", 90), ("2h", 7200), ("1 d", 86400), ("01:02:03", 3723)],
)
def test_durations(given: float | str, seconds: float) -> None:
    assert parse_duration(given) == seconds


@pytest.mark.parametrize("given", ["", "soon", "5", "1:00", True])
def test_no_durations(given: Any) -> None:
    with pytest.raises(ValueError, match="expected seconds"):
        parse_duration(given)


@pytest.mark.parametrize(
    ("system", "given", "seconds"),
    [
        ("slurm", "90", 5400),
        ("slurm", "2:30", 150),
        ("slurm", "01:30:00", 5400),
        ("slurm", "1-2", 93600),
        ("slurm", "1-02:30", 95400),
        ("slurm", "1-02:30:10", 95410),
        ("lsf", "01:30", 5400),
        ("lsf", "90", 5400),
        ("pbs", "3600", 3600),
        ("pbs", "30:00", 1800),
        ("pbs", "24:00:00", 86400),
        ("pbs", "UNLIMITED", None),
    ],
)
def test_wall_times(system: str, given: str, seconds: float | None) -> None:
    assert parse_walltime(given, system) == seconds
