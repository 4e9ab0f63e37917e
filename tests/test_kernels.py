"""A kernel gives the same where it was compiled and where it comes from numba's cache.

Where a run goes on, or a worker joins, results must come out the same to the last bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).with_name("kernels.py")


def found(part: str) -> str:
    command = [sys.executable, str(KERNELS), part]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("part", "words"), [("images", ""), ("registration", "ok rigid")], ids=lambda text: text
)
def test_fresh_and_from_the_cache(
    part: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path(os.environ.get("LUXDASK_FRESH_KERNELS", tmp_path), part)
    if before.exists():
        fresh = before.read_text()
    else:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
        fresh = found(part)
    assert fresh.count("\n") == 2
    assert words in fresh
    assert found(part) == fresh
