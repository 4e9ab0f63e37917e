"""The batch system of the tests itself, by both of its front ends."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slurm


@pytest.mark.parametrize("submit", ["sbatch", "qsub"])
def test_jobs_run(submit: str, slurm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.sh").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    subprocess.run([submit, "job.sh"], check=True, timeout=60, capture_output=True)
    slurm.wait_for((tmp_path / "ran").exists, "the job")
