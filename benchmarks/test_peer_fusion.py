"""The comparison with multiview-stitcher runs, on small tiles; `make bench` runs the real size."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("peer_fusion.py")


@pytest.mark.skipif(
    find_spec("multiview_stitcher") is None, reason="multiview-stitcher is not installed"
)
def test_the_script_measures_both_cases(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--folder", str(tmp_path), "--tile", "16", "80", "64"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    translation, rotated = (json.loads(line) for line in done.stdout.splitlines())
    assert translation["shape"] == [16, 148, 118]
    assert rotated["transform"] == "rotated 10 degrees about z"
    assert rotated["shape"][1] > 148
    for result in (translation, rotated):
        assert result["mvoxel_per_s"] > 0
        assert result["peak_rss_bytes"] > 1e7
